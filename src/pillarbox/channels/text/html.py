"""
HTML read from its beginning to its end, and as plain text for readers that show none. Pure.

The plain text is a courtesy copy: links keep their address, blocks their line, and nothing else of the layout survives.

Not the standard library's parser: it looks at the rest of the text again at every tag that does not end, and takes
18 s for 64 KiB of them. Here each search that found no end is the last of its kind, so the time grows with the length.
"""

from __future__ import annotations

import html as entities
import re
from abc import ABC, abstractmethod
from typing import Final

BLOCKS: Final = frozenset(
    {
        "address", "article", "blockquote", "div", "dl", "dt", "fieldset", "footer", "form", "h1", "h2", "h3", "h4",
        "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "title", "tr", "ul",
    }
)  # fmt: skip
UNSEEN: Final = frozenset({"script", "style", "template", "title"})
LINKS: Final = ("http:", "https:", "mailto:", "tel:")

# A tag's name and the rest of it up to its end, which is not the ``>`` inside of quotes.
_TAG: Final = re.compile(r"<(/?)([A-Za-z][^\s/>]*+)((?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>")
# A tag in which there is no other sign of a tag's beginning or end: nearly all are like that.
_PLAIN_TAG: Final = re.compile(r"(</?[A-Za-z][^<>]*+>)")
_NAME: Final = re.compile(r"/?[A-Za-z]")
_ATTRIBUTE: Final = re.compile(r"(?<![^\s\"'>/=])([^\s\"'>/=]++)\s*+=\s*+(\"[^\"]*+\"|'[^']*+'|[^\s>\"']++)")
# What is in them is no HTML.
_RAW_END: Final = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style")}
# Beyond seven digits there is no character, and beyond 4300 Python refuses to read them.
_ENDLESS_NUMBER: Final = re.compile(r"&#(?:[0-9]{8,}+|[xX][0-9A-Fa-f]{8,}+);?")
_WHITE: Final = re.compile(r"\s++")
_BLANKS: Final = re.compile(r"[ \t]++")
_EMPTY_LINES: Final = re.compile(r"\n{3,}+")


class HtmlReader(ABC):
    """
    One text on its way. Subclasses are told of tags and of what stands between them.

    It takes no longer than the text's length asks for, whatever it is: which ends are surely not ahead is remembered.
    """

    def __init__(self, html: str) -> None:
        self._html = html
        self._quotes_end = True

    def read(self) -> None:
        """Read all of it. Never fails."""
        at = self._read_plain_tags()
        while at < len(self._html):
            opening = self._html.find("<", at)
            if opening < 0:
                opening = len(self._html)
            if at < opening:
                self._text(self._html[at:opening])
            at = self._markup(opening) if opening < len(self._html) else opening

    def _read_plain_tags(self) -> int:
        """
        Read as far as there is nothing but text and tags that have no riddles; return where that ends.

        A text that is nothing but marks has hundreds of thousands of tags, and few different ones: each of those is
        looked into once.
        """
        pieces = _PLAIN_TAG.split(self._html)
        tags: dict[str, tuple[str, str, str] | None] = {}
        for number in range(1, len(pieces), 2):
            text, tag = pieces[number - 1], pieces[number]
            if tag not in tags:
                found = _TAG.fullmatch(tag)
                closing, name, rest = found.groups() if found else ("", "", "")
                name = name.lower()
                tags[tag] = (closing, name, rest) if found and name not in _RAW_END else None
            parts = tags[tag]
            if parts is None or "<" in text:
                return len(self._html) - sum(map(len, pieces[number - 1 :]))
            if text:
                self._text(text)
            closing, name, rest = parts
            if closing:
                self._closed(name, tag)
            else:
                self._opened(name, rest, tag)
        return len(self._html) - len(pieces[-1])

    def _markup(self, at: int) -> int:
        """Read what begins with the ``<`` at *at*; return where it ends."""
        # What nearly always comes, and nothing else looks like it.
        found = _TAG.match(self._html, at) if self._quotes_end else None
        if found is not None:
            return self._tag(found[1], found[2].lower(), found[3], at, found.end())
        if self._html.startswith("<!--", at):
            # Nothing is shown behind a comment that does not end, as in every browser.
            return self._behind("-->", at + 4) or len(self._html)
        if self._html.startswith(("<!", "<?"), at):
            return self._behind(">", at) or len(self._html)
        if _NAME.match(self._html, at + 1):
            return self._open_tag(at)
        self._text("<")
        return at + 1

    def _behind(self, end: str, at: int) -> int:
        found = self._html.find(end, at)
        return found + len(end) if found >= 0 else 0

    def _open_tag(self, at: int) -> int:
        """Read a tag in which a quote is left open: from here on, a tag ends at the next sign that could be its end."""
        self._quotes_end = False
        end = self._behind(">", at)
        if not end:
            self._text(self._html[at:])
            return len(self._html)
        name, _, rest = self._html[at + 1 : end - 1].replace("\n", " ").partition(" ")
        return self._tag(name[:1] if name.startswith("/") else "", name.strip("/").lower(), rest, at, end)

    def _tag(self, closing: str, name: str, rest: str, at: int, end: int) -> int:
        if closing:
            self._closed(name, self._html[at:end])
            return end
        self._opened(name, rest, self._html[at:end])
        if name in _RAW_END:
            raw = _RAW_END[name].search(self._html, end)
            return raw.start() if raw else len(self._html)
        return end

    @abstractmethod
    def _opened(self, name: str, rest: str, tag: str) -> None:
        """Take note of a tag: its name in lower case, what stands behind that in it, and all of it as it stands."""

    @abstractmethod
    def _closed(self, name: str, tag: str) -> None:
        """Take note of a closing tag."""

    @abstractmethod
    def _text(self, text: str) -> None:
        """Take what stands between tags, with its entities as they are."""


class _PlainText(HtmlReader):
    """What is left of one text without its layout."""

    def __init__(self, html: str) -> None:
        super().__init__(html)
        self._unseen = 0
        self._links: list[str] = []
        self.pieces: list[str] = []

    def _opened(self, name: str, rest: str, tag: str) -> None:  # noqa: ARG002 — see `HtmlReader`
        if name in UNSEEN:
            self._unseen += 1
        elif name == "br":
            self.pieces.append("\n")
        elif name == "li":
            self.pieces.append("\n- ")
        elif name in BLOCKS:
            self.pieces.append("\n\n")
        elif name in {"td", "th"}:
            self.pieces.append(" ")
        elif name == "a":
            self._links.append(attribute(rest, "href"))
        elif name == "img":
            self.pieces.append(attribute(rest, "alt"))

    def _closed(self, name: str, tag: str) -> None:  # noqa: ARG002 — the same
        if name in UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif name in BLOCKS:
            self.pieces.append("\n\n")
        elif name == "a" and self._links:
            link = self._links.pop()
            if link.startswith(LINKS):
                self.pieces.append(f" <{link}>")

    def _text(self, text: str) -> None:
        if text and not self._unseen:
            self.pieces.append(_WHITE.sub(" ", characters(text)))


def attribute(rest: str, name: str) -> str:
    """Return an attribute's value out of the *rest* of a tag; empty where there is none."""
    for found in _ATTRIBUTE.finditer(rest):
        if found[1].lower() == name:
            return characters(found[2].strip("\"'"))
    return ""


def characters(text: str) -> str:
    """Return *text* with its entities as what they stand for."""
    return entities.unescape(_ENDLESS_NUMBER.sub("\ufffd", text)) if "&" in text else text


def html_to_text(html: str) -> str:
    """Render *html*; never fails, whatever it is given, and takes no longer than its length asks for."""
    reader = _PlainText(html)
    reader.read()
    lines = (_BLANKS.sub(" ", line).strip() for line in "".join(reader.pieces).split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()
