"""A message as a caller says it, before anything of it is checked. Pure."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from pillarbox.domain.envelope import Kind, Priority
from pillarbox.domain.message import Format
from pillarbox.errors import InvalidMessage, KeyConflict


class Default:
    """The type of `DEFAULT`: nothing was said."""

    def __repr__(self) -> str:
        """Show as in signatures."""
        return "DEFAULT"


DEFAULT: Final = Default()

Payload = bytes | str | Mapping[str, Any] | Sequence[Any]


class Outgoing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One message as a caller says it; the arguments of `Outbox.send`, which documents them.

    ``lane`` and ``ttl`` may be `DEFAULT`; ``None`` means no order and no limit. ``group_id`` marks the messages of one
    fan-out, which share their stored content.
    """

    channel: str
    to: Any
    text: Any = None
    payload: Any = None
    content_type: Any = None
    subject: Any = None
    format: Any = Format.PLAIN
    reply_to: Any = None
    thread: Any = None
    silent: bool = False
    files: Any = ()
    extra: Any = None
    mirror: Any = None
    key: Any = None
    at: Any = None
    ttl: Any = DEFAULT
    expires_at: Any = None
    lane: Any = DEFAULT
    priority: Any = Priority.NORMAL
    max_attempts: Any = None
    schedule: Any = None
    uncertain: Any = None
    kind: Any = Kind.FINAL
    collapse: Any = None
    correlation_id: Any = None
    origin: Any = None
    tenant: Any = ""
    account: Any = ""
    metadata: Any = None
    traceparent: Any = None
    abort: Any = None
    group_id: str | None = None


def is_empty(outgoing: Outgoing) -> bool:
    """Whether there is nothing to say: blank text, no file and no payload (contract EN14)."""
    text = outgoing.text
    return isinstance(text, str) and not text.strip() and outgoing.payload is None and not outgoing.files


def several_of(messages: Iterable[Outgoing | Mapping[str, Any]]) -> Iterable[Outgoing | Mapping[str, Any]]:
    """Return several messages as they were given. Raises InvalidMessage for what is no list, or one message."""
    given: object = messages
    if isinstance(given, Mapping | str | bytes) or not isinstance(given, Iterable):
        raise InvalidMessage("messages", f"expected a list of messages, not {type(given).__name__}")
    return messages


@contextlib.contextmanager
def positioned(position: int) -> Iterator[None]:
    """Name which of several messages was refused."""
    try:
        yield
    except KeyConflict:
        raise
    except InvalidMessage as exc:
        raise InvalidMessage(f"messages[{position}].{exc.field}", exc.expected) from None


def outgoing_of(item: Outgoing | Mapping[str, Any]) -> Outgoing:
    """Take one of several messages as it was said. Raises InvalidMessage for what `send` does not know."""
    if isinstance(item, Outgoing):
        return item
    if not isinstance(item, Mapping):
        raise InvalidMessage("message", f"expected a mapping or an Outgoing, not {type(item).__name__}")
    names: Iterable[object] = item
    odd = [type(name).__name__ for name in names if not isinstance(name, str)]
    if odd:
        raise InvalidMessage("message", f"expected the arguments of send by name, not by {odd[0]}")
    unknown = sorted(set(item) - set(Outgoing.__struct_fields__))
    if unknown:
        near = difflib.get_close_matches(unknown[0], Outgoing.__struct_fields__, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidMessage(unknown[0], f"is not an argument of send{hint}")
    for field in ("channel", "to"):
        if field not in item:
            raise InvalidMessage(field, "is missing")
    return Outgoing(**item)
