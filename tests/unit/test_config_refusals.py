"""What a configuration must not say, each with the setting it names and what it would have expected."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillarbox.errors import ConfigError
from pillarbox.settings.load import load
from pillarbox.settings.overrides import override

if TYPE_CHECKING:
    from collections.abc import Callable

NOWHERE = {"XDG_CONFIG_HOME": "/nonexistent", "XDG_STATE_HOME": "/nonexistent"}
BIG = 10**30

REFUSED: list[tuple[dict[str, object], str, str]] = [
    # Unknown keys, with the nearest known one.
    ({"dbb": "x.db"}, "dbb", "did you mean 'db'?"),
    ({"durabilty": "power"}, "durabilty", "did you mean 'durability'?"),
    ({"limit": {"messages": 5}}, "limit", "did you mean 'limits'?"),
    ({"limits": {"message": 5}}, "limits.message", "did you mean 'limits.messages'?"),
    ({"defaults": {"maxAttempts": 5}}, "defaults.maxAttempts", "did you mean 'defaults.max_attempts'?"),
    ({"defaults": {"tll": "1h"}}, "defaults.tll", "did you mean 'defaults.ttl'?"),
    ({"ttl": "1h"}, "ttl", "did you mean 'defaults.ttl'?"),
    ({"url": "https://a.example"}, "url", "did you mean 'channels.NAME.url'?"),
    ({"channels": {"ops": {"ulr": "x:y"}}}, "channels.ops.ulr", "did you mean 'channels.ops.url'?"),
    ({"channels": {"ops": {"secret": "s"}}}, "channels.ops.secret", "did you mean 'channels.ops.options.secret'?"),
    ({"channels": {"ops": {"zzz": "s"}}}, "channels.ops.zzz", "no such setting; known here: url, "),
    ({"egress": {"zzz": []}}, "egress.zzz", "no such setting; known here: allow"),
    ({"retention": {"held": "1d"}}, "retention.held", "no such setting"),
    ({"prune_interval_s": 5}, "prune_interval_s", "did you mean 'prune_interval_ms'?"),
    ({"bad\nkey": 1}, "'bad\\nkey'…", "no such setting"),
    # Keys that are no names.
    ({"limits": {True: 5}}, "limits.true", "expected a name as the key, not true"),
    ({"limits": {5: 5}}, "limits.5", "expected a name as the key, not a number"),
    ({"limits": {None: 5}}, "limits.nothing", "expected a name as the key, not nothing"),
    # Zero, negative, fractional, too much.
    ({"limits": {"messages": 0}}, "limits.messages", "a whole number from 1 to 1000000000000, or 'none', not 0"),
    ({"limits": {"messages": -1}}, "limits.messages", "not -1"),
    ({"limits": {"messages": 1.5}}, "limits.messages", "not 1.5"),
    ({"limits": {"messages": 5.0}}, "limits.messages", "not 5.0"),
    ({"limits": {"messages": BIG}}, "limits.messages", "not a number of more than 19 digits"),
    ({"limits": {"bytes": 0}}, "limits.bytes", "a number of bytes from 1"),
    ({"limits": {"bytes": "0KiB"}}, "limits.bytes", "not '0KiB'"),
    ({"limits": {"bytes": "1kb"}}, "limits.bytes", "not '1kb'"),
    ({"limits": {"channel_messages": -5}}, "limits.channel_messages", "not -5"),
    ({"defaults": {"max_attempts": 0}}, "defaults.max_attempts", "a whole number from 1 to 10000, not 0"),
    ({"defaults": {"max_attempts": 10_001}}, "defaults.max_attempts", "not 10001"),
    ({"defaults": {"max_attempts": "none"}}, "defaults.max_attempts", "not 'none'"),
    ({"concurrency": 0}, "concurrency", "a whole number from 1 to 10000"),
    ({"content_bytes_max": "1GiB"}, "content_bytes_max", "a size such as 64MiB"),
    ({"defaults": {"jitter": -0.1}}, "defaults.jitter", "a number from 0 to 1, not -0.1"),
    ({"defaults": {"jitter": 1.01}}, "defaults.jitter", "not 1.01"),
    ({"defaults": {"jitter": math.nan}}, "defaults.jitter", "not nan"),
    ({"defaults": {"jitter": math.inf}}, "defaults.jitter", "not inf"),
    # Wrong types; a number in quotation marks is a text, and yes is no number.
    ({"limits": {"messages": "500"}}, "limits.messages", "not '500'"),
    ({"limits": {"messages": True}}, "limits.messages", "not true"),
    ({"limits": {"messages": None}}, "limits.messages", "not nothing"),
    ({"limits": {"messages": [1]}}, "limits.messages", "not a list"),
    ({"limits": {"messages": date(2025, 1, 1)}}, "limits.messages", "not a date"),
    ({"limits": 500}, "limits", "expected a table, not a number"),
    ({"limits": []}, "limits", "expected a table, not a list"),
    ({"enabled": "false"}, "enabled", "expected true or false, not 'false'"),
    ({"enabled": 0}, "enabled", "expected true or false, not 0"),
    ({"enabled": None}, "enabled", "not nothing"),
    ({"enabled": {}}, "enabled", "not a table"),
    ({"defaults": {"jitter": True}}, "defaults.jitter", "not true"),
    ({"defaults": {"jitter": "0.2"}}, "defaults.jitter", "not '0.2'"),
    ({"channels": "tgram://TOKEN"}, "channels", "expected a table, not a text"),
    ({"channels": {"ops": 5}}, "channels.ops", "expected a table, not a number"),
    # Lengths of time.
    ({"defaults": {"ttl": 3600}}, "defaults.ttl", "a span such as 250ms, 5s, 2m, 1h or 3d, from 1ms to 3650d"),
    ({"defaults": {"ttl": "0s"}}, "defaults.ttl", "not '0s'"),
    ({"defaults": {"ttl": "-1h"}}, "defaults.ttl", "not '-1h'"),
    ({"defaults": {"ttl": "an hour"}}, "defaults.ttl", "not 'an hour'"),
    ({"defaults": {"ttl": "1h 30m"}}, "defaults.ttl", "not '1h 30m'"),
    ({"defaults": {"ttl": "0.1ms"}}, "defaults.ttl", "not '0.1ms'"),
    ({"defaults": {"ttl": "3651d"}}, "defaults.ttl", "not '3651d'"),
    ({"defaults": {"ttl": "9" * 400 + "d"}}, "defaults.ttl", "…'"),
    ({"defaults": {"ttl": timedelta(0)}}, "defaults.ttl", "from 1ms"),
    ({"defaults": {"ttl_ms": 0}}, "defaults.ttl_ms", "or a whole number of milliseconds, or 'none', not 0"),
    ({"defaults": {"ttl_ms": 1.5}}, "defaults.ttl_ms", "not 1.5"),
    ({"defaults": {"ttl_ms": True}}, "defaults.ttl_ms", "not true"),
    ({"defaults": {"ttl_ms": BIG}}, "defaults.ttl_ms", "more than 19 digits"),
    ({"defaults": {"ttl_seconds": math.nan}}, "defaults.ttl_seconds", "or a number of seconds, or 'none', not nan"),
    ({"defaults": {"ttl_seconds": -1}}, "defaults.ttl_seconds", "not -1"),
    ({"defaults": {"ttl_seconds": BIG}}, "defaults.ttl_seconds", "more than 19 digits"),
    ({"drain_budget_ms": -1}, "drain_budget_ms", "not -1"),
    ({"prune_interval_ms": 0}, "prune_interval_ms", "not 0"),
    ({"lease_seconds": 0}, "lease_seconds", "from 1s to 24h, or a number of seconds, or 'auto', not 0"),
    ({"lease_seconds": "2d"}, "lease_seconds", "not '2d'"),
    ({"stop_seconds": math.inf}, "stop_seconds", "not inf"),
    ({"retention": {"delivered": "0s"}}, "retention.delivered", "from 1s to 3650d, not '0s'"),
    ({"retention": {"dead_seconds": -1}}, "retention.dead_seconds", "not -1"),
    ({"held_retention": "none"}, "held_retention", "not 'none'"),
    ({"channels": {"ops": {"timeout": "2h"}}}, "channels.ops.timeout", "from 1ms to 1h, not '2h'"),
    # Schedules.
    ({"defaults": {"schedule": ""}}, "defaults.schedule", "expected delays such as"),
    ({"defaults": {"schedule": "5s,,2m"}}, "defaults.schedule", "not ''"),
    ({"defaults": {"schedule": "5s, 0s"}}, "defaults.schedule", "expected delays above 0"),
    ({"defaults": {"schedule": "5s*0"}}, "defaults.schedule", "not '5s*0'"),
    ({"defaults": {"schedule": "4000d"}}, "defaults.schedule", "at most 3650d, repeated 1–1000 times, not '4000d'"),
    ({"defaults": {"schedule": "0.0001ms"}}, "defaults.schedule", "delays of at least 1ms, not '0.0001ms'"),
    ({"defaults": {"schedule": "9" * 395 + "d"}}, "defaults.schedule", "at most 3650d"),
    ({"defaults": {"schedule": "1s, " * 200}}, "defaults.schedule", "not '1s, 1s"),
    ({"defaults": {"schedule": ["5s"]}}, "defaults.schedule", "not a list"),
    ({"channels": {"ops": {"schedule": "soon"}}}, "channels.ops.schedule", "not 'soon'"),
    # One of some words.
    ({"durability": "memory"}, "durability", "expected power or process, not 'memory'"),
    ({"durability": "POWER"}, "durability", "not 'POWER'"),
    ({"fallback": "disk"}, "fallback", "expected memory or none, not 'disk'"),
    ({"fallback": False}, "fallback", "not false"),
    ({"log_level": "trace"}, "log_level", "debug, info, warning or error, not 'trace'"),
    ({"log_format": 1}, "log_format", "text or json, not 1"),
    (
        {"defaults": {"uncertain": "retry"}},
        "defaults.uncertain",
        "resend, resend_marked, hold, reconcile or drop, not 'retry'",
    ),
    ({"defaults": {"on_dead": "stop"}}, "defaults.on_dead", "skip or block, not 'stop'"),
    ({"channels": {"ops": {"lane": "fifo"}}}, "channels.ops.lane", "ordered or none, not 'fifo'"),
    ({"channels": {"ops": {"history": ""}}}, "channels.ops.history", "outcomes or full, not ''"),
    # Texts; of those that may be secrets nothing is told.
    ({"db": ""}, "db", "the path of a file, sqlite:///…, or postgresql://…, not an empty text"),
    ({"db": 5}, "db", "not a number"),
    ({"db": "mysql://u:p@h/d"}, "db", "not a text"),
    ({"db": "a\nb"}, "db", "on one line"),
    ({"db": " a.db"}, "db", "without space around it"),
    ({"db": "~/a.db"}, "db", "the whole path, because '~' is only known to a shell"),
    ({"db": "a" * 9000}, "db", "at most 8192 characters"),
    ({"channels": {"ops": {"url": "example.org"}}}, "channels.ops.url", "a URL such as https://… or smtp://…"),
    ({"channels": {"ops": {"url": "https://a b"}}}, "channels.ops.url", "not a text"),
    ({"channels": {"ops": {"url": None}}}, "channels.ops.url", "not nothing"),
    ({"channels": {"ops": ""}}, "channels.ops.url", "not an empty text"),
    ({"channels": {"ops": {"options": 5}}}, "channels.ops.options", "expected a table"),
    ({"channels": {"ops": {"options": {"a": math.nan}}}}, "channels.ops.options.a", "not a number"),
    ({"channels": {"ops": {"options": {"a": date(2025, 1, 1)}}}}, "channels.ops.options.a", "not a date"),
    ({"channels": {"ops": {"options": {"a": {1: 2}}}}}, "channels.ops.options.a", "not a table"),
    # Names of channels have to fit into a variable.
    ({"channels": {"a__b": "x:y"}}, "channels.a__b", "single '_'"),
    ({"channels": {"a_": "x:y"}}, "channels.a_", "begins and ends with a letter or digit"),
    ({"channels": {"a.b": "x:y"}}, "channels.a.b", "letters, digits"),
    ({"channels": {"": "x:y"}}, "channels.", "expected a name"),
    ({"channels": {"é": "x:y"}}, "channels.é", "expected a name"),
    ({"channels": {"a" * 65: "x:y"}}, "channels." + repr("a" * 64) + "…", "at most 64"),
    # Networks.
    ({"egress": {"allow": "10.0.0.0/8"}}, "egress.allow", "a list of networks such as 10.0.0.0/8 or fd00::/8"),
    ({"egress": {"allow": ["10.0.0.1/8"]}}, "egress.allow", "has host bits set"),
    ({"egress": {"allow": ["localhost"]}}, "egress.allow", "'localhost' does not appear"),
    ({"egress": {"allow": [10]}}, "egress.allow", "a list of networks"),
    # The same thing said twice.
    ({"defaults": {"ttl": "1h", "ttl_ms": 5}}, "defaults.ttl_ms", "sets the same as defaults.ttl; write only one"),
    ({"lease": "90s", "lease_seconds": 90}, "lease_seconds", "sets the same as lease"),
]


@pytest.mark.contract("CF2", "EX2")
@pytest.mark.parametrize(("values", "field", "expected"), REFUSED, ids=[field for _, field, _ in REFUSED])
def test_a_bad_setting_is_refused_by_name(values: dict[str, object], field: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        override(None, values)
    assert refused.value.field == field
    assert expected in refused.value.expected


@pytest.mark.contract("EX2")
@pytest.mark.parametrize("word", ["", "Fail", "keep", "delete", 1, True, None, ["fail"]])
@pytest.mark.parametrize("section", ["defaults", "channels"])
def test_an_unknown_expire_action_is_a_configuration_error(section: str, word: object) -> None:
    said = {"expire_action": word}
    with pytest.raises(ConfigError, match=r"expire_action: expected fail or deliver, not ") as refused:
        override(None, {section: said if section == "defaults" else {"ops": said}})
    assert refused.value.field == ("defaults" if section == "defaults" else "channels.ops") + ".expire_action"


REFUSED_VARIABLES = [
    ("PILLARBOX_DBB", "x", "PILLARBOX_DBB", "did you mean 'PILLARBOX_DB'?"),
    ("PILLARBOX_LIMIT__MESSAGES", "5", "PILLARBOX_LIMIT__MESSAGES", "did you mean 'PILLARBOX_LIMITS__MESSAGES'?"),
    ("PILLARBOX_CHANNELS__OPS__ULR", "x", "PILLARBOX_CHANNELS__OPS__ULR", "'PILLARBOX_CHANNELS__OPS__URL'?"),
    ("PILLARBOX_LIMITS", "5", "PILLARBOX_LIMITS", "is a group of settings; expected one of them, such as PILLARBOX_L"),
    ("PILLARBOX_CHANNELS", "x", "PILLARBOX_CHANNELS", "is a group of settings"),
    ("PILLARBOX_", "x", "PILLARBOX_", "no such setting"),
    ("PILLARBOX_DB__X", "x", "PILLARBOX_DB__X", "no such setting"),
    ("PILLARBOX_CHANNELS__OPS__OPTIONS__A__B", "x", "PILLARBOX_CHANNELS__OPS__OPTIONS__A__B", "no such setting"),
    ("PILLARBOX_LOG_LEVEL_FILE", "x", "PILLARBOX_LOG_LEVEL_FILE", "did you mean 'PILLARBOX_LOG_LEVEL'?"),
    ("PILLARBOX_ENABLED", "maybe", "enabled", "true or false, not 'maybe' (env PILLARBOX_ENABLED)"),
    ("PILLARBOX_ENABLED", "", "enabled", "not ''"),
    ("PILLARBOX_LIMITS__MESSAGES", "1e3", "limits.messages", "not '1e3'"),
    ("PILLARBOX_LIMITS__MESSAGES", "-5", "limits.messages", "not -5"),
    ("PILLARBOX_LIMITS__MESSAGES", "9" * 30, "limits.messages", "not '99999"),
    ("PILLARBOX_DEFAULTS__TTL", "3600", "defaults.ttl", "not '3600'"),
    ("PILLARBOX_DEFAULTS__TTL_SECONDS", "nan", "defaults.ttl_seconds", "not 'nan'"),
    ("PILLARBOX_DEFAULTS__JITTER", "inf", "defaults.jitter", "not 'inf'"),
    ("PILLARBOX_EGRESS__ALLOW", "10.0.0.0/8, x", "egress.allow", "'x' does not appear to be"),
    ("PILLARBOX_CHANNELS__A___B__URL", "x:y", "PILLARBOX_CHANNELS__A___B__URL", "no such setting"),
    ("PILLARBOX_CHANNELS____URL", "x:y", "channels.", "expected a name"),
]


@pytest.mark.contract("CF2")
@pytest.mark.parametrize(("name", "text", "field", "expected"), REFUSED_VARIABLES)
def test_a_bad_variable_is_refused_by_name(name: str, text: str, field: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(environ={**NOWHERE, name: text})
    assert refused.value.field == field
    assert expected in refused.value.expected


@pytest.mark.contract("CF2")
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("limits.mesages", "5", "did you mean 'limits.messages'? (flag --limits-mesages)"),
        ("limits.messages", "many", "not 'many' (flag --limits-messages)"),
        ("limits", "5", "no such setting"),
        ("", "5", "no such setting"),
    ],
)
def test_a_bad_flag_is_refused_by_name(key: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(environ=NOWHERE, flags={key: value})
    assert refused.value.field == key
    assert expected in refused.value.expected


def refusal(read: Callable[[], object]) -> str:
    try:
        read()
    except ConfigError as refused:
        return str(refused)
    return ""


_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=4)
)
_KEYS = st.sampled_from(
    ["db", "limits", "messages", "defaults", "ttl", "ttl_ms", "schedule", "jitter", "channels", "url", "options",
     "egress", "allow", "lease_seconds", "deliveryQueue", "maxQueueDepth", "delivery", "pillarbox", "", "x"]
)  # fmt: skip
_TREES = st.recursive(
    _LEAVES, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_KEYS, inside, max_size=4), max_leaves=12
)


@pytest.mark.contract("CF2")
@settings(max_examples=60)
@given(values=st.dictionaries(_KEYS, _TREES, max_size=4))
def test_whatever_is_written_gives_settings_or_a_configuration_error(values: dict[str, object]) -> None:
    assert len(refusal(lambda: override(None, values))) < 1000


@pytest.mark.contract("CF2")
@settings(max_examples=60)
@given(
    name=st.sampled_from(["LIMITS__MESSAGES", "DEFAULTS__TTL_SECONDS", "DEFAULTS__SCHEDULE", "DEFAULTS__JITTER"])
    | st.text("ABCDEFLS_", max_size=20),
    text=st.text(max_size=20) | st.sampled_from(["1_000", "1e99", ".", "0x10", "\u0661", "5s*3", "+1", "1_"]),
)
def test_whatever_a_variable_holds_gives_settings_or_a_configuration_error(name: str, text: str) -> None:
    assert len(refusal(lambda: load(environ={**NOWHERE, f"PILLARBOX_{name}": text}))) < 1000
