"""Messages that are really stuck, each for a reason of its own: what explains them, and that the advice helps."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox import Outbox
from pillarbox.cli.program import execute
from pillarbox.clock import SystemClock
from pillarbox.domain.explain.causes import Cause, Explanation, Why
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.outcome import Deferred, RateLimited, Rejected
from pillarbox.outbox.message import Message
from pillarbox.outbox.outbox import inside
from pillarbox.testing.receiver import Answer, Received, Receiver
from pillarbox.testing.scripted import ScriptedChannel
from tests.acceptance.processes import SECONDS, WorkerProcess
from tests.cli.commands import Pillarbox, Running
from tests.engine.stand import until
from tests.warm import WarmPython

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.contract("OP2")

COMMAND: Final = re.compile(r"`pillarbox ([^`]+)`")
HOUR_MS: Final = 3_600_000
KILLS: Final = "a message that kills"


@dataclass(frozen=True, kw_only=True)
class Database:
    """One database, and an outbox on it that accepts and looks, but has no channel and delivers nothing."""

    path: Path
    box: Outbox

    async def send(self, to: str, *, channel: str = "hooks", **said: Any) -> Message:
        # What is accepted without its channel takes the outbox's own policy.
        return await self.box.send(channel, to=to, **{"text": "hi", "schedule": "10ms"} | said)

    async def view(self, message: Message) -> MessageView:
        found = await self.box.find(message.id or "")
        assert found.view is not None
        return found.view

    async def explained(self, message: Message) -> Explanation:
        return await self.box.explain(message.id or "")

    async def first(self, message: Message) -> Cause:
        return (await self.explained(message)).causes[0]

    async def becomes(self, message: Message, word: Why) -> Cause:
        """Wait until the first cause is this one: what the test set going takes its time."""
        found: list[Cause] = []

        async def is_so() -> bool:
            found[:] = [await self.first(message)]
            return found[0].word is word

        try:
            await until(is_so)
        except TimeoutError:
            pytest.fail(f"expected {word}, it is {found}")
        return found[0]

    async def ends(self, message: Message, state: State = State.DELIVERED) -> None:
        async with asyncio.timeout(SECONDS):
            found = await (await self.box.find(message.id or "")).wait()
        assert found.state is state, await self.explained(message)

    async def do(self, cause: Cause, *verbs: str) -> None:
        """Run the commands with these verbs, as the advice has them."""
        lines = [shlex.split(line) for line in COMMAND.findall(cause.unblock)]
        chosen = [line for line in lines if line[0] in verbs]
        assert [line[0] for line in chosen] == list(verbs), cause.unblock
        for line in chosen:
            assert await asyncio.to_thread(execute, [*line, "--db", str(self.path)]) == 0, line


@pytest.fixture
async def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    path = tmp_path / "outbox.db"
    async with Outbox(path, deliver=False) as box:
        yield Database(path=path, box=box)


def hangs(request: Received) -> Answer:
    return Answer.hang() if request.json["to"] == KILLS else Answer()


@dataclass(kw_only=True)
class Sent:
    """What the first test sent."""

    waits: Message
    later: Message
    over: Message
    kills: Message
    head: Message | None = None
    behind: Message | None = None
    withdrawn: Message | None = None


async def test_stuck_messages_are_explained_from_their_acceptance_to_the_end_of_their_workers(
    db: Database, tmp_path: Path, warm_python: WarmPython
) -> None:
    pillarbox = Pillarbox(tmp_path, warm_python)
    async with Receiver(hangs) as receiver:
        pillarbox.serving(receiver.url, name="hooks", schedule="10ms")
        sent = Sent(
            waits=await db.send("ann"),
            later=await db.send("bob", at=timedelta(hours=1)),
            over=await db.send("cleo", ttl=0.001),
            kills=await db.send(KILLS),
        )
        await _nobody_is_there(db, sent)
        # A worker, as the advice says; the receiver takes requests and does not answer.
        assert COMMAND.findall((await db.first(sent.waits)).unblock) == ["run"]
        receiver.hold()
        async with pillarbox.running("run", "--json") as run:
            await _a_worker_sends(db, sent, run, receiver)
            await killed(run)
        await _it_died(db, sent)
        # Another one settles what it left, as the advice says, and goes on.
        assert COMMAND.findall((await db.first(sent.waits)).unblock) == ["run"]
        receiver.release()
        async with pillarbox.running("run", "--json") as run:
            await _another_goes_on(db, sent)
            # And dies again, with the same message under way.
            await until(lambda: _is_leased(db, sent.kills, claims=2))
            await killed(run)
    await _suspects(db, sent.kills)


async def killed(run: Running) -> None:
    run.process.kill()
    await run.process.wait()


async def _nobody_is_there(db: Database, sent: Sent) -> None:
    cause = await db.becomes(sent.over, Why.OVERDUE)
    assert cause.since_ms == (await db.view(sent.over)).expires_ms
    explanation = await db.explained(sent.waits)
    assert [cause.word for cause in explanation.causes] == [Why.NO_WORKER, Why.NOT_ADMITTED, Why.EXPIRES]
    assert (explanation.causes[0].since_ms, explanation.earliest_ms) == (None, None)
    assert explanation.causes[2].until_ms == (await db.view(sent.waits)).expires_ms
    first, second, *_ = (await db.explained(sent.later)).causes
    assert [first.word, second.word] == [Why.LATER, Why.NO_WORKER]
    view = await db.view(sent.later)
    assert (first.since_ms, first.until_ms) == (view.created_ms, view.due_ms)
    assert view.due_ms >= view.created_ms + HOUR_MS


async def _a_worker_sends(db: Database, sent: Sent, run: Running, receiver: Receiver) -> None:
    started = await run.line("started")
    sent.head = await db.send("dan", lane="one")
    sent.behind = await db.send("dan", lane="one")
    sent.withdrawn = await db.send("eve")
    await receiver.wait_for(4)
    cause = await db.first(sent.waits)
    assert (cause.word, cause.since_ms) == (Why.SENDING, (await db.view(sent.waits)).claimed_ms)
    assert f"pid {started['pid']}" in cause.text
    assert cause.until_ms is not None
    assert 40_000 < cause.until_ms - SystemClock().wall_ms() <= 64_000
    cause = await db.becomes(sent.behind, Why.TURN)
    assert (cause.ahead, cause.since_ms) == (sent.head.id, (await db.view(sent.behind)).due_ms)
    assert "leased: attempt 1 is being sent" in cause.text
    await db.do(await db.first(sent.withdrawn), "cancel")
    sending, cause, *_ = (await db.explained(sent.withdrawn)).causes
    assert [sending.word, cause.word] == [Why.SENDING, Why.CANCELLING]
    assert cause.since_ms == (await db.view(sent.withdrawn)).cancel_requested_ms
    await db.ends(sent.over, State.EXPIRED)
    cause = await db.first(sent.over)
    assert (cause.word, cause.since_ms) == (Why.EXPIRED, (await db.view(sent.over)).completed_ms)


async def _it_died(db: Database, sent: Sent) -> None:
    (worker,) = await db.box.workers()
    cause = await db.first(sent.waits)
    assert (cause.word, cause.since_ms, cause.until_ms) == (Why.WORKER_LOST, worker.seen_ms, None)
    later, cause, *_ = (await db.explained(sent.later)).causes
    assert [later.word, cause.word] == [Why.LATER, Why.NO_WORKER]
    assert cause.since_ms == worker.seen_ms


async def _another_goes_on(db: Database, sent: Sent) -> None:
    assert sent.head is not None
    assert sent.behind is not None
    assert sent.withdrawn is not None
    for message in (sent.waits, sent.head, sent.behind):
        await db.ends(message)
    cause = await db.first(sent.waits)
    assert [cause.word, cause.blocking] == [Why.DELIVERED, False]
    assert cause.since_ms == (await db.view(sent.waits)).completed_ms
    await db.ends(sent.withdrawn, State.CANCELLED)
    cause = await db.first(sent.withdrawn)
    assert (cause.word, cause.since_ms) == (Why.CANCELLED, (await db.view(sent.withdrawn)).completed_ms)
    assert "(command line)" in cause.text
    await db.do(await db.first(sent.later), "retry")
    await db.ends(sent.later)


async def _is_leased(db: Database, message: Message, *, claims: int) -> bool:
    view = await db.view(message)
    return (view.state, view.claims) == (State.LEASED, claims)


async def _suspects(db: Database, kills: Message) -> None:
    """Two workers died while sending it; a third one has something else under way."""
    channel = ScriptedChannel()
    channel.hold()
    other = await db.send("fay")
    async with Outbox(db.path, channels={"hooks": channel}, drain_on_startup=False, stop_seconds=0.1) as box:
        suspects = inside(box).lifetime.live().worker
        assert suspects is not None
        suspects._suspects._mono = lambda: 0.0  # while one looks, nobody's time is over
        await channel.begun(1)
        assert channel.attempts[0].id == other.id
        cause = await db.becomes(kills, Why.SUSPECT)
        assert cause.blocking
        assert cause.since_ms is not None
        assert "2 workers in a row" in cause.text
        assert "1 other send is under way" in cause.text
        # Until the worker itself knows of it, it would still claim another one.
        worker = inside(box).lifetime.live().worker
        assert worker is not None
        await until(worker._suspects.hold_back)
        third = await db.send("gus")
        cause = await db.first(third)
        assert (cause.word, cause.ahead) == (Why.SUSPECT_FIRST, kills.id)
        await db.do(cause, "cancel")
        channel.release()
        for message in (other, third):
            await db.ends(message)
        await db.ends(kills, State.CANCELLED)


def by_status(request: Received) -> Answer:
    """Answer as the path says: /429 with 429."""
    return Answer(status=int(request.path.strip("/")), headers={"Retry-After": "600"})


class Worker:
    """A worker in this process, with a channel for each kind of trouble."""

    def __init__(self, path: Path, receiver: Receiver) -> None:
        self.box = Outbox(path, drain_on_startup=False, stop_seconds=0.1)
        self.box.channel("limited", f"{receiver.url}429", schedule="1h")
        self.box.channel("locked", f"{receiver.url}401", outcomes={"401": "unavailable"})
        self.box.channel("gone", f"{receiver.url}410")
        self.plain = self._has("plain")
        self.flaky = self._has("flaky", Deferred("HTTP 503"), Deferred("HTTP 503", after=7200.0), schedule="1h")
        self.polite = self._has("polite", RateLimited("slow down", after=600.0))
        self.unsure = self._has("unsure", ConnectionResetError(), uncertain="hold")
        self.strict = self._has("strict", Rejected("no such room"), on_dead="block")
        self.slow = self._has("slow", concurrency=1)

    def _has(self, name: str, *script: Any, **policy: Any) -> ScriptedChannel:
        channel = ScriptedChannel(*script)
        self.box.channel(name, channel, **policy)
        return channel


async def test_messages_stuck_at_a_live_worker_are_explained_and_the_advice_unblocks_them(db: Database) -> None:
    answers: dict[str, Answer] = {}
    async with Receiver(lambda request: answers.get(request.path) or by_status(request)) as receiver:
        worker = Worker(db.path, receiver)
        async with worker.box as box:
            await _stuck_by_an_attempt(db, box)
            await _stuck_by_its_channel(db, box, answers)
            await _stuck_by_its_lane(db, box)
            await _stuck_by_others(db, worker)
            assert await box.check() == []


async def _stuck_by_an_attempt(db: Database, box: Outbox) -> None:
    began_ms = SystemClock().wall_ms()
    failed = await box.send("flaky", to="ann", text="hi")
    cause = await db.becomes(failed, Why.BACKOFF)
    view = await db.view(failed)
    assert cause.until_ms == view.due_ms
    assert view.due_ms >= began_ms + HOUR_MS
    assert cause.since_ms is not None
    assert began_ms <= cause.since_ms <= SystemClock().wall_ms()
    assert "Attempt 1 of 5 failed: HTTP 503" in cause.text
    assert (await db.explained(failed)).earliest_ms == view.due_ms

    hopeless = await box.send("flaky", to="bob", text="hi", ttl=3600)
    cause = await db.becomes(hopeless, Why.BACKOFF)
    first = (await db.explained(hopeless)).causes[-1]
    assert (first.word, first.until_ms) == (Why.EXPIRES_FIRST, (await db.view(hopeless)).expires_ms)
    for message in (failed, hopeless):
        await db.do(await db.first(message), "retry")
        await db.ends(message)

    limited = await box.send("polite", to="ann", text="hi")
    cause = await db.becomes(limited, Why.RATE_LIMITED)
    view = await db.view(limited)
    assert (cause.until_ms, view.charged) == (view.due_ms, 0)
    assert view.due_ms >= began_ms + 600_000
    assert "slow down" in cause.text
    await db.do(cause, "retry")
    await db.ends(limited)

    held = await box.send("unsure", to="ann", text="hi")
    cause = await db.becomes(held, Why.HELD_UNCERTAIN)
    view = await db.view(held)
    assert view.completed_ms is not None
    assert (cause.since_ms, cause.until_ms) == (view.completed_ms, view.completed_ms + 30 * 24 * HOUR_MS)
    assert len(COMMAND.findall(cause.unblock)) == 3
    lines = [line for line in COMMAND.findall(cause.unblock) if "--delivered" in line]
    assert await asyncio.to_thread(execute, [*shlex.split(lines[0]), "--db", str(db.path)]) == 0
    await db.ends(held)


async def _stuck_by_its_channel(db: Database, box: Outbox, answers: dict[str, Answer]) -> None:
    began_ms = SystemClock().wall_ms()
    for channel, word, pause_ms in (
        ("limited", Why.CHANNEL_RATE_LIMITED, 600_000),
        ("locked", Why.CHANNEL_UNAVAILABLE, 600_000),
    ):
        message = await box.send(channel, to="ann", text="hi")
        cause = await db.becomes(message, word)
        (queue,) = (queue for queue in await box.queues() if queue.channel == channel)
        assert cause.until_ms == queue.paused_until_ms
        assert cause.until_ms is not None
        assert cause.until_ms >= began_ms + pause_ms
        assert cause.since_ms is not None
        assert began_ms <= cause.since_ms <= SystemClock().wall_ms()
        explanation = await db.explained(message)
        assert explanation.earliest_ms == cause.until_ms
        answers[f"/{429 if channel == 'limited' else 401}"] = Answer()
        if channel == "limited":
            # It was asked to wait itself, until the same time; both must go.
            assert [cause.word for cause in explanation.causes[:2]] == [word, Why.RATE_LIMITED]
            await db.do(cause, "resume", "retry")
        else:
            await db.do(cause, "resume")
        await db.ends(message)

    refused = await box.send("gone", to="ann", text="hi")
    await db.ends(refused, State.DEAD)
    cause = await db.first(refused)
    assert (cause.word, cause.since_ms) == (Why.DEAD, (await db.view(refused)).completed_ms)
    assert "HTTP 410 Gone" in cause.text
    waits = await box.send("gone", to="bob", text="hi")
    closed = await db.first(waits)
    assert (closed.word, closed.until_ms) == (Why.CHANNEL_CLOSED, None)
    answers["/410"] = Answer()
    await db.do(closed, "resume")
    await db.ends(waits)
    await db.do(cause, "replay")
    dead, replayed, *_ = (await db.explained(refused)).causes
    assert [dead.word, replayed.word] == [Why.DEAD, Why.REPLAYED]
    (heir,) = [shlex.split(line)[1] for line in COMMAND.findall(replayed.unblock)]
    await db.ends(await db.box.find(heir))

    code = await asyncio.to_thread(
        execute, ["pause", "plain", "--reason", "moving", "--for", "1h", "--db", str(db.path)]
    )
    assert code == 0
    waits = await box.send("plain", to="ann", text="hi")
    cause = await db.first(waits)
    (queue,) = (queue for queue in await box.queues() if queue.channel == "plain")
    assert (cause.word, cause.until_ms) == (Why.PAUSED, queue.paused_until_ms)
    assert "(command line): moving" in cause.text
    await db.do(cause, "resume")
    await db.ends(waits)


async def _stuck_by_its_lane(db: Database, box: Outbox) -> None:
    held = await box.send("strict", to="ann", text="one")
    cause = await db.becomes(held, Why.HELD_DEAD)
    assert cause.since_ms == (await db.view(held)).completed_ms
    assert "no such room" in cause.text
    behind = await box.send("strict", to="ann", text="two")
    last = await box.send("strict", to="ann", text="three")
    cause = await db.becomes(behind, Why.LANE_HELD)
    assert (cause.ahead, cause.since_ms) == (held.id, (await db.view(behind)).due_ms)
    causes = (await db.explained(last)).causes
    assert [(cause.word, cause.ahead) for cause in causes[:1]] == [(Why.LANE_HELD, held.id)]
    await db.do(cause, "cancel")
    for message in (behind, last):
        await db.ends(message)


async def _stuck_by_others(db: Database, worker: Worker) -> None:
    worker.slow.hold()
    under_way = await worker.box.send("slow", to="ann", text="hi")
    await worker.slow.begun(1)
    waits = await worker.box.send("slow", to="bob", text="hi")
    cause = await db.first(waits)
    assert (cause.word, cause.since_ms) == (Why.BUSY, (await db.view(waits)).due_ms)
    assert "1 message, 1 of them through channel slow" in cause.text
    last = await worker.box.send("slow", to="cleo", text="hi")
    assert "1 due message goes before it" in (await db.first(last)).text
    worker.slow.release()
    for message in (under_way, waits, last):
        await db.ends(message)


class ClockAhead(SystemClock):
    """The machine's clocks, two minutes on."""

    __slots__ = ()

    def wall_ms(self) -> int:
        return super().wall_ms() + 120_000

    def boot_ms(self) -> int:
        return super().boot_ms() + 120_000


async def test_a_worker_that_was_stopped_is_noticed_by_its_silence(db: Database) -> None:
    async with Receiver() as receiver, WorkerProcess(db.path, receiver.url) as worker:
        receiver.hold()
        under_way = await db.send("ann")
        await receiver.wait_for(1)
        await worker.freeze(db.path)
        try:
            waits = await db.send("bob", lane=None)
            cause = await db.first(waits)
            assert (cause.word, cause.blocking) == (Why.BUSY, True)
            async with Outbox(db.path, deliver=False, clock=ClockAhead()) as afterwards:
                (row,) = await afterwards.workers()
                cause = (await afterwards.explain(waits.id or "")).causes[0]
                assert (cause.word, cause.since_ms) == (Why.WORKER_SILENT, row.seen_ms)
                assert f"process {worker.process.pid}" in cause.unblock
                cause = (await afterwards.explain(under_way.id or "")).causes[0]
                assert cause.word is Why.LEASE_OVER
        finally:
            worker.signal(signal.SIGCONT)
        receiver.release()
        for message in (under_way, waits):
            await db.ends(message)
