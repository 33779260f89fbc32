"""
Where a text may be cut, and how good each place is: ends of paragraphs, lines, sentences, words. Pure.

A break is found by its white space. Ends of sentences are a guess ("Dr. Who" has one): a better place to cut, never
the only one. UAX #29 §5 would need tables, and guesses too.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple


class Level(IntEnum):
    """
    What ends at a break; each level contains those above it.

    ``GLUED`` is white space that holds together: no-break spaces, the space after a list marker, one before a code
    fence's signs, which at the start of a line would begin a block of code.
    """

    GLUED = 0
    WORD = 1
    SENTENCE = 2
    LINE = 3
    PARAGRAPH = 4


class Break(NamedTuple):
    """A part may end at ``stop`` and the next begin at ``resume``; what stands between is white space."""

    stop: int
    resume: int
    level: Level


# In this order: a space between two words, which is most places and needs no second look; line ends with all white
# space before them; a list marker; indentation, which is kept; other white space; ends of sentences in scripts that put
# no space there. Each run of white space is consumed at once.
_PLACE = re.compile(
    r"(?P<plain> (?<=[^\W_] )(?=[^\W_]))"
    r"|(?P<lines>\s*[\r\n](?:\s*\Z)?)"
    r"|(?<![^\r\n])[ \t]*(?:[-+*]|[0-9]{1,9}[.)])(?P<marked>[ \t]+)(?=\S)"
    r"|(?<![^\r\n])(?P<indent>\s+)"
    r"|(?P<white>\s+)"
    r"|(?:[。！？｡]++[」』）】》〉”’]*+)(?P<full>)"  # noqa: RUF001 — full-width signs are meant
)
_LINE_END = re.compile(r"\r\n|\r|\n")
_NO_BREAK = "\u00a0\u2007\u202f"
_SENTENCE_ENDS = frozenset(".!?…‽؟۔।॥。！？｡")  # noqa: RUF001 — the same
_CLOSERS = frozenset("\"'”’»)]}*_~`」』）】》〉")  # noqa: RUF001 — the same
FENCE_SIGNS = ("```", "~~~")


def find_breaks(text: str, inside: bytearray, *, fences: bool = True) -> list[Break]:
    """
    List the breaks of *text* in order, none of which tears a grapheme cluster.

    Args:
        inside: From `graphemes.inside_clusters`. A space can be in a cluster: with a combining mark on it.
        fences: The signs of a code fence mean something; otherwise they are text like any other.
    """
    breaks = []
    for found in _PLACE.finditer(text):
        kind = found.lastgroup or ""
        stop, resume = found.span(kind)
        level = Level.WORD if kind == "plain" else _level(text, kind, stop, resume, fences=fences)
        if level is None:
            continue
        if inside[stop]:
            stop += 1
        if inside[resume]:
            resume -= 1
        if stop < resume or (kind == "full" and stop == resume):
            breaks.append(Break(stop, resume, level))
    return breaks


def _level(text: str, kind: str, stop: int, resume: int, *, fences: bool) -> Level | None:
    """Return what ends; ``None`` for nothing."""
    match kind:
        case "white":
            return _level_in_line(text, stop, resume, fences=fences)
        case "lines":
            ends = 1 if resume - stop == 1 else len(_LINE_END.findall(text, stop, resume))
            return Level.PARAGRAPH if ends > 1 else Level.LINE
        case "marked":
            return Level.GLUED
        case "full":
            return Level.SENTENCE
        case _:
            return None


def _level_in_line(text: str, stop: int, resume: int, *, fences: bool) -> Level:
    if fences and text.startswith(FENCE_SIGNS, resume):
        return Level.GLUED
    last = stop - 1
    while last >= 0 and text[last] in _CLOSERS:
        last -= 1
    if last >= 0 and text[last] in _SENTENCE_ENDS:
        return Level.SENTENCE
    return Level.WORD if text[stop:resume].strip(_NO_BREAK) else Level.GLUED
