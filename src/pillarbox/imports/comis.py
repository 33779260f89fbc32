"""
Reads Comis's table ``delivery_queue``.

One row is one text for one place. What its options ask of the platform goes into the content, and all of them, as they
stand there, into the metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pillarbox.domain.message import Content
from pillarbox.imports.documents import Json, Unreadable, token
from pillarbox.imports.entry import Outcome, SourceEntry, System, Terms, format_of, skipped
from pillarbox.imports.rules import (
    Facts,
    Standing,
    beyond_the_calendar,
    counter,
    judged,
    limit_of,
    moment,
    next_attempt_ms,
)
from pillarbox.imports.source_database import Row, Table, document, opened, row_id, row_key, text

TABLE: Final = Table(
    name="delivery_queue",
    columns=(
        "id", "text", "channel_type", "channel_id", "tenant_id", "options_json", "origin", "format_applied",
        "chunking_applied", "status", "attempt_count", "max_attempts", "created_at", "scheduled_at", "expire_at",
        "last_attempt_at", "next_retry_at", "last_error", "markdown_fallback_applied", "delivered_message_id",
        "trace_id",
    ),
    needed=("id", "text", "channel_type", "channel_id", "status"),
    file="sql/comis.sql",
)  # fmt: skip
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
_SILENT: Final = "silent"


def read(path: Path, terms: Terms) -> Iterator[SourceEntry]:
    """Read the rows, the oldest first, from a copy of the database with its log; arguments and errors as the others."""
    with opened(path, TABLE) as source:
        yield from source.entries(lambda row: _found(row, terms), row_id)


def _found(row: Row, terms: Terms) -> SourceEntry:
    identity, status = row_key(row, _KNOWN)
    if status == _DELIVERED:
        return skipped(identity, "delivered_row")
    if _STANDINGS[status] is Standing.PENDING and row["delivered_message_id"]:
        # Acknowledged, and put back by a late failure: the platform has it, and said under which id.
        return skipped(identity, "acknowledged_row")
    return _understood(row, identity, status, terms)


def _understood(row: Row, identity: str, status: str, terms: Terms) -> SourceEntry:
    if row["text"] is None:
        raise Unreadable("too_large")
    channel, to, written = text(row["channel_type"]), text(row["channel_id"]), text(row["text"]) or ""
    for name, value in (("channel_type", channel), ("channel_id", to)):
        if value is None or not value.strip():
            raise Unreadable(f"missing_field:{name}")
    options = {} if row["no_options"] else document(row["options_json"])
    attempts, last = counter(row["attempt_count"]), moment(row["last_attempt_at"])
    created, scheduled, expires = moment(row["created_at"]), moment(row["scheduled_at"]), moment(row["expire_at"])
    paused = next_attempt_ms(attempts, last_ms=last, enqueued_ms=created, now_ms=terms.now_ms)
    retry = moment(row["next_retry_at"]) or paused
    facts = Facts(
        standing=_STANDINGS[status],
        why=_why(status, attempts, scheduled, terms),
        attempts=attempts,
        limit=limit_of(row["max_attempts"]),
        uncertain=status == _IN_FLIGHT,
        # It has a time of its own. Without one, it is judged by its age, as OpenClaw's are.
        ages=expires is None,
        enqueued=row["created_at"],
        doubt=_doubt_about_times(row),
        expires_ms=expires,
    )
    content = _content(written, options)
    said = SourceEntry(
        source_id=identity,
        outcome=Outcome.IMPORTED if written.strip() else Outcome.SKIPPED,
        reason="" if written.strip() else "empty",
        delivery_id=identity,
        channel=channel or "",
        to=to or "",
        thread=token(options, "threadId"),
        tenant=(text(row["tenant_id"]) or "").strip(),
        content=content,
        contents=(content,),
        metadata=_metadata(row, identity, options),
        origin=text(row["origin"]),
        correlation_id=text(row["trace_id"]),
        not_before_ms=scheduled if scheduled is not None and scheduled > terms.now_ms else None,
        next_attempt_ms=max((at for at in (scheduled, retry) if at is not None), default=None),
        expires_ms=expires,
        last_error=text(row["last_error"]),
        last_attempt_ms=last,
    )
    return judged(said, facts, terms)


def _doubt_about_times(row: Row) -> str | None:
    """Return what is wrong with a row whose times are beyond the calendar, or ``None``."""
    times = ("created_at", "scheduled_at", "expire_at", "next_retry_at")
    return next((f"{name}_invalid" for name in times if beyond_the_calendar(row[name])), None)


def _why(status: str, attempts: int, scheduled: int | None, terms: Terms) -> str:
    if status == "pending":
        if attempts:
            return "nacked"
        return "scheduled_later" if scheduled is not None and scheduled > terms.now_ms else "pending"
    return status if status == _IN_FLIGHT else f"{status}_row"


def _content(written: str, options: dict[str, Json]) -> Content:
    subject = options.get("subject")
    platform = options.get("extra")
    effects = options.get("effects")
    extra: dict[str, Any] = dict(platform) if isinstance(platform, dict) else {}
    extra |= {key: value for key, value in options.items() if key not in _MAPPED}
    if effects == [_SILENT]:
        del extra["effects"]
    return Content(
        text=written,
        format=format_of(options.get("parseMode")),
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
                "channel_type": text(row["channel_type"]),
                "channel_id": text(row["channel_id"]),
                "options": options,
                "format_applied": bool(row["format_applied"]),
                "chunking_applied": bool(row["chunking_applied"]),
                "markdown_fallback_applied": bool(row["markdown_fallback_applied"]),
            },
        }
    }
