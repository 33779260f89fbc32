"""
An HTTP answer, and the outcome that a rule makes of it: with the server's hint, and what of the answer may be shown.

Pure, and loads no HTTP library: what the exceptions of functions carry is judged here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from pillarbox.channels.http.hints import hint_seconds
from pillarbox.channels.http.rules import Rule
from pillarbox.channels.privacy.foreign_text import excerpt
from pillarbox.channels.privacy.known_secrets import NOTHING_KNOWN, KnownSecrets
from pillarbox.channels.verdicts import outcome_of
from pillarbox.domain.outcome import AnyOutcome

# As RFC 9110 §15.5 calls them; Python does from 3.13 on.
_NAMES: Final[Mapping[int, str]] = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """
    An answer, as much of it as was read.

    Attributes:
        headers: Found by their names in any case.
        body: Its beginning; empty where it came packed, which was not asked for.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"


def judged(
    answer: Answer,
    rule: Rule,
    *,
    now_ms: int,
    reason: str = "",
    after: float | None = None,
    hide: tuple[str, ...] = (),
    known: KnownSecrets = NOTHING_KNOWN,
    covered: bool = False,
) -> AnyOutcome:
    """
    Return what *rule* makes of *answer*.

    Args:
        now_ms: What dates in its headers are relative to, milliseconds since 1970.
        reason: For operators, in words of ours; empty for the status's name.
        after: The least wait that the platform says in its own way, in seconds; else its headers are read.
        hide: What must not be repeated of the message (`values_of`).
        known: The channel's own secrets.
        covered: The receiver drops a second copy.
    """
    return outcome_of(
        rule.verdict,
        reason or status_text(answer.status),
        after=hint_seconds(answer.headers, now_ms=now_ms, body=answer.body) if after is None else after,
        covered=covered,
        answer=excerpt(answer.body, *hide, known=known),
    )


def status_text(status: int) -> str:
    """Return a status's name, in our own words: the answer's phrase is the receiver's, and may repeat what we sent."""
    try:
        phrase = _NAMES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"
    hint = ": redirects are not followed, set the URL to the new address" if 300 <= status < 400 else ""
    return f"HTTP {status} {phrase}{hint}"
