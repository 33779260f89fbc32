"""Recipients in what others said: hidden where they stand as words, and nothing else is touched (contract EV3)."""

from __future__ import annotations

import pytest

from pillarbox.domain.casefold import words_replaced
from pillarbox.events.log_lines import Recipients
from tests.unit.linear_time import is_linear

pytestmark = pytest.mark.contract("EV3")

RECIPIENTS = Recipients(b"0123456789abcdef")


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("5", "HTTP 503 Service Unavailable, retry in 15s"),
        ("a", "connection refused: example.org"),
        ("ops", "dropped: too many operations"),
        ("42", "HTTP 429 Too Many Requests"),
        ("503", "HTTP 503 Service Unavailable"),
        ("general", "generally unavailable, see majorgeneral and general_errors"),
        ("5030", "HTTP 50301, after 15030 ms"),
        ("żółw", "a żółwik is no żółw\u0301"),
        ("ann@example.org", "joann@example.org or ann@example.organic"),
        ("", "nothing"),
    ],
)
def test_what_only_looks_like_a_recipient_stays(to: str, text: str) -> None:
    assert RECIPIENTS.masked(text, to) == text


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("12345", "chat 12345 not found"),
        ("-100123", "chat -100123 not found (id=-100123)"),
        ("+4915112345678", "recipient +4915112345678 is not a valid number: 4915112345678"),
        ("ann@example.org", "550 5.1.1 <ann@example.org>: user unknown, ANN@EXAMPLE.ORG."),
        ("Żółw", 'no such user "żÓŁW"'),
        ("@channel", "cannot find @CHANNEL"),
        ("a.b*c(d", "A.B*C(D is not there"),
        ("Ann Smith", "user ann smith left"),
        ("!room:example.org", "unknown room !room:example.org"),
        ("C024BE91L", "channel_not_found: c024be91l"),
        ("[::1]", "at [::1]x"),
        ("++++", "a+++++b"),
    ],
)
def test_a_recipient_that_stands_as_a_word_is_hidden(to: str, text: str) -> None:
    masked = RECIPIENTS.masked(text, to)
    assert masked is not None
    assert RECIPIENTS.shown(to) in masked
    assert to.casefold() not in masked.casefold()
    assert to.removeprefix("+") not in masked


def test_each_occurrence_is_hidden_and_what_is_between_stays() -> None:
    assert words_replaced("ann, joann, ANN; ann_, annann ann", "ann", "#") == "#, joann, #; ann_, annann #"


@pytest.mark.parametrize(
    ("to", "text"),
    [("aaaa", "a"), ("aaaa", "aaaab "), ("++++", "+"), ("a+a+a", "a+"), ("abab", "ab"), ("+123", "+123")],
)
def test_hiding_takes_time_in_proportion_to_the_text(to: str, text: str) -> None:
    assert is_linear(lambda said: RECIPIENTS.masked(said, to), lambda size: text * size)
    assert is_linear(lambda said: RECIPIENTS.masked(text * 400, said), lambda size: text * size)
