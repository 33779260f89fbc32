"""What it means that a server said nothing."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from pillarbox.channels.http.answer_reader import Unintelligible
from pillarbox.channels.http.failures import (
    Closed,
    Disconnected,
    LostAtOnce,
    NotConnected,
    NotResolved,
    describe,
    failure,
)
from pillarbox.domain.outcome import Deferred, Unavailable, Uncertain
from pillarbox.errors import EgressRefused

URL = "https://example.com/bot123:TOKEN/hook"


def because(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def refused_certificate() -> Exception:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return because(NotConnected(), error)


BEFORE: list[tuple[BaseException, str]] = [
    (
        because(NotResolved(), socket.gaierror(-2, "Name or service not known")),
        "name not resolved: Name or service not known",
    ),
    (because(NotResolved(), OSError(f"{URL} has no address")), "name not resolved: OSError"),
    (because(NotResolved(), UnicodeError(f"label too long in {URL}")), "name not resolved: UnicodeError"),
    (
        because(NotConnected(), ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {URL}")),
        "not connected: Connection refused",
    ),
    (because(NotConnected(), OSError("Multiple exceptions")), "not connected: OSError"),
    (because(NotConnected(), TimeoutError(f"Connection timeout to host {URL}")), "timed out"),
    (TimeoutError(), "timed out"),
    (because(NotConnected(), ssl.SSLError(1, "wrong version number")), "TLS failed: SSLError"),
    (because(NotConnected(), ConnectionResetError(f"lost {URL}")), "not connected: ConnectionResetError"),
    (Closed(), "the channel was closed"),
    (LostAtOnce(), "3 connections were lost in a row"),
    (ValueError(URL), "ValueError"),
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
        Disconnected(),
        Unintelligible(),
        TimeoutError(),
        ConnectionResetError(errno.ECONNRESET, URL),
        ssl.SSLError(1, f"decryption failed {URL}"),
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
        (
            because(NotConnected(), ssl.SSLCertVerificationError(URL)),
            "certificate refused: SSLCertVerificationError",
        ),
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
        OSError(None, f"Can not write request body for {URL}"),
        OSError(errno.EPIPE, f"Can not write request body for {URL}"),
        because(NotConnected(), OSError(99999, f"Connect call failed {URL}")),
        because(NotConnected(), ssl.SSLError(1, URL)),
        because(NotConnected(URL), OSError(URL)),
        because(NotResolved(), socket.gaierror(99999, f"no address for {URL}")),
        Disconnected(URL),
        Unintelligible(URL),
        ValueError(URL),
        OSError(URL),
        ConnectionResetError(URL),
    ],
    ids=range(11),
)
def test_no_library_gets_its_words_about_the_url_into_a_reason(exc: BaseException, *, written: bool) -> None:
    reason = failure(exc, written=written).reason
    assert URL not in reason
    assert "://" not in reason
