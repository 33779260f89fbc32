"""The log lines about messages: their words, levels and fields, and what must not be in them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pillarbox.events import (
    Alarm,
    BusEvent,
    Drained,
    HookCancelled,
    MessageCancelled,
    MessageDelivered,
    MessageDied,
    MessageEnqueued,
    MessageExpired,
    MessageHeld,
    RetryScheduled,
)
from pillarbox.events.log_lines import Lines, Recipients
from tests.unit.test_compat import ABOUT

KEY = b"0123456789abcdef"
HASHED = Recipients(KEY).shown("-100123")
COMMON = {
    "entryId": "AYvP5WgAdbGlIkpYt5Hx2A", "channelId": HASHED, "channelType": "ops", "origin": "agent",
    "attemptCount": 2,
}  # fmt: skip
CHUNKS = {"chunksDelivered": 0, "totalChunks": 1}
DRAIN = Drained(
    at_ms=5, attempted=10, delivered=7, failed=1, expired=2, exhausted=1, deferred_backoff=3,
    deferred_budget=4, uncertain=1, duration_ms=60, at_start=True, held=5, deferred_leased=6, deferred_lost=8, reaped=9,
)  # fmt: skip
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message"}

SEVEN: list[tuple[BusEvent, str, str, dict[str, Any]]] = [
    (MessageEnqueued(**ABOUT), "INFO", "Message enqueued for delivery", COMMON),
    (
        MessageDelivered(**ABOUT, receipt="m1", duration_ms=70, send_ms=9, parts_delivered=1),
        "INFO",
        "Message delivered and acked",
        COMMON | {"messageId": "m1", "durationMs": 70, "sendMs": 9, "chunksDelivered": 1, "totalChunks": 1},
    ),
    (
        MessageDelivered(**ABOUT, receipt="m1", duration_ms=70, send_ms=9, degraded="without its reply: gone"),
        "INFO",
        "Message delivered and acked",
        COMMON | CHUNKS | {"messageId": "m1", "durationMs": 70, "sendMs": 9, "degraded": "without its reply: gone"},
    ),
    (
        RetryScheduled(**ABOUT, due_ms=77, error="503", error_class="transient", charged=True),
        "WARNING",
        "Message delivery failed, scheduled for retry",
        COMMON | {"error": "503", "errorKind": "transient", "nextRetryAt": 77},
    ),
    (
        MessageDied(**ABOUT, reason="rejected", error="bot was blocked", error_class="permanent"),
        "WARNING",
        "Message delivery permanently failed",
        COMMON | {"error": "bot was blocked", "reason": "rejected", "errorKind": "permanent"} | CHUNKS,
    ),
    (
        DRAIN,
        "INFO",
        "Delivery queue startup drain complete",
        {
            "entriesAttempted": 10, "entriesDelivered": 7, "entriesFailed": 2, "entriesExpired": 2,
            "entriesExhausted": 1, "entriesUncertain": 1, "entriesDeferredBackoff": 3, "entriesDeferredBudget": 4,
            "entriesHeld": 5, "entriesDeferredLeased": 6, "entriesDeferredLost": 8, "entriesReaped": 9,
            "durationMs": 60,
        },
    ),
    (
        HookCancelled(at_ms=5, channel="ops", to="-100123", origin="agent", reason="quiet hours"),
        "INFO",
        "Delivery cancelled by before_delivery hook",
        {"channelId": HASHED, "channelType": "ops", "origin": "agent", "reason": "quiet hours"},
    ),
    (
        MessageCancelled(
            **ABOUT, reason="requested", said="the user interrupted", part_count=5, parts_delivered=2, duration_ms=70
        ),
        "INFO",
        "Delivery aborted",
        COMMON | {"reason": "requested", "durationMs": 70, "chunksDelivered": 2, "totalChunks": 5},
    ),
]  # fmt: skip


def written(
    event: BusEvent, caplog: pytest.LogCaptureFixture, recipients: Recipients | None = None
) -> tuple[str, str, dict[str, Any]]:
    """Give the level, the text and the fields of an event's only line."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="pillarbox.delivery"):
        Lines(recipients or Recipients(KEY)).write(event)
    (record,) = caplog.records
    assert record.name == "pillarbox.delivery"
    fields = {name: value for name, value in vars(record).items() if name not in OWN}
    return record.levelname, record.getMessage(), fields


@pytest.mark.contract("EV2")
@pytest.mark.parametrize(("event", "level", "text", "fields"), SEVEN, ids=[text for _, _, text, _ in SEVEN])
def test_each_of_the_seven_lines_has_its_level_and_its_fields(
    event: BusEvent, level: str, text: str, fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert written(event, caplog) == (level, text, fields)


@pytest.mark.contract("EV2")
def test_there_are_seven_different_lines() -> None:
    assert len({text for _, _, text, _ in SEVEN}) == 7


@pytest.mark.contract("EV2")
def test_a_message_that_was_given_back_unsent_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    event = RetryScheduled(**ABOUT, due_ms=77, error="stopped", error_class="released", charged=False, sent=False)
    level, text, _ = written(event, caplog)
    assert (level, text) == ("DEBUG", "Message given back before it was sent")


@pytest.mark.contract("EV2")
@pytest.mark.parametrize(
    ("event", "text"),
    [
        (MessageHeld(**ABOUT, reason="uncertain", error="e", error_class="uncertain"), "held for a decision"),
        (MessageExpired(**ABOUT), "expired before delivery"),
    ],
)
def test_what_comis_has_no_line_for_is_a_warning_of_its_own(
    event: BusEvent, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    level, said, _ = written(event, caplog)
    assert level == "WARNING"
    assert text in said


@pytest.mark.contract("EV2")
def test_an_event_that_has_no_line_writes_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lines = Lines(Recipients(KEY))
    lines.write(Alarm(at_ms=1, what="w", detail="d"))
    assert caplog.records == []
    assert not lines.wants(Alarm)


@pytest.mark.contract("EV2")
def test_nothing_is_built_for_a_log_that_does_not_listen(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines(Recipients(KEY))
    with caplog.at_level(logging.WARNING, logger="pillarbox.delivery"):
        assert not lines.wants(MessageDelivered)
        assert lines.wants(MessageDied)
        lines.write(SEVEN[0][0])
    assert caplog.records == []


@pytest.mark.contract("EV3")
def test_a_recipient_is_a_hash_that_only_the_key_makes() -> None:
    assert Recipients(b"another key 0000").shown("-100123") != HASHED
    assert HASHED == Recipients(KEY).shown("-100123") != Recipients(KEY).shown("-100124")
    assert "100123" not in HASHED
    assert len(HASHED) == 13


@pytest.mark.contract("EV3")
def test_a_recipient_in_an_error_is_hashed_too_however_it_is_written(caplog: pytest.LogCaptureFixture) -> None:
    about = ABOUT | {"to": "Ann@Example.org"}
    event = MessageDied(**about, reason="rejected", error="550 <ann@example.ORG>: unknown", error_class="permanent")
    shown = Recipients(KEY).shown("Ann@Example.org")
    _, _, fields = written(event, caplog)
    assert fields["error"] == f"550 <{shown}>: unknown"
    assert fields["channelId"] == shown


@pytest.mark.contract("EV3")
def test_who_wants_recipients_in_the_log_gets_them(caplog: pytest.LogCaptureFixture) -> None:
    event = MessageDied(**ABOUT, reason="rejected", error="chat -100123 not found", error_class="permanent")
    _, _, fields = written(event, caplog, Recipients(None))
    assert (fields["channelId"], fields["error"]) == ("-100123", "chat -100123 not found")
