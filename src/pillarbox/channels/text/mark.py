"""
What a copy that may be a second one says of itself, written into its text (contract CH6). Pure.

It is a line of its own before the text, in whatever the text is written: so nothing in the text means anything else
for it, and what is cut off in a list of chats is not the mark.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

import msgspec

from pillarbox.channels.text.rich import Rich
from pillarbox.domain.message import Content, Format

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNS: Final = re.compile(r"[\\`*_\[\]<>~|#]")
_BODY: Final = re.compile(r"<body(?:\s[^>]*)?>", re.IGNORECASE)


def marked_text(content: Content, mark: str) -> str:
    """Return the text of *content* behind *mark*, in the language that it is written in."""
    text = content.text or ""
    if content.format is Format.HTML:
        from pillarbox.channels.text.markup import is_page

        if not is_page(text):
            return f"{escape(mark, quote=False)}\n{text}" if text else escape(mark, quote=False)
        body = _BODY.search(text)
        at = body.end() if body else 0
        return f"{text[:at]}{_paragraph(mark)}{text[at:]}"
    if content.format is Format.MARKDOWN:
        # An empty line, or signs below would make a heading of it.
        return f"{_SIGNS.sub(_escaped, mark)}\n\n{text}" if text else _SIGNS.sub(_escaped, mark)
    return f"{mark}\n{text}" if text else mark


def longest_lead(mark: str, written: Format) -> str:
    """Return the longest that `marked_text` writes before a text: of HTML it depends on the part."""
    if written is Format.HTML:
        return _paragraph(mark)
    return f"{_SIGNS.sub(_escaped, mark)}\n\n" if written is Format.MARKDOWN else f"{mark}\n"


def marked_rich(rich: Rich, mark: str, *, behind: bool = False) -> Rich:
    """Return *rich* with *mark* as its first line; *behind* it, as its last."""
    if not rich.text:
        return Rich(mark)
    if behind:
        return Rich(f"{rich.text}\n{mark}", rich.spans)
    shift = len(mark) + 1
    spans = (span._replace(start=span.start + shift, stop=span.stop + shift) for span in rich.spans)
    return Rich(f"{mark}\n{rich.text}", tuple(spans))


def with_marked_text(content: Content, mark: str) -> Content:
    """Return *content* as a copy that says that it may be one; a raw payload stays as it is."""
    if content.payload is not None:
        return msgspec.structs.replace(content, mark=mark)
    return msgspec.structs.replace(content, text=marked_text(content, mark), mark=mark)


def sized_with(mark: str | None, size: Callable[[Rich], int]) -> Callable[[Rich], int]:
    """Return how to measure a text that may have to bear *mark*."""
    return size if mark is None else lambda rich: size(marked_rich(rich, mark))


def _paragraph(mark: str) -> str:
    return f"<p>{escape(mark, quote=False)}</p>\n"


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}"
