"""Who wins when several say something: defaults, file, variables, flags."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pillarbox.domain.retry import ExpireAction, OnDead, OnHeld, UncertainAction
from pillarbox.errors import ConfigError
from pillarbox.settings.load import Loaded, load
from pillarbox.settings.overrides import override
from pillarbox.settings.spans import NO_LIMIT


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}


def with_file(home: dict[str, str], text: str, **said: object) -> Loaded:
    file = Path(home["XDG_CONFIG_HOME"]) / "own.yaml"
    file.write_text(text, "utf-8")
    flags = said.pop("flags", None)
    assert flags is None or isinstance(flags, dict)
    return load(path=file, environ={**home, **{name: str(text) for name, text in said.items()}}, flags=flags)


@pytest.mark.contract("CF3")
def test_flags_win_over_variables_over_the_file_over_defaults(home: dict[str, str]) -> None:
    file = "limits: {messages: 2, channel_messages: 2, recipient_messages: 2}"
    loaded = with_file(
        home,
        file,
        PILLARBOX_LIMITS__CHANNEL_MESSAGES="3",
        PILLARBOX_LIMITS__RECIPIENT_MESSAGES="3",
        flags={"limits.recipient_messages": "4", "limits.messages": None},
    )
    limits = loaded.settings.limits
    assert (limits.messages, limits.channel_messages, limits.recipient_messages) == (2, 3, 4)
    assert limits.tenant_messages is None
    assert loaded.origins["limits.messages"] == f"file {loaded.file}:limits.messages"
    assert loaded.origins["limits.channel_messages"] == "env PILLARBOX_LIMITS__CHANNEL_MESSAGES"
    assert loaded.origins["limits.recipient_messages"] == "flag --limits-recipient-messages"
    assert loaded.origins["limits.tenant_messages"] == "default"


@pytest.mark.contract("CF3")
def test_every_kind_of_value_can_be_said_in_a_variable(home: dict[str, str]) -> None:
    said = {
        "db": "postgresql://u:p@h/d",
        "enabled": "No",
        "durability": "Process",
        "fallback": "memory",
        "limits__messages": "1_000",
        "limits__bytes": "64MiB",
        "limits__tenant_messages": "none",
        "defaults__ttl": "none",
        "defaults__schedule": "1m, 5m*2",
        "defaults__uncertain": "hold",
        "defaults__expire_action": "deliver",
        "defaults__on_dead": "block",
        "defaults__on_held": "block",
        "defaults__jitter": "0.5",
        "lease_seconds": "90.5",
        "drain_budget_ms": "0",
        "retention__dead_seconds": "3600",
        "egress__allow": "10.0.0.0/8, fd00::/8",
        "channels__ops__url": "tgram://TOKEN",
        "channels__ops__lane": "none",
        "channels__ops__options__retries": "5",
        "channels__mail": "smtp://mail.example.org",
    }
    settings = load(environ={**home, **{f"PILLARBOX_{name.upper()}": text for name, text in said.items()}}).settings
    assert settings.db == "postgresql://u:p@h/d"
    assert (settings.enabled, settings.durability, settings.fallback) == (False, "process", "memory")
    assert (settings.limits.messages, settings.limits.bytes, settings.limits.tenant_messages) == (1000, 64 << 20, None)
    assert settings.defaults.ttl == NO_LIMIT
    assert settings.defaults.schedule == (60.0, 300.0, 300.0)
    assert settings.defaults.uncertain is UncertainAction.HOLD
    assert settings.defaults.expire_action is ExpireAction.DELIVER
    assert (settings.defaults.on_dead, settings.defaults.on_held) == (OnDead.BLOCK, OnHeld.BLOCK)
    assert settings.defaults.jitter == 0.5
    assert (settings.lease_seconds, settings.drain_budget_ms) == (90.5, 0)
    assert settings.retention.dead == timedelta(hours=1)
    assert settings.egress.allow == ("10.0.0.0/8", "fd00::/8")
    assert settings.channels["ops"].url == "tgram://TOKEN"
    assert settings.channels["ops"].lane == "none"
    assert settings.channels["ops"].options == {"retries": "5"}
    assert settings.channels["mail"].url == "smtp://mail.example.org"


@pytest.mark.parametrize(
    ("word", "meant"), [("true", True), ("1", True), ("YES", True), ("false", False), ("0", False)]
)
def test_yes_and_no_have_several_words_in_a_variable(home: dict[str, str], word: str, meant: bool) -> None:
    assert load(environ={**home, "PILLARBOX_LOG_RECIPIENTS": word}).settings.log_recipients is meant


@pytest.mark.contract("CF3")
def test_a_variable_may_be_written_in_any_case(home: dict[str, str]) -> None:
    loaded = load(environ={**home, "pillarbox_Limits__Messages": "7"})
    assert loaded.settings.limits.messages == 7
    assert loaded.origins["limits.messages"] == "env pillarbox_Limits__Messages"
    with pytest.raises(ConfigError, match=r"sets the same as limits\.messages"):
        load(environ={**home, "pillarbox_limits__messages": "7", "PILLARBOX_LIMITS__MESSAGES": "7"})


@pytest.mark.contract("CF3")
def test_a_variable_finds_the_file_s_spelling_of_a_name(home: dict[str, str]) -> None:
    file = "channels: {Ops-Team: {url: 'x:y', options: {authToken: a}}}"
    channels = with_file(
        home, file, PILLARBOX_CHANNELS__OPS_TEAM__TTL="5m", PILLARBOX_CHANNELS__OPS_TEAM__OPTIONS__AUTHTOKEN="b"
    ).settings.channels
    assert list(channels) == ["Ops-Team"]
    assert channels["Ops-Team"].url == "x:y"
    assert channels["Ops-Team"].ttl == timedelta(minutes=5)
    assert channels["Ops-Team"].options == {"authToken": "b"}


def test_a_variable_that_means_two_channels_is_refused(home: dict[str, str]) -> None:
    file = "channels: {ops-a: 'x:y', ops_a: 'x:z'}"
    assert len(with_file(home, file).settings.channels) == 2
    with pytest.raises(ConfigError, match="PILLARBOX_CHANNELS__OPS_A: means ops-a and ops_a alike"):
        with_file(home, file, PILLARBOX_CHANNELS__OPS_A__TTL="5m")


@pytest.mark.contract("CF3")
def test_variables_of_others_are_left_alone(home: dict[str, str]) -> None:
    """Kubernetes gives every container such variables for a service called pillarbox."""
    others = {
        "PATH": "/bin",
        "XPILLARBOX_DB": "x",
        "PILLARBOX_SERVICE_HOST": "10.0.0.1",
        "PILLARBOX_SERVICE_PORT": "80",
        "PILLARBOX_SERVICE_PORT_HTTP": "80",
        "PILLARBOX_PORT": "tcp://10.0.0.1:80",
        "PILLARBOX_PORT_80_TCP": "tcp://10.0.0.1:80",
        "PILLARBOX_PORT_80_TCP_ADDR": "10.0.0.1",
        "PILLARBOX_TO": "ann",
    }
    assert load(environ={**home, **others}, other_variables={"PILLARBOX_TO"}).settings == load(environ=home).settings
    with pytest.raises(ConfigError, match="PILLARBOX_TO: no such setting"):
        load(environ={**home, **others})


@pytest.mark.contract("CF3")
@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"tgram://S3CRET", "tgram://S3CRET"),
        (b"tgram://S3CRET\n", "tgram://S3CRET"),
        (b"tgram://S3CRET\r\n", "tgram://S3CRET"),
    ],
)
def test_a_secret_may_stand_in_a_file(home: dict[str, str], tmp_path: Path, content: bytes, secret: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    (tmp_path / "link").symlink_to(file)
    for name in (str(file), "token", "link"):
        loaded = load(environ={**home, "PILLARBOX_CHANNELS__OPS__URL_FILE": name}, cwd=tmp_path)
        assert loaded.settings.channels["ops"].url == secret
        assert loaded.origins["channels.ops.url"] == "env PILLARBOX_CHANNELS__OPS__URL_FILE"


@pytest.mark.contract("CF3")
def test_a_database_and_an_option_may_stand_in_a_file(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://u:p@h/d\n", "utf-8")
    (tmp_path / "key").write_text("two\nlines\n", "utf-8")
    settings = load(
        environ={**home, "PILLARBOX_DB_FILE": "dsn", "PILLARBOX_CHANNELS__OPS__OPTIONS__SECRET_FILE": "key"},
        cwd=tmp_path,
    ).settings
    assert settings.db == "postgresql://u:p@h/d"
    assert settings.channels["ops"].options == {"secret": "two\nlines"}


@pytest.mark.contract("CF3")
def test_a_secret_s_file_wins_over_the_configuration_file(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tgram://NEW\n", "utf-8")
    loaded = with_file(
        home, "channels: {ops: 'tgram://OLD'}", PILLARBOX_CHANNELS__OPS__URL_FILE=str(tmp_path / "token")
    )
    assert loaded.settings.channels["ops"].url == "tgram://NEW"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "expected a secret in"),
        (b"\n", "which is empty"),
        (b"\xff", "expected text in UTF-8"),
        (b"x" * ((64 << 10) + 1), "expected at most 65536 bytes"),
        (None, "there is none (env PILLARBOX_DB_FILE)"),
    ],
)
def test_a_bad_secret_s_file_is_refused(
    home: dict[str, str], tmp_path: Path, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "dsn").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(environ={**home, "PILLARBOX_DB_FILE": "dsn"}, cwd=tmp_path)
    assert refused.value.field == "db"
    assert expected in refused.value.expected


def test_a_secret_s_file_that_is_a_directory_is_refused(home: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a directory"):
        load(environ={**home, "PILLARBOX_DB_FILE": str(tmp_path)})


def test_a_secret_and_its_file_are_not_said_together(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("a.db", "utf-8")
    with pytest.raises(ConfigError, match="db: sets the same as db; write only one of them"):
        load(environ={**home, "PILLARBOX_DB": "b.db", "PILLARBOX_DB_FILE": "dsn"}, cwd=tmp_path)


@pytest.mark.contract("CF3")
def test_flags_may_be_text_or_typed(home: dict[str, str]) -> None:
    typed = {
        "db": Path("a.db"),
        "enabled": False,
        "defaults.ttl": timedelta(minutes=1),
        "egress.allow": ("10.0.0.0/8",),
    }
    text = {"db": "a.db", "enabled": "no", "defaults.ttl": "1m", "egress.allow": "10.0.0.0/8"}
    assert load(environ=home, flags=typed).settings == load(environ=home, flags=text).settings
    assert load(environ=home, flags={"defaults.ttl": NO_LIMIT}).settings.defaults.ttl == NO_LIMIT


@pytest.mark.parametrize(
    ("spelt", "value"),
    [("ttl", "90s"), ("ttl_ms", 90_000), ("ttl_seconds", 90), ("ttl_seconds", 90.0), ("ttl_ms", "90s")],
)
def test_a_span_has_its_unit_in_the_value_or_in_the_key(spelt: str, value: object) -> None:
    assert override(None, {"defaults": {spelt: value}}).defaults.ttl == timedelta(seconds=90)


def test_a_span_s_other_spellings_win_over_the_layer_below(home: dict[str, str]) -> None:
    loaded = with_file(home, "drain_budget: 5s", PILLARBOX_DRAIN_BUDGET_MS="7", flags={"drain_budget_seconds": "9"})
    assert loaded.settings.drain_budget_ms == 9000
    assert loaded.origins["drain_budget_ms"] == "flag --drain-budget-seconds"


def test_without_an_argument_the_process_s_own_environment_is_read(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in {**home, "PILLARBOX_CONCURRENCY": "3"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(tmp_path)
    assert load().settings.concurrency == 3
