"""Parts of a long text: what holds for every text, drawn at random, then the hard cases by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, get_args

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pillarbox.channels.base import Mode, Unit
from pillarbox.channels.text.fences import find_fences
from pillarbox.channels.text.graphemes import inside_clusters
from pillarbox.channels.text.split import SPLITTER, length, split_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from _typeshed import TraceFunction

pytestmark = pytest.mark.contract("PA1")

UNITS: tuple[Unit, ...] = get_args(Unit)
MODES: tuple[Mode, ...] = get_args(Mode)
WIDEST: dict[Unit, int] = {"utf16": 2, "bytes": 4, "codepoints": 1}  # one code point

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1e9\U0001f1ea"
THUMB = "\U0001f44d\U0001f3fd"
ZALGO = "z" + "\u0301\u0316\u0340" * 5
PIECES = (
    "a", "b c", "word ", "longerword", "One. Two! ", "end.\n", "\n", "\n\n", "\r\n", "\r", "\t", " ", "   ", "\u00a0",
    "\u2003", "\u2029", "\x0c", " \u0301", "\u0600 ", "\u0301", "\u200d", "e\u0301", FAMILY, FLAG * 2, THUMB, ZALGO,
    "\u1112\u1161\u11ab", "\ud55c\uad6d", "\u0915\u094d\u0937", "\u05e9\u05dc\u05d5\u05dd ",
    "\u0645\u0631\u062d\u0628\u0627\u061f ", "\u6f22\u5b57\u3002", "\u3002\u300d", "- ", "1. ", "    ",
    "```", "```py\n", "\n```\n", "~~~\n", "\n````md\n", "`", "x``` ```y",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    text: str
    limit: int
    unit: Unit = "codepoints"
    mode: Mode = "paragraph"
    fences: bool = True

    def parts(self) -> tuple[str, ...]:
        return split_text(self.text, limit=self.limit, unit=self.unit, mode=self.mode, fences=self.fences)

    def fits(self, piece: str) -> bool:
        return length(piece, self.unit) <= self.limit


@st.composite
def jobs(draw: st.DrawFn, text: st.SearchStrategy[str], *, least: int = 1, most: int = 60, fences: bool = True) -> Job:
    unit = draw(st.sampled_from(UNITS))
    limit = draw(st.integers(max(least, WIDEST[unit]), most))
    return Job(text=draw(text), limit=limit, unit=unit, mode=draw(st.sampled_from(MODES)), fences=fences)


texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=25).map("".join)
markdown = jobs(texts)
plain = jobs(texts, fences=False)

# --- What a reader can check without knowing how the text was cut -----------------------------------------


def place(text: str, piece: str, at: int) -> int:
    """Where *piece* stands in the text, only white space having been left out since *at*; -1 if it does not."""
    solid = len(text) - len(text[at:].lstrip())
    start = solid - (len(piece) - len(piece.lstrip()))
    return start if start >= at and text.startswith(piece, start) else -1


def places(text: str, parts: tuple[str, ...]) -> list[tuple[int, int]]:
    found = []
    at = 0
    for part in parts:
        start = place(text, part, at)
        assert start >= 0, f"{part!r} is not what follows at {at}"
        at = start + len(part)
        found.append((start, at))
    assert not text[at:].strip()
    return found


def ends(text: str, part: str, at: int) -> Iterator[int]:
    """Where *part* may end in the text, less the fence lines that it may have been given."""
    opening = re.match(r" *(?:`{3,}[^`\r\n]*|~{3,}[^\r\n]*)(?:\r\n|\r|\n)", part)
    closing = re.search(r"(?:\r\n|\r|\n) *(?:`{3,}|~{3,})\Z", part)
    for first in {0, opening.end() if opening else 0}:
        for last in {len(part), closing.start() if closing else len(part)}:
            piece = part[first:last]
            start = place(text, piece, at)
            if start < 0:
                continue
            end = start + len(piece)
            yield end
            own = re.compile(r"\s*(?:`{3,}|~{3,})").match(text, end)
            if own and last < len(part):
                yield own.end()  # the text's own closing line, for which ours stands


def rejoin(text: str, parts: tuple[str, ...]) -> bool:
    reached = {0}
    for part in parts:
        reached = {end for at in reached for end in ends(text, part, at)}
    return any(not text[at:].strip() for at in reached)


def code_and_prose(text: str) -> tuple[str, str, bool]:
    """Read as CommonMark does (§4.5): the letters of code, each with its info string, of prose; is a block open?"""
    code, prose, sign, info = "", "", "", ""
    for line in text.split("\n"):
        found = re.fullmatch(r" {0,3}(?:(`{3,})([^`]*)|(~{3,})(.*))", line)
        fence, after = (found[1] or found[3], (found[2] or found[4] or "").strip()) if found else ("", "")
        if sign and fence[:1] == sign[0] and len(fence) >= len(sign) and not after:
            sign = ""
        elif sign:
            code += "".join(f"{letter}{info}" for letter in line if not letter.isspace())
        elif fence:
            sign, info = fence, after
        else:
            prose += "".join(line.split())
    return code, prose, bool(sign)


# --- What holds for every text -----------------------------------------------------------------------------


@example(job=Job(text="\n````md\n\u0600 ", limit=8))  # a sign that joins the white space behind the block
@given(job=markdown | plain)
@settings(max_examples=120)
def test_no_part_is_too_long_or_empty(job: Job) -> None:
    parts = job.parts()
    assert all(job.fits(part) for part in parts)
    assert all(part.strip() for part in parts)
    assert bool(parts) == bool(job.text.strip())
    assert job.parts() == parts


@given(job=plain)
@settings(max_examples=120)
def test_parts_are_the_text_in_order_but_for_white_space_at_the_cuts(job: Job) -> None:
    places(job.text, job.parts())


@given(job=markdown)
@settings(max_examples=120)
def test_fence_lines_aside_parts_of_markdown_are_the_text_in_order_too(job: Job) -> None:
    assert rejoin(job.text, job.parts())


@given(job=plain)
@settings(max_examples=120)
def test_no_cut_is_inside_a_grapheme_that_fits(job: Job) -> None:
    edges = {edge for span in places(job.text, job.parts()) for edge in span}
    for cluster in regex.finditer(r"\X", job.text):
        if any(cluster.start() < edge < cluster.end() for edge in edges):
            assert not job.fits(cluster[0])


@given(job=plain)
@settings(max_examples=120)
def test_no_part_has_room_for_the_next_one(job: Job) -> None:
    whole = {found.start(): found.end() for found in regex.finditer(r"\X", job.text)}  # not begun in a part's rest
    for (start, _), (following, end) in pairwise(places(job.text, job.parts())):
        assert not job.fits(job.text[start : max(end, whole.get(following, end))])


@given(text=texts, unit=st.sampled_from(UNITS), mode=st.sampled_from(MODES), more=st.integers(0, 3))
def test_a_text_that_fits_is_one_part_unchanged(text: str, unit: Unit, mode: Mode, more: int) -> None:
    parts = split_text(text, limit=max(length(text, unit), 1) + more, unit=unit, mode=mode)
    assert parts == ((text,) if text.strip() else ())


@given(text=texts)
@settings(max_examples=120)
def test_graphemes_are_those_of_the_whole_text(text: str) -> None:
    """We look only where code points can join, and pair flags ourselves; `regex` goes through all of it."""
    inside = {index for found in regex.finditer(r"\X", text) for index in range(found.start() + 1, found.end())}
    assert {index for index, mark in enumerate(inside_clusters(text)) if mark} == inside


sentences = st.lists(
    st.sampled_from(["a", "of", "caf\u00e9", "word", "\U0001f642\U0001f642", "longerword"]), min_size=1
).map(" ".join)
lines = st.lists(sentences, min_size=1, max_size=2).map(lambda some: ". ".join(some) + ".")
paragraphs = st.lists(lines, min_size=1, max_size=3).map("\n".join)
KNOWN = {"length": r"\S+", "sentence": r"[^.\s][^.]*\.", "newline": r"\S.*", "paragraph": r"(?s)\S.*?(?=\n\n|\Z)"}


@given(job=jobs(st.lists(paragraphs, min_size=1, max_size=5).map("\n\n".join), most=120))
@settings(max_examples=120)
def test_what_the_mode_knows_and_fits_is_not_cut(job: Job) -> None:
    parts = job.parts()
    for mode, pattern in KNOWN.items():
        for piece in re.findall(pattern, job.text):
            assert not job.fits(piece) or any(piece in part for part in parts)
        if mode == job.mode:
            break


# --- Code blocks -------------------------------------------------------------------------------------------


@st.composite
def blocks(draw: st.DrawFn) -> str:
    """One fenced block; its code has fences of its own, shorter ones or of the other sign."""
    sign = draw(st.sampled_from(["```", "````", "~~~", "~~~~~"]))
    rows = st.sampled_from(["```", "~~~ x", "", "x = 1", "    y", "long " * 12, "b" * 70, "say ``` now ~~~ so"])
    code = [row for row in draw(st.lists(rows, max_size=12)) if not row.startswith(sign)]
    opening = f"{' ' * draw(st.integers(0, 3))}{sign}{draw(st.sampled_from(['', 'py', ' c x=1']))}"
    return "\n".join([opening, *code, sign + draw(st.sampled_from(["", sign[0]]))])


documents = st.lists(paragraphs | blocks(), min_size=1, max_size=6).map("\n".join)


@given(job=jobs(documents, least=40, most=200))
@settings(max_examples=120)
def test_in_every_part_code_is_code_with_its_info_string_and_prose_is_prose(job: Job) -> None:
    parts = job.parts()
    seen = [code_and_prose(part) for part in parts]
    whole = "".join(code for code, _, _ in seen), "".join(prose for _, prose, _ in seen), False
    assert whole == code_and_prose(job.text)
    assert not any(still_open for _, _, still_open in seen)
    assert all(job.fits(part) for part in parts)
    assert rejoin(job.text, parts)


@given(before=paragraphs, block=blocks(), after=paragraphs, job=jobs(st.just(""), least=40, most=200))
@settings(max_examples=120)
def test_a_block_that_fits_is_not_cut(before: str, block: str, after: str, job: Job) -> None:
    text = f"{before}\n{block}\n{after}"
    parts = split_text(text, limit=job.limit, unit=job.unit, mode=job.mode)
    assert not job.fits(block) or any(block in part for part in parts)


PY = "```py\na = 1\nb = 2\nc = 3\n```"


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        pytest.param(f"see\n{PY}\nend", 34, (f"see\n{PY}", "end"), id="text before a block stays with it"),
        pytest.param(f"look here\n{PY}\nend", 34, ("look here", f"{PY}\nend"), id="a block that fits moves"),
        pytest.param(
            f"see\n{PY}\nend",
            24,
            ("see\n```py\na = 1\n```", "```py\nb = 2\nc = 3\n```", "end"),
            id="one that does not is closed and reopened",
        ),
        pytest.param(PY, 16, ("```py\na = 1\n```", "```py\nb = 2\n```", "```py\nc = 3\n```"), id="a line a part"),
        pytest.param(PY, 12, ("```py\na = 1", "b = 2\nc = 3", "```"), id="too tight: cut like text"),
        pytest.param(
            "```py\r\na = 1\r\nb = 2\r\n```", 20, ("```py\r\na = 1\r\n```", "```py\r\nb = 2\r\n```"), id="CRLF"
        ),
        pytest.param(
            "```py\n" + "x" * 20 + "\n```",
            20,
            ("```py\n" + "x" * 10 + "\n```", "```py\n" + "x" * 10 + "\n```"),
            id="a long line of code",
        ),
        pytest.param(
            "```\n\n" + "    a = 1\n\n" * 3,
            20,
            ("```\n\n    a = 1\n```", "```\n    a = 1\n```", "```\n    a = 1\n\n"),
            id="indentation and blank lines of code",
        ),
        pytest.param(
            "```\na = 1\nb = 2\nc = 3",
            18,
            ("```\na = 1\n```", "```\nb = 2\nc = 3"),
            id="unclosed: what we did not open we do not close",
        ),
        pytest.param(
            "```\nx" + "\n" * 50 + "```\nend", 16, ("```\nx\n```", "end"), id="our closing line stands for one far away"
        ),
        pytest.param(
            "````md\n```py\na = 1\n```\nmore text here\n````\nend",
            32,
            ("````md\n```py\na = 1\n```\n````", "````md\nmore text here\n````\nend"),
            id="a shorter fence is code of a longer one",
        ),
        pytest.param(
            "~~~ c x\n```\na = 1\n```\nb = 2\n~~~",
            28,
            ("~~~ c x\n```\na = 1\n```\n~~~", "~~~ c x\nb = 2\n~~~"),
            id="backticks are code of tildes",
        ),
        pytest.param(
            "- item\n  ```py\n  a = 1\n  b = 2\n  c = 3\n  ```\n- next",
            30,
            ("- item\n  ```py\n  a = 1\n  ```", "  ```py\n  b = 2\n  c = 3\n  ```", "- next"),
            id="in a list",
        ),
        pytest.param(
            "1. item\n   - ```py\n     a = 1\n     b = 2\n     c = 3\n     ```\n2. next",
            44,
            ("1. item\n   - ```py\n     a = 1\n     ```", "     ```py\n     b = 2\n     c = 3\n     ```", "2. next"),
            id="in a list in a list, on the marker's line",
        ),
        pytest.param(
            "    ```\n    a b c\n    ```", 16, ("    ```", "    a b c", "    ```"), id="four spaces make indented code"
        ),
        pytest.param(
            "    ```\n    aa bb\n    cc dd\n    ```",
            34,
            ("    ```\n    aa bb\n    cc dd", "    ```"),
            id="no block at all",
        ),
        pytest.param(
            "- a\n\nb\n    ```\n    aa bb\n    cc dd\n    ```",
            30,
            ("- a\n\nb\n    ```\n    aa bb", "    cc dd\n    ```"),
            id="nor after the list has ended",
        ),
        pytest.param(
            "```\na = 1\n    ```\nb = 2\n```", 21, ("```\na = 1\n    ```\n```", "```\nb = 2\n```"), id="no closing line"
        ),
        pytest.param(
            "```\na = 1\nb = 2\n```     \nend", 18, ("```\na = 1\n```", "```\nb = 2\n```", "end"), id="spaces after it"
        ),
        pytest.param(
            "```\naa\nbbbbbbb cccccc\n```",
            20,
            ("```\naa\nbbbbbbb\n```", "```\ncccccc\n```"),
            id="a line fits with its fences",
        ),
        pytest.param(
            "```\nz" + "\u0301" * 9 + "\n```",
            16,
            ("```\nz" + "\u0301" * 7 + "\n```", "```\n" + "\u0301" * 2 + "\n```"),
            id="a grapheme",
        ),
        pytest.param(
            "```py" + " " * 20 + "\n" + "a = 1\n" * 4 + "```",
            24,
            ("```py", "a = 1\na = 1\na = 1\na = 1", "```"),
            id="an opening line too long for a part",
        ),
        pytest.param("```" + "\n" * 50 + "```\nend", 20, ("```\n\n```", "end"), id="no code"),
        pytest.param("```\nx" + "\n" * 50 + "```", 16, ("```\nx\n```",), id="even at the end of the text"),
        pytest.param(
            "aaaa bbbb\n```py\n" + "x" * 12 + "\n```",
            19,
            ("aaaa bbbb", "```py\n" + "x" * 9 + "\n```", "```py\nxxx\n```"),
            id="an opening line is not cut",
        ),
        pytest.param(
            "```a b``` c d\n" + "e f g h\n" * 2,
            24,
            ("```a b``` c d\ne f g h", "e f g h\n"),
            id="inline code at a line's start",
        ),
        pytest.param("say ```a b``` ``` c", 9, ("say ```a", "b``` ```", "c"), id="inline code is no block"),
        pytest.param("aa bb ``` cc", 8, ("aa", "bb ```", "cc"), id="no cut makes a fence of signs within a line"),
        pytest.param("abcdefgh```ij", 8, ("abcdefg", "h```ij"), id="not even in a word"),
    ],
)
def test_a_fence(text: str, limit: int, expected: tuple[str, ...]) -> None:
    assert split_text(text, limit=limit, unit="codepoints") == expected


def test_a_block_is_reopened_where_any_code_point_fits_into_it() -> None:
    smiles = "```\n\U0001f642\U0001f642\n```"
    assert split_text(smiles, limit=12, unit="bytes") == ("```\n\U0001f642\n```",) * 2
    assert split_text(smiles, limit=11, unit="bytes") == ("```", "\U0001f642\U0001f642", "```")


def test_without_fences_signs_are_text() -> None:
    assert split_text(PY, limit=16, unit="codepoints", fences=False) == ("```py\na = 1", "b = 2\nc = 3\n```")


@pytest.mark.parametrize(
    ("text", "limit", "fenced", "plain"),
    [
        pytest.param("aa bb ``` cc", 8, ("aa", "bb ```", "cc"), ("aa bb", "``` cc"), id="between words"),
        pytest.param("abcdefgh~~~ij", 8, ("abcdefg", "h~~~ij"), ("abcdefgh", "~~~ij"), id="in a word"),
        pytest.param(
            "aaaa\n```\nb\nc\nd\n```", 13, ("aaaa", "```\nb\nc\nd\n```"), ("aaaa\n```\nb\nc", "d\n```"), id="a block"
        ),
    ],
)
def test_plain_text_is_cut_before_the_signs_of_a_fence_like_before_any_other(
    text: str, limit: int, fenced: tuple[str, ...], plain: tuple[str, ...]
) -> None:
    assert split_text(text, limit=limit, unit="codepoints") == fenced
    assert split_text(text, limit=limit, unit="codepoints", fences=False) == plain


@given(job=plain)
@example(job=Job(text=".`\tb c", limit=4, fences=False))
@settings(max_examples=120)
def test_plain_text_is_cut_where_it_would_be_without_the_signs(job: Job) -> None:
    """Signs of a fence are three of those that may close a sentence, no more."""
    for sign, closer in (("`", "]"), ("~", "}")):
        other = dataclasses.replace(job, text=job.text.replace(sign, closer))
        assert other.parts() == tuple(part.replace(sign, closer) for part in job.parts())


def test_an_info_string_cannot_multiply_the_text() -> None:
    """It is repeated in every part; beyond three quarters of the limit the block is cut like text."""
    text = f"```{'i' * 80}\n" + "x\n" * 500 + "```"
    assert sum(map(len, split_text(text, limit=100, unit="codepoints"))) <= len(text)


# --- Hard cases --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit", "unit", "expected"),
    [
        pytest.param("", 5, "codepoints", (), id="nothing"),
        pytest.param(" \n\t\u00a0\u3000", 2, "codepoints", (), id="only white space"),
        pytest.param(" \n\t ", 20, "codepoints", (), id="only white space, fitting"),
        pytest.param("  ab  ", 6, "codepoints", ("  ab  ",), id="outer white space that fits"),
        pytest.param("  ab  ", 4, "codepoints", ("  ab",), id="white space at the end goes first"),
        pytest.param(" " * 99 + "ab", 4, "codepoints", ("ab",), id="indentation longer than a part"),
        pytest.param("ab" + " " * 99 + "cd", 4, "codepoints", ("ab", "cd"), id="a gap longer than a part"),
        pytest.param("if x:\n    y\n    z", 8, "codepoints", ("if x:", "    y", "    z"), id="indentation is kept"),
        pytest.param("a\tb\tc", 3, "codepoints", ("a\tb", "c"), id="tabs"),
        pytest.param("a\r\nb\r\n\r\nc", 4, "codepoints", ("a\r\nb", "c"), id="CRLF is one line end"),
        pytest.param("a\r\nb", 1, "codepoints", ("a", "b"), id="CRLF at limit 1"),
        pytest.param("a\rb\r\rc", 3, "codepoints", ("a\rb", "c"), id="CR alone"),
        pytest.param("in 10\u00a0km", 6, "codepoints", ("in", "10\u00a0km"), id="no-break space"),
        pytest.param("a\u00a0b", 1, "codepoints", ("a", "b"), id="no-break space, and no other"),
        pytest.param("aa\n    bbbb", 7, "codepoints", ("aa", "bbbb"), id="indentation gives way to a word"),
        pytest.param("aa\n  - bbbb", 7, "codepoints", ("aa", "- bbbb"), id="and to a list marker with its word"),
        pytest.param("a b\n\ncc\ndd\n" + " " * 9, 9, "codepoints", ("a b", "cc\ndd"), id="white space at the end"),
        pytest.param("a b\n\ncc" + " " * 9, 9, "codepoints", ("a b\n\ncc",), id="it makes no part"),
        pytest.param(" \u0301\u0301", 1, "codepoints", ("\u0301", "\u0301"), id="nor does the space of a grapheme"),
        pytest.param("\u5b57\u3002z" + "\u0301" * 4, 3, "codepoints",
            ("\u5b57\u3002", "z\u0301\u0301", "\u0301\u0301"), id="a grapheme too long for any part"),
        pytest.param("a b\n- cc dd", 6, "codepoints", ("a b", "- cc", "dd"), id="a list marker stays with its item"),
        pytest.param(FAMILY * 2, 11, "utf16", (FAMILY, FAMILY), id="joined emoji, UTF-16"),
        pytest.param(FAMILY * 2, 25, "bytes", (FAMILY, FAMILY), id="joined emoji, bytes"),
        pytest.param(
            FAMILY, 7, "bytes", ("\U0001f468\u200d", "\U0001f469\u200d", "\U0001f467\u200d", "\U0001f466"),
            id="a grapheme longer than the limit",
        ),
        pytest.param("ab" + FAMILY, 13, "codepoints", ("ab" + FAMILY,), id="a grapheme is many code points"),
        pytest.param("ab" + FAMILY, 8, "codepoints", ("ab", FAMILY), id="a grapheme moves whole"),
        pytest.param(FLAG * 3, 5, "codepoints", (FLAG * 2, FLAG), id="flags"),
        pytest.param(THUMB * 2, 7, "utf16", (THUMB, THUMB), id="skin tones"),
        pytest.param("e\u0301" * 3, 3, "codepoints", ("e\u0301",) * 3, id="combining marks"),
        pytest.param("z" + "\u0301" * 6, 3, "codepoints", ("z\u0301\u0301", "\u0301" * 3, "\u0301"), id="zalgo"),
        pytest.param("ab \u0301c", 3, "codepoints", ("ab", " \u0301c"), id="a mark on a space"),
        pytest.param("ab \u0301\u0301c", 2, "codepoints", ("ab", " \u0301", "\u0301c"), id="too many of them"),
        pytest.param("a\u0600 b", 2, "codepoints", ("a", "\u0600 ", "b"), id="a prefix takes its space along"),
        pytest.param("\u1112\u1161\u11ab" * 2, 4, "codepoints", ("\u1112\u1161\u11ab",) * 2, id="Hangul jamo"),
        pytest.param("\ud55c\uad6d\uc5b4 \uae00", 9, "bytes", ("\ud55c\uad6d\uc5b4", "\uae00"), id="Hangul syllables"),
        pytest.param(
            "\u0915\u094d\u0937\u0924\u094d\u0930\u093f", 4, "codepoints",
            ("\u0915\u094d\u0937", "\u0924\u094d\u0930\u093f"), id="Indic conjuncts",
        ),
        pytest.param(
            "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", 8, "bytes",
            ("\u05e9\u05dc\u05d5\u05dd", "\u05e2\u05d5\u05dc\u05dd"), id="right to left",
        ),
        pytest.param(
            "\u6f22\u5b57\u3002\u300d\u6f22\u5b57\u3060", 6, "codepoints",
            ("\u6f22\u5b57\u3002\u300d", "\u6f22\u5b57\u3060"), id="sentences without spaces",
        ),
    ],
)  # fmt: skip
def test_a_hard_case(text: str, limit: int, unit: Unit, expected: tuple[str, ...]) -> None:
    assert split_text(text, limit=limit, unit=unit) == expected


STORY = "One. Two.\nThree four.\n\nFive"


@pytest.mark.parametrize(
    ("mode", "limit", "expected"),
    [
        ("paragraph", 22, ("One. Two.\nThree four.", "Five")),
        ("paragraph", 12, ("One. Two.", "Three four.", "Five")),
        ("newline", 17, ("One. Two.", "Three four.\n\nFive")),
        ("sentence", 15, ("One. Two.", "Three four.", "Five")),
        ("sentence", 10, ("One. Two.", "Three", "four.", "Five")),
        ("sentence", 8, ("One.", "Two.", "Three", "four.", "Five")),
        ("length", 15, ("One. Two.\nThree", "four.\n\nFive")),
        ("length", 4, ("One.", "Two.", "Thre", "e fo", "ur.", "Five")),
    ],
)
def test_a_mode(mode: Mode, limit: int, expected: tuple[str, ...]) -> None:
    assert split_text(STORY, limit=limit, unit="codepoints", mode=mode) == expected


@pytest.mark.parametrize("end", [".", "!", '?"', ".)", "**.**", "\u2026\u201d", "\u061f"])
def test_a_sentence_ends_before_its_quotes_and_brackets_do(end: str) -> None:
    first = f"One two{end}"
    assert split_text(f"{first} Three four five", limit=19, unit="codepoints", mode="sentence") == (
        first,
        "Three four five",
    )


@pytest.mark.parametrize("broken", ["0020 × 0308 ÷ 0020", "000D × 000A ÷ 0308", "0600 × 0020 ÷ 0020",
    "1100 × 1160 × 11A8 ÷ AC00 × 11A8 ÷ 1100", "0061 ÷ 1F1E6 × 1F1E7 ÷ 1F1E8 ÷ 0062",
    "1F1E6 × 1F1E7 × 200D ÷ 1F1E8 × 1F1E9", "1F476 × 1F3FF ÷ 1F476", "1F6D1 × 200D × 1F6D1", "0061 × 200D ÷ 1F6D1",
    "0915 × 094D × 0924", "0915 × 094D × 200D × 0924 × 0903", "0915 ÷ 0924"])  # fmt: skip
def test_graphemes_are_those_of_unicode(broken: str) -> None:
    """In the notation of Unicode's GraphemeBreakTest.txt, where these are from: × joins, ÷ parts."""
    signs = broken.split()
    text = "".join(chr(int(sign, 16)) for sign in signs[::2])
    assert list(inside_clusters(text)[1:-1]) == [sign == "×" for sign in signs[1::2]]


@pytest.mark.parametrize(("unit", "expected"), [("codepoints", 3), ("utf16", 4), ("bytes", 8)])
def test_length_counts_in_the_unit(unit: Unit, expected: int) -> None:
    assert length("a\u6f22\U0001f642", unit) == expected


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        split_text("a", limit=limit, unit="codepoints")


@pytest.mark.parametrize(("unit", "limit"), [("utf16", 1), ("bytes", 3)])
def test_a_code_point_is_never_cut(unit: Unit, limit: int) -> None:
    with pytest.raises(ValueError, match="code point"):
        split_text("a \U0001f642", limit=limit, unit=unit)


# --- What it costs, and what is pinned ---------------------------------------------------------------------

GROWING: dict[str, Callable[[int], str]] = {
    "prose": lambda n: "Some words here. And there,\nmore of them.\n\n" * n,
    "one word": lambda n: "a" * 20 * n,
    "spaces": lambda n: "a" + " " * 20 * n + "b",
    "blank lines": lambda n: "a" + "\n" * 20 * n + "b",
    "indentation": lambda n: ("a\n" + " " * 200) * n,
    "accents": lambda n: "\u0915\u094d\u0937e\u0301 " * n,
    "one grapheme": lambda n: "z" + "\u0301" * 20 * n,
    "flags": lambda n: FLAG * 10 * n,
    "families": lambda n: FAMILY * n,
    "full stops": lambda n: "\u3002" * 20 * n + " ",
    "quotes": lambda n: '"' * 10 * n + " " + '." ' * n,
    "backticks": lambda n: "`" * 20 * n,
    "fences": lambda n: "```\nx\n```\n" * n,
    "one block": lambda n: "```py\n" + "x = 1\n\n" * n + "```",
    "one block beyond ASCII": lambda n: "```py\n" + "\u00e9 = 1\n\n" * 2 * n + "```",
    "nothing closed": lambda n: "``` x\n~~~\n" * n,
    "list markers": lambda n: "- " * 10 * n,
    "lists in lists, and a fence": lambda n: "```\n```\n" + "- " * 10 * n,
    "long info": lambda n: f"```{'i' * 60}\n" + "x\n" * 5 * n + "```",
}


def lines_run(text: str, *, limit: int, unit: Unit) -> int:
    """Count the lines of our code that run while *text* is cut."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object, /) -> TraceFunction:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        split_text(text, limit=limit, unit=unit)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("unit", ["codepoints", "bytes"])
@pytest.mark.parametrize("name", GROWING)
def test_the_work_grows_with_the_text_and_not_faster(name: str, unit: Unit) -> None:
    """Counted in lines of our code that run: a text four times as long takes about four times as many."""
    small, large = (lines_run(GROWING[name](n), limit=100, unit=unit) for n in (50, 200))
    assert large <= 5 * small


@pytest.mark.parametrize("name", ["prose", "one word", "families"])
def test_a_text_of_a_megabyte_takes_four_times_what_a_quarter_of_it_takes(name: str) -> None:
    long = GROWING[name](1)
    long *= (1 << 20) // len(long.encode()) + 1
    small, large = (lines_run(text, limit=4096, unit="utf16") for text in (long[: len(long) // 4], long))
    assert 3 * small <= large <= 5 * small


@pytest.mark.parametrize("name", GROWING)
def test_the_time_grows_with_the_text_and_not_faster(name: str) -> None:
    """The same for what runs in C: sixteen times as long, and by far not 256 times the processor's time."""

    def seconds(text: str) -> float:
        def once() -> float:
            start = time.thread_time()
            split_text(text, limit=100, unit="utf16")
            return time.thread_time() - start

        return min(once() for _ in range(3))

    small, large = (seconds(GROWING[name](n)) for n in (100, 1600))
    assert large <= 64 * max(small, 1e-4)


@pytest.mark.parametrize(
    ("text", "loaded"), [("word " * 99, "False"), ("h\u00e9llo", "False"), ("\u00e9 " * 99, "True")]
)
def test_the_unicode_tables_load_for_a_text_beyond_ascii_that_is_cut(text: str, loaded: str) -> None:
    program = (
        "import sys; from pillarbox.channels.text.split import split_text; "
        f"split_text({text!a}, limit=20, unit='bytes'); print('regex' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == loaded


def test_other_cuts_are_another_version() -> None:
    """The version is stored with the parts. Whoever cuts these otherwise raises it, and puts the new digest here."""
    corpus = [
        STORY * 3,
        f"Look:\n\n{PY}\n\n- a list of\n- things\n\n{PY * 4}",
        "Na\u00efve " * 20 + FAMILY * 3 + FLAG * 9,
        "Say ``` or ~~~~ " * 9,
    ]
    cut = [
        split_text(text, limit=limit, unit=unit, mode=mode, fences=fences)
        for text in corpus
        for limit in (7, 20, 40, 90)
        for unit in UNITS
        for mode in MODES
        for fences in (True, False)
    ]
    digests = {"2": "f2aac1083d0f6e6f"}
    assert hashlib.sha256(json.dumps(cut).encode()).hexdigest()[:16] == digests[SPLITTER]


def test_a_fence_in_a_block_quote_is_text() -> None:
    assert find_fences("> ```\n> x\n> ```") == []
