"""At which database a tenant is at home, and what settings say about several databases."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from pillarbox.domain.shards import Place, home_of, jump
from pillarbox.errors import ConfigError
from pillarbox.outbox.outbox import Outbox
from pillarbox.settings.load import load

TENANTS = [f"tenant {number}" for number in range(4000)]


def test_a_home_is_the_same_for_ever() -> None:
    """Whoever changes one of these numbers loses sight of messages that are stored."""
    assert [home_of(tenant, 7) for tenant in ("", "acme", "Müller", "t0", "t1")] == [6, 5, 1, 4, 3]
    assert {home_of(tenant, 1) for tenant in TENANTS} == {1}


@pytest.mark.parametrize(
    ("key", "count", "bucket"), [(1, 1, 0), (42, 57, 43), (0xDEAD10CC, 1, 0), (0xDEAD10CC, 666, 361), (256, 1024, 520)]
)
def test_the_hash_is_the_papers(key: int, count: int, bucket: int) -> None:
    """The vectors that other implementations are tested with."""
    assert jump(key, count) == bucket


def test_every_shard_gets_its_share() -> None:
    counts = Counter(home_of(tenant, 4) for tenant in TENANTS)
    assert sorted(counts) == [1, 2, 3, 4]
    assert all(900 < count < 1100 for count in counts.values())


def test_one_shard_more_takes_its_share_and_moves_nobody_else() -> None:
    moved = [tenant for tenant in TENANTS if home_of(tenant, 4) != home_of(tenant, 5)]
    assert {home_of(tenant, 5) for tenant in moved} == {5}
    assert 700 < len(moved) < 900


def test_a_label_is_read_as_it_was_written() -> None:
    place = Place(number=3, count=16)
    assert str(place) == "shard 3 of 16"
    assert Place.of(str(place)) == place
    assert Place.of("shard 0 of 2") is None
    assert place.has("acme") is (home_of("acme", 16) == 3)


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"shards": ["a.db", "a.db"]}, "shards", "each another one"),
        ({"shards": "mysql://x"}, "shards", "postgresql://"),
        ({"shards": 7}, "shards", "a list of databases"),
        ({"shards": ["a.db", "b.db"], "shard": 3}, "shard", "from 1 to 2, not 3"),
        ({"shard": 1}, "shard", "one database here, so leave it out"),
        ({"shards": ["a.db"], "fallback": "memory"}, "fallback", "none with shards"),
        ({"db": "a.db", "shards": ["b.db"]}, "db", "either db or shards"),
        ({"shards": ["a.db"], "store": lambda: None}, "store", "none with shards"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(given: dict[str, Any], field: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as refused:
        Outbox(**given)
    assert refused.value.field == field


def test_a_password_among_shards_is_not_shown() -> None:
    with pytest.raises(ConfigError) as refused:
        Outbox(shards=["postgresql://me:hunter2@one/x", "postgresql://me:hunter2@one/x"])
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(Outbox(shards=["postgresql://me:hunter2@one/x"]))


def test_a_variable_names_shards_between_blanks() -> None:
    """A comma may stand between the servers of one database."""
    read = load(environ={"PILLARBOX_SHARDS": "postgresql://a,b/x  c.db", "PILLARBOX_SHARD": "2", "HOME": "."})
    assert read.settings.shards == ("postgresql://a,b/x", "c.db")
    assert read.settings.shard == 2


def test_one_of_the_shards_is_an_outbox_on_that_database() -> None:
    assert Outbox(shards=["a.db", "b.db"], shard=2).settings.db == "b.db"
