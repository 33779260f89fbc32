"""Characters that terminals, editors and protocols obey instead of showing them; and texts without them. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

ASCII_CONTROLS: Final = r"\x00-\x1f\x7f"
"""C0 and DEL, to stand in the brackets of a pattern."""
CONTROLS: Final = rf"{ASCII_CONTROLS}\x80-\x9f\u2028\u2029"
"""And C1, and the line breaks that only Unicode knows: what takes text apart by lines takes it apart there."""
CONTROLS_IN_LINES: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029"
"""The same without the line breaks and tabs that a text of several lines has."""
SURROGATES: Final = r"\ud800-\udfff"

CONTROL: Final = re.compile(rf"[{CONTROLS}]")

# DEL and C1, which hold terminals' orders in one character; what turns the direction of writing (Unicode TR 36 §2.1);
# and the line separators of Unicode, at which some readers of one object a line would cut it.
_OBEYED: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_GIVE_ORDERS: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Spell out what a terminal would obey instead of showing it; line ends too, so that it stays one line."""
    return "".join(
        repr(character)[1:-1] if unicodedata.category(character) in _GIVE_ORDERS else character for character in text
    )


def escaped(encoded: bytes) -> bytes:
    r"""
    Return *encoded*, a JSON text in UTF-8, with such characters as ``\uXXXX``.

    They stand inside of strings only, so what it decodes to stays the same.
    """
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode()).encode()
