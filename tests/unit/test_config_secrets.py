"""A secret in a configuration leaves it only on purpose."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.url_schemes import mask_url
from pillarbox.errors import ConfigError
from pillarbox.settings.explain import mask_dsn
from pillarbox.settings.load import Loaded, check, load, show
from pillarbox.settings.lookup import TABLE
from pillarbox.settings.overrides import override

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.settings.model import Settings

CANARY = "c4n4ry"
SECRETS = {
    "db": f"postgresql://ann:{CANARY}@db.example.org/outbox?sslpassword={CANARY}",
    "channels": {
        "ops": {"url": f"tgram://{CANARY}/-100", "options": {"secret": CANARY, "headers": {"x": [CANARY]}}},
        "hook": f"https://{CANARY}:{CANARY}@example.org/{CANARY}?key={CANARY}#{CANARY}",
    },
}


def everything_said_of(settings: Settings) -> list[str]:
    loaded = Loaded(settings=settings, origins={})
    rows = [f"{row.key} {row.value} {row.origin}" for row in show(loaded)]
    channels = [repr(channel) for channel in settings.channels.values()]
    return [repr(settings), str(settings), repr(loaded), f"{settings.channels}", *channels, *rows, repr(check(loaded))]


@pytest.mark.contract("EV3", "CF3")
def test_no_secret_is_shown() -> None:
    said = everything_said_of(override(None, SECRETS))
    assert not [text for text in said if CANARY in text]


@pytest.mark.contract("EV3", "CF3")
def test_what_is_secret_is_masked_and_not_left_out() -> None:
    loaded = Loaded(settings=override(None, SECRETS), origins={"db": "env PILLARBOX_DB"})
    values = {row.key: row.value for row in show(loaded)}
    assert values["db"] == "postgresql://***@db.example.org/outbox?***"
    assert values["channels.ops.url"] == "tgram://***"
    assert values["channels.ops.options.secret"] == "***"
    assert values["channels.ops.options.headers"] == "***"
    assert values["channels.hook.url"] == "https://***"
    assert [row.origin for row in show(loaded) if row.key == "db"] == ["env PILLARBOX_DB"]


def test_the_caller_may_bring_a_finer_mask() -> None:
    rows = show(Loaded(settings=override(None, {"channels": {"a": "x:y"}}), origins={}), mask=str.upper)
    assert rows[-1].value == "X:Y"


BAD = [
    {"db": f"mysql://{CANARY}"},
    {"db": f" {CANARY}"},
    {"db": f"{CANARY}\n"},
    {"db": f"~{CANARY}"},
    {"db": {CANARY: CANARY}},
    {"db": [CANARY]},
    {"channels": {"ops": CANARY}},
    {"channels": {"ops": [CANARY]}},
    {"channels": [CANARY]},
    {"channels": CANARY},
    {"channels": {"ops": {"url": f"https://{CANARY} "}}},
    {"channels": {"ops": {"url": {"https": CANARY}}}},
    {"channels": {"ops": {"options": CANARY}}},
    {"channels": {"ops": {"options": {"secret": {1: CANARY}}}}},
    {"channels": {"ops": {"options": {"secret": [CANARY, None]}}}},
    {"limits": CANARY},
    {"limits": {"messages": [CANARY]}},
    {"limits": {"messages": {"x": CANARY}}},
    {"tokens": CANARY},
]


@pytest.mark.contract("EV3", "CF2")
@pytest.mark.parametrize("values", BAD, ids=repr)
def test_an_error_holds_nothing_of_a_secret(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        override(None, values)
    assert CANARY not in "".join(traceback.format_exception(refused.value)).replace(__file__, "")


BAD_FILES = [
    ("a.yaml", f"db: *{CANARY}\n"),
    ("a.yaml", f"db: !{CANARY}\n"),
    ("a.yaml", f"db: !{CANARY}!x y\n"),
    ("a.yaml", f"db: '{CANARY}\n"),
    ("a.yaml", f"db: @{CANARY}\n"),
    ("a.yaml", f"db: {CANARY}: x\n"),
    ("a.yaml", f"db: {{{{ {CANARY} }}}}\n"),
    ("a.yaml", f"db: &{CANARY} x\nb: &{CANARY} x\n"),
    ("a.yaml", f"db: [{CANARY}\n"),
    ("a.yaml", f"{CANARY}\n"),
    ("a.toml", f"db = {CANARY}\n"),
    ("a.toml", f"db = '{CANARY}\n"),
    ("a.toml", f'db = "\\{CANARY}"\n'),
    ("a.toml", f"{CANARY}\n"),
]


@pytest.mark.contract("EV3", "CF2")
@pytest.mark.parametrize(("name", "text"), BAD_FILES)
def test_an_unreadable_file_is_not_quoted(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as refused:
        load(path=file, environ={"XDG_STATE_HOME": str(tmp_path)})
    told = "".join(traceback.format_exception(refused.value)).replace(__file__, "")
    assert CANARY not in told


@pytest.mark.contract("EV3")
@pytest.mark.parametrize("name", ["DB", "CHANNELS__OPS__URL", "CHANNELS__OPS", "TOKEN", "CHANNELS__OPS__URL__X"])
def test_a_bad_variable_is_not_quoted(tmp_path: Path, name: str) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    with pytest.raises(ConfigError) as refused:
        load(environ={**home, f"PILLARBOX_{name}": f"~{CANARY}"}, cwd=tmp_path)
    assert CANARY not in str(refused.value)


@pytest.mark.contract("EV3")
def test_a_bad_secret_s_file_is_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text(f"mysql://{CANARY}", "utf-8")
    home = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    with pytest.raises(ConfigError) as refused:
        load(environ={**home, "PILLARBOX_DB_FILE": "dsn"}, cwd=tmp_path)
    assert CANARY not in str(refused.value)


def test_every_secret_is_kept_out_of_repr() -> None:
    secret = [one for one in TABLE if one.setting.secret]
    assert {one.key for one in secret} == {"db", "shards", "channels.NAME.url", "channels.NAME.options.OPTION"}
    assert not [one.key for one in secret if one.field.repr]


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("outbox.db", "outbox.db"),
        ("/var/lib/outbox.db", "/var/lib/outbox.db"),
        ("sqlite:////var/lib/outbox.db", "sqlite:////var/lib/outbox.db"),
        ("postgresql://db.example.org/outbox", "postgresql://db.example.org/outbox"),
        (f"postgresql://u:{CANARY}@h/d", "postgresql://***@h/d"),
        (f"postgresql://u:p@{CANARY}@h/d", "postgresql://***@h/d"),
        (f"postgresql://u:p#{CANARY}@h/d", "postgresql://***@h/d"),
        (f"postgresql://u:p?{CANARY}@h/d", "postgresql://***@h/d"),
        (f"postgresql://h/d?password={CANARY}", "postgresql://h/d?***"),
    ],
)
def test_a_database_is_shown_without_its_password(dsn: str, shown: str) -> None:
    assert mask_dsn(dsn) == shown


@pytest.mark.parametrize(("url", "shown"), [("x:y", "x://***"), ("HTTPS://a/b", "HTTPS://***"), ("no scheme", "***")])
def test_of_a_url_only_the_scheme_is_shown(url: str, shown: str) -> None:
    assert mask_url(url) == shown
