"""
A text and what is said of its stretches, apart from any markup. Pure.

What people write in Markdown or HTML becomes this (`markup`), is cut as this (`cut`), and each adapter writes it down
in its platform's own way. So no cut can break markup: there is none yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class Mark(StrEnum):
    """What a stretch of text is."""

    BOLD = "bold"
    ITALIC = "italic"
    UNDERLINE = "underline"
    STRIKE = "strike"
    SPOILER = "spoiler"
    CODE = "code"
    PRE = "pre"  # a block of code; the value is its language
    LINK = "link"  # the value is its address
    QUOTE = "quote"


class Span(NamedTuple):
    """A stretch from code point *start* up to *stop*, which is after it."""

    start: int
    stop: int
    mark: Mark
    value: str = ""


class Rich(NamedTuple):
    """
    A text with its spans.

    Spans begin and end one inside of the other, never across, and stand in the order of their starts, the longer one
    first. Code has none inside.
    """

    text: str
    spans: tuple[Span, ...] = ()

    def piece(self, start: int, stop: int) -> Rich:
        """Return what stands from *start* up to *stop*; a span that reaches beyond ends, or begins, there."""
        spans = tuple(
            [
                Span(first - start if first > start else 0, min(stop, last) - start, mark, value)
                for first, last, mark, value in self.spans
                if first < stop and last > start
            ]
        )
        return Rich(self.text[start:stop], spans)


def pieces(rich: Rich) -> Iterator[tuple[str, Span | None, bool]]:
    """
    Yield what *rich* is made of, from its start to its end.

    A text, which is not empty, comes without a span; the edge of a span comes without a text, and says whether it
    opens. Plain tuples, as a text of a megabyte may be made of half a million of them.
    """
    text, at = rich.text, 0
    open_spans: list[Span] = []
    for span in (*rich.spans, None):
        start = len(text) if span is None else span[0]
        while open_spans and (stop := open_spans[-1][1]) <= start:
            if at < stop:
                yield text[at:stop], None, False
                at = stop
            yield "", open_spans.pop(), False
        if at < start:
            yield text[at:start], None, False
            at = start
        if span is not None:
            open_spans.append(span)
            yield "", span, True
