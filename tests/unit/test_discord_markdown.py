"""Text as Discord's Markdown: what is a sign in the text is not one in the message."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pillarbox.channels.discord_markdown import escaped, written
from pillarbox.channels.text.markup import from_html, from_markdown
from pillarbox.channels.text.rich import Rich


@pytest.mark.contract("CO1")
@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("**b** *i* <u>u</u> ~~s~~ `c`", "**b** *i* __u__ ~~s~~ `c`"),
        ("***both***", "***both***"),
        ("**b**<i>i</i>", "**b**\u200b*i*"),
        ("[l](https://e.example/a_(b))", "[l](https://e.example/a_%28b%29)"),
        ("https://e.example/a_b_c *x*", "https://e.example/a_b_c *x*"),
        ("# Head\n\\# no head", "**Head**\n\n\\# no head"),
        ("> one\n> **two\n> three**\n\nend", "> one\n> **two\n> three**\n\nend"),
        ("```Python\nx = `1`\n```", "```python\nx = `1`\n```"),
        ("```c++ x\n1\n```", "```c++\n1\n```"),
        ("- a\n- b\n\n1. c", "• a\n• b\n\n1\\. c"),
        ("a`` `b` ``c", "a`` `b` ``c"),
        ("\\*a\\* \\_b\\_ \\`c\\` \\|\\|d\\|\\| \\[e](f)", "\\*a\\* \\_b\\_ \\`c\\` \\|\\|d\\|\\| \\[e](f)"),
        ("<tg-spoiler>s</tg-spoiler>", "||s||"),
        ("<@1> \\<@2>", "\\<@1> \\<@2>"),
    ],
)
def test_markdown_becomes_discords(markdown: str, shown: str) -> None:
    assert written(from_markdown(markdown)) == shown


def test_code_that_holds_a_fence_stays_one_block() -> None:
    text = written(from_markdown("````\n```\ninside\n```\n````"))
    assert text.startswith("```\n")
    assert text.endswith("```")
    assert text.count("```") == 2


TEXTS = st.text(st.sampled_from("ab1 \n*_~`|<>#-+.[]()\\&\"'"), max_size=40)


@given(TEXTS)
@example("1)")
@example("1) a")
@pytest.mark.contract("CO1")
def test_plain_text_has_no_marks_for_a_parser_that_is_not_ours(text: str) -> None:
    shown = escaped(text)
    assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", shown) == text
    # CommonMark knows more escapes than needed here; indented code, rules of "=" and numbers with a bracket behind them
    # are no marks of Discord's.
    lines = "\n".join(re.sub(r"^([0-9]+)\)", r"\1\\)", line.strip()) for line in shown.split("\n"))
    kinds = {token.type for token in MarkdownIt("commonmark", {"html": False}).enable("strikethrough").parse(lines)}
    assert kinds <= {"inline", "paragraph_open", "paragraph_close"}
    inside = {
        child.type
        for token in MarkdownIt("commonmark").enable("strikethrough").parse(lines)
        for child in token.children or []
    }
    assert inside <= {"text", "softbreak", "hardbreak", "text_special"}


MARKED = st.recursive(
    st.text("abc", min_size=1, max_size=4),
    lambda inner: st.builds(
        lambda mark, words: f"<{mark}>{' '.join(words)}</{mark}>",
        st.sampled_from(["b", "i", "s"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


@given(st.lists(MARKED, min_size=1, max_size=5))
@pytest.mark.contract("CO1")
def test_a_parser_that_is_not_ours_finds_no_mark_left_over(words: list[str]) -> None:
    rich = from_html(" ".join(words))
    tokens = MarkdownIt("commonmark").enable("strikethrough").parse(written(rich))
    text = "".join(child.content for token in tokens for child in token.children or [] if child.type == "text")
    assert text.replace("\u200b", "") == rich.text


def test_a_text_without_spans_is_escaped_only() -> None:
    assert written(Rich("a*b\n- c")) == escaped("a*b\n- c") == "a\\*b\n\\- c"
