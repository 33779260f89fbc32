"""
What the text of an error means that nothing else is known of (contract CL3, CL4). Pure.

Texts are matched by whole words and in any case: "1500 characters" is no HTTP 500.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from pillarbox.channels.privacy.foreign_text import masked, without
from pillarbox.domain.outcome import AnyOutcome, Deferred, RateLimited, Rejected, Unavailable, Uncertain


class Meaning(StrEnum):
    """What a pattern says about the send."""

    NO_RECIPIENT = "no_recipient"
    NOT_CONFIGURED = "not_configured"
    RATE_LIMITED = "rate_limited"
    NOT_SENT = "not_sent"
    MAYBE_SENT = "maybe_sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One row; ``text`` is a regular expression between word boundaries, ``…`` any words of the same line."""

    text: str
    meaning: Meaning
    source: str

    def compiled(self) -> re.Pattern[str]:
        """Return the expression that is searched for."""
        # A bound, so that two words of a whole page do not make a pattern.
        words = self.text.replace("…", r"[^\n]{0,120}?")
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


_OPENCLAW = "OpenClaw, PERMANENT_ERROR_PATTERNS of its delivery queue"
_COMIS = "Comis, error classification of its delivery queue"
_BOTH = "OpenClaw's and Comis's tests: tried again"

PATTERNS: Final[tuple[Pattern, ...]] = (
    # --- a local condition: OpenClaw took it off its permanent list again ------------------------------------------
    Pattern(text=r"outbound not configured for channel", meaning=Meaning.NOT_CONFIGURED, source=_OPENCLAW),
    # --- permanent (contract CL3) ----------------------------------------------------------------------------------
    Pattern(text=r"chat not found", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; {_COMIS}; Telegram"),
    Pattern(text=r"user not found", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; {_COMIS}"),
    Pattern(
        text=r"bot was blocked by the user", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; {_COMIS}; Telegram"
    ),
    Pattern(text=r"forbidden: bot was kicked", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; {_COMIS}; Telegram"),
    Pattern(text=r"chat_id is empty", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; Telegram"),
    Pattern(
        text=r"no conversation reference found", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; Microsoft Teams"
    ),
    Pattern(text=r"recipient is not a valid", meaning=Meaning.NO_RECIPIENT, source=_OPENCLAW),
    Pattern(text=r"ambiguous … recipient", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; Discord"),
    Pattern(text=r"bot … not … member", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; Telegram"),
    Pattern(text=r"user … not in room", meaning=Meaning.NO_RECIPIENT, source=f"{_OPENCLAW}; Matrix"),
    # --- too much ---------------------------------------------------------------------------------------------------
    Pattern(
        text=r"rate[ _-]?limit(?:ed|ing| exceeded| reached)?|too many requests|HTTP(?:/[\d.]+)?[ :]{1,2}429",
        meaning=Meaning.RATE_LIMITED,
        source=f"{_BOTH}; RFC 6585 §4",
    ),
    # --- an answer, after the request was written (contract CL5, CL6) ----------------------------------------------
    Pattern(
        text=r"(?:HTTP(?:/[\d.]+)?|status(?: code)?|error)[ :=]{1,2}50[0234](?! ?(?:char|byte|item|message|m?s\b|sec))"
        r"|50[0234] (?:internal server error|bad gateway|service unavailable|gateway time-?out)"
        r"|internal server error|bad gateway",
        meaning=Meaning.MAYBE_SENT,
        source=f"{_BOTH}; RFC 9110 §15.6",
    ),
    # --- the connection never stood --------------------------------------------------------------------------------
    Pattern(
        text=r"network (?:is )?(?:down|unreachable)|ENETDOWN|ENETUNREACH|EHOSTUNREACH",
        meaning=Meaning.NOT_SENT,
        source=f"{_BOTH}; POSIX.1-2017 connect()",
    ),
    Pattern(
        text=r"ECONNREFUSED|connection refused|ENOTFOUND|EAI_AGAIN|getaddrinfo|name or service not known"
        r"|failed to establish a new connection|connect ETIMEDOUT|certificate[ _]verify[ _]failed",
        meaning=Meaning.NOT_SENT,
        source="Node.js, Common system errors; getaddrinfo(3); urllib3; OpenSSL, before anything is written",
    ),
    # --- it stood, or may have --------------------------------------------------------------------------------------
    Pattern(text=r"ETIMEDOUT|timed out", meaning=Meaning.MAYBE_SENT, source=_BOTH),
    Pattern(text=r"socket hang up|ECONNRESET|EPIPE|connection reset", meaning=Meaning.MAYBE_SENT, source=_BOTH),
)

_COMPILED: Final = tuple((pattern.compiled(), pattern) for pattern in PATTERNS)

# Telegram: "Too Many Requests: retry after 30"; others write retry_after, Retry-After or retryAfter, with a colon.
_AFTER = re.compile(r"\bretry[ _-]?after[\"' :=]{0,4}(\d{1,7}(?:\.\d{1,6})?)\b", re.IGNORECASE)


def classify_text(text: str, *, hide: tuple[str, ...] = ()) -> AnyOutcome | None:
    """
    Return what an error's text means; ``None`` if no pattern is in it. The first row that fits wins.

    Args:
        hide: What the reason must not repeat: the recipient, the message's text.
    """
    # Not in what the platform repeats of the message: its words are its writer's, who must not decide what they mean.
    said = without(text, *hide)
    for expression, pattern in _COMPILED:
        if expression.search(said):
            return _outcome(pattern.meaning, said, masked(text, *hide))
    return None


def _outcome(meaning: Meaning, text: str, reason: str) -> AnyOutcome:
    match meaning:
        case Meaning.NO_RECIPIENT:
            return Rejected(reason, about="recipient")
        case Meaning.NOT_CONFIGURED:
            return Unavailable(reason)
        case Meaning.RATE_LIMITED:
            after = _AFTER.search(text)
            return RateLimited(reason, after=float(after[1]) if after else None)
        case Meaning.NOT_SENT:
            return Deferred(reason)
        case Meaning.MAYBE_SENT:
            return Uncertain(reason)
        case _:
            assert_never(meaning)
