"""
Reads Comis's table ``delivery_queue``.

One row is one text for one place. What its options ask of the platform goes into the content, and all of them, as they
stand there, into the metadata.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pillarbox.domain.message import Content, Format
from pillarbox.imports import source_database
from pillarbox.imports.documents import DOCUMENT_BYTES_MAX, Json, Unreadable, token
from pillarbox.imports.entry import Outcome, SourceEntry, System, Terms, left, skipped
from pillarbox.imports.rules import (
    Facts,
    Standing,
    beyond_the_calendar,
    counter,
    judge,
    limit_of,
    moment,
    next_attempt_ms,
)
from pillarbox.imports.source_database import Row, document, text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE: Final = "delivery_queue"
COLUMNS: Final = (
    "id", "text", "channel_type", "channel_id", "tenant_id", "options_json", "origin", "format_applied",
    "chunking_applied", "status", "attempt_count", "max_attempts", "created_at", "scheduled_at", "expire_at",
    "last_attempt_at", "next_retry_at", "last_error", "markdown_fallback_applied", "delivered_message_id", "trace_id",
)  # fmt: skip
NEEDED: Final = ("id", "text", "channel_type", "channel_id", "status")
"""Without these nothing can be said of an entry; earlier versions of the table may lack the others."""
_FILE: Final = "sql/comis.sql"
_STANDINGS: Final = {
    "pending": Standing.PENDING,
    "in_flight": Standing.PENDING,
    "failed": Standing.FAILED,
    "expired": Standing.EXPIRED,
}
_IN_FLIGHT: Final = "in_flight"
_DELIVERED: Final = "delivered"
_KNOWN: Final = frozenset({*_STANDINGS, _DELIVERED})
_MAPPED: Final = frozenset({"replyTo", "threadId", "subject", "parseMode", "extra"})
_FORMATS: Final = {"html": Format.HTML, "markdown": Format.MARKDOWN, "markdownv2": Format.MARKDOWN}
_SILENT: Final = "silent"


def read(path: Path, terms: Terms, *, bytes_max: int = DOCUMENT_BYTES_MAX) -> Iterator[SourceEntry]:
    """Read the rows, the oldest first, from a copy of the database with its log; arguments and errors as the others."""
    with source_database.opened(path, table=TABLE, needed=NEEDED) as connection:
        sql = source_database.statements(connection, _FILE, table=TABLE, columns=COLUMNS)
        for row in source_database.rows(connection, sql["entries"], (bytes_max,)):
            yield _entry(row, terms)


def _entry(row: Row, terms: Terms) -> SourceEntry:
    source_id = source_database.row_id(row)
    try:
        return _found(row, terms)
    except Unreadable as exc:
        return left(source_id, exc.reason)


def _found(row: Row, terms: Terms) -> SourceEntry:
    identity, status = source_database.row_key(row, _KNOWN)
    if status == _DELIVERED:
        return skipped(identity, "delivered_row")
    if _STANDINGS[status] is Standing.PENDING and row[20]:
        # Acknowledged, and put back by a late failure: the platform has it, and said under which id.
        return skipped(identity, "acknowledged_row")
    return _understood(row, identity, status, terms)


def _understood(row: Row, identity: str, status: str, terms: Terms) -> SourceEntry:
    if row[3] is None:
        raise Unreadable("too_large")
    channel, to, written = text(row[4]), text(row[5]), text(row[3]) or ""
    for name, value in (("channel_type", channel), ("channel_id", to)):
        if value is None or not value.strip():
            raise Unreadable(f"missing_field:{name}")
    options = {} if row[22] else document(row[7])
    standing, attempts = _STANDINGS[status], counter(row[12])
    created, scheduled, expires = moment(row[14]), moment(row[15]), moment(row[16])
    last = moment(row[17])
    paused = next_attempt_ms(attempts, last_ms=last, enqueued_ms=created, now_ms=terms.now_ms)
    retry = moment(row[18]) or paused
    facts = Facts(
        standing=standing,
        why=_why(status, attempts, scheduled, terms),
        attempts=attempts,
        limit=limit_of(row[13]),
        uncertain=status == _IN_FLIGHT,
        # It has a time of its own. Without one, it is judged by its age, as OpenClaw's are.
        ages=expires is None,
        enqueued=row[14],
        doubt=_doubt_about_times(row),
        expires_ms=expires,
    )
    verdict = judge(facts, terms)
    outcome, state, reason = verdict.outcome, verdict.state, verdict.reason
    if outcome is Outcome.IMPORTED and not written.strip():
        outcome, state, reason = Outcome.SKIPPED, None, "empty"
    content = _content(written, options)
    return SourceEntry(
        source_id=identity,
        outcome=outcome,
        reason=reason,
        state=state,
        attempts=attempts if outcome.stored else None,
        delivery_id=identity,
        channel=channel or "",
        to=to or "",
        thread=token(options, "threadId"),
        tenant=(text(row[6]) or "").strip(),
        content=content,
        contents=(content,),
        metadata=_metadata(row, identity, options),
        origin=text(row[8]),
        correlation_id=text(row[21]),
        enqueued_ms=created,
        not_before_ms=scheduled if scheduled is not None and scheduled > terms.now_ms else None,
        next_attempt_ms=max((at for at in (scheduled, retry) if at is not None), default=None),
        expires_ms=expires,
        max_attempts=limit_of(row[13]),
        last_error=text(row[19]),
        last_attempt_ms=last,
    )


def _doubt_about_times(row: Row) -> str | None:
    """Return what is wrong with a row whose times are beyond the calendar, or ``None``."""
    times = {"created_at": row[14], "scheduled_at": row[15], "expire_at": row[16], "next_retry_at": row[18]}
    return next((f"{name}_invalid" for name, value in times.items() if beyond_the_calendar(value)), None)


def _why(status: str, attempts: int, scheduled: int | None, terms: Terms) -> str:
    if status == "pending":
        if attempts:
            return "nacked"
        return "scheduled_later" if scheduled is not None and scheduled > terms.now_ms else "pending"
    return status if status == _IN_FLIGHT else f"{status}_row"


def _content(written: str, options: dict[str, Json]) -> Content:
    subject = options.get("subject")
    mode = options.get("parseMode")
    platform = options.get("extra")
    effects = options.get("effects")
    extra: dict[str, Any] = dict(platform) if isinstance(platform, dict) else {}
    extra |= {key: value for key, value in options.items() if key not in _MAPPED}
    if effects == [_SILENT]:
        del extra["effects"]
    return Content(
        text=written,
        format=_FORMATS.get(mode.lower(), Format.PLAIN) if isinstance(mode, str) else Format.PLAIN,
        subject=subject if isinstance(subject, str) and subject else None,
        reply_to=token(options, "replyTo"),
        silent=isinstance(effects, list) and _SILENT in effects,
        extra=extra,
    )


def _metadata(row: Row, identity: str, options: dict[str, Json]) -> dict[str, Any]:
    return {
        "import": {
            "system": str(System.COMIS),
            "source_id": identity,
            "entry": {
                "channel_type": text(row[4]),
                "channel_id": text(row[5]),
                "options": options,
                "format_applied": bool(row[9]),
                "chunking_applied": bool(row[10]),
                "markdown_fallback_applied": bool(row[11]),
            },
        }
    }
