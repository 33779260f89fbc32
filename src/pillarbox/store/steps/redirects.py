"""Remembers where recipients have moved, and leads later messages there (contract CH3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from pillarbox.domain.envelope import Op
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import Leased, State
from pillarbox.store.base import Acted, ForgetRedirect, Redirect
from pillarbox.store.steps import audit
from pillarbox.store.steps.tx import Reader
from pillarbox.store.steps.writing import Writing

_ACTOR: Final = "pillarbox"


class Moved(NamedTuple):
    """A recipient of a queue, and what it became."""

    queue: int
    recipient: str
    address: str


def remember(tx: Writing, moved: Sequence[Moved]) -> None:
    """Note that recipients moved. What led to one of them leads on, and no way leads in a circle."""
    for queue, recipient, address in moved:
        if recipient == address:
            continue
        tx.many("redirect_end", (queue, address))
        tx.many("redirect_on", (queue, recipient, address))
        tx.many("redirect_put", (queue, recipient, address, tx.now))
        tx.overview.redirected = True


def lead(tx: Writing, claimed: list[Leased]) -> None:
    """
    Lead leased messages to the addresses that their recipients have now; their histories tell it.

    Changes stay: what they are about stands where it was sent to, and at the new address its id is another message's.
    """
    sends = [index for index, message in enumerate(claimed) if message.op is Op.SEND]
    asked = [(claimed[index].seq, claimed[index].queue, claimed[index].recipient) for index in sends]
    led = [(index, rows[0][1]) for index, rows in zip(sends, tx.each("redirect_of", asked), strict=True) if rows]
    tx.each("readdress", [(claimed[index].seq, claimed[index].lease, address) for index, address in led])
    lines = [
        audit.Line(
            message.seq, MessageId(message.id), "redirected", _ACTOR, State.LEASED, State.LEASED,
            f"{message.recipient} has become {address}",
        )
        for message, address in ((claimed[index], address) for index, address in led)
    ]  # fmt: skip
    audit.tell(tx, lines)
    for index, address in led:
        claimed[index] = msgspec.structs.replace(claimed[index], recipient=address)


def forget(tx: Writing, item: ForgetRedirect) -> Acted:
    """Send to the recipient itself again, in one tenant's queue."""
    rows = tx.many("redirect_forget", (item.tenant, item.channel, item.recipient))
    if rows:
        audit.audit(tx, item, "forget redirect", item.channel, detail=f"{item.recipient} of tenant {item.tenant!r}")
    return Acted(applied=bool(rows))


def redirects(tx: Reader, limit: int) -> list[Redirect]:
    """Read what is remembered, the newest first."""
    return [
        Redirect(tenant=tenant, channel=channel, recipient=recipient, address=address, at_ms=at)
        for tenant, channel, recipient, address, at in tx.many("redirects", (limit,))
    ]
