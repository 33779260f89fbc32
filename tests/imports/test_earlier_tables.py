"""Tables of earlier and later versions: what is there is read, what is missing has its default (IM5)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from pillarbox.errors import InvalidMessage
from pillarbox.imports import comis, openclaw_outbox, openclaw_sqlite
from pillarbox.imports.entry import Outcome
from tests.imports.cases import entries_of
from tests.imports.queues import MINUTE_MS, NOW_MS, ComisQueue, EntriesQueue, FileQueue, OutboxQueue, TableQueue, entry

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

pytestmark = pytest.mark.contract("IM5")

MAKERS: Final[dict[ModuleType, type[ComisQueue | OutboxQueue | EntriesQueue]]] = {
    comis: ComisQueue,
    openclaw_outbox: OutboxQueue,
    openclaw_sqlite: EntriesQueue,
}
OPTIONAL: Final = [
    pytest.param(module, column, id=f"{module.TABLE.name}.{column}")
    for module in MAKERS
    for column in module.TABLE.columns
    if column not in module.TABLE.needed
]
NEEDED: Final = [
    pytest.param(module, column, id=f"{module.TABLE.name}.{column}")
    for module in MAKERS
    for column in module.TABLE.needed
]
# Without it nobody can say how old an entry is, and what is too old must not be sent.
AGES: Final = {"message_outbox.queued_at"}


def filled(module: ModuleType, path: Path) -> TableQueue:
    queue = MAKERS[module](path)
    queue.add("x")
    return queue


def without(queue: TableQueue, table: str, *columns: str) -> None:
    for column in columns:
        queue.run(f"ALTER TABLE {table} RENAME COLUMN {column} TO was_{column}")


@pytest.mark.parametrize(("module", "column"), OPTIONAL)
def test_a_table_that_lacks_a_column_is_read_without_it(tmp_path: Path, module: ModuleType, column: str) -> None:
    queue = filled(module, tmp_path / "a.sqlite")
    without(queue, module.TABLE.name, column)
    (found,) = entries_of(queue.case).values()
    if f"{module.TABLE.name}.{column}" in AGES:
        assert (found.outcome, found.reason) == (Outcome.QUARANTINED, "enqueued_at_missing")
    else:
        assert (found.outcome, found.channel) == (Outcome.IMPORTED, "telegram")
        assert found.contents[0].text


@pytest.mark.parametrize("module", list(MAKERS), ids=[module.TABLE.name for module in MAKERS])
def test_a_table_that_has_only_what_is_needed_is_read(tmp_path: Path, module: ModuleType) -> None:
    queue = filled(module, tmp_path / "a.sqlite")
    optional = [column for column in module.TABLE.columns if column not in module.TABLE.needed]
    without(queue, module.TABLE.name, *optional)
    (found,) = entries_of(queue.case).values()
    # Nothing tells its age but, in OpenClaw's entries, their JSON.
    expected = Outcome.IMPORTED if module is openclaw_sqlite else Outcome.QUARANTINED
    assert found.outcome is expected


@pytest.mark.parametrize(("module", "column"), NEEDED)
def test_a_table_that_lacks_what_is_needed_is_refused_by_name(tmp_path: Path, module: ModuleType, column: str) -> None:
    queue = filled(module, tmp_path / "a.sqlite")
    without(queue, module.TABLE.name, column)
    with pytest.raises(InvalidMessage, match=f"with a column {column}"):
        entries_of(queue.case)


def test_what_the_columns_lack_the_entry_says(tmp_path: Path) -> None:
    queue = EntriesQueue(tmp_path / "a.sqlite")
    said = {"retryCount": 2, "lastAttemptAt": NOW_MS - 1, "lastError": "down"}
    queue.add("x", entry("x", enqueuedAt=NOW_MS - 5, **said))
    without(queue, openclaw_sqlite.TABLE.name, "retry_count", "last_attempt_at", "last_error", "enqueued_at")
    (found,) = entries_of(queue.case).values()
    assert (found.attempts, found.last_attempt_ms, found.last_error) == (2, NOW_MS - 1, "down")
    assert found.enqueued_ms == NOW_MS - 5


def test_a_table_without_rowids_is_read(tmp_path: Path) -> None:
    table = (
        "CREATE TABLE message_outbox (id TEXT PRIMARY KEY, payload TEXT, status TEXT, channel TEXT, target TEXT,"
        " queued_at INTEGER, next_attempt_at INTEGER) WITHOUT ROWID"
    )
    queue = OutboxQueue.__new__(OutboxQueue)
    TableQueue.__init__(queue, tmp_path / "a.sqlite", OutboxQueue(tmp_path / "b.sqlite").case.system, table)
    for name in ("second", "first"):
        queue.add(name, status="queued", queued_at=NOW_MS - (2 if name == "first" else 1) * MINUTE_MS)
    assert list(entries_of(queue.case)) == ["first", "second"]


@pytest.mark.contract("IM3")
@pytest.mark.parametrize(
    "name", ["session", "outbound-archive", "outbound-prepared-v2", "outbound-", "OUTBOUND", "", " outbound"]
)
def test_rows_of_another_queue_are_never_sent(tmp_path: Path, name: str) -> None:
    queue = EntriesQueue(tmp_path / "a.sqlite")
    queue.add("x", queue_name=name)
    (found,) = entries_of(queue.case).values()
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, "not_outbound_queue")


def test_what_another_queue_has_done_is_not_done_here(tmp_path: Path) -> None:
    queue = EntriesQueue(tmp_path / "a.sqlite")
    queue.add("x", queue_name="outbound-archive", status="completed")
    queue.add("x")
    assert entries_of(queue.case)["outbound/x"].outcome is Outcome.IMPORTED


@pytest.mark.contract("IM1", "IM3")
@pytest.mark.parametrize("blank", ["", " ", "\t\n "], ids=repr)
def test_a_blank_name_is_none(tmp_path: Path, blank: str) -> None:
    queue = FileQueue(tmp_path / "delivery-queue")
    queue.put("x.json", accountId=blank, threadId=blank, replyToId=blank)
    table = OutboxQueue(tmp_path / "a.sqlite")
    table.add("x", account_id=blank)
    rows = ComisQueue(tmp_path / "b.sqlite")
    rows.add("x", tenant_id=blank, options_json=f'{{"threadId": {json.dumps(blank)}}}')
    for case in (queue.case, table.case, rows.case):
        (found,) = entries_of(case).values()
        assert (found.outcome, found.account, found.tenant, found.thread) == (Outcome.IMPORTED, "", "", None)
        assert found.content is not None
        assert found.content.reply_to is None


@pytest.mark.contract("IM1")
@pytest.mark.parametrize(
    ("number", "text"),
    [("12.5", "12.5"), ("7", "7"), ("-7", "-7"), ("1700000000.000123", "1700000000.000123"), ("12.0", "12"),
     ("1e3", "1000"), ("12345678901234567890123", "1.2345678901234568e+22"), ("1e21", "1e+21")],
)  # fmt: skip
def test_an_id_that_is_a_number_is_kept_as_its_text(tmp_path: Path, number: str, text: str) -> None:
    queue = FileQueue(tmp_path / "delivery-queue")
    queue.put(
        "x.json",
        f'{{"id":"x","channel":"telegram","to":"1","enqueuedAt":{NOW_MS - 1},"threadId":{number},'
        f'"replyToId":{number},"payloads":[{{"text":"hi"}}]}}',
    )
    rows = ComisQueue(tmp_path / "b.sqlite")
    rows.add("x", options_json=f'{{"threadId":{number},"replyTo":{number}}}')
    for case in (queue.case, rows.case):
        (found,) = entries_of(case).values()
        assert found.content is not None
        assert (found.outcome, found.thread, found.content.reply_to) == (Outcome.IMPORTED, text, text)


@pytest.mark.contract("IM4")
@pytest.mark.parametrize("column", ["created_at", "scheduled_at", "expire_at", "next_retry_at"])
@pytest.mark.parametrize("value", [float("inf"), 10**15, 1e40])
def test_a_row_whose_time_is_beyond_the_calendar_is_kept_apart(tmp_path: Path, column: str, value: float) -> None:
    queue = ComisQueue(tmp_path / "a.sqlite")
    queue.add("x", **{column: value})
    queue.add("y")
    found = entries_of(queue.case)
    assert (found["x"].outcome, found["x"].reason) == (Outcome.QUARANTINED, f"{column}_invalid")
    assert found["y"].outcome is Outcome.IMPORTED
