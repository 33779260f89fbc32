"""
Reads OpenClaw's table ``delivery_queue_entries``, as of 2026.6.1 and of 2026.9.6.

Route and payloads come out of its JSON; counter, times and state out of the columns, which are what its own code
updates. Only queues that send are read; the table has others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pillarbox.imports.documents import Json, Unreadable
from pillarbox.imports.entry import SourceEntry, System, Terms, skipped
from pillarbox.imports.openclaw_entry import required_text, said_error, uncertain, understand
from pillarbox.imports.rules import Facts, Standing, counter, judged, limit_of, moment
from pillarbox.imports.source_database import Row, Table, document, opened, row_id, text

TABLE: Final = Table(
    name="delivery_queue_entries",
    columns=(
        "queue_name", "id", "status", "entry_json", "retry_count", "last_attempt_at", "last_error", "recovery_state",
        "enqueued_at",
    ),
    needed=("queue_name", "id", "status", "entry_json"),
    file="sql/openclaw_sqlite.sql",
)  # fmt: skip
_QUEUES: Final = frozenset({"outbound", "outbound-prepared-v1"})
_STANDINGS: Final = {"pending": Standing.PENDING, "failed": Standing.FAILED, "expired": Standing.EXPIRED}
_DONE: Final = frozenset({"completed", "delivered"})


def read(path: Path, terms: Terms) -> Iterator[SourceEntry]:
    """
    Read the entries, the oldest first, from a copy of the database with its log.

    Raises:
        NotFound: There is no such file.
        InvalidMessage: ``path``: no database of OpenClaw, damaged, or not to be trusted.
    """
    with opened(path, TABLE) as source:
        # One id in two queues is one delivery: done in either, it is done.
        done = {row["id"] for row in source.rows("done")}
        yield from source.entries(lambda row: _found(row, terms, source.lacking, done=row["id"] in done), _source_id)


def _source_id(row: Row) -> str:
    """Return the primary key."""
    return f"{text(row['queue_name']) or ''}/{text(row['id']) or ''}"


def _found(row: Row, terms: Terms, lacking: frozenset[str], *, done: bool) -> SourceEntry:
    source_id, status = _source_id(row), text(row["status"]) or ""
    row_id(row)
    if text(row["queue_name"]) not in _QUEUES:
        return skipped(source_id, "not_outbound_queue")
    if status in _DONE:
        return skipped(source_id, "completed_receipt")
    if status not in _STANDINGS:
        raise Unreadable("unknown_status")
    if done and _STANDINGS[status] is Standing.PENDING:
        return skipped(source_id, "completed_elsewhere")
    return _understood(row, source_id, _STANDINGS[status], terms, lacking)


def _understood(row: Row, source_id: str, standing: Standing, terms: Terms, lacking: frozenset[str]) -> SourceEntry:
    entry = document(row["entry_json"])
    if standing is Standing.FAILED and not {"payloads", "preparedBatch", "to"} & entry.keys():
        # A fence: its source has thrown away what it was about, so that nobody can send it, we least of all.
        return skipped(source_id, "failed_without_payload")
    required_text(entry, "id")
    state = text(row["recovery_state"]) or entry.get("recoveryState")
    facts = Facts(
        standing=standing,
        why=_why(standing, state),
        attempts=counter(entry.get("retryCount") if "retry_count" in lacking else row["retry_count"]),
        limit=limit_of(entry.get("maxRetries")),
        final=entry.get("dispatchKind") in (None, "final"),
        uncertain=uncertain(state),
        enqueued=entry.get("enqueuedAt") if "enqueued_at" in lacking else row["enqueued_at"],
    )
    tried = entry.get("lastAttemptAt") if "last_attempt_at" in lacking else row["last_attempt_at"]
    said = msgspec.structs.replace(
        understand(entry, system=System.OPENCLAW_SQLITE, source_id=source_id, delivery_id=text(row["id"])),
        last_attempt_ms=moment(tried),
        last_error=text(row["last_error"]) or said_error(entry),
        next_attempt_ms=_claimed_until(entry, state, terms),
    )
    return judged(said, facts, terms)


def _why(standing: Standing, state: Json) -> str:
    if standing is Standing.PENDING:
        return "producer_claimed" if state == "producer_claimed" else ""
    return f"{standing}_row"


def _claimed_until(entry: dict[str, Json], state: Json, terms: Terms) -> int | None:
    """Return until when a producer may still be at work: no attempt is made before."""
    until = moment(entry.get("availableAt")) if state == "producer_claimed" else None
    return until if until is not None and until > terms.now_ms else None
