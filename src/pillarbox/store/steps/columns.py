"""
What every database's statements take from the rules: columns in the order in which the steps read them, and states.

What a column is made of, each database says for itself.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from pillarbox.domain.envelope import Envelope
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.orders import ORDERS

_CODED: Final = (
    "id", "tenant", "channel", "recipient", "policy", "created_ms", "max_attempts", "kind", "op", "metadata",
)  # fmt: skip
"""Fields of the envelope that are stored in a form of their own, or that a statement names itself. They come first."""
CARRIED: Final = Envelope.__struct_fields__[len(_CODED) :]
"""Fields of the envelope that are stored as they are, each in the column of its name."""
_ALL: Final = slice(len(Envelope.__struct_fields__))
_CARRIED: Final = slice(len(_CODED), len(Envelope.__struct_fields__))
CARRIED_KINDS: Final = {
    field.name: "smallint" if field.name == "priority" else "bigint" if field.type is int else "text"
    for field in msgspec.structs.fields(Envelope)
    if field.name in CARRIED
}
"""What these columns hold, in PostgreSQL's words."""

if Envelope.__struct_fields__[: len(_CODED)] != _CODED:
    raise TypeError("the envelope's fields are not in the order in which they are stored")

NEW: Final = (
    "id", "queue", "recipient", "policy", "created_ms", "max_attempts", "kind", "op", "metadata", "due_ms", "floating",
    "not_before_ms", "expires_ms", "prepared", "part_count", "splitter", "content", "payload", "content_size", "key",
    "collapse_key", "group_id", "replay_of", "token_id", "token_epoch", "accepted_by", "state", "lease", "lease_until",
    "worker", "claims", "claimed_ms", *CARRIED,
)  # fmt: skip
"""A message that is to be stored; `enqueue` gives them."""
LEASED: Final = (
    "id", "queue", "recipient", "policy", "created_ms", "max_attempts", "kind", "op", "metadata", "seq", "lease",
    "due_ms", "expires_ms", "claims", "charged", "lost", "prepared", "part_count", "part_next", "token_id",
    "token_epoch", "claimed_ms", "first_claimed_ms", "content_size", "free_returns", "accepted_by", "bounded_limits",
    "maybe_sent_ms", "undecided_ms", "content", "payload", "state", *CARRIED,
)  # fmt: skip
"""A leased message; `leased` reads them."""
_DOUBT: Final = (
    "(SELECT min(coalesce(a.began_at, a.claimed_at, a.ended_at)) FROM attempt a WHERE a.message = message.seq"
    " AND a.part = message.part_next AND a.error_class IN ('uncertain', 'worker_lost') AND a.arrived_at IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM history h WHERE h.message = a.message AND h.at >= a.ended_at AND {decided}))"
)
DOUBTS: Final = {
    "maybe_sent_ms": _DOUBT.format(decided="h.act = 'resolve not delivered'"),
    # Out of `held` a message goes by a person's word only.
    "undecided_ms": _DOUBT.format(decided=f"h.from_state = {State.HELD.code}"),
}
"""Of a message that was tried before: when the first attempt of its next part began that may have arrived."""
VIEW: Final = tuple(name for name in MessageView.__struct_fields__ if name != "parts")
"""A message for people; `read` reads them."""


def carried(message: Envelope) -> tuple[Any, ...]:
    """Return the values of the `CARRIED` fields."""
    return msgspec.structs.astuple(message)[_CARRIED]


def envelope(message: Envelope) -> tuple[Any, ...]:
    """Return the values of all fields that travel with a message, in the order of `Envelope`."""
    return msgspec.structs.astuple(message)[_ALL]


def column(field: str) -> str:
    """Return the column in which a field is stored: a time in milliseconds has another ending there."""
    return field.replace("_ms", "_at").replace("not_before_at", "not_before")


FRAGMENTS: Final = {
    "carried": ", ".join(CARRIED),
    "new": ", ".join(column(name) for name in NEW),
    "new_marks": ", ".join(f"?{number}" for number, _ in enumerate(NEW, start=1)),
    # The numbers of the states in which each order is carried out.
    **{
        f"{order}_states": ", ".join(str(state.code) for state in scope.possible if state in scope.states)
        for order, scope in ORDERS.items()
    },
}
"""What statements name in braces."""
