"""Text with markup, cut into pieces that are valid by themselves (contract PA1)."""

from __future__ import annotations

import functools
import html as entities
import re
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.channels.text.cut import Piece, cut
from pillarbox.channels.text.markup import from_html, from_markdown, to_html
from pillarbox.channels.text.rich import Mark, Rich, Span
from pillarbox.channels.text.split import length
from tests.unit.test_markup import SIGNS, check

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from _typeshed import TraceFunction


EMBEDDING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def plain(rich: Rich) -> int:
    return length(rich.text, "utf16")


def as_html(rich: Rich) -> int:
    return length(to_html(rich), "utf16")


def cut_by(rich: Rich, limit: int, size: Callable[[Rich], int] = as_html) -> tuple[Piece, ...]:
    pieces = cut(rich, limit=limit, unit="utf16", mode="paragraph", size=size)
    for piece in pieces:
        check(piece.rich)
        assert size(piece.rich) <= limit
        assert piece.rich.text.strip()
    return pieces


def solid(text: str) -> str:
    """The text without white space, and without the signs that a cut ends and begins again."""
    return "".join(EMBEDDING.sub("", text).split())


REPORT = "<b>Report</b>\n" + "".join(
    f'line {i} &lt;ok&gt; <code>v {i}</code> <a href="http://e.example/{i}?a=1&amp;b=2">more of it</a> '
    for i in range(40)
)


@pytest.mark.contract("PA1")
@pytest.mark.parametrize("limit", range(110, 400, 7))
def test_no_cut_is_inside_of_code_or_a_link_that_fits(limit: int) -> None:
    rich = from_html(REPORT)
    pieces = cut_by(rich, limit)
    assert solid("".join(piece.rich.text for piece in pieces)) == solid(rich.text)
    assert not any(piece.bare for piece in pieces)
    whole = [rich.text[span.start : span.stop] for span in rich.spans]
    assert [piece.rich.text[span.start : span.stop] for piece in pieces for span in piece.rich.spans] == whole


@pytest.mark.contract("PA1")
def test_a_piece_is_seldom_written_down_twice() -> None:
    sizes: list[int] = []

    def counted(rich: Rich) -> int:
        sizes.append(as_html(rich))
        return sizes[-1]

    rich = from_html(REPORT * 20)
    pieces = cut(rich, limit=2000, unit="utf16", mode="length", size=counted)
    full = [as_html(piece.rich) for piece in pieces[:-1]]
    whole = [size for size in sizes if size > 1000]  # and not the spans that are measured by themselves
    assert len(whole) <= 1.2 * len(pieces) + 2
    assert min(full) > 1800


@pytest.mark.contract("PA1")
def test_what_is_left_over_is_not_cut_for_a_guess() -> None:
    # The second piece has room for all of the words, though the first had much markup.
    pieces = cut_by(from_html(f"{'<b>a</b> <i>b</i> ' * 55}\n\n{'word ' * 200}"), 1100)
    assert [piece.rich.text.count("word") for piece in pieces] == [0, 200]


@pytest.mark.contract("PA1")
def test_a_span_that_is_longer_than_a_piece_ends_with_it_and_begins_again() -> None:
    words = ("word " * 100).strip()
    pieces = cut_by(from_markdown(f"**bold {words}** end [a {words}](https://e.example/x)"), 200)
    marks = [{span.mark for span in piece.rich.spans} for piece in pieces]
    assert marks[0] == {Mark.BOLD}
    assert marks[-1] == {Mark.LINK}
    assert all(span.value == "https://e.example/x" for span in pieces[-1].rich.spans)
    assert not any(piece.bare for piece in pieces)


@pytest.mark.contract("PA1")
def test_code_of_many_lines_is_cut_between_them_and_keeps_its_language() -> None:
    pieces = cut_by(from_markdown("```python\n" + "print('hello')\n" * 100 + "```"), 300)
    assert len(pieces) > 1
    for piece in pieces:
        assert set(piece.rich.text.splitlines()) == {"print('hello')"}
        assert piece.rich.spans == (Span(0, len(piece.rich.text), Mark.PRE, "python"),)


@pytest.mark.contract("PA1")
def test_quotes_and_lists_keep_their_marks() -> None:
    quote = "".join(f"> - point {i} of it\n" for i in range(60))
    for piece in cut_by(from_markdown(quote), 200):
        assert all(line.startswith("• ") for line in piece.rich.text.splitlines())
        assert [span.mark for span in piece.rich.spans] == [Mark.QUOTE]


@pytest.mark.contract("PA1")
def test_where_an_address_leaves_no_room_its_text_goes_without_it_and_that_is_said() -> None:
    pieces = cut_by(from_markdown(f"before [label](https://e.example/{'x' * 500}) **after**"), 100)
    assert solid("".join(piece.rich.text for piece in pieces)) == "beforelabelafter"
    bare = [piece for piece in pieces if piece.bare]
    assert len(bare) == 1
    assert "label" in bare[0].rich.text
    assert bare[0].rich.spans == ()


@pytest.mark.contract("PA1")
@pytest.mark.parametrize(
    ("begins", "ends"), [("\u202b", "\u202c"), ("\u2067", "\u2069"), ("\u2067\u202a", "\u202c\u2069")]
)
def test_a_direction_of_writing_ends_with_its_piece_and_begins_again(begins: str, ends: str) -> None:
    words = "עברית " * 60
    pieces = cut_by(from_markdown(f"left {begins}**{words.strip()}**{ends} left again " + "word " * 40), 100)
    texts = [piece.rich.text for piece in pieces]
    assert len(texts) > 4
    for text in texts:
        for one, other in zip(begins, reversed(ends), strict=True):
            assert text.count(one) == text.count(other)
    inside = [text for text in texts if "עברית" in text]
    assert all(text.startswith(begins) for text in inside[1:])
    assert not any(begins in text for text in texts if text not in inside)
    for piece in pieces:
        for span in piece.rich.spans:
            assert not EMBEDDING.search(piece.rich.text[span.start : span.stop])


@pytest.mark.contract("PA1")
def test_escapes_count() -> None:
    pieces = cut_by(Rich("<&>" * 100), 50)
    assert "".join(piece.rich.text for piece in pieces) == "<&>" * 100
    with pytest.raises(ValueError, match="below the length of one code point"):
        cut(Rich("<" * 10), limit=3, unit="utf16", mode="length", size=as_html)


@given(SIGNS, st.integers(8, 60), st.sampled_from([plain, as_html]))
def test_pieces_are_valid_and_together_the_text(written: str, limit: int, size: Callable[[Rich], int]) -> None:
    for rich in (from_markdown(written), from_html(written)):
        pieces = cut_by(rich, limit, size)
        assert solid("".join(piece.rich.text for piece in pieces)) == solid(rich.text)
        for piece in pieces:
            if "\r" not in piece.rich.text:
                assert from_html(to_html(piece.rich)) == piece.rich


@pytest.mark.contract("PA1")
@pytest.mark.parametrize(
    "line",
    [
        "word *it* **bold** `c` [l](http://e.x/a) tail tail tail tail tail.\n\n",
        "plain words, only here and there, and everywhere.\n\n",
        "w" * 70 + "<&>",
        "> quoted\n",
    ],
)
def test_the_time_grows_with_the_length(line: str) -> None:
    spent = []
    for count in (50_000, 200_000):
        rich = from_markdown((line * (count // len(line) + 1))[:count])
        # Of this thread, and the quickest of three: garbage of all other tests may be collected in one of them.
        spent.append(min(seconds_to_cut(rich) for _ in range(3)))
    assert spent[1] < 12 * spent[0] + 0.5


def seconds_to_cut(rich: Rich) -> float:
    began = time.thread_time()
    cut_by(rich, 4096)
    return time.thread_time() - began


@pytest.mark.contract("PA1")
@pytest.mark.parametrize(
    "marks",
    ["**a** _b_ `c` [l](http://u.x) ", "> > a **b**\n> c\n\n", "- a\n  - *b*\n", "*word* ", "&amp;&lt;**a** "],
    ids=["marks", "quotes", "lists", "emphasis", "entities"],
)
@pytest.mark.parametrize("read", [from_markdown, from_html])
def test_the_work_on_nothing_but_marks_grows_with_the_text_and_not_faster(
    read: Callable[[str], Rich], marks: str
) -> None:
    """Counted, not timed: lines of our code that run, and characters that are written down to be measured."""
    text = marks if read is from_markdown else to_html(from_markdown(marks)) + " "
    small, large = (work(functools.partial(read, text * count)) for count in (75, 300))
    assert large <= 5 * small


def work(read: Callable[[], Rich]) -> int:
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object, /) -> TraceFunction:
        nonlocal count
        count += event == "line"
        return trace

    def counted(rich: Rich) -> int:
        nonlocal count
        count += len(rich.text)
        return as_html(rich)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        cut(read(), limit=200, unit="utf16", mode="paragraph", size=counted)
    finally:
        sys.settrace(before)
    return count


def test_html_of_a_piece_is_what_any_reader_understands() -> None:
    for piece in cut_by(from_html(REPORT), 150):
        assert entities.unescape(to_html(piece.rich)).count("<") >= 2 * len(piece.rich.spans)
