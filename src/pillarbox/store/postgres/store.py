"""
`PostgresStore`: the store's contract on a schema of a PostgreSQL database.

All writes run on one thread over one connection, a batch a transaction; people's reads run on another one, so that a
long list delays no commit. Row locks arbitrate between workers, on whatever machine they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import psycopg

from pillarbox.clock import SystemClock
from pillarbox.domain.limits import Limits
from pillarbox.errors import NotStarted, PillarboxError, Refused, StoreOutcomeUnknown, StoreUnavailable, ValueRefused
from pillarbox.store import forking
from pillarbox.store.base import Batch, BatchResult, Durability, Lapsed, QueueInfo, WorkerInfo, WorkerStart
from pillarbox.store.plain_reads import Reads
from pillarbox.store.postgres import dsn, eras, migrations, presence
from pillarbox.store.postgres.connection import ServerConnection, Session, connect, settings
from pillarbox.store.postgres.errors import CONFLICTS, OUTDATED, REFUSALS, translated, translation
from pillarbox.store.postgres.joined import Home, Joined
from pillarbox.store.postgres.listener import Listener
from pillarbox.store.postgres.server_clock import ServerClock
from pillarbox.store.postgres.tally import fold
from pillarbox.store.steps import batch as steps
from pillarbox.store.steps import check, facts, labels, read, ready
from pillarbox.store.steps.writing import Writing
from pillarbox.store.thread import Caller, DatabaseThread, TwoThreads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pillarbox.clock import Clock
    from pillarbox.domain.clock_steps import ClockNews
    from pillarbox.domain.explain.facts import Facts
    from pillarbox.domain.ids import MessageId
    from pillarbox.domain.message import Draft
    from pillarbox.store.steps.tx import Reader, Tx

T = TypeVar("T")

_TRIES_MAX: Final = 20
_PATIENT_TRIES: Final = 10
_END_DOUBT_MS: Final = 5_000


class PostgresStore(Reads, TwoThreads):
    """
    One schema of a database.

    Leases are judged by the server's clock, so that machines whose clocks differ can share them. That a worker is gone
    is told by itself, or by its leases, which run out: a connection that breaks says nothing of who held it.

    Args:
        url: A ``postgresql://`` URL; see `dsn`.
        create: Whether a missing schema is made; commands that look or order say no.
        migrate: Whether an older schema is brought up to date.
        make_parents: Only files have directories: nothing is made for it.
        clock: Of the machine; it carries on what the server's shows.
        lease_clock: Judges leases instead of the server, in tests.
        caller: Makes the place where connections are used; the simulator passes one without threads.
        connect: Opens a connection; tests pass one that keeps what it opened.
    """

    in_memory = False

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = Durability.POWER,
        limits: Limits | None = None,
        create: bool = True,
        migrate: bool = False,
        make_parents: bool = False,  # noqa: ARG002 — of every store
        clock: Clock | None = None,
        lease_clock: Callable[[], int] | None = None,
        caller: Callable[[str], Caller] = DatabaseThread,
        connect: Callable[[dsn.Place, Durability], ServerConnection] = connect,
    ) -> None:
        self.durability = durability
        self.place = url
        self._place = dsn.parse(url)
        self._limits = limits or Limits()
        self._create = self._makes = create
        self._migrate = migrate
        self._lease_clock = lease_clock
        self._server_clock = ServerClock(clock or SystemClock())
        self._caller = caller
        self._connection = connect
        self._session: Session | None = None
        self._reading: Session | None = None
        self._doubtful: tuple[int, int] | None = None
        self._listens = False
        self._starts: dict[int, WorkerStart] = {}
        self._heard_ms = 0
        self._eras = eras.Eras()
        self._channel = f"pillarbox_{self._place.schema}"
        self._listener = Listener(self._listening, self._channel, self._backends)
        self.idle = threading.Lock()
        forking.drops(self)

    def _connect(self) -> ServerConnection:
        connection = self._connection(self._place, self.durability)
        self._listens = connection.listens
        return connection

    def _listening(self) -> ServerConnection | None:
        """Open a connection to which notices come. What was not connected yet shows whether there is one."""
        if self._session is not None and not self._listens:
            return None
        connection = self._connect()
        if connection.listens:
            return connection
        connection.close()
        return None

    def _opened(self) -> Session:
        return Session(self._connect(), self._place, self.durability, self._lease_clock, self._server_clock)

    def _backends(self) -> set[int]:
        session = self._session
        return set() if session is None else {session.backend}

    async def open(self, *, make: bool = True) -> None:
        """See `Store`."""
        if self._writer is not None:
            return
        self._makes = self._create and make
        await self._begin_writing(self._caller("pillarbox-writer"))

    def _open(self) -> None:
        session = self._opened()
        try:
            with translated("reading the schema"):
                _until_first(
                    lambda: migrations.prepare(session, self._place.schema, create=self._makes, forward=self._migrate)
                )
            self._count_recipients(session, self._limits)
        except BaseException:
            session.connection.close()
            raise
        self._session = session

    def _count_recipients(self, session: Session, limits: Limits) -> None:
        if limits.recipient_messages is not None:
            with translated("counting the recipients' messages"):
                _until_first(lambda: migrations.count_recipients(session))

    async def close(self) -> None:
        """See `Store`."""
        listener = self._listener
        await self._end_threads(self._leave)
        listener.end()

    def drop_inherited(self) -> None:
        """Forget the parent's connections, in a forked child. To close one here would end the parent's session."""
        self._session = self._reading = self._writer = self._reader = None
        self._starts = {}
        self._listener.drop_inherited()

    def _close_reading(self) -> None:
        session, self._reading = self._reading, None
        if session is not None:
            session.connection.close()

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection.close()

    def _leave(self) -> None:
        """Record that the workers of this handle are gone, so that nobody waits for their leases; then close."""
        starts, self._starts = self._starts, {}
        with contextlib.suppress(psycopg.Error, PillarboxError):
            if starts:
                closed = [(slot,) for slot in starts]
                self._transact("closing", lambda session: session.each("workers_closed", closed))
        self._close()

    async def limit(self, limits: Limits) -> None:
        """See `Store`."""
        await self._write(lambda: self._limit(limits))

    def _limit(self, limits: Limits) -> None:
        self._count_recipients(self._live_session(), limits)
        self._limits = limits

    async def commit(self, batch: Batch) -> BatchResult:
        """See `Store`."""
        return await self._write_through(lambda: self._commit(batch))

    def _commit(self, batch: Batch) -> BatchResult:
        if leasing := eras.is_leasing(batch):
            self._eras.turn(self._live_session())
        overview = leasing or bool(batch.enqueue or batch.acts)
        result = self._transact(
            "writing", lambda session: self._apply(session, batch), leasing=leasing, overview=overview
        )
        self._eras.gave(len(result.claimed))
        # Others may wait for what ended, as well as for something to claim.
        if result.touched or batch.settle or batch.acts or result.expired or result.abandoned:
            self._hint()
        return result

    def _apply(self, session: Session, batch: Batch) -> BatchResult:
        if batch.expire:
            # Whoever looks after the queue comes by about once a second.
            fold(session)
        if self._starts and (batch.presence or batch.claim) and session.lease_now - self._heard_ms >= presence.HEARD_MS:
            session.each("workers_heard", [_row(slot, one, session) for slot, one in sorted(self._starts.items())])
            self._heard_ms = session.lease_now
        result = steps.apply(session, session.numbers, batch, limits=self._limits, lease_now=session.lease_now)
        if any(not one.created for group in result.enqueued if not isinstance(group, Exception) for one in group):
            # A key was found. Whoever stored its message may never have heard that it is on the standby.
            session.many("sync")
        return result

    def _transact(self, what: str, work: Callable[[Session], T], *, leasing: bool = False, overview: bool = False) -> T:
        """
        Run *work* in a transaction, again where another one was first.

        Args:
            leasing: It gives or ends leases.
            overview: It asks for the overview.

        Raises:
            StoreOutcomeUnknown: The answer to the commit was lost.
            StoreError, ValueRefused: Nothing was written.
        """
        tries = 0
        while True:
            fresh, session = self._session is None, self._live_session()
            session.patient = tries < _PATIENT_TRIES
            try:
                with session.transaction(eras.begin(session, leasing=leasing), overview=overview):
                    return work(session)
            except CONFLICTS as exc:
                tries += 1
                if tries >= _TRIES_MAX:
                    raise translation(what, exc) from exc
            except psycopg.Error as exc:
                if session.copy_was_refused():
                    continue
                error = translation(what, exc)
                if session.broken or isinstance(exc, OUTDATED):
                    self._close()
                    if session.committing:
                        self._doubtful = (session.backend, session.since)
                        raise StoreOutcomeUnknown(str(error)) from exc
                    if not fresh:
                        # It was gone before we began, as after a restart of the server: nothing was written.
                        continue
                raise error from exc
            except REFUSALS as exc:
                raise ValueRefused(f"{what}: a value cannot be stored ({type(exc).__name__}: {exc})") from exc

    def _live_session(self) -> Session:
        if self._session is None:
            session = self._opened()
            try:
                if self._doubtful is not None:
                    self._end_doubt(session, *self._doubtful)
            except BaseException:
                session.connection.close()
                raise
            self._session = session
        return self._session

    def _end_doubt(self, session: Session, backend: int, since: int) -> None:
        """End the transaction whose answer was lost, if it still runs: what it did is to be seen by what follows."""
        if session.connection.traits.one_server:
            with translated("asking what became of a commit"), session.transaction():
                ended = session.many("backend_end", (backend, since, _END_DOUBT_MS))
            if ended and not ended[0][0]:
                raise StoreUnavailable("a commit whose answer was lost is still under way")
        self._doubtful = None

    def _hint(self) -> None:
        """Wake who listens. After the commit, because the server lets one transaction do this at a time."""
        session = self._session
        if session is not None and session.connection.gives_notice:
            with contextlib.suppress(psycopg.Error):
                session.hint(self._channel)

    async def ready(self, drafts: Sequence[Draft], *, now_ms: int) -> Joined:
        """See `Store`."""
        return await self._write_through(lambda: self._ready(drafts, now_ms))

    def _ready(self, drafts: Sequence[Draft], now_ms: int) -> Joined:
        def judge(session: Session) -> tuple[ready.Known, str, str]:
            lease_now, limits = session.lease_now, self._limits
            writing = Writing(session, session.numbers, now_ms=now_ms, lease_now=lease_now, limits=limits)
            channel = self._channel if session.connection.gives_notice else ""
            return ready.ready(writing, drafts), read.log_key(session).hex(), channel

        known, mark, channel = self._transact("judging new messages", judge)
        ours = settings(self._place, self.durability)
        return Joined(Home(mark, ours["search_path"], channel, ours["synchronous_commit"]), drafts, known, now_ms)

    async def register(self, start: WorkerStart) -> int:
        """See `Store`."""
        return await self._write_through(lambda: self._register(start))

    def _register(self, start: WorkerStart) -> int:
        def insert(session: Session) -> int:
            named = (start.id, start.host, start.pid, start.version, ",".join(start.channels), start.now_ms)
            ((slot,),) = session.many("worker_insert", (*named, session.lease_now))
            for channel in start.channels:
                # So that the worker knows its queues before the first message: one commit then stores and claims.
                session.numbers.queue("", channel, start.now_ms)
            return int(slot)

        slot = self._transact("registering the worker", insert)
        self._starts[slot] = start
        return slot

    async def deregister(self, worker: int) -> None:
        """See `Store`."""
        await self._write_through(lambda: self._deregister(worker))

    def _deregister(self, worker: int) -> None:
        self._transact("removing the worker", lambda session: session.many("worker_delete", (worker,)))
        self._starts.pop(worker, None)

    async def lapsed(self, *, limit: int) -> list[Lapsed]:
        """See `Store`."""
        found, dead = await self._read_session(lambda session: presence.lapses(session, limit))
        if dead:
            await self._write(lambda: self._transact("forgetting workers that are gone", _forgetting(dead)))
        return found

    async def gone_acceptors(self) -> list[bytes]:
        """See `Store`."""
        return await self._read_session(
            lambda session: [one for (one,) in session.many("acceptors") if not presence.may_live(session, one)]
        )

    async def gone(self, worker: bytes) -> bool:
        """See `Store`."""
        return await self._read_session(lambda session: not presence.may_live(session, worker))

    async def log_key(self) -> bytes:
        """See `Store`."""
        return await self._read(read.log_key)

    async def clock_news(self) -> ClockNews:
        """See `Store`. What one machine knows of its clocks says nothing to another: all go by the server's."""
        news = await self._read(read.clock_news)
        if self._lease_clock is not None:
            return news
        return msgspec.structs.replace(news, mark=None, wall_ms=self._server_clock.wall_ms)

    async def facts(self, message: MessageId, *, now_ms: int) -> Facts | None:
        """See `Store`."""
        return await self._read_session(
            lambda session: facts.facts(
                session, message, presence.alive(session), now_ms=now_ms, lease_now_ms=session.lease_now
            )
        )

    async def workers(self) -> list[WorkerInfo]:
        """See `Store`."""
        return await self._read_session(lambda session: read.workers(session, presence.alive(session)))

    async def check(self) -> list[str]:
        """See `Store`."""
        return await self._read(check.check)

    def script(self) -> str:
        """See `Store`."""
        return migrations.script(self._place.schema)

    def on_question(self, problems: Callable[[], Sequence[str]]) -> None:
        """Never ask: other machines' workers are asked for nothing but what they write."""

    def problems(self) -> list[str]:
        """Return none: there are no files of ours."""
        return []

    def remarks(self) -> list[str]:
        """Return none."""
        return []

    async def backup(self, path: Path) -> int:  # noqa: ARG002 — of `Store`
        """Refuse: the server has tools for that."""
        raise Refused(
            f"PostgreSQL copies itself: use pg_dump --schema={self._place.schema}, or your server's base backups with"
            " point-in-time recovery; `pillarbox db copy` moves the queue into a file"
        )

    async def label(self) -> str | None:
        """See `Store`. Each start asks, so no second connection is opened for it."""
        return await self._write(lambda: self._transact("reading", labels.label))

    async def moving(self, work: Callable[[Tx], T]) -> T:
        """See `Store`."""
        return await self._write_through(lambda: self._transact("copying", work))

    def on_change(self, listener: Callable[[], None], *, seconds: float) -> Callable[[], None]:
        """See `Store`."""
        return self._listener.add(asyncio.get_running_loop(), listener, seconds=seconds)

    async def _write(self, function: Callable[[], T]) -> T:
        if self._writer is None:
            raise NotStarted("the store is not open")
        return await self._writer.run(function)

    async def _write_through(self, function: Callable[[], T]) -> T:
        """As `_write`, for what the caller must know, cancelled or not: else leases would have no holder."""
        if self._writer is None:
            raise NotStarted("the store is not open")
        return await self._writer.run_through(function)

    async def _read(self, function: Callable[[Reader], T]) -> T:
        return await self._read_session(function)

    async def queues(self) -> list[QueueInfo]:
        """See `Store`. Asked for at each notice."""
        return await self._read_session(read.queues, alone=True)

    async def _read_session(self, function: Callable[[Session], T], *, alone: bool = False) -> T:
        """Run *function* on one state of the database. *alone*: it asks for one statement, and not for a time."""
        if self._writer is None:
            raise NotStarted("the store is not open")
        if self._reader is None:
            self._reader = self._caller("pillarbox-reader")
        return await self._reader.run(lambda: self._read_with(function, alone=alone))

    def _read_with(self, function: Callable[[Session], T], *, alone: bool) -> T:
        tries = 0
        while True:
            fresh = self._reading is None
            session = self._reading = self._reading or self._opened()
            try:
                with session.alone() if alone else session.snapshot():
                    return function(session)
            except psycopg.Error as exc:
                tries += 1
                if isinstance(exc, CONFLICTS) and tries < _TRIES_MAX:
                    continue
                if session.broken or isinstance(exc, OUTDATED):
                    self._close_reading()
                    if not fresh:
                        continue
                raise translation("reading", exc) from exc


def _until_first(work: Callable[[], object]) -> None:
    """Do *work* again where another one was first, as `PostgresStore._transact` does."""
    for _ in range(_TRIES_MAX - 1):
        with contextlib.suppress(*CONFLICTS):
            work()
            return
    work()


def _row(slot: int, start: WorkerStart, session: Session) -> tuple[object, ...]:
    named = (start.id, start.host, start.pid, start.version, ",".join(start.channels), start.now_ms)
    return (slot, *named, session.lease_now)


def _forgetting(workers: Sequence[tuple[int, int]]) -> Callable[[Session], object]:
    return lambda session: session.each("worker_forget", workers)
