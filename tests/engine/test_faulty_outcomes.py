"""An adapter that says what cannot be said: its message ends, its author is told, and nobody else notices."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.channels.function import FunctionChannel
from pillarbox.domain.message import Admission, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Redirected, Rejected
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.engine.hooks import Defer, Withdraw
from pillarbox.errors import ValueRefused
from pillarbox.events import Alarm
from pillarbox.testing.scripted import ScriptedChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.channels.base import Attempt, Channel
    from pillarbox.domain.message import Content
    from pillarbox.store.base import Batch
    from tests.engine.stand import Stand

HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)


def spoilt(outcome: AnyOutcome, field: str, value: object) -> AnyOutcome:
    object.__setattr__(outcome, field, value)
    return outcome


MADE: list[tuple[str, Callable[[], object]]] = [
    ("Delivered.receipt", lambda: Delivered(b"id")),  # type: ignore[arg-type]
    ("Delivered.receipt", lambda: Delivered({"id": 1})),  # type: ignore[arg-type]
    ("RateLimited.after", lambda: RateLimited(after="soon")),
    ("RateLimited.scope", lambda: RateLimited(scope="everybody")),  # type: ignore[arg-type]
    ("Rejected.about", lambda: Rejected(about=None)),  # type: ignore[arg-type]
    ("Rejected.reason", lambda: Rejected(["no"])),  # type: ignore[arg-type]
    ("Redirected.recipient", lambda: Redirected("")),
    ("Redirected.recipient", lambda: Redirected("bob\r\nBcc: eve")),
    ("Deferred.unclassified", lambda: Deferred(unclassified=1)),  # type: ignore[arg-type]
    ("Delivered.receipt", lambda: spoilt(Delivered("r"), "receipt", b"id")),
    ("RateLimited.after", lambda: spoilt(RateLimited(), "after", "5 s")),
    ("dict", lambda: {"ok": True}),
]


@pytest.mark.contract("CL1", "EN8", "LE7")
@pytest.mark.parametrize("adapter", ["function", "plain function", "channel"])
@pytest.mark.parametrize(("names", "make"), MADE, ids=[f"{name}-{at}" for at, (name, _) in enumerate(MADE)])
async def test_a_faulty_outcome_is_uncertain_names_its_field_and_is_no_lost_worker(
    stand: Stand, names: str, make: Callable[[], object], adapter: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    async def function(attempt: Attempt) -> object:
        calls.append(attempt.to)
        return make()

    def plainly(attempt: Attempt) -> object:
        calls.append(attempt.to)
        return make()

    class Adapter(ScriptedChannel):
        async def send(self, attempt: Attempt) -> AnyOutcome:
            calls.append(attempt.to)
            return make()  # type: ignore[return-value]

    adapters: dict[str, Channel] = {
        "function": FunctionChannel(function, policy=HOLD),
        "plain function": FunctionChannel(plainly, policy=HOLD),
        "channel": Adapter(policy=HOLD),
    }
    box = await stand.open({"odd": adapters[adapter], "chat": ScriptedChannel()})
    with caplog.at_level(logging.ERROR, logger="pillarbox.engine"):
        view = await box.settled(await box.send(channel="odd"))
    assert (view.state, view.terminal_reason, view.lost, view.claims) == (State.HELD, Reason.UNCERTAIN, 0, 1)
    assert names in (view.last_error or "")
    assert len(calls) == 1
    assert len([record for record in caplog.records if record.name == "pillarbox.engine"]) == 1
    assert (await box.settled(await box.send())).state is State.DELIVERED


@pytest.mark.contract("EV4")
async def test_an_adapters_bug_is_logged_once_and_not_with_every_message(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    async def function(attempt: Attempt) -> object:
        return Delivered(b"id") if attempt.to == "ann" else {"ok": True}  # type: ignore[arg-type]

    box = await stand.open(FunctionChannel(function, policy=HOLD))
    for to in ("ann", "ann", "bob", "ann", "bob"):
        await box.settled(await box.send(to))
    bugs = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(bugs) == 2
    assert "Delivered.receipt: expected text, a whole number or None, not bytes" in bugs[0]
    assert "the function returned dict" in bugs[1]


@pytest.mark.contract("CL1", "RE4")
async def test_numbers_and_headers_are_taken_for_what_they_mean(stand: Stand) -> None:
    async def function(attempt: Attempt) -> object:
        if attempt.to == "receipt":
            return Delivered(4711)
        if attempt.to == "reason":
            raise Rejected(404)
        raise RateLimited(after="5")

    box = await stand.open(FunctionChannel(function))
    delivered, rejected = await box.send("receipt"), await box.send("reason")
    assert (await box.settled(delivered)).receipt == "4711"
    view = await box.settled(rejected)
    assert (view.state, view.terminal_reason, view.last_error) == (State.DEAD, Reason.REJECTED, "404")
    limited = await box.send("limited")
    await box.idle()
    view = await box.view(limited)
    assert (view.state, view.charged, view.due_ms - stand.clock.wall_ms()) == (State.SCHEDULED, 0, 5000)


@pytest.mark.contract("EN8", "HO3")
@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (Defer(seconds="soon"), "Defer with seconds"),  # type: ignore[arg-type]
        (Defer(seconds=b"5"), "Defer with seconds"),  # type: ignore[arg-type]
        (Defer(reason=b"why"), "Defer with reason"),  # type: ignore[arg-type]
        (Withdraw(reason=["why"]), "Withdraw with reason"),  # type: ignore[arg-type]
    ],
)
async def test_a_hook_that_objects_with_nonsense_is_skipped_and_the_message_is_sent(
    stand: Stand, answer: object, names: str
) -> None:
    box = stand.make(ScriptedChannel())
    box.outbox.hooks.revalidate(lambda attempt: answer)
    await box.outbox.start()
    view = await box.settled(await box.send())
    assert (view.state, view.lost) == (State.DELIVERED, 0)
    (alarm,) = box.heard.of(Alarm)
    assert alarm.what == "hook_invalid"
    assert names in alarm.detail
    await box.outbox.stop(0)


# What a store refuses to hold, whatever was checked before


def settles_badly(batch: Batch) -> bool:
    return any(item.transition.to is State.DELIVERED for item in batch.settle)


@pytest.mark.contract("EN8", "LE7", "UN4")
async def test_a_settlement_that_the_store_refuses_ends_its_attempt_and_no_other(stand: Stand) -> None:
    channel = ScriptedChannel(policy=HOLD)
    box = await stand.open(channel)
    box.store.refuse = lambda batch: ValueRefused("no such text") if settles_badly(batch) else None
    message = await box.send("ann")
    view = await box.settled(message)
    assert (view.state, view.terminal_reason, view.lost) == (State.HELD, Reason.UNCERTAIN, 0)
    assert "no such text" in (view.last_error or "")
    assert [alarm.what for alarm in box.heard.of(Alarm)] == ["recording_failed"] * 2
    assert box.worker.executor.flights == {}
    box.store.refuse = lambda batch: None
    assert (await box.settled(await box.send("bob"))).state is State.DELIVERED
    assert [attempt.to for attempt in channel.attempts] == ["ann", "bob"]


@pytest.mark.contract("EN8", "EN16")
@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, "Channel.admit"),
        ({"recipient": "ann"}, "Channel.admit"),
        (Admission(recipient=7), "Admission.recipient"),  # type: ignore[arg-type]
        (Admission(recipient="a\r\nb"), "Admission.recipient"),
        (Admission(recipient="ann", parts=("text",)), "Admission.parts"),  # type: ignore[arg-type]
        (Admission(recipient="ann", parts=None), "Admission.parts"),  # type: ignore[arg-type]
        (Admission(recipient="ann", splitter=b"1"), "Admission.splitter"),  # type: ignore[arg-type]
    ],
)
async def test_an_admission_that_is_none_is_the_adapters_fault_and_not_a_lost_worker(
    stand: Stand, given: Any, names: str
) -> None:
    class Adapter(ScriptedChannel):
        def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
            return given  # type: ignore[no-any-return]

    message = await (await stand.open()).send(channel="odd")
    box = await stand.open({"odd": Adapter(policy=Policy(jitter=0.0, schedule=(1.0,))), "chat": ScriptedChannel()})
    await box.looked()
    view = await box.view(message)
    assert (view.lost, view.charged, view.state) == (0, 1, State.SCHEDULED)
    assert names in (view.last_error or "")
    with pytest.raises(TypeError, match=names):
        await box.send(channel="odd")
    assert (await box.settled(await box.send())).state is State.DELIVERED
