"""A text as the HTML that Matrix clients show: spec.matrix.org, "m.room.message msgtypes". Pure."""

from __future__ import annotations

from html import escape
from typing import Final

from pillarbox.channels.text.rich import Mark, Rich, pieces

_START_TAGS: Final = {
    Mark.BOLD: "<strong>", Mark.ITALIC: "<em>", Mark.UNDERLINE: "<u>", Mark.STRIKE: "<del>", Mark.CODE: "<code>",
    Mark.SPOILER: "<span data-mx-spoiler>", Mark.PRE: "<pre><code>", Mark.QUOTE: "<blockquote>",
}  # fmt: skip
_END_TAGS: Final = {
    Mark.BOLD: "</strong>", Mark.ITALIC: "</em>", Mark.UNDERLINE: "</u>", Mark.STRIKE: "</del>", Mark.CODE: "</code>",
    Mark.SPOILER: "</span>", Mark.PRE: "</code></pre>", Mark.QUOTE: "</blockquote>", Mark.LINK: "</a>",
}  # fmt: skip
_BLOCKS: Final = frozenset({Mark.PRE, Mark.QUOTE})


def formatted(rich: Rich) -> str:
    """Return *rich* as the value of ``formatted_body``."""
    written: list[str] = []
    in_code = 0
    at_block = True  # a block has just begun or ended, which is a line's end by itself
    for piece, span, opens in pieces(rich):
        if span is None:
            text = piece if in_code or not at_block else piece.lstrip("\n")
            if not text.isalnum():  # a single word is written as it is
                text = escape(text, quote=False)
                text = text if in_code else text.replace("\n", "<br>")
            written.append(text)
            at_block = at_block and not text
            continue
        mark = span.mark
        if mark in _BLOCKS:
            at_block = True
            while written and written[-1].endswith("<br>"):
                written[-1] = written[-1].removesuffix("<br>")
            in_code += (1 if opens else -1) * (mark is Mark.PRE)
        if not opens:
            written.append(_END_TAGS[mark])
        elif mark is Mark.LINK:
            written.append(f'<a href="{escape(span.value)}">')
        elif mark is Mark.PRE and span.value:
            written.append(f'<pre><code class="language-{escape(span.value)}">')
        else:
            written.append(_START_TAGS[mark])
    return "".join(written)
