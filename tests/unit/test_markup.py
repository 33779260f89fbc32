"""What people write in Markdown and HTML, as text and what is said of its stretches."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.channels.text.markup import from_html, from_markdown, to_html
from pillarbox.channels.text.rich import Mark, Rich, Span, pieces


def said(rich: Rich) -> list[tuple[str, ...]]:
    """Each span as its mark, its text and, if it has one, its value."""
    return [
        (span.mark.value, rich.text[span.start : span.stop], *([span.value] if span.value else []))
        for span in rich.spans
    ]


def check(rich: Rich) -> Rich:
    """Spans are not empty, inside of the text, in order, and never across each other."""
    assert [*rich.spans] == sorted(rich.spans, key=lambda span: (span.start, -span.stop))
    open_ends: list[Span] = []
    for span in rich.spans:
        assert 0 <= span.start < span.stop <= len(rich.text)
        while open_ends and open_ends[-1].stop <= span.start:
            open_ends.pop()
        assert not open_ends or span.stop <= open_ends[-1].stop
        assert not any(outer.mark in {Mark.CODE, Mark.PRE} for outer in open_ends)
        assert not any(outer.mark is span.mark for outer in open_ends)
        open_ends.append(span)
    assert "".join(text for text, _, _ in pieces(rich)) == rich.text
    return rich


@pytest.mark.parametrize(
    ("markdown", "text", "spans"),
    [
        ("plain", "plain", []),
        ("one\ntwo", "one\ntwo", []),
        ("one\n\n\n\ntwo", "one\n\ntwo", []),
        ("**b *bi* b** _i_ ~~s~~", "b bi b i s", [("bold", "b bi b"), ("italic", "bi"), ("italic", "i"),
                                                   ("strike", "s")]),
        ("snake_case_name 2*3*4", "snake_case_name 234", [("italic", "3")]),
        ("`a < b && c`", "a < b && c", [("code", "a < b && c")]),
        ("[label](https://e.example/?a=1&b=2)", "label", [("link", "label", "https://e.example/?a=1&b=2")]),
        ("[label](javascript:alert(1))", "label", []),
        ("see https://e.example/a_b_c.", "see https://e.example/a_b_c.", [("link", "https://e.example/a_b_c", "https://e.example/a_b_c")]),
        ("# Head\ntext", "Head\n\ntext", [("bold", "Head")]),
        ("> one\n> two\n\nend", "one\ntwo\n\nend", [("quote", "one\ntwo")]),
        ("```python\nx = 1\n\ny < 2\n```\nend", "x = 1\n\ny < 2\n\nend", [("pre", "x = 1\n\ny < 2", "python")]),
        ("    indented", "indented", [("pre", "indented")]),
        ("- a\n- b\n  1. c\n  2. d\n- e", "• a\n• b\n  1. c\n  2. d\n• e", []),
        ("3. a\n4. b", "3. a\n4. b", []),
        ("- [ ] open\n- [x] done", "• ☐ open\n• ☑ done", []),
        ("| a | bb |\n|---|---|\n| ccc | `d` |", "a   | bb\nccc | d", [("pre", "a   | bb\nccc | d")]),
        ("a\n\n---\n\nb", "a\n\n———\n\nb", []),
        ("![a cat](https://e.example/c.png)", "a cat", [("link", "a cat", "https://e.example/c.png")]),
        ("vector<int> and <u>under</u>", "vector<int> and under", [("underline", "under")]),
        ("a \\*literal\\* star", "a *literal* star", []),
        ("**not closed", "**not closed", []),
        ("hidden <script>alert(1)</script> end", "hidden <script>alert(1)</script> end", []),
        ("", "", []),
        (" \n ", "", []),
    ],
)  # fmt: skip
@pytest.mark.contract("CO1")
def test_markdown(markdown: str, text: str, spans: list[tuple[str, ...]]) -> None:
    rich = check(from_markdown(markdown))
    assert (rich.text, said(rich)) == (text, spans)


@pytest.mark.parametrize(
    ("html", "text", "spans"),
    [
        # As Telegram's: line ends count.
        ("<b>Report</b>\nline 1\n  line 2", "Report\nline 1\n  line 2", [("bold", "Report")]),
        ("a\r\nb", "a\nb", []),
        ('<tg-spoiler>x</tg-spoiler><span class="tg-spoiler">y</span>', "xy", [("spoiler", "x"), ("spoiler", "y")]),
        ('<pre><code class="language-python">x\n</code></pre>', "x\n", [("pre", "x\n", "python")]),
        ("<blockquote>q</blockquote>\nend", "q\nend", [("quote", "q")]),
        # As a page's: they do not.
        ("<p>one\n two</p><p>three</p>", "one two\n\nthree", []),
        ("a<br>b<br/>c", "a\nb\nc", []),
        ("<ul>\n<li>a</li>\n<li>b</li>\n</ul>", "• a\n• b", []),
        ("<div>a</div><div>b</div>", "a\nb", []),
        ("<h1>Head</h1> text", "Head\n\ntext", [("bold", "Head")]),
        ("<p>x</p><style>p { color: red }</style><script>alert('<b>')</script>", "x", []),
        # Torn, crossed and unknown.
        ("<b>a<i>b</b>c</i>", "abc", [("bold", "ab"), ("italic", "b")]),
        ("</i>a<b>b", "ab", [("bold", "b")]),
        ("<b>a<b>b</b></b>", "ab", [("bold", "ab")]),
        ("a < b & c &lt;d&gt; &amp;amp; &#x1F600;", "a < b & c <d> &amp; 😀", []),
        ("<foo>bar</foo>", "<foo>bar</foo>", []),
        ('<a href="https://e.example">x</a> <a>y</a>', "x y", [("link", "x", "https://e.example")]),
        ("<b></b>", "", []),
        ("<code>a<b>b</b></code>", "ab", [("code", "ab")]),
        ("<!-- a --> b", " b", []),
    ],
)
@pytest.mark.contract("CO1")
def test_html(html: str, text: str, spans: list[tuple[str, ...]]) -> None:
    rich = check(from_html(html))
    assert (rich.text, said(rich)) == (text, spans)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=60)
SIGNS = st.lists(
    st.one_of(
        st.sampled_from(
            ["*", "**", "_", "`", "```\n", "~~", "[", "](https://e.example)", "> ", "- ", "1. ", "\n", "\n\n", "# ",
             "|", "<b>", "</b>", "<i>", "</i>", "<a href='https://e.example/'>", "</a>", "<pre>", "</pre>", "<code>",
             "</code>", "<blockquote>", "</blockquote>", "<p>", "<li>", "<table>", "<td>", "<tr>", "</table>", "&lt;",
             "&", "<", "<!--", "'", '"', "<br>"]
        ),
        ANY_TEXT,
    ),
    max_size=30,
).map("".join)  # fmt: skip


@given(SIGNS)
def test_whatever_is_written_becomes_a_text_with_spans_that_nest_and_is_the_same_once_stored(written: str) -> None:
    for read in (check(from_markdown(written)), check(from_html(written))):
        # What is stored of a part has no carriage return, which HTML does not tell from a line's end.
        rich = Rich(read.text.replace("\r", " "), read.spans)
        assert check(from_html(to_html(rich))) == rich


@given(ANY_TEXT)
def test_a_text_without_markup_is_itself_once_stored(text: str) -> None:
    assert from_html(to_html(Rich(text))) == Rich(text)


@pytest.mark.parametrize(
    "sign", ["[", "![", "<b>", "> ", "* ", "`", "<td>", "<wbr>", "*a ", "**a*", "</b>", "<", "<a href='", "<!--"]
)
@pytest.mark.contract("CO1")
def test_no_text_takes_longer_than_its_length_asks_for(sign: str) -> None:
    for read in (from_markdown, from_html):
        began = time.thread_time()
        check(read(sign * 20_000))
        assert time.thread_time() - began < 2
