"""
A simulated world: one database file, processes that send and deliver, receivers that misbehave, crashes, long nights.

An idle worker looks around several times a second, so a thousand hours of it would take an hour. Processes work in
shifts of some seconds; between them lie hours in which nothing runs, or the machine sleeps with everything on it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.domain.retry import Policy, parse_schedule
from pillarbox.errors import PillarboxError, StoreBusy, StoreError, StoreOutcomeUnknown
from pillarbox.outbox.outbox import Outbox
from pillarbox.store.base import Durability
from pillarbox.store.sqlite.opening import connect
from pillarbox.store.sqlite.store import SQLiteStore
from pillarbox.store.thread import Delayed
from pillarbox.testing.fakes import SeededEntropy
from pillarbox.testing.simulation import Killed, Order, Process, SimulatedClock, SimulatedLoop

if TYPE_CHECKING:
    import apsw

    from pillarbox.events import BusEvent
    from pillarbox.store.base import Batch, BatchResult, Store

HOUR: Final = 3600.0
LEASE_SECONDS: Final = 20.0
_POLICY: Final = Policy(schedule=parse_schedule("5s, 1m, 30m, 4h, 12h*8"), max_attempts=12, ttl_seconds=None)
_ENDS: Final = ("delivered", "dead", "cancelled", "expired")


@dataclass
class Call:
    """One call of a channel: when it began, whether the receiver took the message, and what it answered."""

    at: float
    message: str
    number: int
    taken: bool = False
    answered: str | None = None


class Receiver(Channel):
    """A platform with moods: it keeps a record of its own, which outlives every crash."""

    kind = "simulated"
    concurrency = 4
    send_timeout_seconds = 5.0

    def __init__(self, world: World, name: str, *, ordered: bool) -> None:
        self._world = world
        self._name = name
        self.ordered = ordered
        self.policy = _POLICY

    async def send(self, attempt: Attempt) -> AnyOutcome:
        world, moods = self._world, self._world.moods
        call = Call(at=world.loop.time(), message=attempt.id, number=attempt.number)
        world.calls.append(call)
        world.note(f"{self._name} called {attempt.id} {attempt.number} for {attempt.to}")
        mood = "fine" if world.healed else moods.choices(_MOODS, _MOOD_WEIGHTS)[0]
        attempt.progress.written = False
        await world.clock.sleep(moods.uniform(0.001, 0.2))
        attempt.progress.written = True
        call.taken = mood == "fine" or (mood in {"hangs", "uncertain"} and moods.random() < 0.5)
        await world.clock.sleep(moods.uniform(0.001, 1.0))
        if mood == "hangs":
            await world.clock.sleep(10 * HOUR)
        outcome = self._answer(mood, attempt)
        call.answered = type(outcome).__name__
        return outcome

    def _answer(self, mood: str, attempt: Attempt) -> AnyOutcome:
        moods = self._world.moods
        match mood:
            case "deferred":
                return Deferred("later")
            case "limited":
                return RateLimited("slowly", scope=moods.choice(("recipient", "channel")), after=moods.uniform(1, 900))
            case "uncertain":
                return Uncertain("no answer")
            case "rejected":
                return Rejected("never")
            case "unavailable":
                return Unavailable("out of order")
            case _:
                return Delivered(f"{attempt.id}-{attempt.number}")


_MOODS: Final = ("fine", "deferred", "limited", "uncertain", "rejected", "unavailable", "hangs")
_MOOD_WEIGHTS: Final = (50, 20, 10, 8, 4, 2, 6)


class FaultyStore:
    """A real store on a bad disk: now and then a commit fails, or was made and its answer is lost."""

    def __init__(self, world: World, store: Store) -> None:
        self._world = world
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> BatchResult:
        luck = 1.0 if self._world.healed else self._world.disk.random()
        if luck < 0.01:
            raise StoreBusy("somebody else writes")
        result = await self._store.commit(batch)
        if luck < 0.03:
            raise StoreOutcomeUnknown("the answer is lost")
        return result


@dataclass
class World:
    """
    What there is, and what happened.

    Attributes:
        accepted: Messages whose `send` returned, with the lane in which they must go.
        sends: When each of those calls began, and when it returned.
        calls: Every call of a channel, in order.
        trace: What happened, in order; one seed, one trace.
        ever_held: Messages that were held at some time: they may have lost their turn.
        slow: How often, of 1, the disk takes longer for a commit, or for its answer, than a lease lasts.
    """

    folder: Path
    seed: int
    order: Order = Order.KEPT
    accepted: dict[str, str | None] = field(default_factory=dict)
    sends: dict[str, tuple[float, float]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    ever_held: set[str] = field(default_factory=set)
    kills: int = 0
    healed: bool = False
    slow: float = 0.0

    def __post_init__(self) -> None:
        self.loop = SimulatedLoop(self.seed, order=self.order, seconds_max=2_000 * HOUR)
        self.clock = SimulatedClock(self.loop)
        self.plan = random.Random(f"plan {self.seed}")
        self.moods = random.Random(f"moods {self.seed}")
        self.disk = random.Random(f"disk {self.seed}")
        self.path = self.folder / "outbox.db"
        self.views: dict[str, MessageView] = {}
        self.drained_ms = 0
        self._processes = 0

    def note(self, what: str) -> None:
        self.trace.append(f"{self.loop.time():.6f} {what}")

    # Life

    def live(self, hours: float) -> None:
        """Let so many hours pass, then let everything get well and come to rest."""
        self.loop.run(self._live(hours * HOUR))
        self.loop.close()

    async def _live(self, seconds: float) -> None:
        while self.loop.time() < seconds:
            await self._shift()
            await self.clock.sleep(self.plan.expovariate(1 / (24 * HOUR)))
        self.healed = True
        await self._process().spawn(self._last(self._box(self._last_process)))

    async def _shift(self) -> None:
        """One or two processes at work, some of which are killed, while the machine may fall asleep."""
        ends = []
        for _ in range(self.plan.choice((1, 1, 2))):
            process = self._process()
            if self.plan.random() < 0.6:
                process.kill_after(self.plan.randrange(5, 600))
            seconds = self.plan.uniform(2, 8) * (LEASE_SECONDS / 2 if self.slow else 1)
            ends.append(process.spawn(self._work(process, self._box(process), seconds)))
        if self.plan.random() < 0.2:
            await self.clock.sleep(self.plan.uniform(0, 5))
            self.note("the machine sleeps")
            self.loop.stall(self.plan.uniform(1, 6 * HOUR))
        for end in ends:
            try:
                await end
            except Killed as killed:
                self.kills += 1
                self.note(f"{killed} is dead")
            except StoreError as error:
                self.note(f"a process gave up: {error}")

    def _process(self) -> Process:
        self._processes += 1
        self._last_process = self.loop.process(f"process-{self._processes}")
        return self._last_process

    def _box(self, process: Process, *, deliver: bool = True) -> Outbox:
        box = Outbox(
            str(self.path),
            channels={name: Receiver(self, name, ordered=name == "chat") for name in ("chat", "mail")},
            clock=self.clock,
            entropy=SeededEntropy(self.seed * 10_000 + self._processes),
            store=lambda: self._store(process),
            lease_seconds=LEASE_SECONDS,
            drain_on_startup=False,
            deliver=deliver,
            retention=dict.fromkeys(_ENDS, "365d"),
        )
        box.subscribe(lambda event: self._heard(process, event))
        return box

    def _store(self, process: Process) -> Store:
        return cast("Store", FaultyStore(self, store_of(process, self.path, self.clock, self._disk_seconds)))

    def _disk_seconds(self) -> float:
        if self.slow and not self.healed and self.disk.random() < self.slow:
            return self.disk.uniform(1, 3 * LEASE_SECONDS)
        return self.disk.uniform(0.0001, 0.004)

    def _heard(self, process: Process, event: BusEvent) -> None:
        identity = getattr(event, "id", None)
        self.note(f"{process.name} {type(event).__name__} {identity or ''}")
        if type(event).__name__ == "MessageHeld":
            self.ever_held.add(str(identity))

    async def _work(self, process: Process, box: Outbox, seconds: float) -> None:
        self.note(f"{process.name} begins")
        plan = random.Random(f"{process.name} {self.seed}")
        ends = self.clock.mono() + seconds
        async with box:
            await self._decide(box, plan)
            for _ in range(plan.randrange(8)):
                await self.clock.sleep(plan.uniform(0, 1))
                await self._send(box, plan)
            await self.clock.sleep(max(0, ends - self.clock.mono()))
            self.note(f"{process.name} stops")
            await box.stop(plan.choice((0.0, 3.0)))

    async def _send(self, box: Outbox, plan: random.Random) -> None:
        channel = plan.choice(("chat", "chat", "mail"))
        to = plan.choice(("ann", "bob", "cy"))
        said: dict[str, Any] = {}
        if plan.random() < 0.2:
            said["ttl"] = plan.uniform(1, 48 * HOUR)
        if plan.random() < 0.2:
            said["uncertain"] = plan.choice(("hold", "drop"))
        if plan.random() < 0.1:
            said["at"] = datetime.fromtimestamp(self.clock.wall_ms() / 1000 + plan.uniform(1, 48 * HOUR), UTC)
        began = self.clock.mono()
        try:
            message = await box.send(channel, to=to, text="hello", **said)
        except PillarboxError as error:
            self.note(f"refused: {type(error).__name__}")
            return
        assert message.id is not None
        self.accepted[message.id] = f"{channel} {to}" if channel == "chat" and "at" not in said else None
        self.sends[message.id] = began, self.clock.mono()
        self.note(f"accepted {message.id}")

    async def _decide(self, box: Outbox, plan: random.Random) -> None:
        """Say of some held messages what is to become of them, and cancel another one."""
        for message in await box.list(where="state=held", limit=5):
            self.ever_held.add(message.id or "")
            verdict = plan.choice(("delivered", "not_delivered", "resend", None))
            if verdict is not None:
                await box.resolve(message.id or "", verdict, ttl=HOUR)
        if plan.random() < 0.1:
            for message in await box.list(where="state=scheduled", limit=1):
                await box.cancel(message.id or "")
        if plan.random() < 0.3:
            for name in box.channels:
                await box.resume(name)

    async def _last(self, box: Outbox) -> None:
        async with box:
            for name in box.channels:
                await box.resume(name)
            await box.drain(120)
            # What becomes due from now on, or did as the drain ended, may lie where it is.
            self.drained_ms = self.clock.wall_ms() - 1000
        # Nothing is under way while all is looked at.
        async with self._box(self._last_process, deliver=False) as looking:
            for identity in self.accepted:
                found = await looking.get(identity)
                if found is not None and found.view is not None:
                    self.views[identity] = found.view
                    self.note(f"{identity} {found.view.state} {found.view.claims} {found.view.due_ms}")

    # What must be so

    def faults(self) -> list[str]:
        """Say what is wrong at the end."""
        calls: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls:
            calls[call.message].append(call)
        found = [f"{identity} is lost" for identity in self.accepted if identity not in self.views]
        for identity, view in self.views.items():
            mine = calls[identity]
            if not (view.state.terminal or view.state in {State.HELD, State.SCHEDULED}):
                found.append(f"{identity} is {view.state}")
            if view.state is State.SCHEDULED and view.due_ms <= self.drained_ms and not view.waiting:
                found.append(f"{identity} is due and lies about")
            if len(mine) > view.claims:
                found.append(f"{identity} was sent {len(mine)} times with {view.claims} claims")
            if len({call.number for call in mine}) != len(mine):
                found.append(f"{identity}: two calls of one claim")
            if view.state is State.DELIVERED and identity not in self.ever_held and not any(c.taken for c in mine):
                found.append(f"{identity} is delivered, and nobody has it")
            known = view.state is State.DELIVERED or view.maybe_arrived or view.also_arrived_ms is not None
            if mine and mine[-1].answered == "Delivered" and not known:
                found.append(f"{identity} was delivered, and is {view.state}")
            if view.state is State.EXPIRED and view.expires_ms is None:
                found.append(f"{identity} expired without a time")
        return found + self._order_faults(calls)

    def _order_faults(self, calls: dict[str, list[Call]]) -> list[str]:
        lanes: dict[str, list[str]] = defaultdict(list)
        for identity, lane in self.accepted.items():
            if lane is not None and calls[identity] and identity in self.views and identity not in self.ever_held:
                lanes[lane].append(identity)
        found = []
        for members in lanes.values():
            # Of sends at the same time the database chooses: an answer may have been long under way.
            in_order = sorted(members, key=lambda identity: self.views[identity].seq)
            for first, second in itertools.pairwise(in_order):
                if calls[second][0].at < calls[first][-1].at:
                    found.append(f"{second} began before {first} had left the lane")
            for first, second in itertools.combinations(in_order, 2):
                if self.sends[second][1] < self.sends[first][0]:
                    found.append(f"{second} stands behind {first}, which was said when it had been accepted")
        return found


def store_of(process: Process, path: Path, clock: SimulatedClock, seconds: Callable[[], float]) -> Store:
    """Give a simulated process its store, on a disk that takes *seconds* each way; it goes with the process."""
    store = SQLiteStore(
        path,
        clock=clock,
        durability=Durability.PROCESS,
        connect=_connect,
        caller=lambda _: Delayed(clock, seconds),
    )
    process.at_end(store.let_go)
    return cast("Store", store)


def _connect(path: str, durability: Durability) -> apsw.Connection:
    """Open a database that survives the end of a process, which is all that ends here, and no power cut."""
    connection = connect(path, durability)
    connection.pragma("synchronous", "off")
    return connection


def lived(folder: Path, seed: int, hours: float, order: Order = Order.KEPT, *, slow: float = 0.0) -> World:
    """Give a world in which so many hours passed."""
    world = World(folder, seed, order, slow=slow)
    asyncio.set_event_loop(None)
    world.live(hours)
    return world


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.stdout.write("\n".join(lived(Path(place), int(sys.argv[1]), float(sys.argv[2])).trace))
