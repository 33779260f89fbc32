"""
Reads the table ``message_outbox``, which a pull request proposed to OpenClaw and some people run.

Route and payloads come out of its JSON, everything else out of the columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pillarbox.imports.documents import Json
from pillarbox.imports.entry import SourceEntry, System, Terms, skipped
from pillarbox.imports.openclaw_entry import kind_of, understand
from pillarbox.imports.rules import Facts, Standing, counter, judged, moment
from pillarbox.imports.source_database import Row, Table, document, opened, row_id, row_key, text

TABLE: Final = Table(
    name="message_outbox",
    columns=(
        "id", "turn_id", "channel", "account_id", "target", "dispatch_kind", "payload", "queued_at", "status",
        "attempt_count", "next_attempt_at", "last_attempt_at", "last_error", "terminal_reason",
    ),
    needed=("id", "payload", "status"),
    file="sql/openclaw_outbox.sql",
)  # fmt: skip
_STANDINGS: Final = {
    "queued": Standing.PENDING,
    "failed_retryable": Standing.PENDING,
    "failed_terminal": Standing.FAILED,
    "expired": Standing.EXPIRED,
}
_DELIVERED: Final = "delivered"
_KNOWN: Final = frozenset({*_STANDINGS, _DELIVERED})


def read(path: Path, terms: Terms) -> Iterator[SourceEntry]:
    """Read the rows, the oldest first, from a copy of the database with its log; arguments and errors as the others."""
    with opened(path, TABLE) as source:
        yield from source.entries(lambda row: _found(row, terms, source.lacking), row_id)


def _found(row: Row, terms: Terms, lacking: frozenset[str]) -> SourceEntry:
    identity, status = row_key(row, _KNOWN)
    if status == _DELIVERED:
        return skipped(identity, "delivered_row")
    standing = _STANDINGS[status]
    entry = _with_columns(document(row["payload"]), row)
    kind = text(row["dispatch_kind"]) or entry.get("dispatchKind")
    waits = status == "failed_retryable"
    facts = Facts(
        standing=standing,
        why=status if waits or standing is Standing.FAILED else "",
        attempts=counter(entry.get("retryCount") if "attempt_count" in lacking else row["attempt_count"]),
        final=kind in (None, "final"),
        enqueued=entry.get("enqueuedAt") if "queued_at" in lacking else row["queued_at"],
    )
    said = msgspec.structs.replace(
        understand(entry, system=System.OPENCLAW_OUTBOX, source_id=identity, delivery_id=identity),
        kind=kind_of(kind),
        correlation_id=text(row["turn_id"]),
        last_attempt_ms=moment(row["last_attempt_at"]),
        last_error=text(row["last_error"]) or text(row["terminal_reason"]),
        next_attempt_ms=moment(row["next_attempt_at"]),
    )
    return judged(said, facts, terms)


def _with_columns(entry: dict[str, Json], row: Row) -> dict[str, Json]:
    """Fill in from the columns what the JSON leaves out of the route."""
    columns = {"channel": text(row["channel"]), "to": text(row["target"]), "accountId": text(row["account_id"])}
    return {**entry, **{name: value for name, value in columns.items() if value and not entry.get(name)}}
