"""
Cut a `Rich` text into pieces that a platform takes, each written down by itself (contract PA1). Pure.

Where text is cut, `split` says. A span that fits into a piece is not cut but moves to the next one; a longer one ends
with the piece and begins again in the next. What counts is how long a piece is as its platform writes it: with marks,
escapes and addresses. A piece in which those leave no room for text goes without its spans, as plain text. Directions
of writing that are embedded (UAX #9 §2.1–2.6) end with a piece too, and begin again in the next.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from pillarbox.channels.text.rich import Rich
from pillarbox.channels.text.split import Cutter, length, split_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pillarbox.channels.base import Mode, Unit
    from pillarbox.channels.text.rich import Span

_EMBEDDING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_EMBEDDING_OR_END: Final = re.compile("[\u202a-\u202e\u2066-\u2069\n\u2029]")
_POP: Final = "\u202c"
_POP_ISOLATE: Final = "\u2069"
_ISOLATES: Final = "\u2066\u2067\u2068"
_EMBEDDED_MAX: Final = 10  # deeper than anybody embeds; UAX #9 stops at 125
_CODE_POINT_MAX: Final = 4  # units: bytes of UTF-8
_SPARE: Final = 32  # a guess leaves so much of a piece for markup that is somewhat denser than before
_FULL: Final = 4  # a piece with so much of it left over is cut again, as if nothing were known
_MARKUP_SHARE: Final = 8  # less than so much of a piece for its text, and its markup is given up


class Piece(NamedTuple):
    """A part; ``bare``: its spans are left out, because they would not have fitted."""

    rich: Rich
    bare: bool = False


def cut(rich: Rich, *, limit: int, unit: Unit, mode: Mode, size: Callable[[Rich], int]) -> tuple[Piece, ...]:
    """
    Cut *rich* into pieces of at most *limit*.

    Args:
        unit: What the platform counts; ``size`` too.
        size: How long a text is as its platform writes it; not shorter than the text itself.

    Returns:
        The pieces, of which none is blank; none for a text that is empty or only white space.

    Raises:
        ValueError: The limit is below the length of one code point as the platform writes it.
    """
    if not rich.spans and _EMBEDDING.search(rich.text) is None and size(rich) == length(rich.text, unit):
        # Nothing but text that is sent as it stands: then one look at all of it is enough.
        texts = split_text(rich.text, limit=limit, unit=unit, mode=mode, fences=False)
        return tuple(Piece(Rich(text)) for text in texts)
    return tuple(_Cutter(rich, limit=limit, unit=unit, mode=mode, size=size).pieces())


class _Cutter:
    """One text on its way to pieces. Spans that are behind it are let go, so that each is looked at a few times."""

    def __init__(self, rich: Rich, *, limit: int, unit: Unit, mode: Mode, size: Callable[[Rich], int]) -> None:
        self._text = rich.text
        self._spans = rich.spans
        self._starts = [span.start for span in rich.spans]
        self._limit = limit
        self._unit: Unit = unit
        self._places = Cutter(rich.text, limit=limit, unit=unit, mode=mode, fences=False)
        self._size = size
        self._at = 0
        self._embeds = _EMBEDDING.search(rich.text) is not None
        self._embedded = ""  # the signs of what is embedded where the next piece begins
        self._following = 0  # of the spans, the first that begins at or behind this place
        self._reaching: list[Span] = []  # those before it that end behind this place
        self._last = (limit, limit)  # how long the text of the last piece was, and how long it was written

    def pieces(self) -> Iterator[Piece]:
        while self._at < len(self._text):
            piece = self._next()
            if piece is not None:
                yield piece

    def _go_to(self, at: int) -> None:
        if self._embeds:
            self._embedded = _still_embedded(self._text[self._at : at], self._embedded)
        self._at = at
        following = bisect_left(self._starts, at, self._following)
        passed = (*self._reaching, *self._spans[self._following : following])
        self._reaching = [span for span in passed if span.stop > at]
        self._following = following

    def _piece(self, start: int, stop: int) -> Rich:
        last = bisect_left(self._starts, stop, self._following)
        spans = (*self._reaching, *self._spans[self._following : last])
        return Rich(self._text, spans).piece(start, stop)

    def _next(self) -> Piece | None:
        """Return the piece that begins here, and go on to where the next one does."""
        room = guess = self._guess()
        bare = False
        while True:
            start, stop, resume = self._places.piece(self._at, room)
            if start == stop:
                self._go_to(resume)
                return None
            if not bare:
                stop, resume = self._beside_spans(start, stop, resume)
            piece = Rich(self._text[start:stop]) if bare else self._piece(start, stop)
            if self._embeds:
                piece = _whole(piece, self._embedded)
            written = self._size(piece)
            if written <= self._limit and room == guess < self._limit and _FULL * written < (_FULL - 1) * self._limit:
                room = guess = self._limit  # the guess was a poor one, or what follows is long
                continue
            if written <= self._limit:
                if not bare:
                    self._last = length(self._text[start:stop], self._unit), written
                self._go_to(resume)
                return Piece(piece, bare)
            guess = 0
            room = min(room, length(self._text[start:stop], self._unit))
            room = min(room - 1, room * self._limit // written)
            if room >= max(_CODE_POINT_MAX, self._limit // _MARKUP_SHARE):
                continue
            if bare and room < _CODE_POINT_MAX:
                return self._code_point(start)
            if not bare:
                room, bare = self._limit, True

    def _guess(self) -> int:
        """
        Return how much text may fit into the next piece: its markup takes about as much as that of the last one did.

        To write down what is far too long takes as long as to write down a piece. The rest is never cut for a guess.
        """
        text, written = self._last
        if len(self._text) - self._at <= self._limit or (_SPARE + 1) * text >= _SPARE * written:
            return self._limit
        return max(self._limit * text * (_SPARE - 1) // (written * _SPARE), _CODE_POINT_MAX, 1)

    def _code_point(self, at: int) -> Piece:
        """Return a single one, where escapes leave no room for what belongs to it."""
        piece = Rich(self._text[at])
        if self._size(piece) > self._limit:
            raise ValueError(f"a limit of {self._limit} is below the length of one code point")
        self._go_to(at + 1)
        return Piece(piece, bare=True)

    def _beside_spans(self, start: int, stop: int, resume: int) -> tuple[int, int]:
        """Draw a cut back to the beginning of what it would tear although it fits into one piece."""
        last = bisect_left(self._starts, stop, self._following)
        for span in self._spans[self._following : last]:
            if start < span.start and resume < span.stop and self._fits(span):
                before = self._text[start : span.start].rstrip()
                if before:
                    return start + len(before), span.start
        return stop, resume

    def _fits(self, span: Span) -> bool:
        # A code point is at least one unit: what is far too long is not written down to be measured.
        return span.stop - span.start <= self._limit and self._size(self._piece(span.start, span.stop)) <= self._limit


def _still_embedded(text: str, embedded: str) -> str:
    """Return the signs of what is embedded at the end of *text*, at whose start *embedded* is."""
    for sign in _EMBEDDING_OR_END.findall(text):
        if sign in "\n\u2029":
            embedded = ""  # a paragraph ends all of it
        elif sign == _POP:
            embedded = embedded if embedded[-1:] in _ISOLATES else embedded[:-1]
        elif sign == _POP_ISOLATE:
            last = max(map(embedded.rfind, _ISOLATES))
            embedded = embedded if last < 0 else embedded[:last]
        elif len(embedded) < _EMBEDDED_MAX:
            embedded += sign
    return embedded


def _whole(piece: Rich, embedded: str) -> Rich:
    """Return *piece* with what is embedded at its start begun again, and what is at its end ended."""
    left = _still_embedded(piece.text, embedded)
    ends = "".join(_POP_ISOLATE if sign in _ISOLATES else _POP for sign in reversed(left))
    shift = len(embedded)
    spans = (span._replace(start=span.start + shift, stop=span.stop + shift) for span in piece.spans)
    return Rich(f"{embedded}{piece.text}{ends}", tuple(spans))
