"""
`SQLiteStore`: the store's contract on one SQLite file.

All writes run on one thread; people's reads run on another, so that a long list delays no commit. The file's own locks
arbitrate between processes.
"""

# Long because: one class is all that `store/base.py` promises, a method each; what they do stands in other files.
from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from pillarbox.clock import Clock, SystemClock
from pillarbox.domain.clock_steps import ClockNews
from pillarbox.domain.explain.facts import Facts
from pillarbox.domain.ids import MessageId
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Draft
from pillarbox.errors import (
    NotStarted,
    PillarboxError,
    Refused,
    StoreDiskFull,
    StoreError,
    StoreOutcomeUnknown,
    StoreReadOnly,
    StoreUnavailable,
    ValueRefused,
)
from pillarbox.store import forking
from pillarbox.store.base import Batch, BatchResult, Durability, Ended, Lapsed, Ready, WorkerInfo, WorkerStart
from pillarbox.store.plain_reads import Reads
from pillarbox.store.sqlite import asking, backup, damage, disk_space, integrity, joined, opening, turns
from pillarbox.store.sqlite.handles import THROUGH_APSW, Connector, Handles, Library
from pillarbox.store.sqlite.joined_file import JoinedFile
from pillarbox.store.sqlite.notices import Notices
from pillarbox.store.sqlite.session import Session, Statements
from pillarbox.store.sqlite.sidecar import Sidecar
from pillarbox.store.sqlite.worker_sockets import WorkerSockets
from pillarbox.store.steps import batch as steps
from pillarbox.store.steps import check, facts, labels, read
from pillarbox.store.steps.leased import lapsed
from pillarbox.store.steps.tx import Reader, Tx
from pillarbox.store.thread import Caller, DatabaseThread, TwoThreads

T = TypeVar("T")


class SQLiteStore(Reads, TwoThreads):
    """
    One SQLite file, or a database in memory.

    Args:
        path: ``:memory:`` for a database that ends with the process.
        create: Whether a missing file is made; reading commands say no.
        migrate: Nothing more than *create*: an older file is brought up to date by whoever may make one.
        make_parents: Whether its directory is made as well: only for the default place (contract SG10).
        clock: Its boot time is the clock of the leases. It names this boot, too: leases of another boot's workers have
            lapsed. Where it has no name, the lock alone says who lives.
        connect: Opens a connection; tests pass one whose file system fails.
        descriptor_locks: Whether locks that foreign closes cannot drop may be used (`guarding`); tests say no.
        caller: Makes the place where SQLite runs; the simulator passes one without threads.
        library: The SQLite of which *connect* opens connections.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: Durability = Durability.POWER,
        limits: Limits | None = None,
        create: bool = True,
        migrate: bool = False,  # noqa: ARG002 — of every store
        make_parents: bool = False,
        clock: Clock | None = None,
        connect: Connector = opening.connect,
        descriptor_locks: bool = True,
        caller: Callable[[str], Caller] = DatabaseThread,
        library: Library = THROUGH_APSW,
    ) -> None:
        self.in_memory = str(path) == opening.MEMORY
        self.durability = Durability.MEMORY if self.in_memory else durability
        self.place = str(path)
        self._path = Path(path)
        self._limits = limits or Limits()
        self._create = self._makes = create
        self._make_parents = make_parents
        self._clock = clock or SystemClock()
        self._buried: list[Ended] = []
        self._to_wake: list[int] = []
        self._boot_id = self._clock.boot_id()
        self._lease_clock = self._clock.boot_ms
        self._joined: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._handles = Handles(self._path, self.durability, connect, locks=descriptor_locks, library=library)
        self._caller = caller
        self._session: Session | None = None
        self._reading: apsw.Connection | None = None
        self._sidecar = None if self.in_memory else Sidecar(self._path, descriptor_locks=descriptor_locks)
        self._notices = Notices(self._news, self._clock)
        self._sockets = WorkerSockets(self._sidecar, self._notices.tell)
        self.idle = threading.Lock()
        forking.pauses(self)
        forking.drops(self)

    def _translated(self, what: str) -> contextlib.AbstractContextManager[None]:
        connection = None if self._session is None else self._session.connection
        return opening.translated(what, connection, path=None if self.in_memory else str(self._path))

    async def open(self, *, make: bool = True) -> None:
        """See `Store`."""
        if self._writer is not None:
            return
        self._makes = self._create and make
        opening.check_library()
        await self._begin_writing(self._caller("pillarbox-writer"))

    def _open(self) -> None:
        if not self.in_memory:
            opening.prepare_file(self._path, create=self._makes, make_parents=self._make_parents)
        connection = self._handles.open()
        try:
            with self._handles.unchanged(), damage.told("opening the database"):
                opening.prepare_schema(connection, create=self._makes, forward=self._create)
                if self._limits.recipient_messages is not None:
                    opening.count_recipients(connection)
            if self._sidecar is not None:
                with self._translated("opening the workers' lock file"):
                    self._sidecar.open()
        except BaseException:
            self._handles.close(connection)
            raise
        self._session = self._session_on(connection)

    async def close(self) -> None:
        """See `Store`."""
        self._notices.end()
        self._sockets.end_all()
        await self._end_threads(self._close)

    def drop_inherited(self) -> None:
        """Close the parent's connections in a forked child; its threads and locks are not there (`forking`)."""
        session, self._session = self._session, None
        inherited = (None if session is None else session.connection, self._reading)
        self._reading = None
        self._writer = self._reader = None
        for connection in inherited:
            if connection is not None:
                with contextlib.suppress(apsw.Error):
                    connection.close()
        self._handles.drop_inherited()
        if self._sidecar is not None:
            self._sidecar.drop_inherited()

    def _close_reading(self) -> None:
        connection, self._reading = self._reading, None
        if connection is not None:
            self._handles.close(connection)

    def _close(self) -> None:
        session, self._session = self._session, None
        if any(joined.is_open(connection) for connection in self._joined):
            self._handles.keep()
        if session is not None:
            session.rollback()
            self._handles.close(session.connection)
        self._handles.forget()
        if self._sidecar is not None:
            self._sidecar.close()

    async def limit(self, limits: Limits) -> None:
        """See `Store`."""
        await self._write(lambda: self._limit(limits))

    def _limit(self, limits: Limits) -> None:
        session = self._live_session()
        if limits.recipient_messages is not None:
            with self._translated("counting the recipients' messages"):
                opening.count_recipients(session.connection)
        self._limits = limits

    async def commit(self, batch: Batch) -> BatchResult:
        """See `Store`."""
        if batch.imports and self.in_memory:
            raise Refused("nothing is imported into a database in memory: it would end with this process")
        return await self._write_through(lambda: self._commit(batch))

    async def ready(self, drafts: Sequence[Draft], *, now_ms: int) -> Ready:
        """See `Store`. Nothing is judged before: a transaction of ours would wait for the caller's."""
        if self.in_memory:
            raise Refused("a queue in memory takes part in no transaction: it would end with this process")
        if self._writer is None:
            raise NotStarted("the store is not open")
        return joined.Joined(self._joined_file(drafts, now_ms), on_joined=self._joined.add)

    def _joined_file(self, drafts: Sequence[Draft], now_ms: int) -> JoinedFile:
        return JoinedFile(
            path=self._path, durability=self.durability, limits=self._limits, drafts=drafts, now_ms=now_ms
        )

    def _commit(self, batch: Batch) -> BatchResult:
        result = None
        while result is None:
            result = self._try_commit(batch)
        result.unreadable = [*result.unreadable, *self._buried]
        self._buried = []
        if self._sidecar is not None:
            for slot in self._to_wake:
                self._sidecar.wake(slot)
        return result

    def _try_commit(self, batch: Batch) -> BatchResult | None:
        """Commit; ``None`` where nothing was written, and another try may do better: a new handle, or a mended file."""
        fresh, session = self._session is None, self._live_session()
        result = BatchResult()
        try:
            with self._translated("writing"), session.transaction():
                result = steps.apply(session, session.numbers, batch, limits=self._limits, lease_now=session.lease_now)
                # Read here, where no lock has to be taken for it.
                told = session.many("worker_slots") if result.touched or batch.acts else []
                self._to_wake = [slot for (slot,) in told]
            return result
        except UnicodeDecodeError:
            raise
        except (TypeError, ValueError, OverflowError) as exc:
            # What SQLite has no type for, a number beyond 64 bits, half a surrogate pair.
            raise ValueRefused(f"writing: a value cannot be stored ({type(exc).__name__}: {exc})") from exc
        except (StoreUnavailable, StoreDiskFull, StoreReadOnly) as exc:
            if self.in_memory or not isinstance(exc.__cause__, apsw.IOError):
                raise
            self._drop_session()
            if session.committing and not (_is_incomplete(exc.__cause__) and self._is_missing(result)):
                raise StoreOutcomeUnknown(str(exc)) from exc
            if fresh:
                raise
            return None

    def _is_missing(self, result: BatchResult) -> bool:
        """
        Whether a transaction whose commit failed was not written: a message that it stored is not there (EN4).

        No other connection can write it any more. Where nothing was stored, or nobody can look, that is not known.
        """
        groups = (group for group in result.enqueued if not isinstance(group, PillarboxError))
        stored = next((one.id for group in groups for one in group if one.created), None)
        if stored is None:
            return False
        try:
            with self._translated("looking for what was written"):
                return not self._live_session().many("view", (stored,))
        except StoreError:
            return False
        finally:
            self._drop_session()

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(apsw.Error):
                self._handles.close(session.connection)

    def _mend(self, exc: UnicodeDecodeError) -> None:
        """
        Bury what nobody can read. Who takes part in the next batch hears of it.

        Raises:
            StoreCorrupt: It is where nothing is made up.
        """
        what = "setting aside what cannot be read"
        with damage.told(what), self._translated(what):
            buried = damage.mend(self._live_session(), now_ms=self._clock.wall_ms(), limits=self._limits)
            if buried is None:
                raise exc
        self._buried += buried

    def _session_on(self, connection: apsw.Connection) -> Session:
        return Session(connection, self._handles, self._lease_clock)

    def _live_session(self) -> Session:
        if self._session is None:
            with self._translated("reopening the database"):
                self._session = self._session_on(self._handles.open())
        return self._session

    async def register(self, start: WorkerStart) -> int:
        """See `Store`."""
        slot = await self._write_through(lambda: self._register(start))
        self._sockets.begin(slot)
        return slot

    def _register(self, start: WorkerStart) -> int:
        session = self._live_session()
        slot: int = 0
        with self._translated("registering the worker"):
            try:
                with session.transaction():
                    ((slot,),) = session.many(
                        "worker_insert",
                        (
                            start.id,
                            start.host,
                            start.pid,
                            self._boot_id,
                            start.version,
                            ",".join(start.channels),
                            start.now_ms,
                            0 if self._sidecar is None else self._sidecar.identity,
                        ),
                    )
                    for channel in start.channels:
                        # So that the worker knows its queues before the first message: one commit then stores and
                        # claims.
                        session.numbers.queue("", channel, start.now_ms)
                    if self._sidecar is not None:
                        # Before the commit: nobody may see the row without its lock and take the worker for dead.
                        self._sidecar.hold(slot)
            except BaseException:
                if self._sidecar is not None and slot:
                    # The next one to register gets the same number, and would wait for this lock for ever.
                    self._sidecar.let_go(slot)
                raise
        return slot

    async def deregister(self, worker: int) -> None:
        """See `Store`."""
        self._sockets.end(worker)
        await self._write_through(lambda: self._deregister(worker))

    def _deregister(self, worker: int) -> None:
        session = self._live_session()
        with self._translated("removing the worker"), session.transaction():
            session.many("worker_delete", (worker,))
        if self._sidecar is not None:
            self._sidecar.let_go(worker)

    async def lapsed(self, *, limit: int) -> list[Lapsed]:
        """See `Store`."""
        return await self._write(lambda: self._lapsed(limit))

    def _lapsed(self, limit: int) -> list[Lapsed]:
        session = self._live_session()
        # One snapshot: a worker that registers and claims between two reads must not look like one without a row.
        with self._translated("looking for lapsed leases"), opening.snapshot(session.connection):
            owners: dict[int, Sequence[Any]] = {slot: marks for slot, *marks in session.many("owners")}
            found = lapsed(
                session,
                session.numbers,
                gone=lambda slot: slot not in owners or self._alive(slot, *owners[slot]) is False,
                lease_now=self._lease_clock(),
                limit=limit,
            )
        with self._translated("forgetting workers that are gone"):
            self._forget_dead(session, owners)
        return found

    def _forget_dead(self, session: Session, owners: dict[int, Sequence[Any]]) -> None:
        """Remove the rows of workers that are surely gone and hold nothing any more."""
        holding = {slot for (slot,) in session.many("leased_workers")}
        dead = [slot for slot, owner in owners.items() if slot not in holding and self._alive(slot, *owner) is False]
        if not dead:
            return
        with session.transaction():
            session.each("worker_delete", [(slot,) for slot in dead])
        if self._sidecar is not None:
            for slot in dead:
                self._sidecar.forget(slot)

    def _alive(self, slot: int, boot: str, lock_file: int) -> bool | None:
        """Whether a worker's process runs; ``None`` where that is not known: then its leases run their full time."""
        if boot and self._boot_id and boot != self._boot_id:
            return False
        if self._sidecar is None:
            return True
        return self._sidecar.is_alive(slot) if lock_file == self._sidecar.identity else None

    async def gone_acceptors(self) -> list[bytes]:
        """See `Store`."""
        return await self._write(self._gone_acceptors)

    def _gone_acceptors(self) -> list[bytes]:
        session = self._live_session()
        with self._translated("looking for processes that are gone"), opening.snapshot(session.connection):
            return [one for (one,) in session.many("acceptors") if not self._may_live(session, one)]

    async def gone(self, worker: bytes) -> bool:
        """See `Store`."""
        return await self._write(lambda: not self._may_live(self._live_session(), worker))

    def _may_live(self, tx: Reader, worker: bytes) -> bool:
        with self._translated("looking for a process that is gone"):
            owners = tx.many("worker", (worker,))
        return any(self._alive(*owner) is not False for owner in owners)

    async def log_key(self) -> bytes:
        """See `Store`."""
        return await self._write(lambda: read.log_key(self._live_session()))

    async def clock_news(self) -> ClockNews:
        """See `Store`."""
        return await self._write(self._clock_news)

    def _clock_news(self) -> ClockNews:
        with self._translated("reading what is known of the clocks"):
            return read.clock_news(self._live_session())

    async def facts(self, message: MessageId, *, now_ms: int) -> Facts | None:
        """See `Store`."""
        return await self._read(
            lambda tx: facts.facts(tx, message, self._alive, now_ms=now_ms, lease_now_ms=self._lease_clock())
        )

    async def workers(self) -> list[WorkerInfo]:
        """See `Store`."""
        return await self._read(lambda tx: read.workers(tx, self._alive))

    async def check(self) -> list[str]:
        """See `Store`."""
        problems = self.problems()
        if self._handles.problem() is None:
            problems += await self._read(lambda tx: self._handles.astray() + self._damage_or_faults(tx) + self._room())
        # What files that were exchanged say of themselves is worth nothing, what others say of them is.
        others = [] if self._sidecar is None else self._sidecar.others()
        return problems + await asking.ask(others, clock=self._clock)

    def _damage_or_faults(self, tx: Statements) -> list[str]:
        try:
            damage = [f"integrity: {said}" for said in integrity.damage(tx.connection)]
        except apsw.CorruptError as exc:
            damage = [f"integrity: {exc}"]
        # What a damaged file says of itself is worth nothing.
        return damage or check.check(tx)

    def _room(self) -> list[str]:
        why = None if self.in_memory else disk_space.refusal(self._path.parent)
        return [] if why is None else [f"nothing more can be written beside the database: {why}"]

    def on_question(self, problems: Callable[[], Sequence[str]]) -> None:
        """See `Store`."""
        self._sockets.problems = problems

    def problems(self) -> list[str]:
        """See `Store`."""
        sidecar = None if self._sidecar is None else self._sidecar.problem()
        straggler = turns.STRAGGLER.format(path=self._path) if self._handles.straggler() else None
        return [problem for problem in (self._handles.problem(), sidecar, straggler) if problem is not None]

    def remarks(self) -> list[str]:
        """See `Store`."""
        gap = self._handles.gap
        return [] if gap is None else [opening.UNGUARDED.format(why=gap)]

    def script(self) -> str:
        """Refuse: a file is made by whoever starts to work on it."""
        raise Refused("a file is made by the worker or the application that starts first; it takes no SQL by hand")

    async def backup(self, path: Path) -> int:
        """See `Store`."""
        writer = self._opened()
        copying = backup.Copying(None if self.in_memory else self._path, path)
        if self.in_memory:
            return await writer.run(lambda: copying.write(self._live_session().connection))
        # A thread of its own: a large copy must delay neither a commit nor a read.
        caller = self._caller("pillarbox-backup")
        try:
            return await caller.run(lambda: copying.with_handles(self._handles))
        finally:
            # Whoever gave up waiting must not leave it running.
            copying.give_up()
            caller.stop()

    async def label(self) -> str | None:
        """See `Store`. Each start asks, so no second connection is opened for it."""
        return await self._write(lambda: self._read_with(self._live_session(), labels.label))

    async def moving(self, work: Callable[[Tx], T]) -> T:
        """See `Store`."""
        return await self._write_through(lambda: self._moving(work))

    def _moving(self, work: Callable[[Tx], T]) -> T:
        session = self._live_session()
        with self._translated("copying"), session.transaction():
            return work(session)

    def on_change(self, listener: Callable[[], None], *, seconds: float) -> Callable[[], None]:
        """See `Store`."""
        return self._notices.add(listener, seconds=seconds)

    def _news(self) -> bool:
        with self.idle:
            return self._handles.foreign.news()

    def _opened(self) -> Caller:
        if self._writer is None:
            raise NotStarted("the store is not open")
        return self._writer

    async def _write(self, function: Callable[[], T]) -> T:
        return await self._opened().run(lambda: self._write_safely(function))

    async def _write_through(self, function: Callable[[], T]) -> T:
        """As `_write`, for what the caller must know, cancelled or not: else leases would have no holder."""
        return await self._opened().run_through(lambda: self._write_safely(function))

    def _write_safely(self, function: Callable[[], T]) -> T:
        with self._handles.unchanged():
            try:
                return function()
            except UnicodeDecodeError as exc:
                self._mend(exc)
                with damage.told("writing"):
                    return function()

    async def _read(self, function: Callable[[Statements], T]) -> T:
        try:
            return await self._read_once(self._opened(), function)
        except UnicodeDecodeError as exc:
            unreadable = exc
        await self._write(lambda: self._mend(unreadable))
        with damage.told("reading"):
            return await self._read_once(self._opened(), function)

    async def _read_once(self, writer: Caller, function: Callable[[Statements], T]) -> T:
        if self.in_memory:
            # A database in memory is one connection's own.
            return await writer.run(lambda: self._read_with(self._live_session(), function))
        if self._reader is None:
            self._reader = self._caller("pillarbox-reader")
        return await self._reader.run(lambda: self._read_with(Statements(self._reading_connection()), function))

    def _reading_connection(self) -> apsw.Connection:
        if self._reading is None:
            self._reading = self._handles.open()
        return self._reading

    def _read_with(self, tx: Statements, function: Callable[[Statements], T]) -> T:
        # One snapshot for all that a read looks at.
        with self._handles.unchanged(), self._translated("reading"), opening.snapshot(tx.connection):
            return function(tx)


def _is_incomplete(error: BaseException | None) -> bool:
    """
    Whether a commit failed while it was written: what is in the file is no whole commit, and nobody takes it for one.

    After a sync that failed it is whole in the log. Others do not see it, until a power cut lets the log be read anew.
    """
    return isinstance(error, apsw.IOError) and getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_WRITE
