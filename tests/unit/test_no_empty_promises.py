"""What can be said in public does something: no argument, setting or extra stands for what is not there yet."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from pillarbox import Capabilities, InvalidOutcome, RateLimited
from pillarbox.domain.outcome import Rejected
from pillarbox.domain.retry import PartsMode, Policy
from pillarbox.domain.transition import Reason
from pillarbox.errors import ConfigError
from pillarbox.settings.explain import explain
from pillarbox.store.registry import open_store
from tests.unit.leased_messages import leased
from tests.unit.test_lifecycle import decided

ROOT = Path(__file__).parents[2]


@pytest.mark.contract("UN5")
def test_a_channel_declares_nothing_that_nobody_reads() -> None:
    assert {item.name for item in dataclasses.fields(Capabilities)} == {
        "text_limit", "unit", "receipts", "edits", "deletes", "looks_up",
    }  # fmt: skip


@pytest.mark.contract("CL1")
def test_each_scope_of_a_rate_limit_has_its_own_effect() -> None:
    assert decided(leased(), RateLimited("slow", scope="recipient", after=9)).pause_ms is None
    assert decided(leased(), RateLimited("slow", scope="channel", after=9)).pause_ms is not None
    with pytest.raises(InvalidOutcome, match="scope"):
        RateLimited("slow", scope="route")  # type: ignore[arg-type]


@pytest.mark.contract("CL1", "PA5")
def test_each_thing_that_a_rejection_is_about_has_its_own_effect() -> None:
    parted = leased(Policy(parts=PartsMode.BEST_EFFORT), part_count=2)
    message, recipient, endpoint = (
        decided(parted, Rejected("no")),
        decided(parted, Rejected("no", about="recipient")),
        decided(parted, Rejected("no", about="endpoint")),
    )
    assert (message.advance, recipient.advance, endpoint.advance) == (True, False, False)
    assert (recipient.pause_ms, endpoint.pause_ms) == (None, 0)


@pytest.mark.contract("CF4")
def test_no_database_is_offered_that_cannot_be_opened(tmp_path: Path) -> None:
    one = explain("db")
    assert "mysql" not in repr(one)
    assert {"sqlite:///", "postgresql://"} <= set(re.findall(r"\w+:/+", repr(one)))
    with pytest.raises(ConfigError, match="unknown database scheme"):
        open_store("mysql://u:p@h/d")
    open_store("postgresql://u:p@h/d")
    open_store(f"sqlite:///{tmp_path}/x.db")


def test_an_extra_installs_what_its_database_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert [one.partition(">")[0] for one in extras["postgres"]] == ["psycopg[binary]"]
    assert "psycopg==" in (ROOT / "constraints.txt").read_text("utf-8")


@pytest.mark.contract("ST1")
def test_every_reason_is_given_by_somebody() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "src/pillarbox").rglob("*.py"))
    assert [reason.name for reason in Reason if f"Reason.{reason.name}" not in sources] == []
