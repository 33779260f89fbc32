"""
What it means that a request got no answer: whether it was surely not sent, or may have been (contract CL6).

Loads no HTTP library before one of its exceptions is to be explained.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final

from pillarbox.domain.outcome import Deferred, Unavailable, Uncertain
from pillarbox.errors import EgressRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

NoAnswer = Deferred | Unavailable | Uncertain
"""What a send comes to whose request got no answer."""


def failure(exc: BaseException, *, written: bool, covered: bool = False) -> Deferred | Unavailable | Uncertain:
    """
    Return what it means that no answer came (contract CL6).

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
    """Return what happened, in words without URL and data: aiohttp's own texts quote the URL, and its token."""
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
    Return what the system says, and never what a library wrote in its place.

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
