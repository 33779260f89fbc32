"""
A second database for tests: SQLite, made to differ where a server's database will.

* Its leases are judged by a clock of its own, hours off from that of the machines whose workers use it.
* That a worker is gone is noticed after a time, never by its process.
* Its counters, by which limits are judged, are up to a second old.
* Notices that somebody else wrote come late, or not at all.
* The answer to a commit is lost now and then, whether it was written or not.
* Numbers of messages are given when a commit begins, and become visible when it ends: out of order, where two overlap.
"""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pillarbox.clock import Clock
from pillarbox.errors import StoreOutcomeUnknown
from pillarbox.store.sqlite.session import Session
from pillarbox.store.sqlite.statements import text
from pillarbox.store.sqlite.store import SQLiteStore
from pillarbox.store.steps.columns import NEW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import apsw

    from pillarbox.store.base import Batch, BatchResult, WorkerStart

HOURS_MS: Final = 7 * 3_600_000
OWNER_SECONDS: Final = 90
"""How long after its end a worker is surely known to be gone; longer than any lease of the tests."""
LIMITS_MS: Final = 1000
_LATE_SECONDS: Final = 0.02
_POSITIONS: Final = 1000  # as many as one claim gives at most

_ENQUEUE: Final = (
    text("enqueue", returning=False)
    .replace("INSERT INTO message (", "INSERT INTO message (seq, ")
    .replace("SELECT ", f"SELECT ?{len(NEW) + 1}, ")
)


@dataclass
class Server:
    """
    What the handles of one such database share.

    Attributes:
        clock: The first machine's; the server's own is hours ahead of it, whatever other machines say.
        unreliable: How often, of 1, the answer to a commit is lost.
        misses: How often, of 1, a notice does not come.
        left_ms: When the handles of workers went away without a word, by slot, on the lease clock.
    """

    seed: int = 1
    unreliable: float = 0.2
    misses: float = 0.3
    clock: Clock | None = None
    left_ms: dict[int, int] = field(default_factory=dict)
    last: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        # Apart: how many notices there are is a matter of time, and must not change what else happens.
        self.hearing = random.Random(self.seed)
        self._guard = threading.Lock()

    def now_ms(self) -> int:
        assert self.clock is not None
        return self.clock.boot_ms() + HOURS_MS

    def numbers(self, count: int, *, above: int = 0) -> list[int]:
        """Give numbers that nobody has, in order."""
        with self._guard:
            first = max(self.last, above) + 1
            self.last = first + count - 1
        return list(range(first, first + count))


class SecondSession(Session):
    """Gives messages the numbers that were made when the commit began, and reads counters that are a little old."""

    def __init__(self, server: Server, counters: dict[Any, tuple[int, Any]], *rest: Any) -> None:
        super().__init__(*rest)
        self.reserved: list[int] = []
        self._server = server
        self._counters = counters

    def one(self, name: str, bindings: Sequence[Any] = ()) -> Any:
        if name == "sequence":
            # Positions in lanes come from the same numbers.
            first, *_ = self._numbers(_POSITIONS)
            return (first - 1,)
        if name == "overview":
            row, stale = super().one(name, bindings), self._stale(name, bindings)
            assert row is not None
            return (*row[:5], *stale[5:])
        if name.startswith("active_"):
            return self._stale(name, bindings)
        return super().one(name, bindings)

    def _stale(self, name: str, bindings: Sequence[Any]) -> Any:
        key = name, tuple(bindings)
        read_ms, row = self._counters.get(key, (-LIMITS_MS, None))
        if self.lease_now - read_ms >= LIMITS_MS:
            row = super().one(name, bindings)
            self._counters[key] = self.lease_now, row
        return row

    def many(self, name: str, bindings: Sequence[Any] = ()) -> list[Any]:
        if name == "replay":
            self.connection.execute(
                "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'message'", (self._numbers(1)[0] - 1,)
            )
        return super().many(name, bindings)

    def each(self, name: str, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        if name == "replay":
            return [self.many(name, bindings) for bindings in rows]
        if name == "enqueue":
            missing = len(rows) - len(self.reserved)
            numbers = self.reserved + (self._numbers(missing) if missing > 0 else [])
            self.reserved = numbers[len(rows) :]
            self.connection.executemany(_ENQUEUE, [(*row, seq) for row, seq in zip(rows, numbers, strict=False)])
            return [[(row[0], seq)] for row, seq in zip(rows, numbers, strict=False)]
        return super().each(name, rows)

    def _numbers(self, count: int) -> list[int]:
        row = super().one("sequence")
        return self._server.numbers(count, above=0 if row is None else int(row[0]))


class SecondStore(SQLiteStore):
    """One handle."""

    def __init__(self, path: str | Path, *, server: Server, clock: Clock, **options: Any) -> None:
        super().__init__(path, clock=clock, **options)
        server.clock = server.clock or clock
        self._server = server
        self._lease_clock = server.now_ms
        self._slots: set[int] = set()
        self._reserved: list[int] = []
        self._stale: dict[Any, tuple[int, Any]] = {}

    def _session_on(self, connection: apsw.Connection) -> Session:
        return SecondSession(self._server, self._stale, connection, self._handles, self._lease_clock)

    async def commit(self, batch: Batch) -> BatchResult:
        server = self._server
        if self._writer is None:
            return await super().commit(batch)
        reserved = server.numbers(_new(batch))
        lost = not batch.again and server.chance.random() < server.unreliable
        written = server.chance.random() < 0.5
        for _ in range(server.chance.randrange(3)):
            await asyncio.sleep(0)
        if lost and not written:
            raise StoreOutcomeUnknown("the server closed the connection before it answered")
        result = await self._commit_with(batch, reserved)
        if lost:
            raise StoreOutcomeUnknown("the server closed the connection after it had written")
        return result

    async def _commit_with(self, batch: Batch, reserved: list[int]) -> BatchResult:
        if not reserved or batch.again or self.in_memory:
            return await super().commit(batch)
        return await self._write_through(lambda: self._numbered(batch, reserved))

    def _numbered(self, batch: Batch, reserved: list[int]) -> BatchResult:
        session = self._live_session()
        assert isinstance(session, SecondSession)
        session.reserved = reserved
        try:
            return self._commit(batch)
        finally:
            session.reserved = []

    async def register(self, start: WorkerStart) -> int:
        slot = await super().register(start)
        self._slots.add(slot)
        self._server.left_ms.pop(slot, None)
        return slot

    async def deregister(self, worker: int) -> None:
        await super().deregister(worker)
        self._slots.discard(worker)

    async def close(self) -> None:
        await super().close()
        left, self._slots = self._slots, set()
        self._server.left_ms |= dict.fromkeys(left, self._server.now_ms())

    def _alive(self, slot: int, boot: str, lock_file: int) -> bool | None:
        left_ms = self._server.left_ms.get(slot)
        return left_ms is None or self._server.now_ms() - left_ms < OWNER_SECONDS * 1000

    def on_change(self, listener: Callable[[], None], *, seconds: float) -> Callable[[], None]:
        ended: list[None] = []
        server = self._server

        def tell() -> None:
            if not ended:
                listener()

        def heard() -> None:
            if server.hearing.random() >= server.misses:
                asyncio.get_running_loop().call_later(_LATE_SECONDS, tell)

        end = super().on_change(heard, seconds=seconds)

        def end_both() -> None:
            ended.append(None)
            end()

        return end_both


def _new(batch: Batch) -> int:
    """How many messages a batch may make; replays are numbered where they are made."""
    return sum(len(group) for group in batch.enqueue) + len(batch.imports)
