"""Where a text holds another one, whatever the case of both, in a time that grows with their lengths only. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

Span = tuple[int, int]


def folded(text: str) -> str:
    """Return *text* without regard to case, each character at its place; one that would become two stays as it is."""
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


def words_replaced(text: str, value: str, by: str) -> str:
    """
    Put *by* in the place of *value* where it stands in *text* as a word of its own.

    A letter, a digit, an underscore or a mark beside it makes it part of another word; where *value* itself begins or
    ends with something else, as in ``+49…`` or ``ann@example.org.``, whatever stands beside that end is no part of it.
    """
    flat, piece = folded(text), folded(value)
    spans = []
    at = flat.find(piece) if piece else -1
    while at >= 0:
        end = at + len(piece)
        if _joined(flat, at):
            # Nothing else begins inside of this word: so no character is looked at twice.
            at = flat.find(piece, _end_of_word(flat, at))
        elif _joined(flat, end):
            at = flat.find(piece, at + 1)
        else:
            spans.append((at, end))
            at = flat.find(piece, end)
    return put(text, spans, by)


def _joined(text: str, place: int) -> bool:
    """Whether *place*, between two characters, is inside of a word."""
    return 0 < place < len(text) and _is_of_a_word(text[place - 1]) and _is_of_a_word(text[place])


def _end_of_word(text: str, place: int) -> int:
    while place < len(text) and _is_of_a_word(text[place]):
        place += 1
    return place


def _is_of_a_word(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"
