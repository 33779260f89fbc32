"""What it means that a server said nothing."""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from pillarbox.channels.http.failures import describe, failure
from pillarbox.domain.outcome import Deferred, Unavailable, Uncertain
from pillarbox.errors import EgressRefused

KEY = ConnectionKey("secret-host", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
URL = "https://example.com/bot123:TOKEN/hook"


def refused_certificate() -> aiohttp.ClientConnectorCertificateError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return aiohttp.ClientConnectorCertificateError(KEY, error)


BEFORE: list[tuple[BaseException, str]] = [
    (
        aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")),
        "name not resolved: Name or service not known",
    ),
    (
        aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {URL}")),
        "not connected: Connection refused",
    ),
    (aiohttp.ClientConnectorError(KEY, OSError("Multiple exceptions")), "not connected: OSError"),
    (aiohttp.ConnectionTimeoutError(f"Connection timeout to host {URL}"), "timed out"),
    (TimeoutError(), "timed out"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "wrong version number")), "TLS failed: SSLError"),
    (aiohttp.ClientConnectionResetError("Cannot write to closing transport"), "connection lost: Client"),
    (aiohttp.InvalidURL(URL), "InvalidURL"),
]


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(("exc", "words"), BEFORE, ids=[type(exc).__name__ for exc, _ in BEFORE])
def test_what_fails_before_the_request_is_written_is_surely_not_sent(exc: BaseException, words: str) -> None:
    outcome = failure(exc, written=False)
    assert isinstance(outcome, Deferred)
    assert outcome.reason.startswith(words)
    assert outcome.reason.endswith(" before the request was written")
    assert not outcome.unclassified


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    "exc",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(errno.ECONNRESET, f"Can not write request body for {URL}"),
        aiohttp.SocketTimeoutError(f"Timeout on reading data from {URL}"),
        TimeoutError(),
        aiohttp.ClientPayloadError(URL),
        ConnectionResetError(errno.ECONNRESET, URL),
        aiohttp.ClientResponseError(aiohttp.RequestInfo(URL, "POST", {}), (), message=URL),  # type: ignore[arg-type]
        *(exc for exc, _ in BEFORE),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_what_fails_after_it_is_uncertain_and_covered_only_if_the_receiver_dedupes(exc: BaseException) -> None:
    for covered in (False, True):
        outcome = failure(exc, written=True, covered=covered)
        assert isinstance(outcome, Uncertain)
        assert outcome.covered is covered
        assert outcome.error_class == "uncertain"
        assert "example.com" not in outcome.reason
        assert "TOKEN" not in outcome.reason


@pytest.mark.contract("CL2", "CL6")
@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (refused_certificate(), "certificate refused: self-signed certificate"),
        (ssl.SSLCertVerificationError("x"), "connection lost: SSLCertVerificationError"),
        (
            EgressRefused("10.0.0.1 is not a public address", setting="egress.allow"),
            "10.0.0.1 is not a public address (egress.allow would allow it)",
        ),
    ],
)
def test_what_only_a_person_can_change_stops_the_channel_not_the_message(exc: BaseException, reason: str) -> None:
    assert failure(exc, written=False) == Unavailable(reason)


def test_words_for_a_failure_never_hold_the_url() -> None:
    for exc, _ in BEFORE:
        assert "example.com" not in describe(exc)
        assert "secret-host" not in describe(exc)


@pytest.mark.contract("CH8", "EV3")
@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize(
    "exc",
    [
        aiohttp.ClientOSError(None, f"Can not write request body for {URL}"),
        aiohttp.ClientOSError(errno.EPIPE, f"Can not write request body for {URL}"),
        aiohttp.ClientOSError(f"Can not write request body for {URL}"),
        aiohttp.ClientConnectorError(KEY, OSError(99999, f"Connect call failed {URL}")),
        aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(99999, f"no address for {URL}")),
        aiohttp.ServerDisconnectedError(URL),
        aiohttp.ClientPayloadError(URL),
        aiohttp.TooManyRedirects(None, (), message=URL),  # type: ignore[arg-type]
        aiohttp.ClientError(URL),
        OSError(URL),
        ConnectionResetError(URL),
    ],
    ids=range(11),
)
def test_no_library_gets_its_words_about_the_url_into_a_reason(exc: BaseException, *, written: bool) -> None:
    reason = failure(exc, written=written).reason
    assert URL not in reason
    assert "://" not in reason
