"""
Whether the request of a call that failed without an answer may have been written, by the types of libraries (CL6).

Found by the names of classes, so that no library is loaded for it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from enum import Enum
from typing import Final

from pillarbox.channels.exceptions.foreign_objects import attribute, chain, names_of


class Sent(Enum):
    """What is known of a request to which no answer came."""

    NO = 1  # surely not written
    MAYBE = 2
    UNREACHABLE = 3  # surely not written, because no connection came about


_HTTPCORE: Final[Mapping[Sent, tuple[str, ...]]] = {
    Sent.UNREACHABLE: ("ConnectError", "ConnectTimeout", "ProxyError"),
    Sent.NO: ("PoolTimeout", "UnsupportedProtocol"),
    Sent.MAYBE: (
        "ReadTimeout", "WriteTimeout", "ReadError", "WriteError", "CloseError", "RemoteProtocolError",
        "LocalProtocolError", "DecodingError",
    ),
}  # fmt: skip
_BY_LIBRARY: Final[Mapping[str, Mapping[Sent, tuple[str, ...]]]] = {
    # Refused, no such name, no TLS, a proxy that does not connect us.
    "aiohttp.client_exceptions": {
        Sent.UNREACHABLE: ("ClientConnectorError", "ConnectionTimeoutError", "ClientHttpProxyError"),
        Sent.NO: ("InvalidURL",),
        Sent.MAYBE: ("ServerTimeoutError", "ServerDisconnectedError", "ClientPayloadError", "ClientOSError"),
    },
    # "Exceptions"
    "httpcore": _HTTPCORE,
    "httpx": {**_HTTPCORE, Sent.NO: (*_HTTPCORE[Sent.NO], "InvalidURL")},
    # Its ConnectionError is about either, and says which inside.
    "requests.exceptions": {
        Sent.UNREACHABLE: ("ConnectTimeout", "ProxyError"),
        Sent.NO: ("MissingSchema", "InvalidSchema", "InvalidURL", "InvalidProxyURL", "InvalidHeader"),
        Sent.MAYBE: ("ReadTimeout", "ChunkedEncodingError", "ContentDecodingError"),
    },
    # NameResolutionError is a NewConnectionError.
    "urllib3.exceptions": {
        Sent.UNREACHABLE: ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError"),
        Sent.NO: ("EmptyPoolError", "ClosedPoolError", "LocationValueError"),
        Sent.MAYBE: ("ReadTimeoutError", "ProtocolError"),
    },
    "botocore.exceptions": {
        Sent.UNREACHABLE: ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"),
        Sent.NO: ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "NoRegionError"),
        Sent.MAYBE: ("ReadTimeoutError", "ConnectionClosedError"),
    },
    "http.client": {
        Sent.NO: ("CannotSendRequest", "InvalidURL"),
        Sent.MAYBE: ("RemoteDisconnected", "IncompleteRead", "BadStatusLine"),
    },
    "aiosmtplib.errors": {
        Sent.UNREACHABLE: ("SMTPConnectError",),
        Sent.NO: ("SMTPNotSupported",),
        Sent.MAYBE: ("SMTPServerDisconnected", "SMTPReadTimeoutError"),
    },
    "smtplib": {Sent.NO: ("SMTPNotSupportedError",), Sent.MAYBE: ("SMTPServerDisconnected",)},
}  # fmt: skip
SENT: Final[Mapping[str, Sent]] = {
    f"{library}.{name}": sent
    for library, known in _BY_LIBRARY.items()
    for sent, names in known.items()
    for name in names
}
"""By name; what derives from one of these counts too. The inner cause of those that wrap another says more."""

_TLS_TYPES: Final = frozenset(
    {"requests.exceptions.SSLError", "urllib3.exceptions.SSLError", "botocore.exceptions.SSLError"}
)
# RFC 8446 §4: what ends a handshake. Others come in the middle of what was written, or an end of file at any time.
_AFTER_HANDSHAKE: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_HANDSHAKE_WORDS: Final = (
    "CERTIFICATE", "HANDSHAKE", "WRONG_VERSION", "UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL", "NO_SHARED", "NO_PROTOCOLS", "UNRECOGNIZED_NAME", "UNKNOWN_CA", "TLSV1_ALERT", "DH_KEY",
    "NO_CIPHERS", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG",
)  # fmt: skip


def sent(exc: BaseException) -> Sent | None:
    """Return whether the request of a failed call may have been written; ``None`` where no type here knows."""
    handshake = False
    for one in chain(exc):
        if isinstance(one, ssl.SSLError):
            return Sent.UNREACHABLE if _is_handshake(one) else Sent.MAYBE
        if isinstance(one, ConnectionRefusedError | socket.gaierror):
            return Sent.UNREACHABLE
        names = names_of(one)
        known = next((SENT[name] for name in names if name in SENT), None)
        if "aiohttp.client_exceptions.ClientConnectorError" in names:
            return Sent.UNREACHABLE
        if known is not None:
            return known
        handshake = handshake or not _TLS_TYPES.isdisjoint(names)
        if "urllib.error.URLError" in names and isinstance(attribute(one, "reason"), str):
            return Sent.NO  # no such scheme, no host
        if isinstance(one, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            return Sent.MAYBE
    return Sent.UNREACHABLE if handshake else None


def _is_handshake(error: ssl.SSLError) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    if isinstance(error, _AFTER_HANDSHAKE):
        return False
    said = f"{attribute(error, 'reason')} {attribute(error, 'strerror')} {attribute(error, 'args')}".upper()
    return any(word in said or word.replace("_", " ") in said for word in _HANDSHAKE_WORDS)
