"""
JSON as people write it into configuration files: with comments and trailing commas, as OpenClaw's ``openclaw.json``.

Complaints never quote the document: a line of it could be a secret.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

# A string or a comment, closed or not, a bracket or comma, white space, or a run of anything else. Each begins
# differently, and none can be cut in more than one way, so that reading takes time in proportion to the text.
_PIECE: Final = re.compile(
    r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?|[\[\]{},:]|[ \t\r\n]+|[^"/\[\]{},: \t\r\n]+|.',
    re.DOTALL,
)
_IN_A_LINE: Final = re.compile(r"[^\n]")
_WHOLE_MAX: Final = 1 << 53


class BadJson(Exception):
    """The text is no JSON that we read; the message says what is wrong with it, and where."""


def parse(text: str) -> object:
    """
    Read one document into dicts, lists and plain values. A number without a fraction is a whole one (``1e3``).

    Raises:
        BadJson: Not JSON, a key twice, NaN or Infinity, or nested too deep.
    """
    try:
        return json.loads(_strict(text), object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_number)
    except json.JSONDecodeError as exc:
        raise BadJson(f"line {exc.lineno}, column {exc.colno}: {exc.msg}") from None
    except RecursionError:
        raise BadJson("tables nested too deep") from None
    except ValueError:
        raise BadJson("a number that cannot be read") from None


def _strict(text: str) -> str:
    """Put white space in the place of comments and of commas before a closing bracket: positions stay the same."""
    kept: list[str] = []
    comma: int | None = None
    before = "["
    for piece in _PIECE.findall(text):
        if piece.startswith(("//", "/*")):
            kept.append(_IN_A_LINE.sub(" ", piece))
            continue
        if piece in {"]", "}"} and comma is not None:
            kept[comma] = " "
        if not piece.isspace():
            comma = len(kept) if piece == "," and before not in {"[", "{", ",", ":"} else None
            before = piece
        kept.append(piece)
    return "".join(kept)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadJson(f"the key {key[:64]!r} stands there twice")
        found[key] = value
    return found


def _no_constant(name: str) -> object:
    raise BadJson(f"{name} is no JSON")


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= _WHOLE_MAX else value
