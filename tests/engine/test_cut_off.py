"""Sends and hooks that raise what is no Exception, or go on though they were cut off (contracts EN8, LA2, UN1, DR3)."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import State
from pillarbox.channels.function import FunctionChannel
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.engine import resources
from pillarbox.engine.calls import LEFT_MAX
from pillarbox.errors import ConfigError
from pillarbox.events import Alarm, MessageDelivered, RetryScheduled
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import LEASE_MS, SECONDS, Box, Stand, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.channels.base import Attempt

STEADY = Policy(jitter=0.0)
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)


class Custom(BaseException):
    """One of an application's own that is no Exception."""


KINDS: list[BaseException] = [
    asyncio.CancelledError(),
    GeneratorExit(),
    Custom(),
    BaseExceptionGroup("several", [asyncio.CancelledError(), Custom()]),
    StopIteration(),
]
FOREIGN = [error for error in KINDS if not isinstance(error, Exception)]
each_kind = pytest.mark.parametrize("error", KINDS, ids=lambda error: type(error).__name__)


# What holds up code that nobody can cut off; let go at the end, or a test that fails would never end.
HOLDS: list[asyncio.Event] = []


@pytest.fixture(autouse=True)
async def _let_everything_go() -> AsyncIterator[None]:
    yield
    while HOLDS:
        HOLDS.pop().set()


def a_hold() -> asyncio.Event:
    HOLDS.append(asyncio.Event())
    return HOLDS[-1]


class Stubborn(ScriptedChannel):
    """
    Goes on with what was cut off, until it is let go; then it gives what its script says.

    Args:
        stubborn: The recipients for which it does so.
    """

    def __init__(self, *steps: Any, stubborn: tuple[str, ...] = ("ann",), **said: Any) -> None:
        usual: dict[str, Any] = {"policy": STEADY, "send_timeout_seconds": 0.02}
        super().__init__(*steps, **(usual | said))
        self._stubborn = stubborn
        self.let_go = a_hold()
        self.swallowed = 0

    async def send(self, attempt: Attempt) -> AnyOutcome:
        if attempt.to in self._stubborn:
            self.attempts.append(attempt)
            self._notify()
            while not self.let_go.is_set():
                try:
                    await self.let_go.wait()
                except asyncio.CancelledError:
                    self.swallowed += 1
            return await self._play(attempt)
        return await super().send(attempt)


def hurry(box: Box) -> None:
    """Write off soon what does not end."""
    box.worker.executor.grace_seconds = 0.02


def alarms(box: Box, what: str) -> list[str]:
    return [event.detail for event in box.heard.of(Alarm) if event.what == what]


# What takes too long


class Endless(ScriptedChannel):
    """Never answers."""

    async def send(self, attempt: Attempt) -> AnyOutcome:
        await a_hold().wait()
        return Delivered()


@pytest.mark.contract("UN1")
@pytest.mark.parametrize("waits_before", [False, True])
async def test_a_send_is_cut_off_in_time_whether_or_not_something_was_waited_for_before_it(
    stand: Stand, *, waits_before: bool
) -> None:
    box = await stand.open(Endless(policy=HOLD, send_timeout_seconds=0.02))
    if waits_before:

        async def is_wanted(_: Attempt) -> None:
            await asyncio.sleep(0)

        box.outbox.hooks.revalidate(is_wanted)
    view = await box.settled(await box.send())
    assert (view.state, view.terminal_reason) == (State.HELD, Reason.UNCERTAIN)


# What a channel raises


@pytest.mark.contract("CL1", "UN1")
@each_kind
async def test_whatever_a_channel_raises_that_nobody_cut_off_is_uncertain(stand: Stand, error: BaseException) -> None:
    channel = ScriptedChannel(error, policy=HOLD)
    box = await stand.open(channel)
    view = await box.settled(await box.send())
    assert (view.state, view.terminal_reason) == (State.HELD, Reason.UNCERTAIN)
    assert len(channel.attempts) == 1


@pytest.mark.contract("CL1", "UN1", "RE2")
@each_kind
@pytest.mark.parametrize("plain", [False, True])
async def test_under_resend_it_costs_an_attempt_and_comes_again(
    stand: Stand, error: BaseException, *, plain: bool
) -> None:
    left = [error]

    def play() -> str:
        if left:
            raise left.pop()
        return "r"

    async def coroutine(attempt: Attempt) -> str:
        return play()

    def function(attempt: Attempt) -> str:
        return play()

    box = await stand.open(FunctionChannel(function if plain else coroutine, policy=STEADY, concurrency=1))
    message = await box.send()
    # Its slot and its lane are free: another one goes meanwhile, and one behind it afterwards.
    behind = await box.send()
    (event,) = await box.heard.wait_for(RetryScheduled)
    assert (event.charged, event.error_class) == (True, "uncertain")
    assert (await box.settled(await box.send("bob"))).state is State.DELIVERED
    stand.advance(5_000)
    box.look()
    assert (await box.settled(message)).charged == 1
    assert (await box.settled(behind)).state is State.DELIVERED


@pytest.mark.contract("CL1", "RE5")
async def test_a_cancellation_within_the_channel_before_it_wrote_is_surely_not_sent(stand: Stand) -> None:
    def play(attempt: Attempt) -> AnyOutcome:
        attempt.progress.written = False
        raise asyncio.CancelledError

    box = await stand.open(ScriptedChannel(play, policy=HOLD))
    await box.send()
    (event,) = await box.heard.wait_for(RetryScheduled)
    assert (event.error, event.error_class) == ("cancelled before it was written", "transient")


@pytest.mark.contract("CL1", "UN1")
async def test_a_channel_that_awaits_what_it_cancelled_itself_is_uncertain(stand: Stand) -> None:
    async def play(attempt: Attempt) -> AnyOutcome:
        inner = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner
        return Delivered()

    box = await stand.open(ScriptedChannel(play, policy=HOLD))
    view = await box.settled(await box.send())
    assert (view.state, view.last_error) == (State.HELD, "cancelled while sending")


@pytest.mark.contract("CL1", "UN1")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_a_channel_raises_to_end_the_program_is_recorded_first(tmp_path: Path, error: type[BaseException]) -> None:
    loop = asyncio.new_event_loop()
    stand = Stand(tmp_path)
    try:
        box = loop.run_until_complete(stand.open(ScriptedChannel(error(), policy=HOLD)))
        message = loop.run_until_complete(box.send())
        with pytest.raises(error):
            loop.run_until_complete(asyncio.wait_for(asyncio.Event().wait(), SECONDS))
        view = loop.run_until_complete(box.view(message))
        assert (view.state, view.last_error) == (State.HELD, f"the adapter failed: {error.__name__}")
        assert box.worker.executor.flights == {}
    finally:
        loop.run_until_complete(stand.__aexit__(None, None, None))
        loop.close()


@pytest.mark.contract("EN16", "CL5")
@each_kind
async def test_whatever_a_channel_raises_when_it_admits_costs_an_attempt_and_not_the_slot(
    stand: Stand, error: BaseException
) -> None:
    class Broken(ScriptedChannel):
        def admit(self, **said: Any) -> Any:
            raise error

    await (await stand.open()).send()
    box = await stand.open(Broken(policy=STEADY, concurrency=1))
    (event,) = await box.heard.wait_for(RetryScheduled)
    assert event.error == f"the adapter failed to admit it: {type(error).__name__}"
    await box.idle()
    assert box.worker.feed.total_in_flight == 0


@pytest.mark.contract("EN8", "CL1")
@each_kind
async def test_whatever_a_channel_raises_when_it_fits_a_text_lets_the_platform_judge(
    stand: Stand, error: BaseException
) -> None:
    class Broken(ScriptedChannel):
        def fitted(self, content: Any) -> Any:
            raise error

    channel = Broken(policy=STEADY)
    box = await stand.open(channel)
    assert (await box.settled(await box.send(text="hi"))).state is State.DELIVERED
    assert channel.attempts[0].text == "hi"


# What goes on though it was cut off


@pytest.mark.contract("EN8", "LE3", "UN1")
async def test_a_send_that_goes_on_though_it_was_cut_off_is_written_off(stand: Stand) -> None:
    channel = Stubborn(policy=HOLD)
    box = await stand.open(channel)
    hurry(box)
    message = await box.send()
    view = await box.settled(message)
    assert (view.state, view.charged) == (State.HELD, 1)
    assert view.last_error == "no answer in time, and its channel goes on with it"
    (detail,) = alarms(box, "slot_written_off")
    assert "channel chat" in detail
    assert view.id in detail
    # Its lease is not renewed: there is none.
    assert box.worker.executor.flights == {}
    problem = "channel chat does not end what was cut off: 1 of its slots are lost"
    assert problem in (await box.outbox.health()).problems
    channel.let_go.set()
    await until(lambda: not box.worker.executor.left())
    assert (await box.outbox.health()).ok


@pytest.mark.contract("ST6", "UN1")
@pytest.mark.parametrize("policy", [HOLD, STEADY], ids=["hold", "resend"])
async def test_what_it_delivers_after_all_is_recorded_late(stand: Stand, policy: Policy) -> None:
    channel = Stubborn(Delivered("r-late"), policy=policy)
    box = await stand.open(channel)
    hurry(box)
    message = await box.send()
    await until(lambda: bool(alarms(box, "slot_written_off")))
    await box.idle()
    channel.let_go.set()
    (event,) = await box.heard.wait_for(MessageDelivered)
    assert event.late
    view = await box.view(message)
    assert (view.state, view.receipt) == (State.DELIVERED, "r-late")
    assert (box.counts["sent"], box.counts["late"]) == (1, 1)


@pytest.mark.contract("ST6")
async def test_what_it_says_otherwise_at_its_late_end_changes_nothing(stand: Stand) -> None:
    channel = Stubborn(Custom(), policy=HOLD)
    box = await stand.open(channel)
    hurry(box)
    before = await box.settled(await box.send())
    channel.let_go.set()
    await until(lambda: not box.worker.executor.left())
    await box.idle()
    assert await box.view(before.id) == before


@pytest.mark.contract("ST6", "UN1")
async def test_a_channel_that_answers_when_it_is_cut_off_is_believed(stand: Stand) -> None:
    async def play(attempt: Attempt) -> AnyOutcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return Delivered("just in time")

    box = await stand.open(ScriptedChannel(play, policy=HOLD, send_timeout_seconds=0.02))
    view = await box.settled(await box.send())
    assert (view.state, view.receipt) == (State.DELIVERED, "just in time")
    assert alarms(box, "slot_written_off") == []


@pytest.mark.contract("LA2", "EN8")
async def test_its_slot_is_lost_to_its_channel_until_it_ends_and_to_no_other(stand: Stand) -> None:
    stubborn = Stubborn(stubborn=("ann", "bob"), concurrency=2)
    other = ScriptedChannel(policy=STEADY)
    box = await stand.open({"chat": stubborn, "other": other}, concurrency=2)
    hurry(box)
    await box.send("ann")
    await box.send("bob")
    await until(lambda: box.worker.executor.left()["chat"] == 2)
    await box.idle()
    # All slots of the channel, and once all of the worker.
    waiting = await box.send("cid")
    assert (await box.settled(await box.send(channel="other"))).state is State.DELIVERED
    assert box.worker.feed.total_in_flight == 0
    await box.looked()
    assert (await box.view(waiting)).state is State.SCHEDULED
    assert len(stubborn.attempts) == 2
    stubborn.let_go.set()
    assert (await box.settled(waiting)).state is State.DELIVERED
    await box.idle()
    assert box.worker.feed._in_flight == {"chat": 0, "other": 0}


@pytest.mark.contract("LE2")
async def test_one_that_ends_while_it_is_written_off_frees_its_slot_once(stand: Stand) -> None:
    channel = Stubborn(concurrency=1)
    box = await stand.open(channel)
    hurry(box)
    await box.send()
    await channel.begun(1)
    box.store.stall(lambda batch: bool(batch.settle))
    await until(lambda: box.worker.executor.left()["chat"] == 1)
    channel.let_go.set()
    await until(lambda: not box.worker.executor.left())
    box.store.gate.set()
    await box.idle()
    assert box.worker.feed._in_flight == {"chat": 0}
    assert box.worker.feed.total_in_flight == 0
    assert (await box.settled(await box.send("bob"))).state is State.DELIVERED


@pytest.mark.contract("LE3", "ST7")
async def test_one_whose_lease_is_lost_is_written_off_too(stand: Stand) -> None:
    channel = Stubborn(Delivered("r-late"), send_timeout_seconds=30)
    box = await stand.open(channel)
    hurry(box)
    message = await box.send()
    await channel.begun(1)
    other = await stand.open(ScriptedChannel())
    # What is lost for the first time is due at once: nobody is to send it again here.
    box.worker._accepting = other.worker._accepting = False
    stand.advance(LEASE_MS + 1)
    async with asyncio.timeout(SECONDS):
        while (await other.view(message)).state is State.LEASED:
            await other.reap()
    await box.renew()
    await until(lambda: box.worker.executor.left()["chat"] == 1)
    await box.idle()
    channel.let_go.set()
    await box.heard.wait_for(MessageDelivered)
    assert (await box.view(message)).receipt == "r-late"


@pytest.mark.contract("DR3", "UN1")
async def test_a_stop_counts_what_goes_on_and_does_not_wait_for_it(stand: Stand) -> None:
    channel = Stubborn(stubborn=("ann", "bob"), policy=HOLD, send_timeout_seconds=0.02)
    box = await stand.open(channel)
    hurry(box)
    first = await box.send("ann")
    await until(lambda: box.worker.executor.left()["chat"] == 1)
    await box.idle()
    channel.send_timeout_seconds = 30
    second = await box.send("bob")
    await channel.begun(2)
    store = box.store
    async with asyncio.timeout(SECONDS):
        assert await box.outbox.stop(0) == 2
    # Nobody reads a word of it any more, and nothing breaks.
    channel.let_go.set()
    await until(lambda: not asyncio.all_tasks() - {asyncio.current_task()} or channel.in_flight == 0)
    other = await stand.open()
    assert (await other.view(first)).last_error == "no answer in time, and its channel goes on with it"
    assert (await other.view(second)).last_error == "stopped while sending, and its channel goes on with it"
    assert store.batches


@pytest.mark.contract("ST6", "UN1")
async def test_a_thread_that_delivers_after_its_deadline_is_recorded_late(stand: Stand) -> None:
    go_on = threading.Event()

    def function(attempt: Attempt) -> str:
        go_on.wait(SECONDS)
        return "r-late"

    box = await stand.open(FunctionChannel(function, policy=HOLD, send_timeout_seconds=0.02, threads=1))
    hurry(box)
    message = await box.send()
    assert (await box.settled(message)).last_error == "no answer in time"
    await until(lambda: bool(alarms(box, "slot_written_off")))
    assert not (await box.outbox.health()).ok
    go_on.set()
    (event,) = await box.heard.wait_for(MessageDelivered)
    assert event.late
    assert (await box.view(message)).receipt == "r-late"
    assert (await box.outbox.health()).ok


@pytest.mark.contract("DR3")
async def test_a_stop_counts_a_thread_that_goes_on(stand: Stand) -> None:
    go_on = threading.Event()

    def function(attempt: Attempt) -> None:
        go_on.wait(SECONDS)

    box = await stand.open(FunctionChannel(function, policy=HOLD, send_timeout_seconds=0.02, threads=1))
    hurry(box)
    await box.send()
    await until(lambda: box.worker.executor.left()["chat"] == 1)
    async with asyncio.timeout(SECONDS):
        assert await box.outbox.stop(1) == 1
    go_on.set()


# Hooks


@pytest.mark.contract("HO3", "RE5")
@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("plain", [False, True])
async def test_what_is_no_exception_of_a_hook_before_a_send_defers_at_no_attempt(
    stand: Stand, error: BaseException, *, plain: bool
) -> None:
    left = [error]

    def hook(_: object) -> None:
        if left:
            raise left.pop()

    async def coroutine(_: object) -> None:
        hook(_)

    channel = ScriptedChannel(policy=STEADY, concurrency=1)
    box = await stand.open(channel)
    box.outbox.hooks.revalidate(hook if plain else coroutine)
    message = await box.send()
    (event,) = await box.heard.wait_for(RetryScheduled)
    assert (event.charged, channel.attempts) == (False, [])
    assert len(alarms(box, "hook_failed")) == 1
    stand.advance(1_000)
    box.look()
    view = await box.settled(message)
    assert (view.state, view.charged) == (State.DELIVERED, 0)


@pytest.mark.contract("HO1", "EN8")
@each_kind
@pytest.mark.parametrize("plain", [False, True])
async def test_whatever_a_hook_before_delivery_raises_it_is_skipped_and_reported(
    stand: Stand, error: BaseException, *, plain: bool
) -> None:
    def hook(_: object) -> None:
        raise error

    async def coroutine(_: object) -> None:
        raise error

    box = await stand.open(ScriptedChannel(policy=STEADY))
    box.outbox.hooks.before_delivery(hook if plain else coroutine)
    box.outbox.hooks.after_delivery(hook if plain else coroutine)
    async with asyncio.timeout(SECONDS):
        assert (await box.settled(await box.send())).state is State.DELIVERED
    await until(lambda: len(alarms(box, "hook_failed")) == 2)


@pytest.mark.contract("HO1", "HO3", "EN8")
@pytest.mark.parametrize("kind", ["before_delivery", "revalidate", "after_delivery"])
async def test_a_hook_that_goes_on_though_it_was_cut_off_is_left_behind(stand: Stand, kind: str) -> None:
    let_go = a_hold()

    async def stubborn(_: object) -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    box = await stand.open(ScriptedChannel(policy=STEADY, concurrency=1))
    getattr(box.outbox.hooks, kind)(stubborn, timeout_seconds=0.001)
    name = stubborn.__qualname__
    for count in range(1, LEFT_MAX + 3):
        assert (await box.settled(await box.send())).state is State.DELIVERED
        await until(lambda count=count: len(alarms(box, "hook_slow")) == count)  # type: ignore[misc]
    # Not for ever more and more.
    assert box.outbox.hooks.left() == {name: LEFT_MAX}
    problem = f"hook {name} does not end what was cut off: {LEFT_MAX} calls go on"
    assert problem in (await box.outbox.health()).problems
    let_go.set()
    await until(lambda: not box.outbox.hooks.left())
    assert (await box.outbox.health()).ok


@pytest.mark.contract("HO1")
async def test_a_call_that_is_given_up_stops_the_hook_that_it_waits_for(stand: Stand) -> None:
    began, cut = asyncio.Event(), asyncio.Event()

    async def hook(_: object) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    box = await stand.open(ScriptedChannel(policy=STEADY))
    box.outbox.hooks.before_delivery(hook)
    sending = asyncio.create_task(box.send())
    async with asyncio.timeout(SECONDS):
        await began.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await cut.wait()


# Opening and closing


@pytest.mark.contract("DR3", "EN8")
@each_kind
async def test_whatever_a_channel_raises_when_it_closes_the_stop_goes_on(stand: Stand, error: BaseException) -> None:
    class Broken(ScriptedChannel):
        async def close(self) -> None:
            raise error

    sound = ScriptedChannel()
    box = await stand.open({"a": Broken(), "b": sound})
    async with asyncio.timeout(SECONDS):
        await box.outbox.stop()
    assert not sound.is_open


@pytest.mark.contract("DR3", "EN8")
async def test_a_channel_that_does_not_close_is_left_behind(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    let_go = a_hold()

    class Stuck(ScriptedChannel):
        async def close(self) -> None:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue

    monkeypatch.setattr(resources.close_channel, "__kwdefaults__", {"seconds": 0.01})
    sound = ScriptedChannel()
    box = await stand.open({"a": Stuck(), "b": sound})
    async with asyncio.timeout(SECONDS):
        await box.outbox.stop()
    assert not sound.is_open
    assert "channel a did not close within 0.01 s" in caplog.text
    let_go.set()


@pytest.mark.contract("DR3")
async def test_a_channel_that_does_not_start_is_an_error_that_names_it(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(ScriptedChannel):
        async def start(self, seams: Any) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(resources.start_channel, "__kwdefaults__", {"seconds": 0.01})
    async with asyncio.timeout(SECONDS):
        with pytest.raises(ConfigError, match=r"^channels\.chat: its start did not end within 0\.01 s"):
            await stand.open(Stuck())
        # Everything is let go: the next one opens.
        await stand.open(ScriptedChannel())


@pytest.mark.contract("DR3")
@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
async def test_a_channel_whose_start_is_cancelled_does_not_read_as_a_cancelled_start(
    stand: Stand, error: type[BaseException]
) -> None:
    class Broken(ScriptedChannel):
        async def start(self, seams: Any) -> None:
            raise error

    with pytest.raises(ConfigError, match=rf"^channels\.chat: its start raised {error.__name__}"):
        await stand.open(Broken())


# Without a queue


@pytest.mark.contract("EN12", "CL1")
@each_kind
async def test_without_a_queue_whatever_a_channel_raises_is_uncertain(stand: Stand, error: BaseException) -> None:
    box = await stand.open(ScriptedChannel(error, policy=HOLD), enabled=False)
    async with asyncio.timeout(SECONDS):
        message = await box.send()
    assert (message.state, message.reason) == (State.DEAD, "uncertain")


@pytest.mark.contract("EN12", "EN8")
async def test_without_a_queue_a_send_that_goes_on_keeps_its_caller_for_a_bounded_time(stand: Stand) -> None:
    channel = Stubborn(policy=HOLD)
    box = await stand.open(channel, enabled=False)
    assert box.runtime.direct is not None
    box.runtime.direct.grace_seconds = 0.02
    async with asyncio.timeout(SECONDS):
        message = await box.send()
    assert (message.state, message.reason, message.error) == (State.DEAD, "uncertain", "no answer in time")
    assert len(alarms(box, "slot_written_off")) == 1
    assert not (await box.outbox.health()).ok
    channel.let_go.set()
    await until(lambda: not box.runtime.direct or not box.runtime.direct.left())
