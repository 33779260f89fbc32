"""Writes JSON without characters that a terminal or an editor obeys instead of showing them. Pure."""

from __future__ import annotations

import re
from typing import Final

# DEL and C1, which hold terminals' orders in one character; what turns the direction of writing (Unicode TR 36 §2.1);
# and the line separators of Unicode, at which some readers of one object a line would cut it.
_OBEYED: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escaped(encoded: bytes) -> bytes:
    r"""
    Give *encoded*, a JSON text in UTF-8, with such characters as ``\uXXXX``.

    They stand inside of strings only, so what it decodes to stays the same.
    """
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded.decode()).encode()
