"""Comis's event names and fields, made from every typed event there is."""

from __future__ import annotations

from typing import Any

import pytest

from pillarbox.events import (
    Alarm,
    Bus,
    BusEvent,
    ChannelPaused,
    Drained,
    HookCancelled,
    LeaseLost,
    MessageCancelled,
    MessageDelivered,
    MessageDied,
    MessageEnqueued,
    MessageExpired,
    MessageHeld,
    PartDelivered,
    RetryScheduled,
    comis,
)

ABOUT: dict[str, Any] = {
    "at_ms": 1_700_000_000_000,
    "id": "AYvP5WgAdbGlIkpYt5Hx2A",
    "channel": "ops",
    "to": "-100123",
    "origin": "agent",
    "attempt": 2,
}
FIELDS: dict[str, Any] = {
    "entryId": "AYvP5WgAdbGlIkpYt5Hx2A",
    "channelId": "-100123",
    "channelType": "ops",
    "origin": "agent",
    "attemptCount": 2,
    "timestamp": 1_700_000_000_000,
}
WHOLE = {"chunksDelivered": 1, "totalChunks": 1}


def ended(*, delivered: int, chunks: int = 1, chars: int | None = None, ok: bool = False) -> dict[str, Any]:
    """What `delivery:complete` counts, by Comis's names and by those of the other events."""
    return {
        "chunksDelivered": delivered, "totalChunks": chunks, "deliveredChunks": delivered,
        "failedChunks": chunks - delivered, "totalChars": chars, "ok": ok,
    }  # fmt: skip


def told(event: BusEvent) -> list[tuple[str, dict[str, Any]]]:
    """Hear an event through a bus."""
    heard: list[tuple[str, dict[str, Any]]] = []
    bus = Bus()
    comis.listen(bus, lambda name, fields: heard.append((name, fields)))
    bus.publish(event)
    assert bus.errors == 0
    return heard


@pytest.mark.contract("EV1")
def test_an_accepted_message_is_enqueued() -> None:
    assert told(MessageEnqueued(**ABOUT)) == [("delivery:enqueued", FIELDS)]


@pytest.mark.contract("EV1")
def test_a_delivered_message_is_a_chunk_that_was_sent_then_acked_then_complete() -> None:
    event = MessageDelivered(**ABOUT, receipt="m1", duration_ms=70, send_ms=9, parts_delivered=1, chars=5)
    acked = FIELDS | {"messageId": "m1", "durationMs": 70, "sendMs": 9}
    chunk = {"messageId": "m1", "durationMs": 9, "chunkIndex": 0, "charCount": 5, "ok": True, "retried": True}
    assert told(event) == [
        ("delivery:chunk_sent", FIELDS | chunk | WHOLE),
        ("delivery:acked", acked),
        ("delivery:complete", acked | ended(delivered=1, chars=5, ok=True)),
    ]


@pytest.mark.contract("EV1", "PA5")
def test_each_part_is_a_chunk_and_the_message_tells_no_chunk_again() -> None:
    about = ABOUT | {"part_count": 3}
    part = PartDelivered(**about, part=1, receipt="m2", send_ms=4, parts_delivered=2, chars=7)
    ((name, fields),) = told(part)
    assert name == "delivery:chunk_sent"
    assert (fields["chunkIndex"], fields["chunksDelivered"], fields["totalChunks"]) == (1, 2, 3)
    assert (fields["charCount"], fields["ok"]) == (7, True)
    whole = MessageDelivered(**about, receipt="m3", duration_ms=1, send_ms=1, parts_delivered=3)
    assert [name for name, _ in told(whole)] == ["delivery:acked", "delivery:complete"]


@pytest.mark.contract("EV1")
@pytest.mark.parametrize(
    ("error_class", "kind"),
    [("transient", "transient"), ("rate_limited", "transient"), ("uncertain", "uncertain"),
     ("worker_lost", "uncertain"), ("unclassified", "transient")],
)  # fmt: skip
def test_a_retry_is_a_nack_with_its_next_time_and_kind(error_class: str, kind: str) -> None:
    event = RetryScheduled(**ABOUT, due_ms=1_700_000_005_000, error="503", error_class=error_class, charged=True)
    fields = FIELDS | {"error": "503", "nextRetryAt": 1_700_000_005_000, "errorKind": kind}
    assert told(event) == [("delivery:nacked", fields)]


@pytest.mark.contract("EV1")
def test_a_held_message_is_a_nack_that_nobody_retries() -> None:
    event = MessageHeld(**ABOUT, reason="uncertain", error="no answer", error_class="uncertain")
    fields = FIELDS | {"error": "no answer", "reason": "uncertain", "nextRetryAt": None, "errorKind": "uncertain"}
    assert told(event) == [("delivery:nacked", fields)]


@pytest.mark.contract("EV1")
@pytest.mark.parametrize(
    ("reason", "error_class", "kind", "said"),
    [("rejected", "permanent", "permanent", "permanent_error"), ("invalid", None, "permanent", "permanent_error"),
     ("retries_exhausted", "transient", "permanent", "retries_exhausted"),
     ("retries_exhausted", "uncertain", "uncertain", "retries_exhausted"),
     ("kills_workers", "worker_lost", "uncertain", "kills_workers"),
     ("unreadable", None, "permanent", "unreadable")],
)  # fmt: skip
def test_a_dead_message_failed_and_says_what_kind_of_failure_it_was(
    reason: str, error_class: str | None, kind: str, said: str
) -> None:
    event = MessageDied(**ABOUT, reason=reason, error="no such chat", error_class=error_class, duration_ms=70)
    fields = FIELDS | {"error": "no such chat", "reason": said, "errorKind": kind}
    complete = fields | {"durationMs": 70} | ended(delivered=0)
    assert told(event) == [("delivery:failed", fields), ("delivery:complete", complete)]


@pytest.mark.contract("EV1", "EX1")
def test_an_expired_message_failed_for_good() -> None:
    (name, fields), (complete, _) = told(MessageExpired(**ABOUT))
    assert (name, complete) == ("delivery:failed", "delivery:complete")
    assert (fields["reason"], fields["errorKind"]) == ("expired", "permanent")


@pytest.mark.contract("EV1", "PA5")
def test_a_cancelled_message_was_aborted_after_so_many_of_its_chunks() -> None:
    about = ABOUT | {"part_count": 5, "parts_delivered": 2, "duration_ms": 70}
    fields = FIELDS | {"chunksDelivered": 2, "totalChunks": 5, "durationMs": 70}
    for said, reason in ((None, "requested"), ("the user interrupted", "the user interrupted")):
        event = MessageCancelled(**about, reason="requested", said=said)
        assert told(event) == [("delivery:aborted", fields | {"reason": reason})]


@pytest.mark.contract("EV1")
@pytest.mark.parametrize("done", ["", "attempted", "delivered", "failed", "expired", "held", "reaped"])
def test_a_later_drain_is_told_of_where_it_did_something_and_the_one_at_start_always(done: str) -> None:
    names = ("attempted", "delivered", "failed", "expired", "exhausted", "deferred_budget", "uncertain", "duration_ms")
    counts: dict[str, Any] = dict.fromkeys(names, 0) | {"deferred_backoff": 3} | ({done: 1} if done else {})
    assert [name for name, _ in told(Drained(at_ms=5, at_start=True, **counts))] == ["delivery:queue_drained"]
    assert len(told(Drained(at_ms=5, **counts))) == bool(done)


@pytest.mark.contract("EV1", "HO1")
def test_a_message_that_a_hook_stopped_has_no_entry() -> None:
    event = HookCancelled(at_ms=5, channel="ops", to="-100123", origin="agent", reason="quiet hours")
    fields = {
        "channelId": "-100123", "channelType": "ops", "origin": "agent", "reason": "quiet hours", "timestamp": 5,
    }  # fmt: skip
    assert told(event) == [("delivery:hook_cancelled", fields)]


@pytest.mark.contract("EV1", "DR1")
def test_a_drain_tells_how_many_entries_it_attempted() -> None:
    event = Drained(
        at_ms=5, attempted=10, delivered=7, failed=1, expired=2, exhausted=1, deferred_backoff=3,
        deferred_budget=4, uncertain=1, duration_ms=60,
    )  # fmt: skip
    ((name, fields),) = told(event)
    assert name == "delivery:queue_drained"
    named = ("entriesAttempted", "entriesDelivered", "entriesFailed", "durationMs", "timestamp")
    assert [fields[field] for field in named] == [10, 7, 2, 60, 5]


@pytest.mark.contract("EV1")
def test_what_comis_has_no_word_for_is_not_told() -> None:
    silent: list[BusEvent] = [
        Alarm(at_ms=1, what="w", detail="d"),
        LeaseLost(**ABOUT, outcome="delivered"),
        ChannelPaused(at_ms=1, channel="ops", until_ms=None, reason=None),
    ]
    assert [told(event) for event in silent] == [[], [], []]


@pytest.mark.contract("EV1")
def test_who_ended_its_listening_hears_no_more() -> None:
    heard: list[str] = []
    bus = Bus()
    end = comis.listen(bus, lambda name, _: heard.append(name))
    end()
    bus.publish(MessageEnqueued(**ABOUT))
    assert heard == []
