"""
Reads OpenClaw's table ``delivery_queue_entries``, as of 2026.6.1 and of 2026.9.6.

Route and payloads come out of its JSON; counter, times and state out of the columns, which are what its own code
updates. Only queues that send are read; the table has others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillarbox.imports import source_database
from pillarbox.imports.documents import DOCUMENT_BYTES_MAX, Json, Unreadable
from pillarbox.imports.entry import SourceEntry, System, Terms, left, skipped
from pillarbox.imports.openclaw_entry import judged, required_text, uncertain, understand
from pillarbox.imports.rules import Facts, Standing, counter, limit_of, moment
from pillarbox.imports.source_database import Row, document, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE: Final = "delivery_queue_entries"
COLUMNS: Final = (
    "queue_name", "id", "status", "entry_json", "retry_count", "last_attempt_at", "last_error", "recovery_state",
    "enqueued_at",
)  # fmt: skip
NEEDED: Final = ("queue_name", "id", "status", "entry_json")
"""Without these nothing can be said of an entry; earlier versions of the table may lack the others."""
_FILE: Final = "sql/openclaw_sqlite.sql"
_QUEUES: Final = frozenset({"outbound", "outbound-prepared-v1"})
_STANDINGS: Final = {"pending": Standing.PENDING, "failed": Standing.FAILED, "expired": Standing.EXPIRED}
_DONE: Final = frozenset({"completed", "delivered"})


def read(path: Path, terms: Terms, *, bytes_max: int = DOCUMENT_BYTES_MAX) -> Iterator[SourceEntry]:
    """
    Read the entries, the oldest first, from a copy of the database with its log.

    Args:
        bytes_max: A longer entry is not read.

    Raises:
        NotFound: There is no such file.
        InvalidMessage: ``path``: no database of OpenClaw, damaged, or not to be trusted.
    """
    with source_database.opened(path, table=TABLE, needed=NEEDED) as connection:
        lacking = source_database.lacking(connection, table=TABLE, columns=COLUMNS)
        sql = source_database.statements(connection, _FILE, table=TABLE, columns=COLUMNS)
        # One id in two queues is one delivery: done in either, it is done.
        done = {row[0] for row in source_database.rows(connection, sql["done"], (bytes_max,))}
        for row in source_database.rows(connection, sql["entries"], (bytes_max,)):
            yield _entry(row, terms, lacking, done=row[2] in done)


def _entry(row: Row, terms: Terms, lacking: frozenset[str], *, done: bool) -> SourceEntry:
    source_id = _source_id(row)
    try:
        return _found(row, source_id, terms, lacking, done=done)
    except Unreadable as exc:
        return left(source_id, exc.reason)


def _source_id(row: Row) -> str:
    """Return the primary key; of a row whose key cannot be read, its number."""
    try:
        return f"{text(row[1]) or ''}/{text(row[2]) or ''}"
    except Unreadable:
        return f"row {row[0]}"


def _found(row: Row, source_id: str, terms: Terms, lacking: frozenset[str], *, done: bool) -> SourceEntry:
    queue, identity, status = text(row[1]) or "", text(row[2]), text(row[3]) or ""
    if not identity:
        raise Unreadable("missing_field:id")
    if queue not in _QUEUES:
        return skipped(source_id, "not_outbound_queue")
    if status in _DONE:
        return skipped(source_id, "completed_receipt")
    if status not in _STANDINGS:
        raise Unreadable("unknown_status")
    if done and _STANDINGS[status] is Standing.PENDING:
        return skipped(source_id, "completed_elsewhere")
    return _understood(row, source_id, _STANDINGS[status], terms, lacking)


def _understood(row: Row, source_id: str, standing: Standing, terms: Terms, lacking: frozenset[str]) -> SourceEntry:
    entry = document(row[4])
    if standing is Standing.FAILED and not {"payloads", "preparedBatch", "to"} & entry.keys():
        # A fence: its source has thrown away what it was about, so that nobody can send it, we least of all.
        return skipped(source_id, "failed_without_payload")
    required_text(entry, "id")
    said = understand(entry, system=System.OPENCLAW_SQLITE, source_id=source_id)
    state = text(row[8]) or entry.get("recoveryState")
    enqueued = entry.get("enqueuedAt") if "enqueued_at" in lacking else row[9]
    facts = Facts(
        standing=standing,
        why=_why(standing, state),
        attempts=counter(entry.get("retryCount") if "retry_count" in lacking else row[5]),
        limit=limit_of(entry.get("maxRetries")),
        final=entry.get("dispatchKind") in (None, "final"),
        uncertain=uncertain(state),
        enqueued=enqueued,
    )
    return judged(
        said,
        facts,
        terms,
        source_id=source_id,
        delivery_id=text(row[2]),
        enqueued_ms=moment(enqueued),
        last_attempt_ms=moment(entry.get("lastAttemptAt") if "last_attempt_at" in lacking else row[6]),
        last_error=text(row[7]) or _said_error(entry),
        next_ms=_claimed_until(entry, state, terms),
    )


def _why(standing: Standing, state: Json) -> str:
    if standing is Standing.PENDING:
        return "producer_claimed" if state == "producer_claimed" else ""
    return f"{standing}_row"


def _claimed_until(entry: dict[str, Json], state: Json, terms: Terms) -> int | None:
    """Return until when a producer may still be at work: no attempt is made before."""
    until = moment(entry.get("availableAt")) if state == "producer_claimed" else None
    return until if until is not None and until > terms.now_ms else None


def _said_error(entry: dict[str, Json]) -> str | None:
    error = entry.get("lastError")
    return error if isinstance(error, str) else None
