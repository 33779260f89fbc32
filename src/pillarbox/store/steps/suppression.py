"""Remembers which recipients were refused for good, so that nothing is sent to them any more."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pillarbox.domain.message import Leased
from pillarbox.store.base import Acted, ClearRecipient, Settlement, Suppressed
from pillarbox.store.steps import audit
from pillarbox.store.steps.attempt import writable
from pillarbox.store.steps.tx import Reader
from pillarbox.store.steps.writing import Writing


def remember(tx: Writing, refused: Sequence[Settlement]) -> None:
    """Note whom the platform refused."""
    rows = [
        (item.message.queue, item.message.recipient, tx.now, writable(item.transition.error) or "") for item in refused
    ]
    if rows:
        tx.each("suppress", rows)
        tx.overview.suppressed = True


def mark(tx: Writing, claimed: list[Leased]) -> None:
    """Note on leased messages that they must not be sent, and why."""
    found = tx.each("suppressed_of", [(message.seq, message.queue, message.recipient) for message in claimed])
    for index, rows in enumerate(found):
        if rows and claimed[index].policy.suppress:
            claimed[index] = msgspec.structs.replace(claimed[index], suppressed=rows[0][1])


def clear(tx: Writing, item: ClearRecipient) -> Acted:
    """Send to a recipient again, or to all, in one tenant's queue."""
    rows = tx.many("suppressed_clear", (item.tenant, item.channel, item.recipient))
    if rows:
        whom = "every recipient" if item.recipient is None else item.recipient
        audit.audit(tx, item, "clear recipient", item.channel, detail=f"{whom} of tenant {item.tenant!r}")
    return Acted(applied=bool(rows))


def suppressed(tx: Reader, limit: int) -> list[Suppressed]:
    """Read who gets nothing more, the newest first."""
    return [
        Suppressed(tenant=tenant, channel=channel, recipient=recipient, reason=reason, at_ms=at)
        for tenant, channel, recipient, reason, at in tx.many("suppressed", (limit,))
    ]
