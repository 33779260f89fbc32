"""What an idempotency key says of a message that is to be stored under it (contract EN7). Pure."""

from __future__ import annotations

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import Draft
from pillarbox.errors import KeyConflict


def first_message(draft: Draft, *, digest: bytes, first: MessageId) -> MessageId:
    """
    Return the message that a key stands for already: *first*, stored for the content of *digest*.

    Raises:
        KeyConflict: The draft says something else.
    """
    if draft.digest != digest:
        raise KeyConflict(draft.key or "", first)
    return first
