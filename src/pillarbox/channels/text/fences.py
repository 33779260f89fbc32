"""
Where the fenced code blocks of a Markdown text are (CommonMark 0.31.2 §4.5), and how one is reopened. Pure.

A fence may stand in a list item (§5.2), on the marker's own line too, indented as far as the item is. Two things are
simpler than in CommonMark: a fence in a block quote is not seen, and only a closing fence or the end of the text ends
a block, as chat programs have it, not the end of its list item.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(r"([^\r\n]*+)(\r\n|\r|\n|\Z)")
_MARKER = re.compile(r"([-+*]|[0-9]{1,9}[.)])([ \t]++|\Z)")
# The info string of a backtick fence has no backtick: else it is inline code.
_OPENING = re.compile(r"(`{3,}+)([^`]*+)\Z|(~{3,}+)(.*+)\Z", re.DOTALL)
_INDENT_MAX = 3  # one more, and the line is indented code
_MARKER_SPACES_MAX = 4  # beyond them the item begins with indented code, one space after the marker


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """
    One fenced block. Positions are indexes into the text.

    Attributes:
        start: Of the opening line, its list marker and indentation included.
        body: Of the first line of code.
        body_end: After the last code that is not white space; ``body`` where there is none.
        end: After the closing signs. Without them: after the last of the text that is not white space.
        opening: The line that opens the block again, its line end included.
        closing: What closes it after a cut, with the line end before it.
    """

    start: int
    body: int
    body_end: int
    end: int
    opening: str
    closing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A fence whose closing line was not met yet. ``column``: where the list item around it begins."""

    start: int
    body: int
    sign: str
    column: int
    opening: str
    closing: str

    def closed_by(self, line: str) -> bool:
        indent, rest = _indent(line)
        rest = rest.rstrip(" \t")
        return len(rest) >= len(self.sign) and not rest.strip(self.sign[0]) and indent <= self.column + _INDENT_MAX

    def block(self, text: str, *, code_end: int, end: int) -> Fence:
        code = text[self.body : code_end].rstrip()
        return Fence(
            start=self.start,
            body=self.body,
            body_end=self.body + len(code),
            end=end,
            opening=self.opening,
            closing=self.closing,
        )


def find_fences(text: str) -> list[Fence]:
    """List the fenced blocks in order. A block without a closing fence reaches to the end of the text."""
    if "```" not in text and "~~~" not in text:
        return []
    return list(_blocks(text))


def _blocks(text: str) -> Iterator[Fence]:
    items: list[int] = []  # where the text of each open list item begins, in columns
    opened: _Opened | None = None
    for found in _LINE.finditer(text):
        line = found[1]
        if opened is not None:
            if opened.closed_by(line):
                yield opened.block(text, code_end=found.start(), end=found.start() + len(line.rstrip()))
                opened = None
            continue
        column, rest = _enter(line, items)
        limit = items[-1] if items else 0
        fence = _OPENING.match(rest) if column <= limit + _INDENT_MAX else None
        if fence is not None:
            sign, info = (fence[1] or fence[3]), (fence[2] or fence[4] or "")
            indent, line_end = " " * column, found[2]
            opened = _Opened(
                start=found.start(),
                body=found.end(),
                sign=sign,
                column=limit,
                opening=f"{indent}{sign}{info.rstrip()}{line_end}",
                closing=f"{line_end}{indent}{sign}",
            )
    if opened is not None:
        yield opened.block(text, code_end=len(text), end=len(text.rstrip()))


def _enter(line: str, items: list[int]) -> tuple[int, str]:
    """Leave the list items that *line* is not in, enter those that it begins; return the column and text after them."""
    column, rest = _indent(line)
    if not rest:
        return column, rest
    while items and column < items[-1]:
        items.pop()
    at = 0
    while (marker := _MARKER.match(rest, at)) and column <= (items[-1] if items else 0) + _INDENT_MAX:
        at = marker.end()
        spaces = len(marker[2].expandtabs(4))
        column += len(marker[1]) + (spaces if 0 < spaces <= _MARKER_SPACES_MAX and at < len(rest) else 1)
        items.append(column)
    return column, rest[at:]


def _indent(line: str) -> tuple[int, str]:
    """Return the width of the indentation in columns, tab stops being four apart (§2.2), and what follows it."""
    rest = line.lstrip(" \t")
    return len(line[: len(line) - len(rest)].expandtabs(4)), rest
