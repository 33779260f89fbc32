"""What it means that a request got no answer: whether it was surely not sent, or may have been (contract CL6)."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final

from pillarbox.channels.http.answer_reader import Unintelligible
from pillarbox.domain.outcome import Deferred, Unavailable, Uncertain
from pillarbox.errors import EgressRefused

NoAnswer = Deferred | Unavailable | Uncertain
"""What a send comes to whose request got no answer."""
CONNECTIONS_MAX: Final = 3
"""How many connections are made for a request, one after the other, where nothing was written on those before."""


class Disconnected(Exception):
    """The receiver hung up without an answer."""


class NotConnected(Exception):
    """No connection came to be; the cause says why."""


class LostAtOnce(NotConnected):
    """`CONNECTIONS_MAX` of them, one after the other, were of no use before anything was written."""


class Closed(NotConnected):
    """The pool is closed, or was closed meanwhile."""


class NotResolved(NotConnected):
    """The host's name has no address."""


def failure(exc: BaseException, *, written: bool, covered: bool = False) -> Deferred | Unavailable | Uncertain:
    """
    Return what it means that no answer came (contract CL6).

    Args:
        exc: What the exchange raised, or the TimeoutError of the attempt's own deadline.
        written: Whether the first byte of the request may have left; if so, the receiver may have acted on it.
        covered: The receiver drops a second copy, so trying again is safe.
    """
    reason = describe(exc)
    if written:
        return Uncertain(f"{reason} after the request was written", covered=covered)
    if isinstance(exc, EgressRefused) or isinstance(exc.__cause__, ssl.SSLCertVerificationError):
        # Nothing about one message: a certificate or an address is wrong until a person changes something.
        return Unavailable(reason)
    return Deferred(f"{reason} before the request was written", outage=not isinstance(exc, Closed))


def describe(exc: BaseException) -> str:
    """Return what happened, in words without URL and data: those of the system may quote the address."""
    match exc:
        case EgressRefused():
            return str(exc)
        case Closed():
            return "the channel was closed"
        case LostAtOnce():
            return f"{CONNECTIONS_MAX} connections were lost in a row"
        case NotResolved():
            return f"name not resolved: {_strerror(exc.__cause__)}"
        case NotConnected():
            return _why_not_connected(exc.__cause__)
        case TimeoutError():
            return "timed out"
        case Disconnected():
            return "disconnected"
        case Unintelligible():
            return "unintelligible answer"
        case OSError():
            return f"connection lost: {_strerror(exc)}"
        case _:
            return type(exc).__name__


def _why_not_connected(cause: BaseException | None) -> str:
    match cause:
        case TimeoutError():
            return "timed out"
        case ssl.SSLCertVerificationError():
            return f"certificate refused: {getattr(cause, 'verify_message', '') or type(cause).__name__}"
        case ssl.SSLError():
            return f"TLS failed: {getattr(cause, 'reason', '') or type(cause).__name__}"
        case _:
            return f"not connected: {_strerror(cause)}"


def _strerror(error: BaseException | None) -> str:
    """
    Return what the system says, and never what a library wrote in its place.

    asyncio's text has the address, that of a resolver of somebody's own may have the URL; either may stand beside a
    number or without one.
    """
    if isinstance(error, socket.gaierror):
        return _NAME_ERRORS.get(error.errno, "it cannot be looked up")
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return type(error).__name__


# By number, as the C library words them: a resolver of somebody's own may quote the URL.
_NAME_ERRORS: Final[Mapping[int | None, str]] = {
    socket.EAI_AGAIN: "Temporary failure in name resolution",
    socket.EAI_FAIL: "Non-recoverable failure in name resolution",
    socket.EAI_NONAME: "Name or service not known",
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): "No address associated with hostname",
}
