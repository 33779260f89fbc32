"""
Reads the table ``message_outbox``, which a pull request proposed to OpenClaw and some people run.

Route and payloads come out of its JSON, everything else out of the columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pillarbox.imports import source_database
from pillarbox.imports.documents import DOCUMENT_BYTES_MAX, Json, Unreadable
from pillarbox.imports.entry import SourceEntry, System, Terms, left, skipped
from pillarbox.imports.openclaw_entry import judged, kind_of, understand
from pillarbox.imports.rules import Facts, Standing, counter, moment
from pillarbox.imports.source_database import Row, document, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE: Final = "message_outbox"
COLUMNS: Final = (
    "id", "turn_id", "channel", "account_id", "target", "dispatch_kind", "payload", "queued_at", "status",
    "attempt_count", "next_attempt_at", "last_attempt_at", "last_error", "terminal_reason",
)  # fmt: skip
NEEDED: Final = ("id", "payload", "status")
"""Without these nothing can be said of an entry; earlier versions of the table may lack the others."""
_FILE: Final = "sql/openclaw_outbox.sql"
_STANDINGS: Final = {
    "queued": Standing.PENDING,
    "failed_retryable": Standing.PENDING,
    "failed_terminal": Standing.FAILED,
    "expired": Standing.EXPIRED,
}
_DELIVERED: Final = "delivered"
_KNOWN: Final = frozenset({*_STANDINGS, _DELIVERED})


def read(path: Path, terms: Terms, *, bytes_max: int = DOCUMENT_BYTES_MAX) -> Iterator[SourceEntry]:
    """Read the rows, the oldest first, from a copy of the database with its log; arguments and errors as the others."""
    with source_database.opened(path, table=TABLE, needed=NEEDED) as connection:
        lacking = source_database.lacking(connection, table=TABLE, columns=COLUMNS)
        sql = source_database.statements(connection, _FILE, table=TABLE, columns=COLUMNS)
        for row in source_database.rows(connection, sql["entries"], (bytes_max,)):
            yield _entry(row, terms, lacking)


def _entry(row: Row, terms: Terms, lacking: frozenset[str]) -> SourceEntry:
    source_id = source_database.row_id(row)
    try:
        return _found(row, terms, lacking)
    except Unreadable as exc:
        return left(source_id, exc.reason)


def _found(row: Row, terms: Terms, lacking: frozenset[str]) -> SourceEntry:
    identity, status = source_database.row_key(row, _KNOWN)
    if status == _DELIVERED:
        return skipped(identity, "delivered_row")
    return _understood(row, identity, status, terms, lacking)


def _understood(row: Row, identity: str, status: str, terms: Terms, lacking: frozenset[str]) -> SourceEntry:
    standing = _STANDINGS[status]
    entry = _with_columns(document(row[8]), row)
    said = understand(entry, system=System.OPENCLAW_OUTBOX, source_id=identity)
    kind = text(row[7]) or entry.get("dispatchKind")
    enqueued = entry.get("enqueuedAt") if "queued_at" in lacking else row[9]
    waits = status == "failed_retryable"
    facts = Facts(
        standing=standing,
        why=status if waits or standing is Standing.FAILED else "",
        attempts=counter(entry.get("retryCount") if "attempt_count" in lacking else row[10]),
        final=kind in (None, "final"),
        enqueued=enqueued,
    )
    found = judged(
        said,
        facts,
        terms,
        source_id=identity,
        delivery_id=identity,
        enqueued_ms=moment(enqueued),
        last_attempt_ms=moment(row[12]),
        last_error=text(row[13]) or text(row[14]),
        next_ms=moment(row[11]),
    )
    return msgspec.structs.replace(found, kind=kind_of(kind), correlation_id=text(row[3]))


def _with_columns(entry: dict[str, Json], row: Row) -> dict[str, Json]:
    """Fill in from the columns what the JSON leaves out of the route."""
    columns: dict[str, Json] = {"channel": text(row[4]), "to": text(row[6]), "accountId": text(row[5])}
    return {**entry, **{name: value for name, value in columns.items() if value and not entry.get(name)}}
