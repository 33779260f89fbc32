"""
A text as Discord's Markdown: its marks, and escapes for what would be some in the text itself. Pure.

Discord knows headings, lists, quotes, code, links and spoilers; a backslash makes a sign of anything that is neither a
letter nor a digit (https://support.discord.com/hc/en-us/articles/210298617). An address is left alone, as its escapes
would be part of it; discord.py does the same (``escape_markdown``, ``ignore_links``).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from pillarbox.channels.text.rich import Mark, Rich, Span, pieces

_ADDRESS: Final = re.compile(r"https?://[^\s<>]++")
_SIGNS: Final = re.compile(r"[\\*_~`|<\[]")
# At the start of a line: quotes, headings, small print and lists.
_LINE_START: Final = re.compile(r"^([ \t]*)(>|#|-|\+|[0-9]{1,9}(?=\.))", re.MULTILINE)
_LANGUAGE: Final = re.compile(r"[a-z0-9_+.#-]{1,30}\Z")
_BACKTICKS: Final = re.compile(r"`+")
_MARKS: Final = {
    Mark.BOLD: "**", Mark.ITALIC: "*", Mark.UNDERLINE: "__", Mark.STRIKE: "~~", Mark.SPOILER: "||",
}  # fmt: skip
_VERBATIM: Final = frozenset({Mark.PRE, Mark.CODE})
_PLAIN_ADDRESS: Final = re.compile(r"[A-Za-z0-9/:?#\[\]@!$&'*+,;=%~._-]*+\Z")
_NOTHING: Final = "\u200b"  # shown as nothing, and keeps two marks apart


def written(rich: Rich) -> str:
    """Return *rich* in Discord's Markdown."""
    return _Writer(rich).text()


def escaped(text: str, *, at_line_start: bool = True) -> str:
    """Return *text* so that Discord shows it as it is. *at_line_start*: it begins a line."""
    done: list[str] = []
    at = 0
    # Most texts have none; of those that stand between two marks, there are many.
    for address in _ADDRESS.finditer(text) if "://" in text else ():
        done += [_SIGNS.sub(r"\\\g<0>", text[at : address.start()]), address[0]]
        at = address.end()
    plain = "".join(done) + _SIGNS.sub(r"\\\g<0>", text[at:])
    if at_line_start:
        return _LINE_START.sub(_start, plain)
    first, end, rest = plain.partition("\n")
    return first + end + _LINE_START.sub(_start, rest) if rest else plain


def _start(found: re.Match[str]) -> str:
    # The dot of a number is what makes it a list's.
    return f"{found[1]}{found[2]}\\" if found[2].isdigit() else f"{found[1]}\\{found[2]}"


class _Writer:
    """One text on its way."""

    def __init__(self, rich: Rich) -> None:
        self._rich = Rich(rich.text, tuple(_trimmed(rich)))
        self._done: list[str] = []
        self._last = "\n"  # the last character that was written
        self._open: list[Span] = []
        self._last_opens: bool | None = None  # whether the last thing written was a mark that opens; None: it was text
        self._ended_quote = False

    def text(self) -> str:
        for text, span, opens in pieces(self._rich):
            if span is not None:
                self._edge(span, opens=opens)
                continue
            if (text == " " or text.isalnum()) and not self._ended_quote and not self._is_verbatim():
                # Most of what stands between marks is a single word or space, in which there is no sign.
                self._done.append(text)
                self._last = text[-1]
            else:
                self._plain(text)
            self._last_opens = None
        return "".join(self._done)

    def _is_verbatim(self) -> bool:
        return bool(self._open) and self._open[-1].mark in _VERBATIM

    def _write(self, text: str) -> None:
        if text:
            self._done.append(text)
            self._last = text[-1]

    def _plain(self, text: str) -> None:
        if self._ended_quote:
            # A quote goes on to the end of its line.
            self._write("\n" * (not text.startswith("\n")))
            self._ended_quote = False
        span = self._open[-1] if self._open else None
        if span is not None and span.mark is Mark.PRE:
            body = text.replace("```", f"`{_NOTHING}`{_NOTHING}`")
            self._write(self._quoted(body if body.endswith("\n") else f"{body}\n"))
        elif span is not None and span.mark is Mark.CODE:
            sign = "`" * (1 + max(map(len, _BACKTICKS.findall(text)), default=0)) if "`" in text else "`"
            blank = " " * (text.startswith("`") or text.endswith("`"))
            self._write(self._quoted(f"{sign}{blank}{text}{blank}{sign}"))
        elif span is not None and span.mark is Mark.LINK and text == span.value:
            self._write(text)
        else:
            self._write(self._quoted(escaped(text, at_line_start=self._last in "\n ")))

    def _quoted(self, text: str) -> str:
        in_quote = "\n" in text and any(span.mark is Mark.QUOTE for span in self._open)
        return text.replace("\n", "\n> ") if in_quote else text

    def _edge(self, span: Span, *, opens: bool) -> None:
        mark = span.mark
        if not opens:
            self._open.pop()
        if mark in _MARKS:
            self._sign(_MARKS[mark], opens=opens)
        elif mark is Mark.LINK and self._rich.text[span.start : span.stop] != span.value:
            self._write("[" if opens else f"]({_quoted_address(span.value)})")
        elif mark is Mark.QUOTE:
            self._write("\n" * (self._last != "\n") + "> " if opens else "")
            self._ended_quote = not opens
        elif mark is Mark.PRE:
            language = span.value.lower()
            name = language if _LANGUAGE.match(language) else ""
            before = self._quoted("\n" * (self._last not in "\n "))
            self._write(f"{before}```{name}{self._quoted(chr(10))}" if opens else "```")
        self._last_opens = opens
        if opens:
            self._open.append(span)

    def _sign(self, sign: str, *, opens: bool) -> None:
        # Where one ends and the next begins with the same sign, nobody can say which is which.
        between = self._last_opens is not None and self._last_opens is not opens and self._last == sign[0]
        self._done.append(f"{_NOTHING}{sign}" if between else sign)
        self._last = sign[-1]


def _trimmed(rich: Rich) -> list[Span]:
    """Return the spans without white space at their ends, where signs would be taken for text."""
    found, text = [], rich.text
    for span in rich.spans:
        start, stop, mark, _ = span
        if mark in _VERBATIM or not (text[start].isspace() or text[stop - 1].isspace()):
            found.append(span)
            continue
        inside = text[start:stop]
        if inside.strip():
            start += len(inside) - len(inside.lstrip())
            found.append(span._replace(start=start, stop=start + len(inside.strip())))
    return sorted(found, key=lambda span: (span.start, -span.stop))


def _quoted_address(address: str) -> str:
    return address if _PLAIN_ADDRESS.match(address) else quote(address, safe="/:?#[]@!$&'*+,;=%~-._")
