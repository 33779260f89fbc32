"""When a server says to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pillarbox.channels.http.hints import body_hint_seconds, hint_seconds, reset_seconds, retry_after_seconds
from pillarbox.domain.retry import Policy

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
