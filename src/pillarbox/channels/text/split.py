"""
Cut a text into parts that a channel takes (contract PA1). Pure: the same text and arguments give the same parts.

What holds for the parts of every text:

* Each is at most ``limit`` long in the channel's unit. None is empty or only white space.
* They are in order and together the text, but for white space at the cuts and for code fences that were closed and
  reopened there. A text that fits is one part, unchanged.
* What fits into a part is not cut: a paragraph, line, sentence or word (as far as the mode knows them), a grapheme
  cluster, a fenced block. It moves to the next part instead. What does not fit begins in the current part, and is cut
  at the best place inside: so a heading stays with the long paragraph below it.
* A grapheme cluster (UAX #29) longer than the limit is cut between code points, never inside one.

Indentation after a cut is kept where the text behind it fits with it. Links, emphasis, tables and other Markdown than
fences are cut like text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Final, assert_never

from pillarbox.channels.text.breaks import FENCE_SIGNS, Break, Level, find_breaks
from pillarbox.channels.text.fences import Fence, find_fences
from pillarbox.channels.text.graphemes import inside_clusters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.channels.base import Mode, Unit

# Stored with the parts. Anything that cuts a text elsewhere than before needs a new one.
SPLITTER: Final = "2"

_COARSEST: Final[dict[Mode, Level]] = {
    "paragraph": Level.PARAGRAPH,
    "newline": Level.LINE,
    "sentence": Level.SENTENCE,
    "length": Level.WORD,
}
_CODE_POINT_MAX: Final = 4  # units: bytes of UTF-8
_WHITE: Final = re.compile(r"\s*")
_stop = attrgetter("stop")
_start = attrgetter("start")


def length(text: str, unit: Unit) -> int:
    """
    Measure *text* as the platform does; ``bytes`` are those of UTF-8.

    Raises:
        UnicodeEncodeError: A lone surrogate has no length in UTF-8 or UTF-16.
    """
    if unit == "codepoints":
        return len(text)
    if unit == "bytes":
        return len(text) if text.isascii() else len(text.encode())
    if unit == "utf16":
        return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
    assert_never(unit)


def split_text(text: str, *, limit: int, unit: Unit, mode: Mode = "paragraph", fences: bool = True) -> tuple[str, ...]:
    """
    Cut *text* into parts of at most *limit*.

    Args:
        limit: At least 1, in ``unit``.
        mode: The coarsest place that is preferred for a cut. ``paragraph``: blank lines, then as ``newline``: line
            ends, then as ``sentence``: their ends, then as ``length``: parts as full as they get, cut between words.
        fences: The text is Markdown. A fenced block that fits is not cut; another one is closed at the end of a part
            and reopened, with its info string, in the next. Where opening and closing it leave less than a quarter
            of the limit for code, it is cut like text.

    Returns:
        The parts; none for a text that is empty or only white space.

    Raises:
        ValueError: The limit is below 1, or below the length of one code point of the text.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    if not text or text.isspace():
        return ()
    if length(text, unit) <= limit:
        return (text,)
    return Cutter(text, limit=limit, unit=unit, mode=mode, fences=fences).parts()


class Cutter:
    """One text on its way to parts: where it may be cut, and the walk from its start to its end."""

    def __init__(self, text: str, *, limit: int, unit: Unit, mode: Mode, fences: bool) -> None:
        self._text = text
        self._limit = limit
        self._unit: Unit = "codepoints" if text.isascii() else unit
        self._levels = [level for level in reversed(Level) if level <= _COARSEST[mode]]
        self._inside = inside_clusters(text)
        self._signs = FENCE_SIGNS if fences else ()
        self._fences = [fence for fence in find_fences(text) if self._kept(fence)] if fences else []
        breaks = find_breaks(text, self._inside, fences=fences)
        self._end = breaks[-1].stop if breaks and breaks[-1].resume == len(text) else len(text)
        self._breaks = list(self._usable(breaks))

    def parts(self) -> tuple[str, ...]:
        """Return what `split_text` does. Raises ValueError as that."""
        parts = []
        start = 0
        while start < self._end:
            cut = self._cut(start)
            piece = self._text[start : cut.stop]
            if piece and not piece.isspace():
                before, after = self._reopened(start), self._reopened(cut.stop)
                parts.append(f"{before.opening if before else ''}{piece}{after.closing if after else ''}")
            start = cut.resume
        return tuple(parts)

    def piece(self, start: int, room: int) -> tuple[int, int, int]:
        """
        Return where the next piece that is not blank begins and ends, and where to go on, of a text without fences.

        Args:
            start: Where to begin to look; the piece is empty where the rest is blank.
            room: How long it may be.

        Raises:
            ValueError: As `split_text`.
        """
        self._limit = room
        while start < self._end:
            cut = self._cut(start)
            if self._text[start : cut.stop].strip():
                return start, cut.stop, cut.resume
            start = cut.resume
        return start, start, len(self._text)

    # What one cut is.

    def _cut(self, start: int) -> Break:
        """Choose where the part from *start* on ends. Either it grows, or white space is passed over."""
        reach = self._reach(start, self._room(start))
        if reach >= self._end:
            return Break(len(self._text) if reach == len(self._text) else self._end, len(self._text), Level.PARAGRAPH)
        reach = self._reach_beside_fences(start, reach)
        first = bisect_right(self._breaks, start, key=_stop)
        last = bisect_right(self._breaks, reach, key=_stop) - 1
        for level in self._levels:
            best = last
            while best >= first and self._breaks[best].level < level:
                best -= 1
            if best >= first and self._moves_whole(self._breaks[best].resume, last + 1, level):
                return self._breaks[best]
            if best < first and level == Level.WORD and (solid := self._after_white(start)) > start:
                return Break(start, solid, level)  # no word fits with its indentation
        return self._cut_inside(start, reach, self._breaks[last] if first <= last else None)

    def _moves_whole(self, start: int, following: int, level: Level) -> bool:
        """Return whether what begins at *start*, and does not end before break *following*, fits into a part."""
        if level <= Level.WORD:
            start = self._after_white(start)  # indentation gives way to a word
        room = self._room(start)
        # What ends beyond the room does not fit, wherever the end is that is looked for.
        while (
            following < len(self._breaks)
            and self._breaks[following].level < level
            and self._breaks[following].stop - start <= room
        ):
            following += 1
        stop = self._breaks[following].stop if following < len(self._breaks) else self._end
        fence = self._reopened(stop)
        room -= length(fence.closing, self._unit) if fence else 0
        return self._fits(start, stop, room)

    def _cut_inside(self, start: int, reach: int, before: Break | None) -> Break:
        """Cut where nothing ends but a grapheme cluster, or not even that; at *before* if nothing beyond it fits."""
        fence = self._reopened(reach)
        floor = max(before.resume if before else start, fence.body if fence else 0)
        ended = self._fence_before(reach)
        if ended is not None and ended.end <= reach:
            # A block that has its end in this part is not opened again for the sake of a cluster behind it.
            floor = max(floor, ended.end - 1)
        stop = self._inside.rfind(0, floor + 1, reach + 1)
        while stop > floor and self._text.startswith(self._signs, stop):
            stop = self._inside.rfind(0, floor + 1, stop)  # at the start of a line they would begin a block of code
        if stop <= floor:
            stop = self._inside.rfind(0, floor + 1, reach + 1)
        if stop > floor:
            return Break(stop, stop, Level.GLUED)
        if before is not None:
            return before
        if reach <= floor:
            raise ValueError(f"a limit of {self._limit} is below the length of one code point")
        return Break(reach, reach, Level.GLUED)

    # What there is room for.

    def _room(self, start: int) -> int:
        fence = self._reopened(start)
        return self._limit - (length(fence.opening, self._unit) if fence else 0)

    def _reach(self, start: int, room: int) -> int:
        """Return the last position that *room* units from *start* on reach."""
        piece = self._text[start : start + room]
        if self._unit == "bytes":
            piece = piece.encode()[:room].decode("utf-8", "ignore")
        elif self._unit == "utf16":
            piece = piece.encode("utf-16-le")[: 2 * room].decode("utf-16-le", "ignore")
        return start + len(piece)

    def _reach_beside_fences(self, start: int, reach: int) -> int:
        """Draw *reach* back so far that a fenced block can be closed there; out of its opening line."""
        fence = self._fence_before(reach)
        if fence is None or not fence.start < reach < fence.end:
            return reach
        reach = self._reach(start, self._room(start) - length(fence.closing, self._unit))
        return reach if reach >= fence.body else fence.start

    def _fits(self, start: int, stop: int, room: int) -> bool:
        """Compare at a cost of *room*, not of the text: a code point is at least one unit."""
        return stop - start <= room and length(self._text[start:stop], self._unit) <= room

    def _after_white(self, start: int) -> int:
        found = _WHITE.match(self._text, start)
        solid = found.end() if found else start
        return solid - 1 if solid > start and self._inside[solid] else solid

    # Fenced blocks.

    def _is_whole(self, fence: Fence) -> bool:
        return self._fits(fence.start, fence.end, self._limit)

    def _kept(self, fence: Fence) -> bool:
        """Return whether the block is more than text: it is never cut, or it can be closed and reopened."""
        if self._is_whole(fence):
            return True
        code = max(self._limit // 4, _CODE_POINT_MAX)
        room = self._limit - code - length(fence.closing, self._unit)
        return self._fits(fence.start, fence.body, room) and length(fence.opening, self._unit) <= room

    def _fence_before(self, position: int) -> Fence | None:
        """Return the last block that starts before *position*."""
        index = bisect_left(self._fences, position, key=_start)
        return self._fences[index - 1] if index else None

    def _reopened(self, position: int) -> Fence | None:
        """Return the block that a cut at *position* closes and reopens."""
        fence = self._fence_before(position)
        return fence if fence is not None and fence.body <= position < fence.end else None

    def _usable(self, breaks: list[Break]) -> Iterator[Break]:
        """
        Leave out the breaks that would tear a fenced block needlessly; add one that ends it early.

        A block that fits has none inside. In another one they are between its first and last code. After that, our
        closing line can stand for its own, which may be behind more blank lines than fit.
        """
        fences = iter([*self._fences, None])
        fence = next(fences)
        for found in breaks:
            while fence is not None and fence.end <= found.stop:
                if not self._is_whole(fence) and fence.body_end < fence.end:
                    yield Break(fence.body_end, found.resume, found.level)
                fence = next(fences)
            if (
                fence is None
                or found.resume <= fence.start
                or (not self._is_whole(fence) and fence.body < found.stop < fence.body_end)
            ):
                yield found
        if fence is not None and not self._is_whole(fence) and fence.body_end < fence.end:
            yield Break(fence.body_end, len(self._text), Level.PARAGRAPH)
