"""
What an exception of a user's sending function means: what it carries first, its text last (contract CL2–CL6).

It may carry an HTTP answer (`http_answers`), a mail server's reply (`smtp_replies`), or a type that says whether the
request was written (`request_sent`); of whatever library.
"""

from __future__ import annotations

from pillarbox.channels.exceptions import http_answers, smtp_replies
from pillarbox.channels.exceptions.foreign_objects import chain, names_of
from pillarbox.channels.exceptions.request_sent import Sent, sent
from pillarbox.channels.exceptions.text_patterns import classify_text
from pillarbox.channels.privacy.foreign_text import FOREIGN_LENGTH_MAX, excerpt, masked
from pillarbox.domain.outcome import (
    AnyOutcome,
    Deferred,
    Misreported,
    RateLimited,
    Rejected,
    Unavailable,
    Uncertain,
    name_of,
)
from pillarbox.errors import InvalidOutcome
from pillarbox.user_code import pass_on


def classify_exception(exc: BaseException, *, hide: tuple[str, ...] = (), now_ms: int = 0) -> AnyOutcome:
    """
    Return what an exception of a user's sending function means. What is not known is uncertain: it may be sent.

    What it carries goes first (`carried`). Then what it says. The reason is the exception's type and what may be shown
    of its text; of a text only the beginning is looked at.

    Args:
        hide: What must not be repeated: the recipient, the message's text.
        now_ms: What dates in a Retry-After header are relative to.
    """
    if isinstance(exc, InvalidOutcome):
        # It tried to say what became of the message, and did not say it well.
        return Misreported(str(exc))
    name, text = name_of(type(exc)), text_of(exc)
    said = f"{name}: {text}" if text else name
    outcome = _classified(exc, said, masked(said, *hide), hide=hide, now_ms=now_ms)
    if outcome.answer is None:
        # What the library says of the answer is all that is left of it.
        outcome.answer = excerpt(said, *hide)
    return outcome


def _classified(exc: BaseException, said: str, reason: str, *, hide: tuple[str, ...], now_ms: int) -> AnyOutcome:
    known = carried(exc, reason, hide=hide, now_ms=now_ms)
    match known:
        case Sent.NO | Sent.UNREACHABLE:
            return Deferred(reason, outage=known is Sent.UNREACHABLE)
        case Sent.MAYBE:
            return Uncertain(reason)
        case Deferred() if known.unclassified:
            # A status that no table knows: what the platform says of it may be known.
            by_text = classify_text(f"{said}\n{known.answer or ''}", hide=hide)
            if isinstance(by_text, Rejected | RateLimited | Unavailable):
                by_text.reason, by_text.answer = known.reason, known.answer
                return by_text
            return known
        case None:
            pass
        case _:
            return known
    if isinstance(exc, TimeoutError):
        return Uncertain(reason)
    return classify_text(said, hide=hide) or Uncertain(reason)


def carried(exc: BaseException, reason: str, *, hide: tuple[str, ...], now_ms: int) -> AnyOutcome | Sent | None:
    """
    Return what an exception means by what it carries; ``None`` if it carries nothing.

    Args:
        reason: What may be shown of the exception: its type and text.
        hide: What must not be repeated: the recipient, the message's text.
        now_ms: What dates in headers are relative to.
    """
    try:
        return _carried(exc, reason, hide=hide, now_ms=now_ms)
    except BaseException as worse:  # noqa: BLE001 — a class may be such that even looking at it fails
        pass_on(worse)
        return None


def _carried(exc: BaseException, reason: str, *, hide: tuple[str, ...], now_ms: int) -> AnyOutcome | Sent | None:
    for one in chain(exc):
        found = smtp_replies.refusal(one, hide=hide)
        if found is not None:
            return found
        if "aiohttp.client_exceptions.ClientHttpProxyError" in names_of(one):
            return Sent.UNREACHABLE  # the proxy's status, and not the receiver's
        found = http_answers.refusal(one, reason, hide=hide, now_ms=now_ms)
        if found is not None:
            return found
    return sent(exc)


def text_of(exc: BaseException) -> str:
    """Return what an exception says, as much of it as is looked at; nothing where it cannot even be shown."""
    try:
        # One more than is looked at, so that it shows that it was cut. What `str` gives may be a subclass of it.
        return str.__str__(str(exc))[: FOREIGN_LENGTH_MAX + 1]
    except BaseException as worse:  # noqa: BLE001 — an exception that cannot even be shown is still one
        pass_on(worse)
        return ""
