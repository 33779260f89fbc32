"""
From Markdown or HTML, as people and models write it, to a `Rich` text; and to HTML for what is stored. Pure.

Markdown is GitHub's: its own parser reads it, and its HTML is read here. Line ends are kept, as chats show them.

HTML is a page's or a chat's. Where one of the tags of a page's blocks stands in it, white space means what it means in
a page; else line ends are kept, as Telegram's HTML has it. Lists become lines with marks, tables blocks of code. A tag
that HTML does not know (``vector<int>``) is text.
"""

from __future__ import annotations

import html as entities
import re
from typing import Final

from pillarbox.channels.text.html import BLOCKS, LINKS, UNSEEN, HtmlReader, attribute, characters
from pillarbox.channels.text.rich import Mark, Rich, Span, pieces
from pillarbox.domain.message import Content, Format

_MARKS: Final = {
    "b": Mark.BOLD, "strong": Mark.BOLD, "h1": Mark.BOLD, "h2": Mark.BOLD, "h3": Mark.BOLD, "h4": Mark.BOLD,
    "h5": Mark.BOLD, "h6": Mark.BOLD, "i": Mark.ITALIC, "em": Mark.ITALIC, "u": Mark.UNDERLINE, "ins": Mark.UNDERLINE,
    "s": Mark.STRIKE, "strike": Mark.STRIKE, "del": Mark.STRIKE, "tg-spoiler": Mark.SPOILER, "code": Mark.CODE,
    "kbd": Mark.CODE, "pre": Mark.PRE, "blockquote": Mark.QUOTE,
}  # fmt: skip
_TAGS: Final = {
    Mark.BOLD: "b", Mark.ITALIC: "i", Mark.UNDERLINE: "u", Mark.STRIKE: "s", Mark.SPOILER: "tg-spoiler",
    Mark.CODE: "code", Mark.PRE: "pre", Mark.LINK: "a", Mark.QUOTE: "blockquote",
}  # fmt: skip
_START_TAGS: Final = {mark: f"<{tag}>" for mark, tag in _TAGS.items()}
_END_TAGS: Final = {mark: f"</{tag}>" for mark, tag in _TAGS.items()}
_OTHERS: Final = frozenset(
    {
        "a", "abbr", "body", "br", "caption", "col", "colgroup", "dd", "details", "font", "head", "html", "img",
        "input", "label", "li", "mark", "meta", "link", "small", "span", "sub", "summary", "sup", "tbody", "td",
        "tfoot", "th", "thead", "wbr",
    }
)  # fmt: skip
_KNOWN: Final = BLOCKS | UNSEEN | _OTHERS | _MARKS.keys()
_PLAIN_MARKS: Final = frozenset(_MARKS.keys() - BLOCKS)
_INLINE: Final = _PLAIN_MARKS | {"a", "span"}
_ADDRESSES: Final = (*LINKS, "tg:")
# Telegram's HTML has these two among text whose line ends count.
_PAGE_BLOCKS: Final = re.compile(
    rf"<(?:br|li|{'|'.join(sorted(BLOCKS - {'blockquote', 'pre', 'title'}))})(?=[\s/>])", re.IGNORECASE
)
_PARAGRAPHS: Final = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "table", "ul", "ol"})
_WHITE: Final = re.compile(r"\s++")
_LINE_ENDS: Final = re.compile(r"\r\n?")
_CELL_LENGTH_MAX: Final = 40
_RULE: Final = "———"
_DEPTH_MAX: Final = 100  # as deep as anybody nests; browsers stop at 512


def rich_of(content: Content) -> Rich:
    """Return what *content* says; its text as it stands where that is plain."""
    text = content.text or ""
    if content.format is Format.PLAIN:
        return Rich(text)
    return from_markdown(text) if content.format is Format.MARKDOWN else from_html(text)


def from_markdown(text: str) -> Rich:
    """Read GitHub Flavored Markdown. Never fails: everything is Markdown."""
    import cmarkgfm
    from cmarkgfm.cmark import Options

    # What looks like HTML is passed on: `_Reader` takes from it what it knows, and the rest for text.
    options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_HARDBREAKS
    html: str = cmarkgfm.github_flavored_markdown_to_html(text, options)
    return _Reader(html, is_page=True).rich()


def from_html(text: str) -> Rich:
    """Read HTML. Never fails, whatever it is given."""
    return _Reader(_LINE_ENDS.sub("\n", text), is_page=is_page(text)).rich()


def is_page(text: str) -> bool:
    """Whether white space in HTML means what it means on a page, because a page's blocks stand in it."""
    return _PAGE_BLOCKS.search(text) is not None


def to_html(rich: Rich) -> str:
    """Write *rich* down so that `from_html` reads the same again."""
    written: list[str] = []
    for text, span, opens in pieces(rich):
        if span is None:
            written.append(text if text.isalnum() else entities.escape(text, quote=False))
        elif not opens:
            written.append(_END_TAGS[span.mark])
        elif span.value or span.mark is Mark.LINK:
            name = "href" if span.mark is Mark.LINK else "lang"
            written.append(f'<{_TAGS[span.mark]} {name}="{entities.escape(span.value)}">')
        else:
            written.append(_START_TAGS[span.mark])
    return "".join(written)


class _Open:
    """An element that is not closed yet; it begins where its first text stands."""

    __slots__ = ("mark", "name", "start", "value")

    def __init__(self, name: str, mark: Mark | None, value: str = "") -> None:
        self.name = name
        self.mark = mark
        self.value = value
        self.start: int | None = None


class _Reader(HtmlReader):
    """One text on its way to what it says."""

    def __init__(self, html: str, *, is_page: bool) -> None:
        super().__init__(html)
        self._is_page = is_page
        self._said: list[str] = []
        self._length = 0
        self._spans: list[Span] = []
        self._open: list[_Open] = []
        self._lists: list[int | None] = []  # the next number of each open list; None where it has points
        self._breaks = 0  # line ends to write before the next text
        self._blank = True  # white space that follows means nothing
        self._mark = ""  # of a list's item, to write before its first text
        self._unseen = 0
        self._rows: list[list[str]] | None = None
        self._code = 0  # elements of code that are open

    def rich(self) -> Rich:
        """Return all of it."""
        self.read()
        while self._open:
            self._end(self._open.pop())
        said = "".join(self._said)
        length = len(said.rstrip()) if self._is_page else len(said)
        # What ends last begins first, where both are equally long.
        kept = (
            span if span.stop <= length else span._replace(stop=length)
            for span in reversed(self._spans)
            if span.start < length
        )
        return Rich(said[:length], tuple(sorted(kept, key=lambda span: (span.start, -span.stop))))

    # Tags

    def _opened(self, name: str, rest: str, tag: str) -> None:
        if name in _PLAIN_MARKS and not self._code:  # most of what there is, where there is much
            self._mark_from_here(name, _MARKS[name], "")
        elif name not in _KNOWN:
            self._text(entities.escape(tag))
        elif name in UNSEEN:
            self._unseen += 1
        elif name == "br":
            self._write("\n" * (self._breaks == 0))
            self._blank = True
        elif name in {"hr", "img", "input"}:
            self._single(name, rest)
        elif name in {"td", "th"} and self._rows:
            self._rows[-1].append("")
        elif name == "tr" and self._rows is not None:
            self._rows.append([])
        else:
            self._begin(name, rest)

    def _begin(self, name: str, rest: str) -> None:
        if name in {"ul", "ol"}:
            start = attribute(rest, "start")
            number = int(start) if start.isdecimal() and len(start) < 10 else 1
            self._break(1 if self._lists else 2)
            self._lists.append(number if name == "ol" else None)
        elif name == "li":
            self._item()
        elif name == "table":
            self._break(2)
            self._rows = []
        elif name in BLOCKS and self._is_page:
            self._break(2 if name in _PARAGRAPHS else 1)
        mark, value = _MARKS.get(name), ""
        if name == "a":
            address = attribute(rest, "href")
            if address.startswith(_ADDRESSES):
                mark, value = Mark.LINK, address
        elif name == "span" and attribute(rest, "class") == "tg-spoiler":
            mark = Mark.SPOILER
        elif name == "pre":
            value = attribute(rest, "lang")
        elif name == "code" and self._code:
            language = attribute(rest, "class").removeprefix("language-")
            if self._open[-1].mark is Mark.PRE and not self._open[-1].value:
                self._open[-1].value = language
        if name in _MARKS or name in {"a", "span"}:
            self._mark_from_here(name, mark, value)

    def _mark_from_here(self, name: str, mark: Mark | None, value: str) -> None:
        if len(self._open) < _DEPTH_MAX:
            # Code is shown as it is, and nothing is bold twice.
            if self._code or (self._open and mark in [one.mark for one in self._open]):
                mark = None
            self._code += mark is Mark.CODE or mark is Mark.PRE
            self._open.append(_Open(name, mark, value))

    def _single(self, name: str, rest: str) -> None:
        if name == "hr":
            self._break(2)
            self._text(_RULE)
            self._break(2)
        elif name == "img":
            link = _Open("img", Mark.LINK, attribute(rest, "src"))
            if link.value.startswith(LINKS) and not self._code:
                self._open.append(link)
            self._text(entities.escape(attribute(rest, "alt") or link.value))
            self._closed("img", "")
        elif attribute(rest, "type") == "checkbox":
            self._text("☑" if "checked" in rest else "☐")

    def _closed(self, name: str, tag: str) -> None:
        if name in _INLINE and self._open and self._open[-1].name == name:
            self._end(self._open.pop())
            return
        if name not in _KNOWN:
            self._text(entities.escape(tag))
            return
        if name in UNSEEN:
            self._unseen = max(0, self._unseen - 1)
            return
        if name in {"ul", "ol"} and self._lists:
            self._lists.pop()
        if name == "table" and self._rows is not None:
            self._table()
        if any(one.name == name for one in self._open):
            # What was opened inside of it ends with it.
            while self._end(self._open.pop()) != name:
                pass
        if name == "li":
            self._break(1)
        elif name in BLOCKS and self._is_page:
            self._break(2 if name in _PARAGRAPHS and not (name in {"ul", "ol"} and self._lists) else 1)

    def _end(self, one: _Open) -> str:
        self._code -= one.mark is Mark.CODE or one.mark is Mark.PRE
        if one.mark is Mark.PRE and self._is_page and self._said and self._said[-1].endswith("\n"):
            self._said[-1] = self._said[-1][:-1]
            self._length -= 1
        if one.mark is not None and one.start is not None and one.start < self._length:
            self._spans.append(Span(one.start, self._length, one.mark, one.value))
        return one.name

    # Text

    def _text(self, text: str) -> None:
        if not text or self._unseen:
            return
        if "&" in text:
            text = characters(text)
        if self._rows is not None:
            if self._rows and self._rows[-1]:
                self._rows[-1][-1] += text
            return
        # Between marks there are mostly single words, which have no white space, and single spaces.
        words = not text.isalnum() and self._is_page
        if words and not (self._code and any(one.mark is Mark.PRE for one in self._open)):
            text = text if text == " " else _WHITE.sub(" ", text)
            if self._blank or self._breaks or not self._length:
                text = text.lstrip()
        if text:
            self._write(text)

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._breaks or self._mark:
            before = f"{chr(10) * self._breaks if self._length else ''}{self._mark}"
            self._breaks, self._mark = 0, ""
            self._length += len(before)
            if before:
                self._said.append(before)
        for one in reversed(self._open):
            if one.start is not None:
                break  # what is open around it began with it, or before
            one.start = self._length
        self._said.append(text)
        self._length += len(text)
        self._blank = text[-1] in " \n"

    def _break(self, lines: int) -> None:
        if not self._is_page or self._rows is not None:
            return
        while self._said and self._blank and self._said[-1].endswith(" "):
            # A blank at the end of a line is none; what was only that is gone.
            stripped = self._said[-1].rstrip(" ")
            self._length -= len(self._said[-1]) - len(stripped)
            self._said[-1] = stripped
            if not stripped:
                self._said.pop()
        already = len(self._said[-1]) - len(self._said[-1].rstrip("\n")) if self._said else 0
        self._breaks = max(self._breaks, lines - already)

    def _item(self) -> None:
        self._break(1)
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        indent = "  " * (len(self._lists) - 1)
        self._mark = f"{indent}{'•' if number is None else f'{number}.'} "

    def _table(self) -> None:
        rows = [[_WHITE.sub(" ", cell).strip() for cell in row] for row in self._rows or [] if row]
        self._rows = None
        count = max(map(len, rows), default=0)
        widths = [
            min(_CELL_LENGTH_MAX, max(len(row[at]) if at < len(row) else 0 for row in rows)) for at in range(count)
        ]
        lines = (
            " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
        )
        text = "\n".join(lines)
        if text.strip():
            block = _Open("table", Mark.PRE)
            self._open.append(block)
            self._write(text)
            self._open.remove(block)
            if block.start is not None and not self._code:
                self._spans.append(Span(block.start, self._length, Mark.PRE))
