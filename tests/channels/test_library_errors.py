"""What the exceptions of foreign HTTP and mail libraries mean, of which none is loaded: by attributes and names."""

from __future__ import annotations

import email.message
import errno
import io
import smtplib
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import aiosmtplib
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from pillarbox.channels.exceptions.judge import classify_exception
from pillarbox.channels.function import FunctionChannel
from pillarbox.domain.outcome import AnyOutcome, Deferred, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.testing.receiver import Answer, Receiver
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt

NOW_MS = 1_794_000_000_000


def foreign(name: str, *, base: type[Exception] = Exception, **attributes: Any) -> type[Exception]:
    """A class of another library, by its full name."""
    module, _, last = name.rpartition(".")
    return type(last, (base,), {"__module__": module, "__qualname__": last, **attributes})


class Httplib2Response(dict[str, str]):
    """What googleapiclient carries: the headers, with the status beside them."""

    status = 429


def judged(exc: BaseException) -> AnyOutcome:
    try:
        return classify_exception(exc, now_ms=NOW_MS)
    finally:
        for one in (exc, exc.__cause__):
            if isinstance(one, urllib.error.HTTPError):
                one.close()


def caused(exc: Exception, cause: BaseException) -> Exception:
    exc.__cause__ = cause
    return exc


def httpx_error(status: Any, headers: Any = None, body: bytes = b"") -> Exception:
    error = foreign("httpx.HTTPStatusError")(f"Client error '{status}' for url 'https://x/'")
    error.response = SimpleNamespace(status_code=status, headers=headers or {}, _content=body)  # type: ignore[attr-defined]
    return error


def requests_error(status: Any, headers: Any = None, body: bytes = b"") -> Exception:
    error = foreign("requests.exceptions.HTTPError", base=OSError)(f"{status} Client Error for url: https://x/")
    error.response = SimpleNamespace(status_code=status, headers=headers or {}, _content=body)  # type: ignore[attr-defined]
    return error


def aiohttp_error(status: Any, headers: Any = None, body: bytes = b"") -> Exception:
    return aiohttp.ClientResponseError(None, (), status=status, headers=headers, message="no")  # type: ignore[arg-type]


def urllib_error(status: Any, headers: Any = None, body: bytes = b"") -> Exception:
    about = email.message.Message()
    for name, value in (headers or {}).items():
        about[name] = value
    return urllib.error.HTTPError("https://x/", status, "no", about, io.BytesIO(body))


def botocore_error(status: Any, headers: Any = None, body: bytes = b"") -> Exception:
    error = foreign("botocore.exceptions.ClientError")("An error occurred")
    error.response = {  # type: ignore[attr-defined]
        "Error": {"Code": "SomethingWrong", "Message": body.decode()},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return error


MAKERS = [httpx_error, requests_error, aiohttp_error, urllib_error, botocore_error]


@pytest.mark.contract("CL6", "CL5", "CL2")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Rejected("…")), (413, Rejected("…")), (415, Rejected("…")), (422, Rejected("…")),
        (410, Rejected("…", about="endpoint")),
        (408, Deferred("…")), (409, Deferred("…")), (425, Deferred("…")), (302, Deferred("…")),
        (503, Deferred("…", outage=True)),
        (429, RateLimited("…", scope="channel")),
        (401, Deferred("…", unclassified=True)), (403, Deferred("…", unclassified=True)),
        (404, Deferred("…", unclassified=True)), (499, Deferred("…", unclassified=True)),
        (500, Uncertain("…")), (502, Uncertain("…")), (504, Uncertain("…")), (599, Uncertain("…")),
    ],
)  # fmt: skip
def test_a_status_is_judged_by_the_table_whatever_library_says_it(make: Any, status: int, outcome: AnyOutcome) -> None:
    for exc in (make(status), caused(RuntimeError("sending failed"), make(status))):
        found = judged(exc)
        assert found is not None
        assert found.reason.startswith(f"HTTP {status}")  # type: ignore[union-attr]
        found.reason = "…"  # type: ignore[union-attr]
        assert found == outcome


@pytest.mark.contract("CL6", "RE4")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_whatever_its_case(make: Any, name: str, status: int) -> None:
    found = judged(make(status, {name: "37"}))
    assert isinstance(found, RateLimited | Deferred)
    assert found.after == 37.0


@pytest.mark.contract("CL6", "RE4")
@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "9"},
        {b"Retry-After": b"9"},
        {"Retry-After": ["9"]},
        [("Retry-After", "9")],
        [(b"retry-after", b"9")],
        CIMultiDict({"Retry-After": "9"}),
        CIMultiDictProxy(CIMultiDict({"Retry-After": "9"})),
        SimpleNamespace(items=lambda: [("Retry-After", 9)]),
        {"Retry-After": "Wed, 14 Oct 2026 14:40:09 GMT", "Date": "Wed, 14 Oct 2026 14:40:00 GMT"},
        {"X-RateLimit-Reset": "9"},
    ],
    ids=range(10),
)
def test_headers_of_any_kind_are_read(headers: Any) -> None:
    found = judged(httpx_error(429, headers))
    assert isinstance(found, RateLimited)
    assert found.after == 9.0


@pytest.mark.contract("CL6", "RE4")
@pytest.mark.parametrize(
    "exc",
    [
        # A client that keeps the decoded body as its response, and the status beside it.
        foreign("client.ApiError", status_code=429, response={"error": "slow"}, headers={"Retry-After": "7"})(),
        foreign("client.ApiError", status=429, response={"ResponseMetadata": {}}, headers={"Retry-After": "7"})(),
        # googleapiclient: the answer is called "resp", and is the mapping of its headers.
        foreign("googleapiclient.errors.HttpError", resp=Httplib2Response({"retry-after": "7"}), content=b"slow")(),
        # A group of tasks, one of which failed.
        ExceptionGroup("tasks", [httpx_error(429, {"Retry-After": "7"})]),
        ExceptionGroup("tasks", [ExceptionGroup("more", [httpx_error(429, {"Retry-After": "7"})])]),
        # One's own exceptions beneath a library's.
        foreign("client.TooMany", base=foreign("client.HTTPError"), code=429, retry_after=7)(),
    ],
    ids=["body", "empty metadata", "google", "group", "groups", "derived"],
)
def test_a_status_is_found_in_other_places_too(exc: Exception) -> None:
    outcome = judged(exc)
    assert isinstance(outcome, RateLimited)
    assert outcome.after in {7.0, None}


def test_of_several_failures_none_speaks_for_the_others() -> None:
    assert not isinstance(judged(ExceptionGroup("tasks", [httpx_error(404), httpx_error(503)])), Rejected | RateLimited)


def test_a_wait_in_the_body_is_honoured_too() -> None:
    found = judged(httpx_error(429, body=b'{"parameters": {"retry_after": 12}}'))
    assert isinstance(found, RateLimited)
    assert found.after == 12.0


class Raises:
    __name__ = "raises"

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class OddNumber(int):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError

    def __index__(self) -> int:
        raise RuntimeError


@pytest.mark.contract("CL6", "EN8")
@pytest.mark.parametrize(
    "response",
    [
        SimpleNamespace(status_code=True),
        SimpleNamespace(status_code=False),
        SimpleNamespace(status_code="404"),
        SimpleNamespace(status_code=404.0),
        SimpleNamespace(status_code=None),
        SimpleNamespace(status_code=0),
        SimpleNamespace(status_code=99),
        SimpleNamespace(status_code=600),
        SimpleNamespace(status_code=10**30),
        SimpleNamespace(status_code=200),
        SimpleNamespace(status_code=lambda: 404),
        Raises(),
        {},
        {"ResponseMetadata": None},
        {"ResponseMetadata": {"HTTPStatusCode": "400"}},
        {"ResponseMetadata": {"HTTPStatusCode": True}},
        "response",
        404,
    ],
    ids=range(18),
)
def test_what_is_no_status_decides_nothing(response: Any) -> None:
    error = RuntimeError("what it says")
    error.response = response  # type: ignore[attr-defined]
    assert judged(error) == Uncertain("RuntimeError: what it says")


@pytest.mark.contract("CL6", "EN8")
@pytest.mark.parametrize(
    "headers", [5, "text", [1, 2], [()], Raises(), {None: None}, object(), [("a",)], iter(())], ids=range(9)
)
def test_odd_headers_do_not_hide_the_status(headers: Any) -> None:
    assert isinstance(judged(httpx_error(400, headers)), Rejected)


@pytest.mark.contract("CL6", "EN8")
def test_odd_numbers_and_attributes_that_raise_are_survived() -> None:
    assert isinstance(judged(httpx_error(OddNumber(404))), Deferred | Uncertain)
    assert isinstance(judged(httpx_error(HTTPStatus.NOT_FOUND)), Deferred)

    class Odd(Exception):
        @property
        def response(self) -> Any:
            raise KeyError("response")

        @property
        def status(self) -> Any:
            raise SystemError

        @property
        def reason(self) -> Any:
            raise OSError

    assert isinstance(judged(Odd("what")), Uncertain)


@pytest.mark.contract("CL6")
def test_a_chain_without_an_end_is_followed_only_so_far() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert isinstance(judged(first), Uncertain)
    exc: Exception = httpx_error(400)
    for _ in range(50):
        exc = caused(RuntimeError("outer"), exc)
    assert isinstance(judged(exc), Uncertain)


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    "exc",
    [
        httpx_error(200),
        aiohttp_error(200),
        foreign("websockets.ConnectionClosed", code=404)("gone"),
        foreign("grpc.RpcError", code=lambda: 404)("gone"),
        foreign("subprocess.CalledProcessError", code=500)("ended"),
    ],
    ids=["httpx", "json", "websockets", "grpc", "process"],
)
def test_a_success_and_a_number_of_something_else_are_no_refusal(exc: Exception) -> None:
    assert isinstance(judged(exc), Uncertain)


@pytest.mark.contract("CL2", "CL3")
def test_of_a_status_that_no_table_knows_the_words_may_say_more() -> None:
    found = judged(httpx_error(403, body=b'{"description": "Forbidden: bot was blocked by the user"}'))
    assert isinstance(found, Rejected)
    assert found.about == "recipient"
    assert isinstance(judged(httpx_error(500, body=b"chat not found")), Uncertain)


@pytest.mark.contract("CL5", "CL6")
@pytest.mark.parametrize("code", ["ThrottlingException", "Throttling", "SlowDown"])
def test_aws_says_that_it_is_too_much_with_status_400(code: str) -> None:
    error = botocore_error(400)
    error.response["Error"]["Code"] = code  # type: ignore[attr-defined]
    assert isinstance(judged(error), RateLimited)


KEY = aiohttp.client_reqrep.ConnectionKey("api.example.org", 443, True, True, None, None, None)


def retried(reason: Exception) -> Exception:
    """What requests makes of urllib3's."""
    error = foreign("urllib3.exceptions.MaxRetryError")("Max retries exceeded with url: /x")
    error.reason = reason  # type: ignore[attr-defined]
    return foreign("requests.exceptions.ConnectionError", base=OSError)(error)


def named(name: str, text: str = "what it says") -> Exception:
    return foreign(name)(text)


def tls(cls: type[ssl.SSLError], reason: str) -> ssl.SSLError:
    return cls(1, f"[SSL: {reason}] {reason.lower().replace('_', ' ')} (_ssl.c:1006)")


NOT_SENT: list[Exception] = [
    named("httpx.ConnectError"), named("httpx.ConnectTimeout"), named("httpx.PoolTimeout"), named("httpx.ProxyError"),
    named("httpcore.ConnectError"), named("httpcore.ConnectTimeout"), named("httpx.UnsupportedProtocol"),
    aiohttp.ClientConnectorError(KEY, OSError(errno.ECONNREFUSED, "refused")),
    aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "no such name")),
    aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "wrong version number")),
    aiohttp.ConnectionTimeoutError("connect"),
    aiohttp.ClientHttpProxyError(None, (), status=502, message="Bad Gateway"),  # type: ignore[arg-type]
    retried(named("urllib3.exceptions.NewConnectionError")),
    retried(named("urllib3.exceptions.NameResolutionError")),
    retried(named("urllib3.exceptions.ConnectTimeoutError")),
    retried(foreign("urllib3.exceptions.SSLError")(tls(ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED"))),
    foreign("requests.exceptions.SSLError")("no detail"),
    named("requests.exceptions.ConnectTimeout"), named("requests.exceptions.ProxyError"),
    named("requests.exceptions.MissingSchema"), named("botocore.exceptions.EndpointConnectionError"),
    tls(ssl.SSLError, "WRONG_VERSION_NUMBER"), tls(ssl.SSLError, "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    urllib.error.URLError(ConnectionRefusedError(111, "refused")),
    urllib.error.URLError(socket.gaierror(-2, "no such name")),
    urllib.error.URLError(tls(ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED")),
    urllib.error.URLError("unknown url type: htp"),
    caused(RuntimeError("cannot send"), ConnectionRefusedError(111, "refused")),
    aiosmtplib.SMTPConnectError("refused"), aiosmtplib.SMTPConnectTimeoutError("connect"),
    smtplib.SMTPNotSupportedError("SMTPUTF8 not supported by server"),
]  # fmt: skip

MAYBE_SENT: list[Exception] = [
    named("httpx.ReadTimeout"), named("httpx.WriteError"), named("httpx.ReadError"), named("httpx.WriteTimeout"),
    named("httpx.RemoteProtocolError", "connection refused by the peer"),
    caused(named("httpx.ReadTimeout"), caused(named("httpcore.ReadTimeout"), TimeoutError())),
    caused(named("httpx.ReadError"), ConnectionResetError(104, "reset")),
    aiohttp.ServerDisconnectedError(), aiohttp.ServerTimeoutError(), aiohttp.SocketTimeoutError(),
    aiohttp.ClientOSError(104, "reset"), aiohttp.ClientPayloadError("cut"),
    retried(named("urllib3.exceptions.ReadTimeoutError")),
    foreign("requests.exceptions.ConnectionError")(
        foreign("urllib3.exceptions.ProtocolError")("Connection aborted.", ConnectionResetError(104, "reset"))
    ),
    named("requests.exceptions.ReadTimeout"), named("requests.exceptions.ChunkedEncodingError"),
    ConnectionError("Remote end closed connection without response"),
    retried(foreign("urllib3.exceptions.SSLError")(tls(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"))),
    ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed"),
    urllib.error.URLError(TimeoutError("timed out")), urllib.error.URLError(ConnectionResetError(104, "reset")),
    named("botocore.exceptions.ReadTimeoutError"), named("botocore.exceptions.ConnectionClosedError"),
    aiosmtplib.SMTPServerDisconnected("gone"), smtplib.SMTPServerDisconnected("Connection unexpectedly closed"),
    aiosmtplib.SMTPReadTimeoutError("no answer"),
]  # fmt: skip


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("exc", NOT_SENT, ids=[f"{n}-{type(exc).__name__}" for n, exc in enumerate(NOT_SENT)])
def test_what_fails_before_the_request_is_surely_not_sent(exc: Exception) -> None:
    found = judged(exc)
    assert isinstance(found, Deferred)
    assert not found.unclassified


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("exc", MAYBE_SENT, ids=[f"{n}-{type(exc).__name__}" for n, exc in enumerate(MAYBE_SENT)])
def test_what_fails_after_the_request_may_be_sent(exc: Exception) -> None:
    assert isinstance(judged(exc), Uncertain)


def refused(*replies: tuple[int, bytes]) -> smtplib.SMTPRecipientsRefused:
    return smtplib.SMTPRecipientsRefused({f"{n}@example.org": reply for n, reply in enumerate(replies)})


@pytest.mark.contract("CL6", "CL2")
@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (smtplib.SMTPResponseException(550, b"5.1.1 no such user"), Rejected),
        (smtplib.SMTPResponseException(451, "4.3.0 later"), Deferred),
        (smtplib.SMTPSenderRefused(553, b"5.7.1 Sender address rejected: not owned by user", "me@x.org"), Unavailable),
        (smtplib.SMTPDataError(554, b"5.7.1 spam"), Rejected),
        (smtplib.SMTPDataError(452, b"4.3.1 no room"), Deferred),
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 bad credentials"), Unavailable),
        (smtplib.SMTPConnectError(421, b"4.7.0 Too many connections, slow down"), RateLimited),
        (smtplib.SMTPHeloError(550, b"go away"), Unavailable),
        (refused((550, b"5.1.1 no such user")), Rejected),
        (refused((450, b"4.2.0 greylisted")), Deferred),
        (refused((550, b"5.1.1 no such user"), (450, b"4.2.0 greylisted")), Deferred),
        (caused(RuntimeError("mail failed"), refused((550, b"5.1.1 no such user"))), Rejected),
        (aiosmtplib.SMTPResponseException(550, "5.1.1 no such user"), Rejected),
        (aiosmtplib.SMTPDataError(451, "4.3.0 later"), Deferred),
        (aiosmtplib.SMTPAuthenticationError(535, "5.7.8 bad"), Unavailable),
        (aiosmtplib.SMTPRecipientRefused(550, "5.1.1 no such user", "a@x.org"), Rejected),
        (aiosmtplib.SMTPRecipientsRefused([aiosmtplib.SMTPRecipientRefused(450, "4.2.0 grey", "a@x.org")]), Deferred),
        (aiosmtplib.SMTPConnectResponseError(554, "no"), Deferred),
    ],
    ids=range(18),
)
def test_a_mail_librarys_code_is_judged_by_the_table_of_mail(exc: Exception, kind: type) -> None:
    found = judged(exc)
    assert type(found) is kind
    assert found.answer


@pytest.mark.contract("CL6", "EN8")
@pytest.mark.parametrize("code", [True, "550", None, -1, 10**40, 5.5])
def test_a_code_that_is_none_decides_nothing(code: Any) -> None:
    assert isinstance(judged(smtplib.SMTPResponseException(code, b"5.1.1 x")), Uncertain)
    odd = smtplib.SMTPRecipientsRefused({"a": code, "b": (code, 1, 2), "c": (code,)})  # type: ignore[dict-item]
    assert isinstance(judged(odd), Uncertain)


@pytest.mark.contract("ST10")
def test_what_was_answered_is_kept_without_what_is_hidden() -> None:
    body = b'{"error": "no such room", "token": "hunter22", "text": "Hello there"}' + b"x" * 9000
    found = classify_exception(httpx_error(404, body=body), hide=("Hello there",))
    assert found.answer is not None
    assert len(found.answer.encode()) <= 1024
    assert found.answer.startswith('{"error": "no such room"')
    assert "hunter22" not in found.answer
    assert "Hello there" not in found.answer


@pytest.mark.contract("ST10", "EN8")
def test_a_body_that_is_not_there_yet_is_not_fetched() -> None:
    class Streaming:
        status_code = 404
        headers = ()

        @property
        def content(self) -> bytes:
            raise AssertionError("read from the network")

        text = data = content

    error = foreign("requests.exceptions.HTTPError")("404")
    error.response = Streaming()  # type: ignore[attr-defined]
    assert isinstance(judged(error), Deferred)


@pytest.mark.contract("CL6")
async def test_a_function_that_raises_is_judged_so() -> None:
    def function(attempt: object) -> None:
        raise requests_error(429, {"retry-after": "5"})

    channel = FunctionChannel(function)
    found = await channel.send(an_attempt())
    await channel.close()
    assert isinstance(found, RateLimited)
    assert found.after == 5.0


@pytest.mark.contract("ST10", "CL6")
async def test_what_urllib_left_unread_is_read_where_it_holds_up_nobody() -> None:
    async with Receiver(Answer(status=404, body=b"no such room", headers={"Retry-After": "7"})) as receiver:

        def function(attempt: Attempt) -> None:
            urllib.request.urlopen(receiver.url, data=attempt.text.encode(), timeout=10)  # noqa: S310 — our own

        channel = FunctionChannel(function)
        found = await channel.send(an_attempt())
        await channel.close()
    assert isinstance(found, Deferred)
    assert (found.after, found.answer) == (7.0, "no such room")


@pytest.mark.contract("CL6")
def test_no_library_is_loaded_for_it() -> None:
    program = """
import sys
from pillarbox.channels.function import FunctionChannel
from pillarbox.channels.exceptions.judge import classify_exception
classify_exception(RuntimeError("x"))
assert not {"aiohttp", "httpx", "requests", "urllib3", "botocore", "smtplib", "aiosmtplib"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
