"""
What an exception of somebody else's HTTP or mail library says about a send: its status, its code, its kind. Pure.

Found by attributes and by the names of classes, so that no library is loaded for it (contract CL6). The table of
statuses is `http.STATUSES`, the one of SMTP codes `smtp_reply.RULES`.

An exception may wrap another, which wraps a third: they are looked through from the outside, so many at most. Whatever
an attribute does when it is looked at, it does not get out of here; and nothing is read that would have to come over a
connection first.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pillarbox.channels.http.answers import STATUSES, Verdict, hint_seconds, outcome_of, status_table, status_text
from pillarbox.channels.mail.replies import Reply, Stage
from pillarbox.channels.mail.replies import classify as classify_reply
from pillarbox.channels.privacy.foreign_text import FOREIGN_LENGTH_MAX, excerpt
from pillarbox.domain.outcome import AnyOutcome, Deferred, RateLimited, Unavailable
from pillarbox.user_code import pass_on

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHAIN_MAX: Final = 10
_BODY_SECONDS: Final = 1.0
_HEADERS_MAX: Final = 200
_RECIPIENTS_MAX: Final = 100
_CODES: Final = range(100, 1000)
_VERDICTS: Final = status_table(STATUSES, {}, field="outcomes")


class Sent(Enum):
    """What is known about the request when no answer came."""

    NO = 1  # surely not written
    MAYBE = 2


# By name; what derives from one of these counts too. The inner cause of those that wrap another says more.
SENT: Final[Mapping[str, Sent]] = {
    # aiohttp: refused, no such name, no TLS, a proxy that does not connect us.
    "aiohttp.client_exceptions.ClientConnectorError": Sent.NO,
    "aiohttp.client_exceptions.ConnectionTimeoutError": Sent.NO,
    "aiohttp.client_exceptions.ClientHttpProxyError": Sent.NO,
    "aiohttp.client_exceptions.InvalidURL": Sent.NO,
    "aiohttp.client_exceptions.ServerTimeoutError": Sent.MAYBE,
    "aiohttp.client_exceptions.ServerDisconnectedError": Sent.MAYBE,
    "aiohttp.client_exceptions.ClientPayloadError": Sent.MAYBE,
    "aiohttp.client_exceptions.ClientOSError": Sent.MAYBE,
    # httpx and httpcore, "Exceptions".
    **{
        f"{library}.{name}": sent
        for library in ("httpx", "httpcore")
        for sent, names in (
            (Sent.NO, ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")),
            (
                Sent.MAYBE,
                (
                    "ReadTimeout", "WriteTimeout", "ReadError", "WriteError", "CloseError", "RemoteProtocolError",
                    "LocalProtocolError", "DecodingError",
                ),
            ),
        )
        for name in names
    },
    "httpx.InvalidURL": Sent.NO,
    # requests: its ConnectionError is about either, and says which inside.
    **{
        f"requests.exceptions.{name}": Sent.NO
        for name in (
            "ConnectTimeout", "ProxyError", "MissingSchema", "InvalidSchema", "InvalidURL", "InvalidProxyURL",
            "InvalidHeader",
        )
    },
    "requests.exceptions.ReadTimeout": Sent.MAYBE,
    "requests.exceptions.ChunkedEncodingError": Sent.MAYBE,
    "requests.exceptions.ContentDecodingError": Sent.MAYBE,
    # urllib3: NameResolutionError is a NewConnectionError.
    **{
        f"urllib3.exceptions.{name}": Sent.NO
        for name in (
            "NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError", "EmptyPoolError",
            "ClosedPoolError", "LocationValueError",
        )
    },
    "urllib3.exceptions.ReadTimeoutError": Sent.MAYBE,
    "urllib3.exceptions.ProtocolError": Sent.MAYBE,
    # botocore
    **{
        f"botocore.exceptions.{name}": Sent.NO
        for name in (
            "EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "NoCredentialsError",
            "PartialCredentialsError", "ParamValidationError", "NoRegionError",
        )
    },
    "botocore.exceptions.ReadTimeoutError": Sent.MAYBE,
    "botocore.exceptions.ConnectionClosedError": Sent.MAYBE,
    # Python's own
    "http.client.RemoteDisconnected": Sent.MAYBE,
    "http.client.IncompleteRead": Sent.MAYBE,
    "http.client.BadStatusLine": Sent.MAYBE,
    "http.client.CannotSendRequest": Sent.NO,
    "http.client.InvalidURL": Sent.NO,
    # Mail
    "aiosmtplib.errors.SMTPConnectError": Sent.NO,
    "aiosmtplib.errors.SMTPNotSupported": Sent.NO,
    "aiosmtplib.errors.SMTPServerDisconnected": Sent.MAYBE,
    "aiosmtplib.errors.SMTPReadTimeoutError": Sent.MAYBE,
    "smtplib.SMTPNotSupportedError": Sent.NO,
    "smtplib.SMTPServerDisconnected": Sent.MAYBE,
}  # fmt: skip

# An SSLError of these libraries is about the handshake unless what it wraps is not.
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

# Which command a refusal answers, by the class that both libraries call so.
_STAGES: Final[Mapping[str, Stage]] = {
    "SMTPConnectError": Stage.BANNER,
    "SMTPConnectResponseError": Stage.BANNER,
    "SMTPHeloError": Stage.EHLO,
    "SMTPAuthenticationError": Stage.AUTH,
    "SMTPSenderRefused": Stage.MAIL,
    "SMTPRecipientRefused": Stage.RCPT,
    "SMTPRecipientsRefused": Stage.RCPT,
    "SMTPDataError": Stage.FINAL,
}

# botocore, retries/standard.py, ThrottledRetryableChecker: AWS says so with status 400.
_THROTTLED: Final = frozenset(
    {
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled",
        "TooManyRequestsException", "ProvisionedThroughputExceededException", "TransactionInProgressException",
        "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException", "SlowDown",
        "PriorRequestNotComplete", "EC2ThrottledException",
    }
)  # fmt: skip


class Answer(NamedTuple):
    """An HTTP answer that an exception carries."""

    status: int
    headers: Mapping[str, str]
    body: bytes | str = b""
    throttled: bool = False


def chain(exc: BaseException) -> Iterator[BaseException]:
    """Give *exc* and what it wraps, the outermost first; each once."""
    seen: set[int] = set()
    waiting: list[object] = [exc]
    while waiting and len(seen) < _CHAIN_MAX:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        arguments = attribute(one, "args")
        first = arguments[0] if type(arguments) is tuple and arguments else None
        waiting += [attribute(one, "__cause__"), attribute(one, "reason"), attribute(one, "os_error"), first]


def names_of(exc: BaseException) -> list[str]:
    """Give the full names of an exception's classes, its own first."""
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(exc).__mro__]


def attribute(thing: object, name: str) -> Any:  # noqa: ANN401 — anybody's
    """Give an attribute, or ``None`` where there is none or looking at it fails."""
    try:
        return getattr(thing, name, None)
    except BaseException as exc:  # noqa: BLE001 — a property is anybody's code
        pass_on(exc)
        return None


def whole(value: object, allowed: range) -> int | None:
    """Give a whole number in a range; a truth value and a text are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    number = int.__int__(value)
    return number if number in allowed else None


def classify(exc: BaseException, reason: str, *, hide: tuple[str, ...], now_ms: int) -> AnyOutcome | Sent | None:
    """
    Say what an exception means by what it carries; ``None`` if it carries nothing.

    Args:
        reason: What may be shown of the exception: its type and text.
        hide: What must not be repeated: the recipient, the message's text.
        now_ms: What dates in headers are relative to.
    """
    try:
        return _classified(exc, reason, hide=hide, now_ms=now_ms)
    except BaseException as worse:  # noqa: BLE001 — a class may be such that even looking at it fails
        pass_on(worse)
        return None


def _classified(exc: BaseException, reason: str, *, hide: tuple[str, ...], now_ms: int) -> AnyOutcome | Sent | None:
    for one in chain(exc):
        names = names_of(one)
        refusal = _refusal(one, names, hide)
        if refusal is not None:
            return refusal
        if "aiohttp.client_exceptions.ClientHttpProxyError" in names:
            return Sent.NO  # the proxy's status, and not the receiver's
        answer = answer_of(one)
        if answer is not None:
            return _judged(answer, reason, hide=hide, now_ms=now_ms)
    return sent(exc)


# --- HTTP -------------------------------------------------------------------------------------------------------------


def answer_of(exc: BaseException) -> Answer | None:
    """Find the HTTP answer that an exception carries: a status that is no success, and what came with it."""
    response = attribute(exc, "response")
    if isinstance(response, Mapping):
        return _of_mapping(response)
    for holder in (response, exc):
        if holder is None:
            continue
        status = _status(holder, is_exception=holder is exc)
        if status is not None:
            return Answer(status, _headers(holder) or _headers(exc), _body(holder) or _body(exc))
    return None


def _of_mapping(response: Mapping[object, object]) -> Answer | None:
    """Botocore's form: ``ResponseMetadata`` with status and headers, ``Error`` with code and text."""
    try:
        about, error = response.get("ResponseMetadata"), response.get("Error")
        if not isinstance(about, Mapping):
            return None
        status = whole(about.get("HTTPStatusCode"), range(300, 600))
        if status is None:
            return None
        said = error if isinstance(error, Mapping) else {}
        code, text = said.get("Code"), said.get("Message")
        body = ": ".join(one for one in (code, text) if isinstance(one, str))
        throttled = isinstance(code, str) and code in _THROTTLED
        return Answer(status, _lowered(about.get("HTTPHeaders")), body, throttled)
    except BaseException as exc:  # noqa: BLE001 — a mapping is anybody's code
        pass_on(exc)
        return None


def _status(holder: object, *, is_exception: bool) -> int | None:
    """
    Find a status from 300 to 599.

    An exception that carries a success was raised about something else: what the answer says, or how it reads.
    """
    names = ["status_code", "status", "http_status"]
    # A code alone is anybody's number: of a process, a socket, another protocol.
    if not is_exception or "HTTP" in type(holder).__name__ or attribute(holder, "headers") is not None:
        names.append("code")
    for name in names:
        status = whole(attribute(holder, name), range(300, 600))
        if status is not None:
            return status
    return None


class _Headers(dict[str, str]):
    """By names in lower case, whichever way they are asked for."""

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 — as of a dict
        return super().get(name.lower(), default)


def _headers(holder: object) -> _Headers:
    return _lowered(attribute(holder, "headers")) or _lowered(attribute(holder, "hdrs"))


def _lowered(headers: object) -> _Headers:
    """Read headers of any kind: a mapping, a mail message, or pairs; of texts or bytes."""
    found = _Headers()
    try:
        items = headers.items() if hasattr(headers, "items") else headers
        if not isinstance(items, Iterable):
            return found
        for number, (name, value) in enumerate(items):
            if number == _HEADERS_MAX:
                break
            # The first of several of one name, as most libraries do.
            found.setdefault(_text(name).lower(), _text(value))
    except BaseException as exc:  # noqa: BLE001 — headers are anybody's code, and may be no pairs at all
        pass_on(exc)
    return found


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value[:FOREIGN_LENGTH_MAX].decode("latin-1")
    if isinstance(value, list | tuple) and value:
        return _text(value[0])
    return str(value)[:FOREIGN_LENGTH_MAX]


def _body(holder: object) -> bytes | str:
    """
    Give what was read of an answer's body.

    Not ``content`` or ``text``: of a response that streams, looking at them reads from the network, here on the loop.
    """
    for name in ("_content", "body", "text", "data"):
        if name in {"text", "data"} and not _is_plain(holder, name):
            continue
        said = attribute(holder, name)
        if isinstance(said, bytes | bytearray):
            return bytes(said[: 4 * FOREIGN_LENGTH_MAX])
        if isinstance(said, str):
            return str.__str__(said)[: FOREIGN_LENGTH_MAX + 1]
    return b""


def read_waiting_body(exc: BaseException) -> None:
    """
    Read the beginning of the body that urllib leaves unread, for at most a second. Only for a thread: it waits.

    It is kept where `answer_of` finds it, beside the exception's own attributes.
    """
    for one in chain(exc):
        if "urllib.error.HTTPError" not in names_of(one) or attribute(one, "_content") is not None:
            continue
        response = attribute(one, "fp")
        try:
            if isinstance(response, io.BytesIO):
                body = response.getvalue()
            else:
                connection = response.fp.raw._sock  # noqa: SLF001 — it has no public name
                connection.settimeout(min(_BODY_SECONDS, connection.gettimeout() or _BODY_SECONDS))
                body = response.read1(FOREIGN_LENGTH_MAX)
                response.close()  # nobody else will: it has left the function
            one._content = body  # type: ignore[attr-defined]  # noqa: SLF001 — as requests and httpx call it
        except BaseException as worse:  # noqa: BLE001 — without a body the status is known all the same
            pass_on(worse)


def _is_plain(holder: object, name: str) -> bool:
    """Whether an attribute is a value, and no code that runs when it is looked at."""
    return not hasattr(type(holder), name) or not isinstance(getattr(type(holder), name), property)


def _judged(answer: Answer, reason: str, *, hide: tuple[str, ...], now_ms: int) -> AnyOutcome:
    """Judge an answer by the table of contract CL5."""
    body = answer.body.encode("utf-8", "replace") if isinstance(answer.body, str) else answer.body
    after = hint_seconds(answer.headers, now_ms=now_ms, body=body)
    verdict = Verdict.RATE_LIMITED if answer.throttled else _VERDICTS[answer.status]
    said = excerpt(answer.body, *hide) if answer.body else None
    return outcome_of(verdict, f"{status_text(answer.status)}: {reason}", after=after, answer=said)


# --- mail -------------------------------------------------------------------------------------------------------------


def _refusal(exc: BaseException, names: list[str], hide: tuple[str, ...]) -> AnyOutcome | None:
    """Judge an SMTP server's reply by its code."""
    is_mail = any(name.startswith(("smtplib.", "aiosmtplib.")) for name in names)
    replies = _replies(exc, is_mail=is_mail)
    if not replies:
        return None
    bare = (name.rpartition(".")[2] for name in names)
    # Where nobody says which command it answers, the code decides.
    stage = next((_STAGES[name] for name in bare if name in _STAGES), Stage.DATA)
    judged = [classify_reply(stage, Reply(code=code, text=text, hide=hide)) for code, text in replies]
    # All of them were refused, or there would be no exception: what may change for one is tried again for it.
    return min(judged, key=_hopelessness)


def _hopelessness(outcome: AnyOutcome) -> int:
    order = (RateLimited, Deferred, Unavailable)
    return next((place for place, kind in enumerate(order) if isinstance(outcome, kind)), len(order))


def _replies(exc: BaseException, *, is_mail: bool) -> list[tuple[int, str]]:
    code, text = attribute(exc, "smtp_code"), attribute(exc, "smtp_error")
    if is_mail and code is None:
        code, text = attribute(exc, "code"), attribute(exc, "message")
    number = whole(code, _CODES)
    if number is not None:
        return [(number, _text(text or ""))]
    if not is_mail:
        return []
    replies = []
    try:
        recipients = attribute(exc, "recipients")
        several = recipients.values() if isinstance(recipients, Mapping) else recipients
        for item in list(several or ())[:_RECIPIENTS_MAX]:
            if isinstance(item, tuple) and len(item) == 2:
                number, text = whole(item[0], _CODES), item[1]
            else:
                number, text = whole(attribute(item, "code"), _CODES), attribute(item, "message")
            if number is not None:
                replies.append((number, _text(text or "")))
    except BaseException as worse:  # noqa: BLE001 — anybody's code
        pass_on(worse)
    return replies


# --- no answer --------------------------------------------------------------------------------------------------------


def sent(exc: BaseException) -> Sent | None:
    """Say whether the request of a failed call may have been written; ``None`` where no type here knows."""
    handshake = False
    for one in chain(exc):
        if isinstance(one, ssl.SSLError):
            return Sent.NO if _is_handshake(one) else Sent.MAYBE
        if isinstance(one, ConnectionRefusedError | socket.gaierror):
            return Sent.NO
        names = names_of(one)
        known = next((SENT[name] for name in names if name in SENT), None)
        if "aiohttp.client_exceptions.ClientConnectorError" in names:
            return Sent.NO
        if known is not None:
            return known
        handshake = handshake or not _TLS_TYPES.isdisjoint(names)
        if "urllib.error.URLError" in names and isinstance(attribute(one, "reason"), str):
            return Sent.NO  # no such scheme, no host
        if isinstance(one, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            return Sent.MAYBE
    return Sent.NO if handshake else None


def _is_handshake(error: ssl.SSLError) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    if isinstance(error, _AFTER_HANDSHAKE):
        return False
    said = f"{attribute(error, 'reason')} {attribute(error, 'strerror')} {attribute(error, 'args')}".upper()
    return any(word in said or word.replace("_", " ") in said for word in _HANDSHAKE_WORDS)
