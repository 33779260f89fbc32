"""What a message looks like in JSON: the stable form that the command line prints and documents."""

from __future__ import annotations

from typing import Any

import msgspec

from pillarbox.domain.arrival import Aggregate, aggregate
from pillarbox.domain.explain.causes import Explanation
from pillarbox.domain.message import MessageView
from pillarbox.domain.moments import to_datetime
from pillarbox.store.base import Event


def stamp(ms: int | None) -> str | None:
    """Write a time as RFC 3339 in UTC, to the millisecond."""
    return None if ms is None else to_datetime(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message_dict(view: MessageView) -> dict[str, Any]:
    """Return a message's row as plain values. Its content is there only where it was read."""
    return {
        "id": view.id,
        "state": str(view.state),
        "aggregate": _word(aggregate(view)),
        "channel": view.channel,
        "to": view.recipient,
        "tenant": view.tenant,
        "account": view.account,
        "thread": view.thread,
        "op": str(view.op),
        "target": view.target,
        "kind": str(view.kind),
        "priority": view.priority,
        "lane": lane_text(view.lane),
        "waiting": view.waiting,
        "key": view.key,
        "created_at": stamp(view.created_ms),
        "not_before": stamp(view.not_before_ms),
        "due_at": stamp(view.due_ms),
        "expires_at": stamp(view.expires_ms),
        "completed_at": stamp(view.completed_ms),
        "claims": view.claims,
        "charged": view.charged,
        "lost": view.lost,
        "max_attempts": view.max_attempts,
        "receipt": view.receipt,
        "reason": view.terminal_reason,
        "error_class": view.error_class,
        "error": view.last_error,
        "also_arrived_at": stamp(view.also_arrived_ms),
        "extra_copies": view.extra_copies,
        "cancel_requested_at": stamp(view.cancel_requested_ms),
        "correlation_id": view.correlation_id,
        "origin": view.origin,
        "traceparent": view.traceparent,
        "replay_of": view.replay_of,
        "metadata": None if view.metadata is None else msgspec.json.decode(view.metadata),
        "content": None if view.content is None else msgspec.json.decode(view.content),
        "splitter": view.splitter,
        "part_count": view.part_count,
        "parts_delivered": view.parts_delivered,
        "parts": [
            {"number": part.number, "state": str(part.state), "receipt": part.receipt, "reason": part.reason}
            for part in view.parts
        ],
    }


def _word(aggregate: Aggregate | None) -> str | None:
    return None if aggregate is None else str(aggregate)


def lane_text(lane: str | None) -> str | None:
    """Write a lane for people: its pieces, joined by slashes."""
    return None if lane is None else "/".join(piece for piece in lane.split("\x1f") if piece)


def event_dict(event: Event) -> dict[str, Any]:
    """Return one line of a history as plain values."""
    return {
        "at": stamp(event.at_ms),
        "act": event.act,
        "actor": event.actor,
        "from": None if event.from_state is None else str(event.from_state),
        "to": str(event.to_state),
        "reason": event.reason,
        "attempt": event.attempt,
        "began_at": stamp(event.began_ms),
        "outcome": event.outcome,
        "receipt": event.receipt,
        "answer": event.answer,
        "due_at": stamp(event.due_ms),
    }


def explanation_dict(explanation: Explanation) -> dict[str, Any]:
    """Return why a message is not delivered yet, or what became of it, as plain values."""
    return {
        "id": explanation.message,
        "state": str(explanation.state),
        "at": stamp(explanation.at_ms),
        "earliest_at": stamp(explanation.earliest_ms),
        "causes": [
            {
                "word": str(cause.word),
                "since": stamp(cause.since_ms),
                "until": stamp(cause.until_ms),
                "blocking": cause.blocking,
                "text": cause.text,
                "unblock": cause.unblock,
                "ahead": cause.ahead,
            }
            for cause in explanation.causes
        ],
    }
