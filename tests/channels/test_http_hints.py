"""When a server says to come back, what its status means, and what it means that it said nothing."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pillarbox.channels.http.answers import (
    Verdict,
    body_hint_seconds,
    describe,
    failure,
    hint_seconds,
    outcome_of,
    reset_seconds,
    retry_after_seconds,
    status_table,
    status_text,
)
from pillarbox.domain.outcome import Deferred, Delivered, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.domain.retry import Policy
from pillarbox.errors import ConfigError, EgressRefused

NOW_MS = 1_445_412_400_000  # Wed, 21 Oct 2015 07:26:40 GMT


@pytest.mark.contract("RE4")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("+7", 7.0),
        # RFC 9110 §5.6.7: the preferred format, and the two obsolete ones a recipient must accept.
        ("Wed, 21 Oct 2015 07:28:00 GMT", 80.0),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 80.0),
        ("Wed Oct 21 07:28:00 2015", 80.0),
        ("Wed, 21 Oct 2015 09:28:00 +0200", 80.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 80.0),
        ("Wed, 21 Oct 2015 07:26:40 GMT", 0.0),
    ],
)
def test_seconds_fractions_and_dates_are_understood(value: str, seconds: float) -> None:
    assert retry_after_seconds(value, now_ms=NOW_MS) == seconds


@pytest.mark.contract("RE4")
@pytest.mark.parametrize(
    ("value", "bounded"),
    [
        ("-5", 0.0),
        ("-0.0", 0.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("86401", 86400.0),
        ("9" * 400, 86400.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("1e999", 0.0),
        ("0x10", 0.0),
        ("1,5", 0.0),
        ("١٢", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 +999999", 0.0),
        (None, 0.0),
    ],
)
def test_what_is_absurd_is_read_without_raising_and_bounded_by_the_policy(value: str | None, bounded: float) -> None:
    assert Policy().bounded_hint(retry_after_seconds(value, now_ms=NOW_MS)) == bounded


@given(st.text())
def test_no_header_makes_it_raise(text: str) -> None:
    for hint in (retry_after_seconds(text, now_ms=NOW_MS), reset_seconds(text, now_ms=NOW_MS)):
        assert 0.0 <= Policy().bounded_hint(hint) <= 86400.0


@given(st.binary() | st.text().map(str.encode) | st.recursive(st.none(), st.lists).map(lambda x: str(x).encode()))
def test_no_body_makes_it_raise(body: bytes) -> None:
    for raw in (body, b'{"retry_after": ' + body, b'{"parameters": ' + body + b"}"):
        assert 0.0 <= Policy().bounded_hint(body_hint_seconds(raw)) <= 86400.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        ("0.25", 0.25),
        (str(NOW_MS // 1000 + 90), 90.0),
        (str(NOW_MS // 1000 - 90), -90.0),
        (str(NOW_MS + 1500), 1.5),
        ("tomorrow", None),
        (None, None),
    ],
)
def test_a_reset_is_a_wait_or_a_point_in_time(value: str | None, seconds: float | None) -> None:
    assert reset_seconds(value, now_ms=NOW_MS) == seconds


@pytest.mark.contract("RE4")
@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"retry_after": 1.337, "global": false}', 1.337),  # Discord
        (b'{"ok": false, "parameters": {"retry_after": 35}}', 35.0),  # Telegram
        (b' {"retry_after": 2}', 2.0),
        (b'{"retry_after": null}', None),
        (b'{"retry_after": "soon"}', None),
        (b'{"retry_after": NaN}', None),
        (b'{"parameters": []}', None),
        (b"[1]", None),
        (b"slow down", None),
        (b'{"a": ' + b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_a_hint_in_the_body_is_understood(body: bytes, seconds: float | None) -> None:
    assert body_hint_seconds(body) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3", "RateLimit-Reset": "50", "X-RateLimit-Reset": "60"}, 3.0),
        ({"Retry-After": "soon", "RateLimit-Reset": "50", "X-RateLimit-Reset": "60"}, 50.0),
        ({"x-ratelimit-reset": "60"}, 60.0),
        ({}, 4.0),
    ],
)
def test_the_plainest_hint_goes_first(headers: dict[str, str], seconds: float) -> None:
    assert hint_seconds(CIMultiDict(headers), now_ms=NOW_MS, body=b'{"retry_after": 4}') == seconds


@pytest.mark.contract("RE4", "LE6")
@pytest.mark.parametrize("hours", [-2, 2])
@pytest.mark.parametrize("name", ["Retry-After", "X-RateLimit-Reset"])
def test_a_clock_of_ours_that_is_wrong_changes_no_hint_of_a_server_that_says_its_own_time(
    name: str, hours: int
) -> None:
    at = {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "X-RateLimit-Reset": str(NOW_MS // 1000 + 80)}[name]
    headers = CIMultiDict({name: at, "Date": "Wed, 21 Oct 2015 07:26:40 GMT"})
    assert hint_seconds(headers, now_ms=NOW_MS + hours * 3_600_000) == 80.0
    # A minute apart is nothing: a Date is whole seconds, and ours are finer.
    assert hint_seconds(headers, now_ms=NOW_MS - 500) == 80.5
    headers["Date"] = "long ago"
    assert hint_seconds(headers, now_ms=NOW_MS) == 80.0


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


@pytest.mark.contract("CL1")
@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Verdict.DELIVERED, Delivered()),
        (Verdict.REJECTED, Rejected("why")),
        (Verdict.REJECTED_RECIPIENT, Rejected("why", about="recipient")),
        (Verdict.CLOSED, Rejected("why", about="endpoint")),
        (Verdict.DEFERRED, Deferred("why", after=2.5)),
        (Verdict.UNCLASSIFIED, Deferred("why", after=2.5, unclassified=True)),
        (Verdict.RATE_LIMITED, RateLimited("why", scope="channel", after=2.5)),
        (Verdict.UNAVAILABLE, Unavailable("why", after=2.5)),
        (Verdict.UNCERTAIN, Uncertain("why", after=2.5, covered=True)),
    ],
)
def test_each_verdict_is_one_outcome(verdict: Verdict, outcome: Any) -> None:
    assert outcome_of(verdict, "why", after=2.5, covered=True) == outcome


def test_every_verdict_has_its_outcome() -> None:
    for verdict in Verdict:
        outcome_of(verdict, "", after=None, covered=False)


DEFAULT = {"2xx": Verdict.DELIVERED, "404": Verdict.REJECTED, "4xx": Verdict.UNCLASSIFIED}


@pytest.mark.contract("CL2")
@pytest.mark.parametrize(
    ("given_", "status", "verdict"),
    [
        ({}, 200, Verdict.DELIVERED),
        ({}, 404, Verdict.REJECTED),
        ({}, 499, Verdict.UNCLASSIFIED),
        ({}, 302, Verdict.UNCLASSIFIED),
        ({"404": "unavailable"}, 404, Verdict.UNAVAILABLE),
        ({404: "unavailable"}, 404, Verdict.UNAVAILABLE),
        ({"4xx": "deferred"}, 404, Verdict.DEFERRED),
        ({"4xx": "deferred", "404": "delivered"}, 404, Verdict.DELIVERED),
        ({"5xx": "deferred"}, 503, Verdict.DEFERRED),
        ({"202": "uncertain"}, 200, Verdict.DELIVERED),
    ],
)
def test_a_users_verdict_overrules_the_adapters(given_: Any, status: int, verdict: Verdict) -> None:
    assert status_table(DEFAULT, given_, field="outcomes")[status] is verdict


@pytest.mark.parametrize(
    ("given_", "field"),
    [
        ({"600": "deferred"}, "outcomes"),
        ({"40x": "deferred"}, "outcomes"),
        ({"": "deferred"}, "outcomes"),
        ({"4042": "deferred"}, "outcomes"),
        ({"404": "retry"}, "outcomes.404"),
        ({"404": 7}, "outcomes.404"),
        ({"404": None}, "outcomes.404"),
        (["404"], "outcomes"),
        ("404=deferred", "outcomes"),
    ],
)
def test_a_bad_verdict_is_named(given_: Any, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        status_table(DEFAULT, given_, field="outcomes")
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (503, "HTTP 503 Service Unavailable"),
        (599, "HTTP 599"),
        (301, "HTTP 301 Moved Permanently: redirects are not followed, set the URL to the new address"),
    ],
)
def test_a_status_is_named_in_our_words(status: int, text: str) -> None:
    assert status_text(status) == text


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
