"""Nothing that an application passes in keeps anybody else from their answer, whatever it raises (contract EN8)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import State
from pillarbox.abort import AbortSignal
from pillarbox.domain.outcome import Delivered
from pillarbox.domain.retry import Policy
from pillarbox.events import Alarm, Bus, BusEvent, MessageDelivered, MessageEnqueued, comis
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import SECONDS, Box, Stand, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pillarbox.store.base import Batch, BatchResult, Claim

STEADY = Policy(jitter=0.0)


class Custom(BaseException):
    """One of an application's own that is no Exception."""


class Unspeakable(Exception):
    """One that cannot even be shown."""

    def __str__(self) -> str:
        raise Custom


KINDS: list[BaseException] = [
    RuntimeError("a bug"),
    asyncio.CancelledError(),
    GeneratorExit(),
    Custom(),
    BaseExceptionGroup("several", [asyncio.CancelledError(), Custom()]),
    StopIteration(),
    StopAsyncIteration(),
    Unspeakable(),
]
each_kind = pytest.mark.parametrize("error", KINDS, ids=lambda error: type(error).__name__)


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*_: object) -> None:
        raise error

    return call


async def all_arrive(box: Box, count: int = 5) -> None:
    """Send several at once, and wait until every call has returned and every message has arrived."""
    async with asyncio.timeout(SECONDS):
        messages = await asyncio.gather(*(box.send(f"r{n}") for n in range(count)))
        for message in messages:
            await message.wait()
    await box.idle()
    assert {message.state for message in messages} == {State.DELIVERED}
    assert box.worker.feed.total_in_flight == 0
    assert box.worker.executor.flights == {}


@pytest.fixture
def broken_log() -> Iterator[Callable[[BaseException], None]]:
    """Give what lets every line of ours fail."""
    filters: list[logging.Filter] = []
    loggers = [logging.getLogger(f"pillarbox{name}") for name in ("", ".delivery", ".engine", ".events")]
    levels = [logger.level for logger in loggers]

    def break_it(error: BaseException) -> None:
        broken = logging.Filter()
        broken.filter = raising(error)  # type: ignore[method-assign]
        filters.append(broken)
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
            logger.addFilter(broken)

    yield break_it
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
        for broken in filters:
            logger.removeFilter(broken)


# The log


@pytest.mark.contract("EN8", "EN1")
@each_kind
async def test_a_log_that_raises_keeps_no_call_from_returning_and_no_slot(
    stand: Stand, broken_log: Callable[[BaseException], None], error: BaseException
) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY, concurrency=2), concurrency=2)
    broken_log(error)
    await all_arrive(box)
    # Said once, and not for each line that is missing.
    assert [alarm.what for alarm in box.heard.of(Alarm)] == ["log_failed"]
    assert box.counts["log_failed"] >= 5


@pytest.mark.contract("EN8")
async def test_a_handler_of_the_log_that_raises_harms_nobody(stand: Stand) -> None:
    handler = logging.Handler()
    handler.emit = raising(Custom())  # type: ignore[method-assign]
    log = logging.getLogger("pillarbox")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        box = await stand.open(ScriptedChannel(policy=STEADY))
        await all_arrive(box)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@pytest.mark.contract("EN8")
async def test_a_log_that_fails_is_said_on_stderr_without_its_words(
    stand: Stand, broken_log: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from pillarbox.events import log_lines

    monkeypatch.setattr(log_lines._log, "_complained", False)
    box = await stand.open(ScriptedChannel(policy=STEADY))
    broken_log(AttributeError("opensesame"))
    await all_arrive(box)
    said = capsys.readouterr().err
    assert "pillarbox: a handler or filter of the log raised AttributeError\n" in said
    assert "opensesame" not in said


# Subscribers


@pytest.mark.contract("EN8", "EN11")
@each_kind
async def test_a_plain_subscriber_that_raises_keeps_no_call_from_returning_and_no_slot(
    stand: Stand, error: BaseException
) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY, concurrency=2))
    box.outbox.subscribe(raising(error))
    after: list[BusEvent] = []
    box.outbox.subscribe(after.append, MessageDelivered)
    await all_arrive(box)
    assert len(after) == 5
    assert box.outbox.events.errors >= 10
    # The committer lives: what comes later goes as well.
    await all_arrive(box)


@pytest.mark.contract("EN8", "EN11")
@each_kind
async def test_a_subscriber_that_is_a_coroutine_may_raise_what_it_likes(stand: Stand, error: BaseException) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))

    async def fails(event: BusEvent) -> None:
        await asyncio.sleep(0)
        raise error

    box.outbox.subscribe(fails, MessageEnqueued)
    await all_arrive(box)
    await until(lambda: box.outbox.events.errors == 5)


@pytest.mark.contract("EN8")
async def test_callers_and_slots_are_first_and_the_telling_comes_after(stand: Stand) -> None:
    channel = ScriptedChannel(policy=STEADY)
    channel.hold()
    box = await stand.open(channel)
    first = [await box.send(f"r{n}") for n in range(3)]
    await channel.begun(3)
    seen: list[tuple[int, bool]] = []
    sending: list[asyncio.Future[Any]] = []
    enqueue = box.runtime.committer.enqueue

    def noting(group: Any) -> asyncio.Future[Any]:
        sending.append(enqueue(group))
        return sending[-1]

    box.runtime.committer.enqueue = noting  # type: ignore[method-assign]

    def look(event: BusEvent) -> None:
        seen.append((len(box.worker.executor.flights), all(future.done() for future in sending)))

    box.outbox.subscribe(look, MessageDelivered, MessageEnqueued)
    # One commit for three outcomes and two new messages, which start with it.
    box.store.gate.clear()
    channel.release()
    later = [asyncio.create_task(box.send(f"later{n}")) for n in range(2)]
    await channel.answered(3)
    await until(lambda: len(sending) == 2)
    box.store.gate.set()
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*later)
    for message in first:
        await box.settled(message)
    assert all(returned for _, returned in seen)
    delivered = [flights for flights, _ in seen[:3]]
    assert len(set(delivered)) == 1, "all slots of a batch are free before anybody hears of its first message"


async def test_who_unsubscribes_while_an_event_is_told_is_not_told_any_more(stand: Stand) -> None:
    bus = Bus()
    heard: list[str] = []

    def first(event: BusEvent) -> None:
        heard.append("first")
        end_second()
        end_first()
        bus.subscribe(lambda _: heard.append("third"))

    end_first = bus.subscribe(first)
    end_second = bus.subscribe(lambda _: heard.append("second"))
    event = Alarm(at_ms=0, what="x", detail="")
    bus.publish(event)
    assert heard == ["first"]
    bus.publish(event)
    assert heard == ["first", "third"]


@pytest.mark.parametrize(
    "types", [("MessageDelivered",), (MessageDelivered, int), (Alarm(at_ms=0, what="", detail=""),)]
)
def test_what_is_no_kind_of_event_cannot_be_subscribed_to(types: Any) -> None:
    with pytest.raises(TypeError, match=r"^types: expected kinds of events"):
        Bus().subscribe(print, *types)
    with pytest.raises(TypeError, match=r"^subscriber: expected a function"):
        Bus().subscribe("print")  # type: ignore[arg-type]


async def test_an_alarm_that_comes_of_telling_an_alarm_is_counted_and_goes_no_further(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    box.outbox.subscribe(lambda _: box.runtime.reporter.alarm("again", "and again"), Alarm)
    box.runtime.reporter.alarm("first", "one")
    assert [alarm.what for alarm in box.heard.of(Alarm)] == ["first"]
    assert box.counts["alarm:again"] == 1


@pytest.mark.contract("EV1", "EN8")
async def test_each_of_comiss_names_is_told_though_another_failed(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(Delivered("r"), policy=STEADY))
    told: list[str] = []

    def listen(name: str, fields: dict[str, Any]) -> None:
        told.append(name)
        raise Custom

    comis.listen(box.outbox.events, listen)
    await box.settled(await box.send())
    assert told == [comis.ENQUEUED, comis.CHUNK_SENT, comis.ACKED, comis.COMPLETE]


# Signals


@pytest.mark.contract("PA5", "EN8")
@each_kind
def test_a_listener_of_a_signal_that_raises_keeps_no_other_from_hearing_it(error: BaseException) -> None:
    signal, told = AbortSignal(), list[str]()
    signal.listen(raising(error))
    signal.listen(told.append)
    signal.abort("enough")
    assert told == ["enough"]
    signal.listen(raising(error))


def test_what_ends_a_program_is_raised_when_every_listener_of_a_signal_has_heard_it() -> None:
    signal, told = AbortSignal(), list[str]()
    signal.listen(raising(SystemExit(3)))
    signal.listen(told.append)
    with pytest.raises(SystemExit):
        signal.abort("enough")
    assert told == ["enough"]


# What ends a program


def in_a_loop_of_its_own(folder: Path, fails: Callable[[Box], None], error: type[BaseException]) -> list[State]:
    """Send three messages while something raises *error*, and go on with the loop that it ended."""
    loop = asyncio.new_event_loop()
    stand = Stand(folder)
    try:
        box = loop.run_until_complete(stand.open(ScriptedChannel(policy=STEADY)))
        fails(box)

        async def send() -> list[State]:
            async with asyncio.timeout(SECONDS):
                messages = await asyncio.gather(*(box.send(f"r{n}") for n in range(3)))
                for message in messages:
                    await message.wait()
            return [message.state for message in messages]

        sending = loop.create_task(send())
        with pytest.raises(error):
            loop.run_until_complete(sending)
        while True:
            # It may be said more than once.
            try:
                return loop.run_until_complete(sending)
            except error:
                continue
    finally:
        loop.run_until_complete(stand.__aexit__(None, None, None))
        loop.close()


@pytest.mark.contract("EN8")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_a_subscriber_raises_to_end_the_program_ends_it_after_the_batch_is_told(
    tmp_path: Path, error: type[BaseException]
) -> None:
    heard: list[BusEvent] = []

    def fails(box: Box) -> None:
        def once(event: MessageEnqueued) -> None:
            if event.to == "r0":
                raise error

        box.outbox.subscribe(once, MessageEnqueued)
        box.outbox.subscribe(heard.append, MessageEnqueued)

    # All three calls return, and the committer is still there for their deliveries.
    assert in_a_loop_of_its_own(tmp_path, fails, error) == [State.DELIVERED] * 3
    assert len(heard) == 3


@pytest.mark.contract("EN8")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_a_coroutine_raises_to_end_the_program_ends_it_too(tmp_path: Path, error: type[BaseException]) -> None:
    def fails(box: Box) -> None:
        async def once(event: MessageEnqueued) -> None:
            if event.to == "r0":
                raise error

        box.outbox.subscribe(once, MessageEnqueued)

    assert in_a_loop_of_its_own(tmp_path, fails, error) == [State.DELIVERED] * 3


@pytest.mark.contract("EN8")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_a_handler_of_the_log_raises_to_end_the_program_ends_it_too(
    tmp_path: Path, error: type[BaseException]
) -> None:
    handler = logging.Handler()
    log = logging.getLogger("pillarbox.delivery")
    level = log.level
    log.setLevel(logging.DEBUG)
    handler.emit = raising(error())  # type: ignore[method-assign]

    def fails(box: Box) -> None:
        log.addHandler(handler)

    try:
        assert in_a_loop_of_its_own(tmp_path, fails, error) == [State.DELIVERED] * 3
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


# Bugs of ours


@pytest.mark.contract("EN8")
@each_kind
@pytest.mark.parametrize("where", ["on_batch", "on_idle", "plan_claim", "on_accepted"])
async def test_a_bug_in_the_worker_does_not_lose_the_answers_of_a_batch(
    stand: Stand, where: str, error: BaseException
) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    await all_arrive(box)
    owner: Any = box.runtime.reporter if where == "on_accepted" else box.worker
    sound = getattr(owner, where)
    raised: list[bool] = []

    def fails_twice(*values: Any, **named: Any) -> Any:
        if len(raised) < 2:
            raised.append(True)
            raise error
        return sound(*values, **named)

    setattr(owner, where, fails_twice)
    async with asyncio.timeout(SECONDS):
        assert len(await asyncio.gather(*(box.send(f"r{n}") for n in range(3)))) == 3
        while len(raised) < 2:
            box.look()
            await asyncio.sleep(0)
    box.look()
    await box.send("later")
    assert len(raised) == 2
    if where != "plan_claim":
        assert box.counts["alarm:engine_failed"] == 2


@pytest.mark.contract("EN8")
async def test_a_message_that_cannot_be_started_keeps_the_others_of_its_batch_from_nothing(stand: Stand) -> None:
    acceptor = await stand.open()
    messages = [await acceptor.send(f"r{n}") for n in range(3)]
    box = stand.make(ScriptedChannel(policy=STEADY, concurrency=2))
    from pillarbox.engine.executor import Executor

    start = Executor.start

    begun: list[Any] = []

    def fails_once(self: Executor, message: Any, until_ms: int) -> None:
        begun.append(message)
        if len(begun) == 1:
            raise RuntimeError("a bug")
        start(self, message, until_ms)

    Executor.start = fails_once  # type: ignore[method-assign]
    try:
        await box.outbox.start()
        async with asyncio.timeout(SECONDS):
            for message in messages[1:]:
                assert (await box.settled(message)).state is State.DELIVERED
            await box.idle()
            assert box.worker.feed.total_in_flight == 0
            assert box.counts["alarm:engine_failed"] == 1
    finally:
        Executor.start = start  # type: ignore[method-assign]
        await box.outbox.stop(0)


@pytest.mark.contract("EN8", "EN4")
async def test_an_answer_of_the_store_that_does_not_fit_keeps_nobody_waiting(stand: Stand) -> None:
    from pillarbox.errors import StoreUnavailable

    box = await stand.open()
    commit = box.store.real.commit

    async def short(batch: Batch) -> BatchResult:
        result = await commit(batch)
        if batch.enqueue:
            result.enqueued = []
        return result

    box.store.real.commit = short  # type: ignore[method-assign]
    async with asyncio.timeout(SECONDS):
        answers = await asyncio.gather(*(box.send(f"r{n}") for n in range(3)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    box.store.real.commit = commit  # type: ignore[method-assign]
    async with asyncio.timeout(SECONDS):
        await box.send("later")


@pytest.mark.contract("EN8", "EN4")
@each_kind
async def test_whatever_the_store_raises_keeps_nobody_waiting_and_the_committer_alive(
    stand: Stand, error: BaseException
) -> None:
    box = await stand.open()
    failures = [error]

    async def fails(batch: Batch) -> BatchResult:
        if batch.enqueue and failures:
            raise failures.pop()
        return await commit(batch)

    commit = box.store.real.commit
    box.store.real.commit = fails  # type: ignore[method-assign]
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(box.send(f"r{n}") for n in range(3)), return_exceptions=True)
        await box.send("later")
    assert failures == []


@pytest.mark.contract("EN8")
async def test_a_caller_whose_loop_is_closed_keeps_no_other_from_its_answer(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel(policy=STEADY))
    other = asyncio.new_event_loop()
    gone = other.create_future()
    gone.add_done_callback(lambda _: None)
    other.close()
    worker: Any = box.worker
    on_batch: Callable[[BatchResult, Claim | None], None] = worker.on_batch

    def with_one_gone(result: BatchResult, claim: Claim | None) -> None:
        box.runtime.reporter._waiting.setdefault("x", []).append(gone)
        box.runtime.reporter.wake("x")
        on_batch(result, claim)

    worker.on_batch = with_one_gone
    await all_arrive(box)
    assert box.counts.get("alarm:engine_failed", 0) == 0
