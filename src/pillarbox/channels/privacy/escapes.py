"""
What a text says beneath its escapes: those of URLs, JSON, Python and HTML. Pure.

Each program escapes other characters, and in its own way: Go an ampersand in JSON, .NET a plus sign too, and browsers
leave a quote as it is in a URL. So a secret is looked for in the text without its escapes, and not in each way to
escape it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_LEVELS_MAX: Final = 3  # a URL in JSON in JSON
_ESCAPE: Final = re.compile(
    r"(?P<percent>(?:%[0-9a-fA-F]{2})++)|(?P<bytes>(?:\\x[0-9a-fA-F]{2})++)|(?P<units>(?:\\u[0-9a-fA-F]{4})++)"
    r"|\\(?P<plain>[\"'/\\bfnrt])|&#[xX](?P<hex>[0-9a-fA-F]{1,6}+);|&#(?P<number>[0-9]{1,7}+);"
    r"|&(?P<name>amp|lt|gt|quot|apos);"
)
_PLAIN: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_NAMES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_CODE_MAX: Final = 0x10FFFF

Read = tuple[str, list[int]]
"""A text, and for each of its characters where that begins in the first text; at the end, how long that is."""


def levels(text: str) -> Iterator[Read]:
    """Yield a text as it is, and without the escapes of one level after the other, as long as there are any."""
    starts = list(range(len(text) + 1))
    yield text, starts
    for _ in range(_LEVELS_MAX):
        if "%" not in text and "\\" not in text and "&" not in text:
            return
        length = len(text)
        text, starts = _unescaped(text, starts)
        if len(text) == length:
            return
        yield text, starts


def _unescaped(text: str, starts: list[int]) -> Read:
    said: list[str] = []
    begins: list[int] = []
    end = 0
    for escape in _ESCAPE.finditer(text):
        said.append(text[end : escape.start()])
        begins += starts[end : escape.start()]
        at = escape.start()
        for character, width in _meant(escape):
            said.append(character)
            begins.append(starts[at])
            at += width
        end = escape.end()
    said.append(text[end:])
    begins += starts[end:]
    return "".join(said), begins


def _meant(escape: re.Match[str]) -> Iterator[tuple[str, int]]:
    """Yield each character that an escape stands for, and how long it is there."""
    whole, kind = escape[0], escape.lastgroup
    match kind:
        case "percent" | "bytes":
            width = 3 if kind == "percent" else 4
            raw = bytes.fromhex(whole.replace("%", "").replace("\\x", ""))
            try:
                for character in raw.decode():
                    yield character, width * len(character.encode())
            except UnicodeDecodeError:
                for byte in raw:
                    yield chr(byte), width
        case "units":
            for character in bytes.fromhex(whole.replace("\\u", "")).decode("utf-16-be", "surrogatepass"):
                yield character, 6 * (1 + (ord(character) > 0xFFFF))
        case "plain":
            yield _PLAIN.get(escape["plain"], escape["plain"]), len(whole)
        case "name":
            yield _NAMES[escape["name"]], len(whole)
        case _:
            code = int(escape["hex"], 16) if kind == "hex" else int(escape["number"])
            yield chr(code) if code <= _CODE_MAX else whole[0], len(whole)
