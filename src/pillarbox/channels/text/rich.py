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
                Span(max(first, start) - start, min(last, stop) - start, mark, value)
                for first, last, mark, value in self.spans
                if first < stop and last > start
            ]
        )
        return Rich(self.text[start:stop], spans)


class Edge(NamedTuple):
    """Where a span begins or ends."""

    span: Span
    opens: bool


def pieces(rich: Rich) -> Iterator[str | Edge]:
    """Yield what *rich* is made of, from its start to its end: texts that are not empty, and the edges of spans."""
    at = 0
    open_spans: list[Span] = []
    for span in (*rich.spans, None):
        start = len(rich.text) if span is None else span.start
        while open_spans and open_spans[-1].stop <= start:
            closed = open_spans.pop()
            if at < closed.stop:
                yield rich.text[at : closed.stop]
                at = closed.stop
            yield Edge(closed, opens=False)
        if at < start:
            yield rich.text[at:start]
            at = start
        if span is not None:
            open_spans.append(span)
            yield Edge(span, opens=True)
