"""Settings for people: every one explained, shown with its origin, and judged."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import pillarbox.settings.load
from pillarbox.errors import ConfigError
from pillarbox.settings.changes import reloadable_changes
from pillarbox.settings.explain import explain, explanations
from pillarbox.settings.load import Loaded, check, load, show
from pillarbox.settings.lookup import TABLE
from pillarbox.settings.model import ChannelSettings, Settings
from pillarbox.settings.overrides import override
from pillarbox.settings.problems import Problem

KEYS = [one.key for one in TABLE]


def test_the_table_is_every_field_of_the_settings() -> None:
    top = {item.name for item in dataclasses.fields(Settings)}
    assert {key.partition(".")[0] for key in KEYS} == top
    channel = {item.name for item in dataclasses.fields(ChannelSettings)}
    assert {key.split(".")[2] for key in KEYS if key.startswith("channels.")} == channel
    assert len(KEYS) == len(set(KEYS)) > 50


@pytest.mark.contract("CF4")
@pytest.mark.parametrize("key", KEYS)
def test_every_setting_is_explained(key: str) -> None:
    told = explain(key)
    assert told.key == key
    assert told.label[0].isupper() or told.label.startswith("URL")
    assert told.help.endswith(".")
    assert len(told.help) > 15
    assert told.range
    assert told.default
    assert told.env == "PILLARBOX_" + key.upper().replace(".", "__")
    assert (
        told.flag is None
        if key.startswith("channels.")
        else told.flag == "--" + key.replace(".", "-").replace("_", "-")
    )
    assert told in explanations()


@pytest.mark.contract("CF4")
def test_variables_and_flags_name_one_setting_each() -> None:
    told = explanations()
    assert len({one.env for one in told}) == len(told)
    flags = [one.flag for one in told if one.flag]
    assert len(set(flags)) == len(flags)


@pytest.mark.contract("CF3", "CF4")
@pytest.mark.parametrize("definition", TABLE, ids=KEYS)
def test_a_default_can_be_written_down_and_read_back(definition: object) -> None:
    """So what `config show` prints may be pasted into a variable, and defaults lie in their own range."""
    one = next(row for row in TABLE if row is definition)
    default = one.default
    if default is not None or one.path[0] != "channels":
        assert one.kind.read(one.kind.of_text(one.kind.show(default))) == default


@pytest.mark.contract("CF4")
def test_an_explanation_tells_the_default_as_one_would_write_it() -> None:
    assert explain("defaults.ttl").default == "1h"
    assert explain("defaults.schedule").default == "5s, 25s, 2m, 10m"
    assert explain("limits.bytes").default == "1GiB"
    assert explain("limits.channel_messages").default == "none"
    assert explain("lease_seconds").default == "auto"
    assert explain("retention.delivered").default == "48h"
    assert explain("channels.NAME.ttl").default == "not set"
    assert explain("channels.NAME.history").default == "outcomes"
    assert explain("egress.allow").default == "empty"
    assert explain("db").default == "outbox.db in your state directory"


@pytest.mark.contract("CF4")
def test_a_channel_s_setting_is_explained_under_its_own_name() -> None:
    told = explain("channels.ops.ttl")
    assert (told.key, told.env) == ("channels.ops.ttl", "PILLARBOX_CHANNELS__OPS__TTL")
    assert explain("channels.ops.options.secret").secret
    assert explain("defaults.ttl_ms").key == "defaults.ttl"


@pytest.mark.contract("CF4", "CF2")
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("defaults.tt", "did you mean 'defaults.ttl'?"),
        ("ttl", "did you mean 'defaults.ttl'?"),
        ("limits", "is a group of settings; expected one inside it: messages, bytes"),
        ("channels", "expected one inside it: a name of yours"),
        ("", "no such setting"),
        ("zzzzzz", "no such setting; known here: db, shards"),
    ],
)
def test_an_unknown_setting_is_not_explained(key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        explain(key)
    assert refused.value.field == key
    assert expected in refused.value.expected


@pytest.mark.contract("CF3")
def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[channels.ops]\nurl = 'smtp://mail.example.org'\nttl_ms = 90000\n", "utf-8")
    loaded = load(path=file, environ={"XDG_STATE_HOME": str(tmp_path), "PILLARBOX_CONCURRENCY": "5"})
    rows = {row.key: row for row in show(loaded)}
    top = [key for key in KEYS if not key.startswith("channels.")]
    assert list(rows) == [*top, "channels.ops.url", "channels.ops.ttl"]
    assert (rows["concurrency"].value, rows["concurrency"].origin) == ("5", "env PILLARBOX_CONCURRENCY")
    assert (rows["channels.ops.ttl"].value, rows["channels.ops.ttl"].origin) == (
        "90s",
        f"file {file}:channels.ops.ttl_ms",
    )
    assert rows["defaults.schedule"].value == "5s, 25s, 2m, 10m"
    assert rows["defaults.schedule"].origin == "default"
    assert set(loaded.origins) >= set(top)
    assert loaded.origins["channels.ops.jitter"] == "default"


@pytest.mark.contract("CF3")
def test_a_reload_tells_what_it_changes_and_what_needs_a_restart() -> None:
    old = override(None, {"db": "a.db", "channels": {"a": "x:y", "gone": "x:y"}})
    new = override(
        None,
        {
            "db": "b.db",
            "limits": {"messages": 5},
            "log_level": "debug",
            "durability": "process",
            "channels": {"a": {"url": "x:z", "options": {"k": 1}}, "new": "x:y"},
        },
    )
    changes = reloadable_changes(old, new)
    assert set(changes.restart) == {"db", "durability", "channels.gone.url", "channels.new.url"}
    assert set(changes.reload) == {"log_level", "limits.messages", "channels.a.url", "channels.a.options.k"}
    assert "concurrency" not in changes.reload
    same = reloadable_changes(old, old)
    assert (same.reload, same.restart) == ((), ())


PROBLEMS: list[tuple[dict[str, object], str, str]] = [
    (
        {"lease_seconds": 30, "channels": {"a": {"url": "x:y", "timeout": "30s"}}},
        "channels.a.timeout",
        "not shorter than lease",
    ),
    ({"fallback": "memory"}, "fallback", "gives up durability 'power'"),
    ({"limits": {"bytes": 1000}}, "content_bytes_max", "more than limits.bytes"),
    ({"limits": {"channel_messages": 2_000_000}}, "limits.channel_messages", "never reached"),
    ({"channels": {"a": {"url": "x:y", "limit_messages": 2_000_000}}}, "channels.a.limit_messages", "never reached"),
    ({"defaults": {"ttl": "1m"}}, "defaults.ttl", "over before the last of 5 attempts, 0:12:30 after the first"),
    ({"channels": {"a": {"url": "x:y", "schedule": "1h"}}}, "channels.a.ttl", "4:00:00 after the first"),
    (
        {"channels": {"a": {"lane": "none"}}},
        "channels.a.url",
        "is not set: nothing is sent through it but by a program",
    ),
    ({"channels": {"a": "https://discord.com/api/webhooks/1/x"}}, "channels.a.url", "leads to Discord, which takes no"),
    ({"egress": {"allow": ["0.0.0.0/0"]}}, "egress.allow", "allows every private address"),
]


@pytest.mark.parametrize(
    ("values", "field", "advice"), PROBLEMS, ids=[f"{field}-{advice[:12]}" for _, field, advice in PROBLEMS]
)
def test_what_is_probably_not_meant_is_found(values: dict[str, object], field: str, advice: str) -> None:
    (problem,) = check(Loaded(settings=override(None, values), origins={}))
    assert problem.field == field
    assert advice in problem.advice


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"lease_seconds": 31, "channels": {"a": {"url": "x:y", "timeout": "30s"}}},
        {"fallback": "memory", "durability": "process"},
        {"limits": {"messages": "none", "channel_messages": 2_000_000}},
        {"defaults": {"ttl": "750s"}},
        {"defaults": {"ttl": "none", "schedule": "10d"}},
        {"channels": {"a": {"url": "x:y", "schedule": "1h", "ttl": "none"}, "b": {"url": "x:y", "ttl": "1m"}}},
        {"egress": {"allow": ["10.0.0.0/8"]}},
    ],
)
def test_what_fits_together_is_no_problem(values: dict[str, object]) -> None:
    assert check(Loaded(settings=override(None, values), origins={})) == []


def test_a_file_with_secrets_that_others_can_read_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("channels: {a: 'tgram://TOKEN'}", "utf-8")
    file.chmod(0o640)
    loaded = load(path=file, environ={"XDG_STATE_HOME": str(tmp_path)})
    assert check(loaded) == [Problem(field=str(file), advice=check(loaded)[0].advice)]
    assert "chmod 600" in check(loaded)[0].advice
    for url, tells in {
        "https://example.org": False, "https://example.org/": False, "smtp://mail.example.org:25": False,
        "file:///var/log/x": False, "https://example.org/hook/s3cret": True, "https://example.org?key=1": True,
        "smtp://me:pw@example.org": True, "tgram://TOKEN": True,
    }.items():  # fmt: skip
        one = dataclasses.replace(loaded.settings, channels={"ops": ChannelSettings(url=url)})
        assert bool(check(dataclasses.replace(loaded, settings=one))) is tells, url
    file.chmod(0o600)
    assert check(loaded) == []
    file.unlink()
    assert check(loaded) == []


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "yaml", "platformdirs", "tomllib", "difflib", "asyncio", "httptools", "yarl", "apsw", "click", "rich"
    # An empty package in place of ours: what its __init__ imports is not this module's doing.
    said = (
        "import sys, types; package = sys.modules['pillarbox'] = types.ModuleType('pillarbox');"
        f" package.__path__ = [{str(Path(pillarbox.__file__).parent)!r}]; import pillarbox.settings.load;"
        f" print([name for name in {heavy!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.strip() == "[]"
