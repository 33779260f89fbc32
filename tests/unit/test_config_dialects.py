"""YAML as Comis reads it (1.2, core schema), JSON with comments as OpenClaw writes it (contract CF1, CF2)."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.errors import ConfigError
from pillarbox.settings import json_text, yaml_text
from pillarbox.settings.load import load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.contract("CF1", "CF2")

# yaml.org/spec/1.2.2, 10.3.2; what YAML 1.1 made of it stands behind.
CORE: list[tuple[str, object]] = [
    ("010", 10),  # 8
    ("0o10", 8),
    ("0x1F", 31),
    ("+7", 7),
    ("1:00:00", "1:00:00"),  # 3600
    ("1_000", "1_000"),  # 1000
    ("0b11", "0b11"),  # 3
    ("off", "off"), ("on", "on"), ("yes", "yes"), ("No", "No"), ("y", "y"),  # false, true, true, false
    ("true", True), ("FALSE", False), ("tRue", "tRue"),
    ("null", None), ("~", None), ("", None), ("NULL", None),
    ("1e3", 1000), ("60000.0", 60000), ("6.0e4", 60000), (".5", 0.5), ("1.5e0", 1.5), ("-2.", -2),
    ("2030-01-31", "2030-01-31"), ("2025-99-99", "2025-99-99"),  # dates
    (".inf", float("inf")), ("-.INF", float("-inf")),
    ("=", "="), ("0.1.2", "0.1.2"), ("'010'", "010"), ("9" * 30, int("9" * 30)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), CORE, ids=[text[:12] or "empty" for text, _ in CORE])
def test_a_plain_value_is_what_the_core_schema_says(text: str, value: object) -> None:
    found = yaml_text.parse(f"a: {text}", depth_max=8)
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_comis_section_may_hold_numbers_as_javascript_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "comis.yaml"
    file.write_text(
        "deliveryQueue:\n  maxQueueDepth: 1e3\n  drainBudgetMs: 60000.0\n  defaultMaxAttempts: 010\n"
        "  defaultExpireMs: 3600000.0\n"
    )
    settings = load(path=file, environ={}).settings
    assert (settings.limits.messages, settings.drain_budget_ms, settings.defaults.max_attempts) == (1000, 60_000, 10)
    assert settings.defaults.ttl == timedelta(hours=1)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("enabled: off", "deliveryQueue.enabled: expected true or false, not 'off'"),
        ("defaultExpireMs: 1:00:00", "not '1:00:00'"),
        ("maxQueueDepth: 1.5", "not 1.5"),
        ("maxQueueDepth: .inf", "not inf"),
        ("maxQueueDepth: .nan", "not nan"),
        ("maxQueueDepth: 1e400", "not inf"),
    ],
)
def test_what_is_no_whole_number_is_refused_by_name(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "comis.yaml"
    file.write_text(f"deliveryQueue:\n  {line}\n")
    with pytest.raises(ConfigError) as refused:
        load(path=file, environ={})
    assert told in str(refused.value)


OPENCLAW = """\
// OpenClaw's own file
{
  "agents": { "defaults": { "model": "x/y // no comment", }, },   /* its own
  business */
  "messages": {
    "delivery": {
      "maxAgeMs": 9e5, // fifteen minutes
      "expireAction": "deliver",
    },
  },
  "channels": { "telegram": { "botToken": "s,}]ecret", "allow": [1, 2, 3,], }, },
}
"""


def test_openclaw_s_own_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "openclaw.json"
    file.write_text(OPENCLAW)
    settings = load(path=file, environ={}).settings
    assert settings.defaults.ttl == timedelta(minutes=15)
    assert str(settings.defaults.expire_action) == "deliver"
    assert settings.channels == {}


def test_openclaw_s_file_without_a_section_of_ours_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "openclaw.json"
    file.write_text('{"agents": {}, "channels": {"telegram": {"botToken": "x"}}, "messages": {"queue": 1}}')
    assert load(path=file, environ={}).settings.channels == {}


def test_our_own_settings_may_be_json(tmp_path: Path) -> None:
    file = tmp_path / "ours.json"
    file.write_text('{"concurrency": 7, /* few */ "channels": {"ops": {"url": "console://",}}}')
    settings = load(path=file, environ={}).settings
    assert (settings.concurrency, list(settings.channels)) == (7, ["ops"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1 "b": 2}', "line 1, column 9"),
        ('{\n// x\n"a": tru}', "line 3, column 6"),
        ('{"a": 1,, "b": 2}', "line 1"),
        ("[,]", "line 1"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        ('{"a": "never closed', "line 1"),
        ('{"a": 1 /* never closed', "line 1"),
        ("[" * 100_000, "too deep"),
        ('{"a": ' + "9" * 5000 + "}", "a number that cannot be read"),
        ("", "line 1"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_json_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path=file, environ={})
    assert told in str(refused.value)
    assert refused.value.field == str(file)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 50), 1 << 50) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=json_values, noise=st.sampled_from([" ", "\n", "/* , */", "// ]\n", "/**/", "\t"]))
def test_comments_and_trailing_commas_change_nothing(value: Any, noise: str) -> None:
    def written(value: Any) -> str:
        if isinstance(value, list):
            return f"[{noise}" + "".join(f"{written(item)}{noise},{noise}" for item in value) + "]"
        if isinstance(value, dict):
            items = (f"{json.dumps(key)}{noise}:{noise}{written(item)}," for key, item in value.items())
            return "{" + noise.join(items) + noise + "}"
        return json.dumps(value)

    assert json_text.parse(noise + written(value) + noise) == value


@pytest.mark.parametrize("piece", ['"', "/", "/*", "*", "//", ",", '"\\', "a"])
def test_reading_takes_time_in_proportion_to_the_text(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        began = time.thread_time()
        with pytest.raises(json_text.BadJson):
            json_text.parse(text)
        return time.thread_time() - began

    assert min(seconds(400_000) for _ in range(3)) < 12 * min(seconds(100_000) for _ in range(3)) + 0.05
