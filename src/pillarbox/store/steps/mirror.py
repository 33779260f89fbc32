"""
The records of deliveries that hosts read: made with their message, visible when it is delivered.

A record waits in its own row; whether it may be seen is asked of its message, so that no way of being delivered —
late, by a person's word, in parts — can forget it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pillarbox.domain.mirror import Mirror, MirrorEntry
from pillarbox.store.steps.tx import Reader
from pillarbox.store.steps.writing import Writing


def store(tx: Writing, records: Sequence[tuple[Mirror, str]]) -> None:
    """Write the records of messages; one whose key exists is not written again."""
    if records:
        tx.each(
            "mirror_add",
            [(one.key, one.session_key, one.text, _media(one), message, tx.now) for one, message in records],
        )


def rewrite(tx: Writing, record: Mirror, message: str) -> None:
    """Write anew what the record of a message that is not begun says."""
    tx.each("mirror_rewrite", [(message, record.text, _media(record))])


def _media(record: Mirror) -> str | None:
    return json.dumps(record.media) if record.media else None


def pending(tx: Reader, session_key: str, limit: int) -> list[MirrorEntry]:
    """Read what was delivered and not acknowledged, the oldest first."""
    return [
        MirrorEntry(
            key=key,
            session_key=session_key,
            text=text,
            media=tuple(json.loads(media)) if media else (),
            message=message,
            delivered_ms=delivered,
        )
        for key, text, media, message, delivered in tx.many("mirror_pending", (session_key, limit))
    ]


def acknowledge(tx: Writing, keys: Sequence[str]) -> int:
    """Mark records as taken over; returns how many were still pending."""
    return len(tx.many("mirror_acknowledge", (json.dumps(list(keys)), tx.now)))


def prune(tx: Writing, before: int, limit: int) -> int:
    """Delete what was delivered or acknowledged before a time, and what belongs to no message any more."""
    return len(tx.many("mirror_prune", (before, limit)))
