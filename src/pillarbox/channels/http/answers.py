"""
What HTTP says about a delivery, for every adapter that speaks it: statuses, hints when to come back, failures by phase.

Pure: no I/O and no clock. Which status means what is a table of verdicts: `STATUSES`, or an adapter's own.

Loads no HTTP library before one of its exceptions is to be explained: functions are judged by this table too.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final, assert_never

import msgspec

from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.errors import ConfigError, EgressRefused


class Verdict(StrEnum):
    """What a status means, in the words of a configuration: the outcomes of contract CL1, some with their detail."""

    DELIVERED = "delivered"
    REJECTED = "rejected"  # this message will never pass
    REJECTED_RECIPIENT = "rejected_recipient"
    CLOSED = "closed"  # the endpoint wants nothing more: its channel pauses
    DEFERRED = "deferred"
    UNCLASSIFIED = "unclassified"  # deferred, at most three attempts (contract CL5)
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    UNCERTAIN = "uncertain"


STATUSES: Final[Mapping[str, Verdict]] = {
    # Standard Webhooks 1.0, "Delivery success and failure", where nothing else is said.
    "2xx": Verdict.DELIVERED,
    # A failure, not followed. Kept on the whole schedule: the operator needs time to change the URL.
    "3xx": Verdict.DEFERRED,
    # RFC 9110 §15.5: the request itself is at fault, and it will be the same next time.
    "400": Verdict.REJECTED,
    "413": Verdict.REJECTED,
    "415": Verdict.REJECTED,
    "422": Verdict.REJECTED,
    # RFC 9110 §15.5.9, §15.5.10 and RFC 8470 §5.2: not processed, try again.
    "408": Verdict.DEFERRED,
    "409": Verdict.DEFERRED,
    "425": Verdict.DEFERRED,
    # "No longer interested": the sender should disable the endpoint.
    "410": Verdict.CLOSED,
    "429": Verdict.RATE_LIMITED,
    # What no table knows neither dies silently nor is tried for days (contract CL5). 401, 403 and 404 are here too.
    "4xx": Verdict.UNCLASSIFIED,
    # RFC 9110 §15.6.4: the server is not ready, so it did nothing.
    "503": Verdict.DEFERRED,
    # Something behind the answer may have acted: 500 after half the work, 502 and 504 for somebody further on.
    "5xx": Verdict.UNCERTAIN,
}
"""What a status means where no platform's own table says more (contract CL5): to webhooks, and to functions."""

_STATUS = re.compile(r"[1-5](?:[0-9][0-9]|xx)\Z")


def status_table(default: Mapping[str, Verdict], given: object, *, field: str) -> dict[int, Verdict]:
    """
    Lay a user's verdicts over an adapter's.

    Args:
        default: From ``"404"`` or ``"4xx"`` to a verdict; a single status goes before its class.
        given: The same, with the names of verdicts. A class overrules the adapter's single statuses.

    Returns:
        A verdict for every status from 100 to 599.

    Raises:
        ConfigError: Names the entry beneath *field*.
    """
    known = ", ".join(Verdict)
    if not isinstance(given, Mapping):
        raise ConfigError(field, "expected a table from statuses to verdicts")
    chosen: dict[str, Verdict] = {}
    for status, verdict in ((str(key), value) for key, value in given.items()):
        if not _STATUS.match(status):
            raise ConfigError(field, f"expected statuses such as 404 or 4xx, not {status!r}")
        if verdict not in set(Verdict):
            raise ConfigError(f"{field}.{status}", f"expected one of {known}, not {verdict!r}")
        chosen[status] = Verdict(verdict)
    kept = {status: verdict for status, verdict in default.items() if f"{status[0]}xx" not in chosen}
    words = kept | chosen
    return {
        status: words.get(str(status)) or words.get(f"{status // 100}xx", Verdict.UNCLASSIFIED)
        for status in range(100, 600)
    }


def outcome_of(
    verdict: Verdict, reason: str, *, after: float | None = None, covered: bool = False, answer: str | None = None
) -> AnyOutcome:
    """
    Turn the verdict on an answer into an outcome.

    Args:
        after: The least wait the server asked for, in seconds.
        covered: The receiver drops a second copy.
        answer: What of the answer's body may be shown.
    """
    outcome = _outcome_of(verdict, reason, after=after, covered=covered)
    outcome.answer = answer
    return outcome


def _outcome_of(verdict: Verdict, reason: str, *, after: float | None, covered: bool) -> AnyOutcome:
    match verdict:
        case Verdict.DELIVERED:
            return Delivered()
        case Verdict.REJECTED:
            return Rejected(reason)
        case Verdict.REJECTED_RECIPIENT:
            return Rejected(reason, about="recipient")
        case Verdict.CLOSED:
            return Rejected(reason, about="endpoint")
        case Verdict.DEFERRED:
            return Deferred(reason, after=after)
        case Verdict.UNCLASSIFIED:
            return Deferred(reason, after=after, unclassified=True)
        case Verdict.RATE_LIMITED:
            return RateLimited(reason, scope="channel", after=after)
        case Verdict.UNAVAILABLE:
            return Unavailable(reason, after=after)
        case Verdict.UNCERTAIN:
            return Uncertain(reason, after=after, covered=covered)
        case _:
            assert_never(verdict)


def status_text(status: int) -> str:
    """Name a status in our own words: the phrase in the answer is the receiver's, and may repeat what we sent."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"
    hint = ": redirects are not followed, set the URL to the new address" if 300 <= status < 400 else ""
    return f"HTTP {status} {phrase}{hint}"


_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?\Z")
# A reset header above this is a point in time, below it a wait. A thousand times more, and it counts milliseconds.
_EPOCH_SECONDS_MIN: Final = 1e9
_EPOCH_MS_MIN: Final = 1e12
_CLOCKS_AGREE_MS: Final = 60_000


class _Parameters(msgspec.Struct):
    retry_after: float | None = None


class _HintBody(msgspec.Struct):
    """``retry_after`` as Discord and Matrix's cousins write it, and where Telegram does."""

    retry_after: float | None = None
    parameters: _Parameters | None = None


_HINT_BODY = msgspec.json.Decoder(_HintBody)


def hint_seconds(headers: Mapping[str, str], *, now_ms: int, body: bytes = b"") -> float | None:
    """
    Say how long the server asks us to wait, in seconds; ``None`` if it does not say, or nothing intelligible.

    Looked at in this order: ``Retry-After``, ``RateLimit-Reset``, ``X-RateLimit-Reset``, ``retry_after`` in a JSON
    *body*. Never raises. The value is as it was sent: negative or absurd ones are for ``Policy.bounded_hint``.

    Args:
        headers: With names in any case, as aiohttp's are.
        now_ms: What dates are relative to, milliseconds since 1970. Where the server's own ``Date`` is more than a
            minute off, its dates are relative to that: one of the two clocks is wrong, and it goes by its own.
    """
    sent_ms = _date_ms(headers.get("Date"))
    if sent_ms is not None and abs(sent_ms - now_ms) > _CLOCKS_AGREE_MS:
        now_ms = sent_ms
    for seconds in (
        retry_after_seconds(headers.get("Retry-After"), now_ms=now_ms),
        reset_seconds(headers.get("RateLimit-Reset"), now_ms=now_ms),
        reset_seconds(headers.get("X-RateLimit-Reset"), now_ms=now_ms),
    ):
        if seconds is not None:
            return seconds
    return body_hint_seconds(body)


def retry_after_seconds(value: str | None, *, now_ms: int) -> float | None:
    """Read ``Retry-After``: seconds, fractions too, or an HTTP-date (RFC 9110 §10.2.3). A date gone by is negative."""
    number = _number(value)
    if value is None or number is not None:
        return number
    at_ms = _date_ms(value)
    return None if at_ms is None else (at_ms - now_ms) / 1000


def _date_ms(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        at = parsedate_to_datetime(value)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)  # RFC 9110 §5.6.7: an HTTP-date is always in UTC
        return round(at.timestamp() * 1000)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def reset_seconds(value: str | None, *, now_ms: int) -> float | None:
    """Read a rate limit's reset: a wait in seconds (the IETF draft, Mattermost) or a point in time (GitHub)."""
    number = _number(value)
    if number is None or number < _EPOCH_SECONDS_MIN:
        return number
    at_ms = number if number >= _EPOCH_MS_MIN else number * 1000
    return (at_ms - now_ms) / 1000


def body_hint_seconds(body: bytes) -> float | None:
    """Read ``retry_after`` out of a JSON object, at its top or in ``parameters``."""
    if not body.lstrip().startswith(b"{"):
        return None
    try:
        hint = _HINT_BODY.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if hint.retry_after is not None:
        return hint.retry_after
    return hint.parameters.retry_after if hint.parameters else None


def _number(value: str | None) -> float | None:
    """Only plain digits: what ``float()`` takes beyond them ("nan", "1e99", other scripts) is nobody's hint."""
    return float(value.strip()) if value is not None and _NUMBER.match(value.strip()) else None


def failure(exc: BaseException, *, written: bool, covered: bool = False) -> Deferred | Unavailable | Uncertain:
    """
    Say what it means that no answer came (contract CL6).

    Args:
        exc: What aiohttp raised, or the TimeoutError of the attempt's own deadline.
        written: Whether the first byte of the request may have left; if so, the receiver may have acted on it.
        covered: The receiver drops a second copy, so trying again is safe.
    """
    import aiohttp

    reason = describe(exc)
    if written:
        return Uncertain(f"{reason} after the request was written", covered=covered)
    match exc:
        case EgressRefused() | aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            # Nothing about one message: a certificate or an address is wrong until a person changes something.
            return Unavailable(reason)
        case _:
            return Deferred(f"{reason} before the request was written")


def describe(exc: BaseException) -> str:
    """Say what happened in words that hold neither URL nor data: aiohttp's own texts quote the URL, and its token."""
    import aiohttp

    match exc:
        case EgressRefused():
            return str(exc)
        case aiohttp.ClientConnectorCertificateError():
            return f"certificate refused: {_why_refused(exc.certificate_error)}"
        case aiohttp.ClientConnectorDNSError():
            return f"name not resolved: {_strerror(exc.os_error)}"
        case aiohttp.ClientSSLError():
            return f"TLS failed: {getattr(exc.os_error, 'reason', None) or type(exc.os_error).__name__}"
        case aiohttp.ClientConnectorError():
            return f"not connected: {_strerror(exc.os_error)}"
        case asyncio.TimeoutError():
            return "timed out"
        case aiohttp.ServerDisconnectedError():
            return "disconnected"
        case aiohttp.ClientResponseError():
            return "unintelligible answer"
        case aiohttp.ClientPayloadError():
            return "answer cut short"
        case OSError():
            return f"connection lost: {_strerror(exc)}"
        case _:
            return type(exc).__name__


def _why_refused(error: BaseException) -> str:
    return str(getattr(error, "verify_message", "")) or type(error).__name__


def _strerror(error: OSError) -> str:
    """
    Say what the system says, and never what a library wrote in its place.

    aiohttp's text has the whole URL ("Can not write request body for …"), asyncio's the address, and either may stand
    beside a number or without one.
    """
    if isinstance(error, socket.gaierror):
        return _NAME_ERRORS.get(error.errno, "it cannot be looked up")
    if isinstance(error.errno, int) and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    beneath = error.__cause__
    if isinstance(beneath, OSError) and beneath.errno is not None and beneath.errno in errno.errorcode:
        return os.strerror(beneath.errno)
    return type(error).__name__


# By number, as the C library words them: a resolver of somebody's own may quote the URL.
_NAME_ERRORS: Final[Mapping[int | None, str]] = {
    socket.EAI_AGAIN: "Temporary failure in name resolution",
    socket.EAI_FAIL: "Non-recoverable failure in name resolution",
    socket.EAI_NONAME: "Name or service not known",
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): "No address associated with hostname",
}
