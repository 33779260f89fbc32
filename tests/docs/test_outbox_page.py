"""docs/reference/outbox.md names everything that an outbox offers, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pillarbox import Message, Outbox, sync

PAGE = (Path(__file__).parents[2] / "docs/reference/outbox.md").read_text("utf-8")
ONLY_SYNC = {"core", "run"}


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def named() -> set[str]:
    return set(re.findall(r"`[^`]*?\bbox\.(\w+)", PAGE))


def of_async_alone() -> set[str]:
    """What stands in a row that is marked."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and "¹" in line]
    return {name for row in rows for name in re.findall(r"\bbox\.(\w+)", row)}


def test_the_page_names_all_that_an_outbox_offers() -> None:
    assert named() == public(Outbox(":memory:"))


def test_the_page_tells_what_the_blocking_one_has() -> None:
    assert public(sync.Outbox(":memory:")) - ONLY_SYNC == named() - of_async_alone()
    assert all(f"`{name}`" in PAGE for name in ONLY_SYNC)


def test_both_kinds_of_message_offer_the_same() -> None:
    assert public(sync.Message) == public(Message)


@pytest.mark.parametrize("name", sorted(public(Outbox) - {"mirror", "events"}))
def test_everything_that_an_outbox_offers_says_what_it_is_for(name: str) -> None:
    assert (getattr(Outbox, name).__doc__ or "").strip()
    if hasattr(sync.Outbox, name):
        assert (getattr(sync.Outbox, name).__doc__ or "").strip()
