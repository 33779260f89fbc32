"""A text as the HTML that Matrix clients show: spec.matrix.org, "m.room.message msgtypes". Pure."""

from __future__ import annotations

from html import escape
from typing import Final

from pillarbox.channels.text.rich import Edge, Mark, Rich, pieces

_TAGS: Final = {
    Mark.BOLD: "strong", Mark.ITALIC: "em", Mark.UNDERLINE: "u", Mark.STRIKE: "del", Mark.CODE: "code",
    Mark.QUOTE: "blockquote",
}  # fmt: skip
_BLOCKS: Final = frozenset({Mark.PRE, Mark.QUOTE})


def formatted(rich: Rich) -> str:
    """Return *rich* as the value of ``formatted_body``."""
    written: list[str] = []
    in_code = 0
    at_block = True  # a block has just begun or ended, which is a line's end by itself
    for piece in pieces(rich):
        if not isinstance(piece, Edge):
            text = piece if in_code else piece.lstrip("\n") if at_block else piece
            lines = escape(text, quote=False)
            written.append(lines if in_code else lines.replace("\n", "<br>"))
            at_block = at_block and not text
            continue
        mark, value = piece.span.mark, escape(piece.span.value)
        if mark in _BLOCKS:
            at_block = True
            while written and written[-1].endswith("<br>"):
                written[-1] = written[-1].removesuffix("<br>")
        in_code += (1 if piece.opens else -1) * (mark is Mark.PRE)
        opening, closing = _tag(mark, value)
        written.append(opening if piece.opens else closing)
    return "".join(written)


def _tag(mark: Mark, value: str) -> tuple[str, str]:
    match mark:
        case Mark.LINK:
            return f'<a href="{value}">', "</a>"
        case Mark.SPOILER:
            return "<span data-mx-spoiler>", "</span>"
        case Mark.PRE:
            language = f' class="language-{value}"' if value else ""
            return f"<pre><code{language}>", "</code></pre>"
        case _:
            return f"<{_TAGS[mark]}>", f"</{_TAGS[mark]}>"
