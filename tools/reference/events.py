"""The events' page: every typed event with its own fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.events.events import BusEvent, MessageEvent
from tools.reference.page import about, code, table

if TYPE_CHECKING:
    from collections.abc import Iterator


def blocks() -> dict[str, str]:
    """Return the table of events, and the fields that those of a message have in common."""
    return {
        "typed events": table(("Event", "What it tells", "Own fields"), _rows()),
        "fields of a message's event": f"{_fields(MessageEvent, BusEvent)}\n",
    }


def _rows() -> Iterator[tuple[str, str, str]]:
    for base in (MessageEvent, BusEvent):
        for kind in base.__subclasses__():
            if kind is not MessageEvent:
                yield kind.__name__, about(kind), _fields(kind, base)


def _fields(kind: type[BusEvent], base: type[BusEvent]) -> str:
    return ", ".join(code(name) for name in kind.__struct_fields__ if name not in base.__struct_fields__)
