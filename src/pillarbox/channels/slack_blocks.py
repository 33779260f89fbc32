"""Writes a text as one of Slack's blocks of rich text, which has no signs to escape and none that could be torn."""

from __future__ import annotations

from typing import Final

from pillarbox.channels.text.rich import Mark, Rich, Span, pieces

_STYLES: Final = {
    Mark.BOLD: "bold", Mark.ITALIC: "italic", Mark.UNDERLINE: "underline", Mark.STRIKE: "strike", Mark.CODE: "code",
}  # fmt: skip
_BLOCKS: Final = {Mark.PRE: "rich_text_preformatted", Mark.QUOTE: "rich_text_quote"}


def blocks(rich: Rich) -> list[dict[str, object]]:
    """Return *rich* as one block of rich text: docs.slack.dev/reference/block-kit/blocks/rich-text-block."""
    elements: list[dict[str, object]] = []
    block: Span | None = None  # the quote or code that is open
    inside: list[dict[str, object]] = []
    open_spans: list[Span] = []
    for piece, span, opens in pieces(rich):
        if span is None:
            # A block begins and ends its line by itself.
            text = piece if block or not elements or inside else piece.lstrip("\n")
            if text:
                inside.append(_inline(text, open_spans) if open_spans else {"type": "text", "text": text})
            continue
        if span.mark in _BLOCKS and (block is None or span is block):
            elements += _finished(block, inside)
            block, inside = (span if opens else None), []
        if opens:
            open_spans.append(span)
        else:
            open_spans.pop()
    elements += _finished(block, inside)
    return [{"type": "rich_text", "elements": elements}]


def _finished(block: Span | None, inside: list[dict[str, object]]) -> list[dict[str, object]]:
    if block is None and inside:
        last = inside[-1]
        last["text"] = str(last["text"]).rstrip("\n")
        if not last["text"]:
            inside.pop()
    name = "rich_text_section" if block is None else _BLOCKS[block.mark]
    return [{"type": name, "elements": inside}] if inside else []


def _inline(text: str, open_spans: list[Span]) -> dict[str, object]:
    found: dict[str, object] = {"type": "text", "text": text}
    style = {}
    for span in open_spans:
        if span.mark in _STYLES:
            style[_STYLES[span.mark]] = True
        elif span.mark is Mark.LINK and "url" not in found:
            found["type"], found["url"] = "link", span.value
    if style:
        found["style"] = style
    return found
