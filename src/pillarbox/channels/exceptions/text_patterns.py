"""
What the text of an error means that nothing else is known of (contract CL3, CL4). Pure.

Texts are matched by whole words and in any case: "1500 characters" is no HTTP 500.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pillarbox.channels.privacy.foreign_text import masked, without
from pillarbox.channels.verdicts import Verdict, outcome_of
from pillarbox.domain.outcome import AnyOutcome


@dataclass(frozen=True, slots=True)
class Pattern:
    """One row; ``text`` is a regular expression between word boundaries, ``…`` any words of the same line."""

    text: str
    verdict: Verdict
    source: str

    def compiled(self) -> re.Pattern[str]:
        """Return the expression that is searched for."""
        # A bound, so that two words of a whole page do not make a pattern.
        words = self.text.replace("…", r"[^\n]{0,120}?")
        return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


_NOBODY: Final = Verdict.REJECTED_RECIPIENT
_OPENCLAW = "OpenClaw, PERMANENT_ERROR_PATTERNS of its delivery queue"
_COMIS = "Comis, error classification of its delivery queue"
_SEEDS: Final = f"{_OPENCLAW}; {_COMIS}"
_BOTH = "OpenClaw's and Comis's tests: tried again"

PATTERNS: Final[tuple[Pattern, ...]] = (
    # --- a local condition: OpenClaw took it off its permanent list again ------------------------------------------
    Pattern(r"outbound not configured for channel", Verdict.UNAVAILABLE, _OPENCLAW),
    # --- permanent (contract CL3) ----------------------------------------------------------------------------------
    Pattern(r"chat not found", _NOBODY, f"{_SEEDS}; Telegram"),
    Pattern(r"user not found", _NOBODY, _SEEDS),
    Pattern(r"bot was blocked by the user", _NOBODY, f"{_SEEDS}; Telegram"),
    Pattern(r"forbidden: bot was kicked", _NOBODY, f"{_SEEDS}; Telegram"),
    Pattern(r"chat_id is empty", _NOBODY, f"{_OPENCLAW}; Telegram"),
    Pattern(r"no conversation reference found", _NOBODY, f"{_OPENCLAW}; Microsoft Teams"),
    Pattern(r"recipient is not a valid", _NOBODY, _OPENCLAW),
    Pattern(r"ambiguous … recipient", _NOBODY, f"{_OPENCLAW}; Discord"),
    Pattern(r"bot … not … member", _NOBODY, f"{_OPENCLAW}; Telegram"),
    Pattern(r"user … not in room", _NOBODY, f"{_OPENCLAW}; Matrix"),
    # --- too much ---------------------------------------------------------------------------------------------------
    Pattern(
        r"rate[ _-]?limit(?:ed|ing| exceeded| reached)?|too many requests|HTTP(?:/[\d.]+)?[ :]{1,2}429",
        Verdict.RATE_LIMITED_RECIPIENT,
        f"{_BOTH}; RFC 6585 §4",
    ),
    # --- an answer, after the request was written (contract CL5, CL6) ----------------------------------------------
    Pattern(
        r"(?:HTTP(?:/[\d.]+)?|status(?: code)?|error)[ :=]{1,2}50[0234](?! ?(?:char|byte|item|message|m?s\b|sec))"
        r"|50[0234] (?:internal server error|bad gateway|service unavailable|gateway time-?out)"
        r"|internal server error|bad gateway",
        Verdict.UNCERTAIN,
        f"{_BOTH}; RFC 9110 §15.6",
    ),
    # --- the connection never stood --------------------------------------------------------------------------------
    Pattern(
        r"network (?:is )?(?:down|unreachable)|ENETDOWN|ENETUNREACH|EHOSTUNREACH",
        Verdict.DEFERRED,
        f"{_BOTH}; POSIX.1-2017 connect()",
    ),
    Pattern(
        r"ECONNREFUSED|connection refused|ENOTFOUND|EAI_AGAIN|getaddrinfo|name or service not known"
        r"|failed to establish a new connection|connect ETIMEDOUT|certificate[ _]verify[ _]failed",
        Verdict.DEFERRED,
        "Node.js, Common system errors; getaddrinfo(3); urllib3; OpenSSL, before anything is written",
    ),
    # --- it stood, or may have --------------------------------------------------------------------------------------
    Pattern(r"ETIMEDOUT|timed out", Verdict.UNCERTAIN, _BOTH),
    Pattern(r"socket hang up|ECONNRESET|EPIPE|connection reset", Verdict.UNCERTAIN, _BOTH),
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
            # Only of a limit: elsewhere it may be about anything.
            after = _AFTER.search(said) if pattern.verdict is Verdict.RATE_LIMITED_RECIPIENT else None
            return outcome_of(pattern.verdict, masked(text, *hide), after=float(after[1]) if after else None)
    return None
