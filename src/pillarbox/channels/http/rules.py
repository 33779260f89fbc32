"""
What an HTTP answer means: tables of rules, read from the top, in which the first rule that fits wins. Pure.

A rule looks at the answer's status, at the code that the platform itself gave it, and at the text last (contract CL2).
`HTTP_RULES` says what a status means where no platform says more. An adapter puts its own rows before it::

    rules = (*parse_overrides(outcomes, field="outcomes", coded=True), *MATRIX_RULES, *HTTP_RULES)
    rule = rule_for(rules, answer.status, code="M_LIMIT_EXCEEDED")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pillarbox.channels.privacy.foreign_text import FOREIGN_LENGTH_MAX
from pillarbox.channels.verdicts import Verdict
from pillarbox.errors import ConfigError


class Spare(StrEnum):
    """What a message can do without, rather than not arrive (contract CH3)."""

    MARKUP = "markup"
    REPLY = "reply"
    THREAD = "thread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    Matches an answer if all that it names fits; what it leaves empty fits everything.

    Attributes:
        without: What the platform would take the message without: it is sent so at once, and that is recorded. Where
            the message has nothing of the kind, or goes without it already, the verdict counts.
        source: Where the platform, or a standard, says so.
        statuses: ``404``, or ``4xx`` for a class of them.
        codes: The platform's own codes, to the letter. With ``*`` at its end, a code's beginning; ``*`` alone is any.
        text: Found anywhere in the first 4096 characters of what the platform said.
    """

    verdict: Verdict
    source: str
    statuses: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    text: re.Pattern[str] | None = None
    without: Spare | None = None

    def matches(self, status: int, code: str, text: str) -> bool:
        """Whether this rule is about such an answer. An empty *code* is none."""
        if self.statuses and not _is_one_of(status, self.statuses):
            return False
        if self.codes and not any(_fits(code, wanted) for wanted in self.codes):
            return False
        return self.text is None or self.text.search(text[:FOREIGN_LENGTH_MAX]) is not None


def _is_one_of(status: int, statuses: tuple[str, ...]) -> bool:
    return str(status) in statuses or f"{status // 100}xx" in statuses


def _fits(code: str, wanted: str) -> bool:
    return code == wanted or (wanted.endswith("*") and code != "" and code.startswith(wanted[:-1]))


HTTP_RULES: Final[tuple[Rule, ...]] = (
    # Standard Webhooks 1.0, "Delivery success and failure", says the same.
    Rule(verdict=Verdict.DELIVERED, statuses=("2xx",), source="RFC 9110 §15.3"),
    # The request itself is at fault, and will be the same next time.
    Rule(verdict=Verdict.REJECTED, statuses=("400", "413", "415", "422"), source="RFC 9110 §15.5.1, .14, .16, .21"),
    # Not processed: try again.
    Rule(verdict=Verdict.DEFERRED, statuses=("408", "409", "425"), source="RFC 9110 §15.5.9, .10; RFC 8470 §5.2"),
    # No longer interested: the sender should disable the endpoint.
    Rule(verdict=Verdict.CLOSED, statuses=("410",), source="Standard Webhooks 1.0, Delivery success and failure"),
    Rule(verdict=Verdict.RATE_LIMITED, statuses=("429",), source="RFC 6585 §4"),
    # The server is not ready, so it did nothing.
    Rule(verdict=Verdict.OUTAGE, statuses=("503",), source="RFC 9110 §15.6.4"),
    # Something behind the answer may have acted: 500 after half the work, 502 and 504 for somebody further on.
    Rule(verdict=Verdict.UNCERTAIN, statuses=("5xx",), source="RFC 9110 §15.6"),
    # A failure, not followed. Kept on the whole schedule: the operator needs time to change the URL.
    Rule(verdict=Verdict.DEFERRED, statuses=("3xx",), source="Standard Webhooks 1.0, Delivery success and failure"),
    # Neither dead at once nor tried for days: 401, 403 and 404 are among them.
    Rule(verdict=Verdict.UNCLASSIFIED, statuses=("4xx",), source="Contract CL5"),
)
"""What a status means where no platform's own table says more (contract CL5): to webhooks, and to functions."""

UNKNOWN: Final = Rule(verdict=Verdict.UNCLASSIFIED, source="no answer that RFC 9110 §15 knows")


def names(text: str) -> tuple[str, ...]:
    """Return the names that blanks separate in *text*, as a row has them."""
    return tuple(text.split())


def words(text: str) -> re.Pattern[str]:
    """Return the pattern for *text* as whole words, in any case (contract CL3)."""
    return re.compile(rf"(?<!\w)(?:{text})(?!\w)", re.IGNORECASE)


_STATUS = re.compile(r"[1-5](?:[0-9][0-9]|xx)\Z")


def rule_for(rules: Iterable[Rule], status: int, *, code: str = "", text: str = "") -> Rule:
    """
    Return the first rule that matches, or `UNKNOWN`.

    Args:
        code: What the platform itself calls it, such as ``M_FORBIDDEN``; empty where it does not say.
        text: What it says about it.
    """
    return next((rule for rule in rules if rule.matches(status, code, text)), UNKNOWN)


def parse_overrides(given: object, *, field: str, coded: bool = False) -> tuple[Rule, ...]:
    """
    Read a configuration's own rules, which go before an adapter's.

    Keys are a status such as ``404``, or a class of them such as ``4xx``. A single status goes before its class, in
    whatever order they are written.

    Args:
        coded: A key may have one of the platform's codes behind its status: ``403 M_FORBIDDEN``. It goes first.

    Raises:
        ConfigError: Names the entry beneath *field*.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(field, "expected a table from statuses to verdicts")
    rules = []
    for key, word in ((str(key), word) for key, word in given.items()):
        status, _, code = key.partition(" ")
        if not _STATUS.match(status) or (" " in key and not (coded and code)):
            like = "404, 4xx or '404 code'" if coded else "404 or 4xx"
            raise ConfigError(field, f"expected statuses such as {like}, not {key!r}")
        if word not in set(Verdict):
            raise ConfigError(f"{field}.{key}", f"expected one of {', '.join(Verdict)}, not {word!r}")
        codes = (code,) if code else ()
        rules.append(Rule(verdict=Verdict(word), statuses=(status,), codes=codes, source="configuration"))
    return tuple(sorted(rules, key=lambda rule: (not rule.codes, rule.statuses[0].endswith("xx"))))
