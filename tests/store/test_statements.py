"""Rows are read by name: a statement's columns are those of the type that its rows are read into."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

import apsw.ext
import pytest

from pillarbox.domain.message import STATES
from pillarbox.store.base import Durability
from pillarbox.store.schema_version import steps_in
from pillarbox.store.sqlite import opening
from pillarbox.store.sqlite.statements import STATEMENTS
from pillarbox.store.steps import claim, collapse, endings, horizon, late_answer, overview, prune, subject
from pillarbox.store.steps.columns import DOUBTS, LEASED, VIEW, column
from tests.store.opened import driver_on, raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROWS: dict[str, tuple[str, ...]] = {
    "order_row": subject.Subject._fields,
    "settle_row": late_answer._Now._fields,
    "attempt_by_lease": late_answer._Attempt._fields,
    "gates": claim._Gate._fields,
    "overview": tuple(field.name for field in dataclasses.fields(overview.Overview)),
    "horizon": horizon._Look._fields,
    "prune_pick": prune._Old._fields,
    "scrub_pick": prune._Said._fields,
    "collapsible": ("newer", *endings.Ending._fields, *collapse._Older._fields),
    "expire": endings.Ending._fields,
    "abandon": endings.Ending._fields,
}


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[apsw.Connection]:
    async with driver_on(tmp_path / "outbox.db"):
        pass
    opened = opening.connect(str(tmp_path / "outbox.db"), Durability.POWER)
    try:
        yield opened
    finally:
        opened.close()


def columns(connection: apsw.Connection, name: str) -> list[str]:
    sql = STATEMENTS[name]
    marks = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    info = apsw.ext.query_info(connection, sql, bindings=[None] * max(marks, default=0))
    return [found[0] for found in info.description]


@pytest.mark.parametrize(("name", "fields"), ROWS.items(), ids=ROWS)
def test_a_statement_returns_what_its_row_is_read_into(
    connection: apsw.Connection, name: str, fields: tuple[str, ...]
) -> None:
    assert [returned.replace("_at", "_ms") for returned in columns(connection, name)] == list(fields)


def test_leased_messages_and_views_are_read_in_the_order_of_their_columns(connection: apsw.Connection) -> None:
    assert [name for name in columns(connection, "claim_again") if "(" not in name] == [
        column(name) for name in LEASED if name not in {"bounded_limits", "first_claimed_ms", *DOUBTS}
    ]
    assert len(columns(connection, "view")) == len(VIEW)


def test_the_legend_of_the_states_is_true() -> None:
    text = (Path(opening.__file__).parent.parent / "sql" / "sqlite" / "write.sql").read_text("utf-8")
    legend = dict(re.findall(r"\b(\d) ([a-z]+)\b", text.partition("Below")[0]))
    assert legend == {str(state.code): str(state) for state in STATES}


@pytest.mark.contract("SG2")
def test_no_version_of_a_schema_is_left_out() -> None:
    assert steps_in({"tables": "", "version_3": "c", "version_2": "b"}) == {1: "b", 2: "c"}
    with pytest.raises(ValueError, match=r"\[2, 4\]"):
        steps_in({"version_2": "b", "version_4": "d"})


@pytest.mark.contract("ST9", "LE7")
@pytest.mark.parametrize(
    "harm", ["UPDATE message SET kind = 99 WHERE id = ?", "UPDATE message SET op = 99 WHERE id = ?"], ids=["kind", "op"]
)
async def test_a_message_with_a_number_that_means_nothing_is_dead_and_the_others_go_on(
    tmp_path: Path, harm: str
) -> None:
    async with driver_on(tmp_path / "outbox.db") as driver:
        spoilt, whole = await driver.send(), await driver.send()
        with raw(tmp_path / "outbox.db") as opened:
            opened.pragma("ignore_check_constraints", 1)
            opened.execute(harm, (spoilt,))
        assert await driver.claimed_ids() == [whole]
        assert [(ended.id, ended.reason) for ended in driver.last.unreadable] == [(spoilt, "unreadable")]
