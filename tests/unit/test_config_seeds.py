"""The older systems' sections, as they stand in those systems' own files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.retry import ExpireAction
from pillarbox.errors import ConfigError
from pillarbox.settings.load import Loaded, load
from pillarbox.settings.model import DefaultSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

Read = Callable[[str], Loaded]

# From Comis's documentation, letter by letter.
COMIS = """\
deliveryQueue:
  enabled: true
  maxQueueDepth: 10000
  defaultMaxAttempts: 5
  defaultExpireMs: 3600000
  drainOnStartup: true
  drainBudgetMs: 60000
  pruneIntervalMs: 300000
"""
COMIS_DISABLED = """\
deliveryQueue:
  enabled: false
"""
# What stands around the section in a whole file: names of theirs that are ours too, and values we would refuse.
COMIS_AROUND = """\
tenantId: default
logLevel: debug
channels:
  telegram: {enabled: true, botToken: "123:abc", mediaProcessing: {transcribeAudio: false}}
agents:
  default: {provider: x}
messages: {splitting: {maxChars: 4000}}
1: {2: 3}
"""
OPENCLAW = """\
channels: {telegram: {botToken: "123:abc"}}
messages: {ackReaction: "x", delivery: {maxAgeMs: 600000, expireAction: deliver}}
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_text(text: str) -> Loaded:
        file = tmp_path / "comis.yaml"
        file.write_text(text, "utf-8")
        return load(path=file, environ={"XDG_STATE_HOME": str(tmp_path)})

    return from_text


def the_defaults(tmp_path: Path) -> Settings:
    return load(environ={"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}, cwd=tmp_path).settings


@pytest.mark.contract("CF1")
def test_comis_own_example_is_accepted_as_it_is(read: Read) -> None:
    loaded = read(COMIS)
    settings = loaded.settings
    assert settings.enabled is True
    assert settings.limits.messages == 10_000
    assert settings.defaults.max_attempts == 5
    assert settings.defaults.ttl == timedelta(hours=1)
    assert settings.drain_on_startup is True
    assert settings.drain_budget_ms == 60_000
    assert settings.prune_interval_ms == 300_000
    assert loaded.origins["limits.messages"] == f"file {loaded.file}:deliveryQueue.maxQueueDepth"


@pytest.mark.contract("CF1")
@pytest.mark.parametrize("empty", ["deliveryQueue:\n", "deliveryQueue: {}\n", "deliveryQueue: ~\n"])
def test_an_empty_section_is_comis_example(read: Read, empty: str) -> None:
    loaded = read(empty)
    assert loaded.settings == read(COMIS).settings
    assert loaded.origins["limits.messages"] == f"file {loaded.file}:deliveryQueue"


@pytest.mark.contract("CF1")
def test_without_the_section_the_limit_is_our_own(tmp_path: Path) -> None:
    settings = the_defaults(tmp_path)
    assert settings.enabled is True
    assert settings.limits.messages == 1_000_000


@pytest.mark.contract("CF1")
def test_comis_queue_can_be_disabled(read: Read) -> None:
    assert read(COMIS_DISABLED).settings.enabled is False


@pytest.mark.contract("CF1")
def test_every_key_of_comis_is_used(read: Read) -> None:
    settings = read(
        "deliveryQueue: {enabled: false, maxQueueDepth: 7, defaultMaxAttempts: 8, defaultExpireMs: 9,"
        " drainOnStartup: false, drainBudgetMs: 10, pruneIntervalMs: 11}"
    ).settings
    assert (settings.enabled, settings.drain_on_startup) == (False, False)
    assert (settings.limits.messages, settings.defaults.max_attempts) == (7, 8)
    assert settings.defaults.ttl == timedelta(milliseconds=9)
    assert (settings.drain_budget_ms, settings.prune_interval_ms) == (10, 11)


@pytest.mark.contract("CF1")
def test_comis_whole_file_loads_and_only_its_section_is_read(read: Read) -> None:
    assert read(COMIS_AROUND + COMIS).settings == read(COMIS).settings
    assert read(COMIS_AROUND + COMIS).settings.channels == {}


@pytest.mark.contract("CF1")
def test_a_file_with_comis_section_and_its_channels_alone_is_comis(read: Read) -> None:
    assert read("channels: {telegram: {enabled: true}}\n" + COMIS).settings == read(COMIS).settings


@pytest.mark.contract("CF1")
def test_our_keys_stand_beneath_pillarbox_in_a_file_of_theirs(read: Read) -> None:
    own = "pillarbox:\n  durability: process\n  channels: {ops: 'smtp://mail.example.org'}\n"
    loaded = read(COMIS_AROUND + COMIS + own)
    assert loaded.settings.durability == "process"
    assert loaded.settings.channels["ops"].url == "smtp://mail.example.org"
    assert loaded.settings.limits.messages == 10_000
    assert loaded.origins["durability"] == f"file {loaded.file}:pillarbox.durability"


@pytest.mark.contract("CF1")
def test_our_keys_may_stand_beside_the_section_in_a_file_of_ours(read: Read) -> None:
    settings = read(COMIS + "durability: process\nchannels: {ops: {url: 'smtp://mail.example.org'}}\n").settings
    assert settings.durability == "process"
    assert list(settings.channels) == ["ops"]
    assert list(read(COMIS + "channels: {ops: 'smtp://mail.example.org'}").settings.channels) == ["ops"]


@pytest.mark.contract("CF1")
def test_what_is_written_wins_over_what_the_section_implies(read: Read) -> None:
    assert read("deliveryQueue:\nlimits: {messages: 50}").settings.limits.messages == 50
    assert read("deliveryQueue:\npillarbox: {limits: {messages: 50}}").settings.limits.messages == 50
    assert read("messages: {delivery: }\ndefaults: {ttl: 2h}").settings.defaults.ttl == timedelta(hours=2)


@pytest.mark.contract("CF1", "EX1", "EX2")
def test_openclaw_whole_file_loads(read: Read) -> None:
    settings = read(OPENCLAW).settings
    assert settings.defaults.ttl == timedelta(minutes=10)
    assert settings.defaults.expire_action is ExpireAction.DELIVER
    assert settings.channels == {}
    assert settings.limits.messages == 1_000_000


@pytest.mark.contract("CF1", "EX1")
def test_openclaw_section_implies_its_thirty_minutes(read: Read) -> None:
    assert read("messages: {delivery: {}}").settings.defaults.ttl == timedelta(minutes=30)
    assert read("messages: {delivery: {expireAction: fail}}").settings.defaults.ttl == timedelta(minutes=30)
    assert read("messages: {ackReaction: x}").settings.defaults.ttl == timedelta(hours=1)
    assert read("messages:").settings.defaults == DefaultSettings()


BESIDE = f"{COMIS_AROUND}deliveryQueue: "
REFUSED = [
    ("deliveryQueue: {maxQueueDept: 5}", "deliveryQueue.maxQueueDept", "did you mean 'deliveryQueue.maxQueueDepth'?"),
    ("deliveryQueue: {max_attempts: 5}", "deliveryQueue.max_attempts", "'deliveryQueue.defaultMaxAttempts'?"),
    ("deliveryQueue: {zzz: 5}", "deliveryQueue.zzz", "known here: enabled, maxQueueDepth"),
    ("deliveryQueue: {5: 5}", "deliveryQueue.5", "no such setting"),
    ("deliveryQueue: {maxQueueDepth: 0}", "deliveryQueue.maxQueueDepth", "expected a whole number from 1"),
    ("deliveryQueue: {maxQueueDepth: -3}", "deliveryQueue.maxQueueDepth", "not -3"),
    ("deliveryQueue: {maxQueueDepth: 1.5}", "deliveryQueue.maxQueueDepth", "not 1.5"),
    ("deliveryQueue: {maxQueueDepth: .nan}", "deliveryQueue.maxQueueDepth", "not nan"),
    ("deliveryQueue: {maxQueueDepth: '5'}", "deliveryQueue.maxQueueDepth", "not '5'"),
    ("deliveryQueue: {maxQueueDepth: none}", "deliveryQueue.maxQueueDepth", "not 'none'"),
    ("deliveryQueue: {maxQueueDepth: }", "deliveryQueue.maxQueueDepth", "not nothing"),
    ("deliveryQueue: {defaultMaxAttempts: true}", "deliveryQueue.defaultMaxAttempts", "not true"),
    ("deliveryQueue: {defaultMaxAttempts: 20000}", "deliveryQueue.defaultMaxAttempts", "from 1 to 10000, not 20000"),
    ("deliveryQueue: {defaultExpireMs: 1h}", "deliveryQueue.defaultExpireMs", "not '1h'"),
    ("deliveryQueue: {defaultExpireMs: 0}", "deliveryQueue.defaultExpireMs", "not 0"),
    ("deliveryQueue: {drainBudgetMs: 0}", "deliveryQueue.drainBudgetMs", "not 0"),
    ("deliveryQueue: {pruneIntervalMs: -1}", "deliveryQueue.pruneIntervalMs", "not -1"),
    ("deliveryQueue: {enabled: 1}", "deliveryQueue.enabled", "expected true or false, not 1"),
    ("deliveryQueue: {drainOnStartup: 'no'}", "deliveryQueue.drainOnStartup", "not 'no'"),
    ("deliveryQueue: 5", "deliveryQueue", "expected a table, not a number"),
    ("deliveryQueue: []", "deliveryQueue", "expected a table, not a list"),
    (BESIDE + "{maxQueueDepth: 0}", "deliveryQueue.maxQueueDepth", "not 0"),
    ("messages: 5", "messages", "expected a table, not a number"),
    ("messages: {delivery: x}", "messages.delivery", "expected a table, not a text"),
    ("messages: {delivery: {maxAge: 5}}", "messages.delivery.maxAge", "did you mean 'messages.delivery.maxAgeMs'?"),
    ("messages: {delivery: {maxAgeMs: 0}}", "messages.delivery.maxAgeMs", "not 0"),
    ("messages: {delivery: {expireAction: drop}}", "messages.delivery.expireAction", "fail or deliver, not 'drop'"),
    ("pillarbox: {dbb: x}\nagents: {}", "pillarbox.dbb", "did you mean 'pillarbox.db'?"),
    ("pillarbox: 5", "pillarbox", "expected a table, not a number"),
    ("pillarbox: {limits: {messages: 0}}", "pillarbox.limits.messages", "not 0"),
    # Our own key in a file of theirs is not overlooked.
    (BESIDE + "{}\ndb: x.db", "db", "expected beneath 'pillarbox:', because other keys of this file are not ours ('te"),
    ("deliveryQueue: {}\nlimits: {}\nchanels: {}", "limits", "are not ours ('chanels')"),
    ("pillarbox: {}\ndb: x.db", "db", "expected beneath 'pillarbox:'"),
]


@pytest.mark.contract("CF1", "CF2", "EX2")
@pytest.mark.parametrize(("text", "field", "expected"), REFUSED, ids=[field for _, field, _ in REFUSED])
def test_a_bad_value_in_their_section_is_refused_by_its_own_name(
    read: Read, text: str, field: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert refused.value.field == field
    assert expected in refused.value.expected


CONFLICTS = [
    ("deliveryQueue: {maxQueueDepth: 5}\nlimits: {messages: 5}", "limits.messages", "deliveryQueue.maxQueueDepth"),
    ("deliveryQueue: {enabled: true}\nenabled: false", "enabled", "deliveryQueue.enabled"),
    (
        "deliveryQueue: {defaultExpireMs: 5}\npillarbox: {defaults: {ttl: 1h}}",
        "pillarbox.defaults.ttl",
        "deliveryQueue.defaultExpireMs",
    ),
    (
        "messages: {delivery: {maxAgeMs: 5}}\ndeliveryQueue: {defaultExpireMs: 5}",
        "messages.delivery.maxAgeMs",
        "deliveryQueue.defaultExpireMs",
    ),
    (
        "messages: {delivery: {expireAction: fail}}\ndefaults: {expire_action: fail}",
        "defaults.expire_action",
        "messages.delivery.expireAction",
    ),
]


@pytest.mark.contract("CF1")
@pytest.mark.parametrize(("text", "field", "other"), CONFLICTS)
def test_a_key_of_theirs_and_one_of_ours_for_the_same_thing_are_both_named(
    read: Read, text: str, field: str, other: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert refused.value.field == field
    assert f"sets the same as {other}; write only one of them" in refused.value.expected


@pytest.mark.contract("CF1", "CF3")
def test_a_variable_wins_over_their_section(tmp_path: Path) -> None:
    file = tmp_path / "comis.yaml"
    file.write_text(COMIS, "utf-8")
    loaded = load(path=file, environ={"PILLARBOX_LIMITS__MESSAGES": "6", "XDG_STATE_HOME": str(tmp_path)})
    assert loaded.settings.limits.messages == 6


@pytest.mark.contract("CF1")
def test_their_section_may_be_written_in_toml(tmp_path: Path) -> None:
    file = tmp_path / "pillarbox.toml"
    file.write_text("[deliveryQueue]\nmaxQueueDepth = 9\n", "utf-8")
    assert load(path=file, environ={"XDG_STATE_HOME": str(tmp_path)}).settings.limits.messages == 9
