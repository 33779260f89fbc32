"""
What is hidden in texts that others wrote, before they become a reason: secrets, recipients, the message itself.

Outcomes are shown to operators and end up in logs, so they hold none of these (contract EV3).
"""

from __future__ import annotations

import re
from typing import Final

REASON_LENGTH_MAX: Final = 200
MASK: Final = "***"

# A value this short would blank out half of an ordinary sentence, and tells nothing by itself.
_VALUE_LENGTH_MIN: Final = 4
_LINES_MAX: Final = 100

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

_SECRETS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # RFC 3986 §3.2.1: user information in a URL.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE), rf"\1{MASK}@"),
    # https://core.telegram.org/bots/api#authorizing-your-bot: the token stands in the path.
    (re.compile(r"\b(?:bot)?\d{6,12}:[\w-]{20,}", re.IGNORECASE), MASK),
    # RFC 9110 §11.4: credentials of an Authorization field.
    (re.compile(r"\b(bearer|basic|digest)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(
            r"\b([\w-]*(?:token|secret|password|passwd|api[_-]?key|signature|authorization))"
            r"(\"?'?\s*[=:]\s*)[\"']?[^\s\"'&,;]+",
            re.IGNORECASE,
        ),
        rf"\1\2{MASK}",
    ),
    # Slack (xoxb-…) and GitHub (ghp_…) give their tokens prefixes, so that they can be found in texts.
    (re.compile(r"\b(?:xox[abeprs]-|gh[opsu]_)[\w-]{8,}"), MASK),
    # Addresses and E.164 numbers are recipients, somebody's if not this message's.
    (re.compile(r"[^\s<>\"'(),;:=]+@[\w-]+(?:\.[\w-]+)+"), MASK),
    (re.compile(r"(?<!\w)\+\d{7,15}\b"), MASK),
)


def masked(text: str, *values: str, limit: int = REASON_LENGTH_MAX) -> str:
    """
    Make one line of *text* that may be shown and logged.

    Args:
        values: What else must not appear: the recipient, a password, the message's text. Whole words only,
            without regard to case, all of it and line by line; shorter than 4 characters they are left alone.
        limit: Longest result, in characters; what is cut ends in an ellipsis.
    """
    text = without(text, *values)
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    line = " ".join(_CONTROL.sub(" ", text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def without(text: str, *values: str) -> str:
    """Mask only *values*, as `masked` does."""
    for value in _pieces(values):
        text = _whole(value).sub(MASK, text)
    return text


def _whole(value: str) -> re.Pattern[str]:
    """Not inside of a word: the recipient "grey" is not in "greylisted". An edge that is no word needs no such care."""
    before, after = (r"(?<!\w)" if re.match(r"\w", value) else ""), (r"(?!\w)" if re.search(r"\w\Z", value) else "")
    return re.compile(f"{before}{re.escape(value)}{after}", re.IGNORECASE)


def _pieces(values: tuple[str, ...]) -> list[str]:
    """Longest first, so that no piece hides the rest of a longer one from its pattern."""
    pieces = {value for value in values if len(value) >= _VALUE_LENGTH_MIN}
    for value in values:
        lines = (line.strip() for line in value.splitlines()[:_LINES_MAX])
        pieces.update(line for line in lines if len(line) >= _VALUE_LENGTH_MIN)
    return sorted(pieces, key=len, reverse=True)
