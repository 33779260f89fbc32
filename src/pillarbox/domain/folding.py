"""Where a text holds another one, whatever the case of both, in a time that grows with their lengths only. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Span = tuple[int, int]


def folded(text: str) -> str:
    """Give *text* without regard to case, each character where it was; what would become two of them stays as it is."""
    flat = text.casefold()
    if len(flat) == len(text):
        return flat
    return "".join(other if len(other := character.casefold()) == 1 else character for character in text)


def found(flat: str, piece: str) -> list[Span]:
    """List where *piece* stands in *flat*, both folded, from left to right and without overlaps."""
    spans = []
    at = flat.find(piece) if piece else -1
    while at >= 0:
        spans.append((at, at + len(piece)))
        at = flat.find(piece, at + len(piece))
    return spans


def put(text: str, spans: Sequence[Span], by: str) -> str:
    """Put *by* in the place of each span; of those that overlap, in the place of all of them together."""
    kept: list[str] = []
    end = 0
    for first, last in sorted(spans):
        if first >= end:
            kept += (text[end:first], by)
        end = max(end, last)
    return "".join((*kept, text[end:]))


def replaced(text: str, value: str, by: str) -> str:
    """Put *by* in the place of *value* wherever it stands in *text*, inside of words too."""
    return put(text, found(folded(text), folded(value)), by)
