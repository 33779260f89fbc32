from __future__ import annotations

import socket
import ssl

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.channels.exceptions.judge import classify_exception
from pillarbox.channels.exceptions.text_patterns import PATTERNS, classify_text
from pillarbox.channels.privacy.foreign_text import masked
from pillarbox.domain.outcome import Deferred, RateLimited, Rejected, Unavailable, Uncertain

PERMANENT = [
    "Bad Request: chat not found",
    "USER NOT FOUND",
    "403 Forbidden: bot was blocked by the user",
    "Forbidden: bot was kicked from the supergroup chat",
    "Bad Request: chat_id is empty",
    "No conversation reference found for 19:abc",
    "Recipient is not a valid Signal user",
    'Ambiguous Discord recipient "1234": prefix it',
    "bot is not a member of the channel chat",
    "M_FORBIDDEN: User @bot:example.org not in room !a:example.org",
]


@pytest.mark.contract("CL3")
@pytest.mark.parametrize("text", PERMANENT)
def test_a_permanent_text_in_any_case_is_a_rejected_recipient(text: str) -> None:
    for spelt in (text, text.upper(), text.lower(), f"Error: {text}!"):
        outcome = classify_text(spelt)
        assert isinstance(outcome, Rejected), spelt
        assert outcome.about == "recipient"


@pytest.mark.contract("CL3")
def test_a_channel_without_configuration_is_unavailable_and_not_permanent() -> None:
    assert isinstance(classify_text("Outbound not configured for channel: whatsapp"), Unavailable)


@pytest.mark.contract("CL4")
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("network down", Deferred),
        ("connect ECONNREFUSED 127.0.0.1:443", Deferred),
        ("getaddrinfo ENOTFOUND api.telegram.org", Deferred),
        ("connect ETIMEDOUT 149.154.167.220:443", Deferred),
        ("HTTPSConnectionPool: Failed to establish a new connection: [Errno 111] Connection refused", Deferred),
        ("ETIMEDOUT", Uncertain),
        ("read ETIMEDOUT", Uncertain),
        ("socket hang up", Uncertain),
        ("read ECONNRESET", Uncertain),
        ("rate limited", RateLimited),
        ("Rate limit exceeded", RateLimited),
        ("429 Too Many Requests", RateLimited),
        ("HTTP 500", Uncertain),
        ("HTTP/1.1 500 Internal Server Error", Uncertain),
        ("status code: 502", Uncertain),
        ("HTTP 502: upstream connection refused", Uncertain),
        ("503 Service Unavailable", Uncertain),
    ],
)
def test_a_transient_text_is_tried_again(text: str, kind: type) -> None:
    assert type(classify_text(text)) is kind


@pytest.mark.contract("CL2")
@pytest.mark.parametrize(
    "text",
    [
        "message is longer than 1500 characters",
        "error: 500 characters at most",
        "HTTP 5000",
        "waited 1500ms",
        "the chatroom is not founded",
        "superuser not found_at",
        "chat_id is emptying",
        "the robot cannot remember: not a membership",
        "unaccelerated limits",
        "",
    ],
)
def test_words_inside_of_other_words_mean_nothing(text: str) -> None:
    assert classify_text(text) is None


@pytest.mark.contract("CL3")
def test_two_words_of_different_lines_make_no_pattern() -> None:
    assert classify_text("the bot started\nit is not\na member of anything") is None
    assert classify_text("bot " + "x" * 500 + " not " + "y" * 500 + " member") is None


@pytest.mark.contract("RE4")
@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("Too Many Requests: retry after 30", 30.0),
        ('rate limited, {"retry_after": 1.25}', 1.25),
        ("rate limited", None),
        ("rate limited, retry after a while", None),
    ],
)
def test_a_hint_in_the_text_is_kept(text: str, after: float | None) -> None:
    outcome = classify_text(text)
    assert isinstance(outcome, RateLimited)
    assert outcome.after == after


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def connector_error() -> aiohttp.ClientConnectorError:
    key = aiohttp.client_reqrep.ConnectionKey("api.example.org", 443, True, True, None, None, None)
    return aiohttp.ClientConnectorError(key, OSError(111, "refused"))


@pytest.mark.contract("CL2", "CL6")
@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (ConnectionRefusedError(111, "Connection refused"), Deferred),
        (socket.gaierror(-2, "Name or service not known"), Deferred),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), Deferred),
        (connector_error(), Deferred),
        (aiohttp.ConnectionTimeoutError("chat not found"), Deferred),
        (TimeoutError(), Uncertain),
        (TimeoutError("chat not found"), Uncertain),
        (aiohttp.ServerDisconnectedError(), Uncertain),
        (ConnectionResetError(104, "Connection reset by peer"), Uncertain),
        (ValueError("Bad Request: chat not found"), Rejected),
        (RuntimeError("HTTP 500"), Uncertain),
        (RuntimeError("rate limited"), RateLimited),
        (KeyError("whatever"), Uncertain),
        (Odd(), Uncertain),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_exceptions_type_is_asked_before_its_text(exc: Exception, kind: type) -> None:
    assert type(classify_exception(exc)) is kind


@pytest.mark.contract("CL2")
def test_the_messages_own_words_do_not_decide_its_fate() -> None:
    text = "Why does it say chat not found?"
    outcome = classify_exception(RuntimeError(f"refused to post: {text}"), hide=("-100123", text))
    assert isinstance(outcome, Uncertain)
    assert outcome.reason == "RuntimeError: refused to post: ***"


@pytest.mark.contract("EV3")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("POST https://api.telegram.org/bot123456789:AAEhBOweik9ai2o01aMtVq/sendMessage", "123456789:AAEh"),
        ("https://me:hunter2@example.org/", "hunter2"),
        ("Authorization: Bearer abc.def.ghi-123", "abc.def"),
        ('{"access_token": "s3cr3t-value"}', "s3cr3t"),
        ("https://x/?api_key=s3cr3t&y=1", "s3cr3t"),
        ("invalid_auth for xoxb-1234567890-abcdef", "1234567890-abc"),
        ("no such user ann@example.org", "ann@example.org"),
        ("no such number +4915112345678", "4915112345678"),
    ],
)
def test_no_secret_and_no_recipient_is_shown(text: str, shown: str) -> None:
    assert shown not in masked(text)
    assert "***" in masked(text)


@pytest.mark.contract("EV3")
@given(st.text(max_size=400), st.text(min_size=4, max_size=40))
def test_a_reason_is_one_bounded_printable_line_without_what_is_hidden(text: str, hidden: str) -> None:
    line = masked(f"{text} {hidden} {text}", hidden)
    assert len(line) <= 200
    assert len(line.splitlines()) <= 1
    assert not any(ord(character) < 0x20 for character in line)
    if hidden.isalnum() and hidden.isascii() and hidden.lower() not in text.lower():
        assert hidden not in line


@pytest.mark.contract("CL2")
def test_every_pattern_cites_its_source() -> None:
    assert all(pattern.source for pattern in PATTERNS)
