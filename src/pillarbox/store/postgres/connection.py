"""Connections to the server: how each begins, and what is run on it by name."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.waiting import Ready

from pillarbox.errors import PillarboxError, StoreOutcomeUnknown, ValueRefused
from pillarbox.store.base import Durability
from pillarbox.store.postgres import server_kinds
from pillarbox.store.postgres.copier import Copier
from pillarbox.store.postgres.dsn import Notices
from pillarbox.store.postgres.errors import CONFLICTS, REFUSALS, refusal, translated
from pillarbox.store.postgres.server_kinds import TRAITS, Traits, Words
from pillarbox.store.postgres.statements import ONE_ROW_EACH, SETS, STATEMENTS
from pillarbox.store.postgres.values import array, text
from pillarbox.store.steps.numbers import Numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg.abc import PQGen

    from pillarbox.store.postgres.dsn import Place
    from pillarbox.store.postgres.server_clock import ServerClock
    from pillarbox.store.steps.tx import Row

T = TypeVar("T")

_PREPARED_MAX: Final = 500
_GROWTH_MS: Final = 5_000
"""How often it is asked how large our tables are."""
_GROWTH_PAGES: Final = 8
"""How much larger, and at least twice as large, one must be for plans that were made before to be made anew."""
ANSWER_SECONDS: Final = 40.0
"""How long anything but a commit may take: longer than the server lets a statement run."""
COMMIT_SECONDS: Final = 15.0
"""How long a commit may take: no setting of the server's ends its wait for a standby."""
_LOOK_SECONDS: Final = 0.1
_NEVER_BY_ITSELF: Final = 1 << 30  # tries until a statement is prepared; ours say so themselves
_SETTINGS: Final = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    # Plans by what a statement says, not by how many rows there were when it was prepared: a queue is empty at first,
    # and every statement of ours has the index that it needs.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "jit": "off",
    # A commit that did not wait for its standby says so by a warning, and by nothing else.
    "client_min_messages": "warning",
}


def settings(place: Place, durability: Durability) -> dict[str, str]:
    """Return what the server is told about each session, or each transaction where it has no sessions."""
    # Whatever the server's default is: it may be off, and then a commit that was answered can be lost.
    committed = {"synchronous_commit": "on"} if durability is Durability.POWER else {"synchronous_commit": "off"}
    # What is temporary is named last, or it is looked at first: a caller may have a table named as one of ours.
    return {"search_path": f"{place.schema}, pg_catalog, pg_temp"} | _SETTINGS | committed


class ServerConnection(psycopg.Connection[Any]):
    """
    A connection, and what is known of its server.

    Attributes:
        lasting: Whether what is said to it once holds for all its transactions, and what is prepared stays so. Not
            where a pooler may give the next transaction another server's connection.
        listens: Whether the server's notices come to it.
        gives_notice: Whether others are given notice. Behind a pooler too: who listens may do so past it.
        traits: Of its server.
        answer_seconds: How long the server may be silent before the connection is given up.
        commit_seconds: The same for a commit.
        overview_prepared: Whether `overview` can be run by its name among statements that take no values.
    """

    lasting: bool
    listens: bool
    gives_notice: bool
    traits: Traits
    answer_seconds = ANSWER_SECONDS
    commit_seconds = COMMIT_SECONDS
    overview_prepared = False
    _committing = False

    def commit_written(self) -> None:
        """End a transaction. What else there is of `commit` is the library's, which would begin another one."""
        self._committing = True
        try:
            self.execute("COMMIT")
        finally:
            self._committing = False

    def wait(self, gen: PQGen[T], interval: float = _LOOK_SECONDS, timeout: float | None = None) -> T:
        """Wait for the server, but not without end. Raises OperationalError; the connection is closed then."""
        answered = self._answered(gen, interval)
        # Older releases of the library know no timeout; nor does any of their calls say one.
        return super().wait(answered, interval) if timeout is None else super().wait(answered, interval, timeout)

    def _answered(self, gen: PQGen[T], interval: float) -> PQGen[T]:
        """Hand on what *gen* waits for. Time is counted in looks at which there was nothing."""
        seconds = self.commit_seconds if self._committing else self.answer_seconds
        looks = math.ceil(seconds / interval)
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready == Ready.NONE:
                    looks -= 1
                    if not looks:
                        self.pgconn.finish()
                        raise psycopg.OperationalError(f"the server did not answer within {seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: T = end.value
            return answer


def connect(place: Place, durability: Durability) -> ServerConnection:
    """
    Open a connection to a primary.

    Raises:
        ConfigError: The URL says what the library does not know.
        StoreUnavailable: The server cannot be reached, or does not let us in.
        StoreReadOnly: It is a standby.
        StoreUnsafe: It is a server on which nothing is stored.
    """
    with translated("connecting to the server"):
        try:
            connection = ServerConnection.connect(
                place.conninfo, autocommit=True, cursor_factory=psycopg.RawCursor, prepare_threshold=None
            )
        except psycopg.OperationalError as exc:
            raise refusal(exc) from exc
        try:
            _know(connection, place)
            if connection.lasting:
                connection.prepared_max = _PREPARED_MAX
                connection.prepare_threshold = _NEVER_BY_ITSELF
                connection.execute("; ".join(_set(place, durability, "SET")))
        except BaseException:
            connection.close()
            raise
    return connection


def _know(connection: ServerConnection, place: Place) -> None:
    """Find out what server it is, and what is between us and it. Raises StoreUnsafe."""
    info = connection.info
    told = info.parameter_status("crdb_version")
    found = place.backend or server_kinds.by_name(info.host, told)
    backend = 0
    words = Words(host=info.host, crdb_version=told)
    if found is None or not TRAITS[found].refused:
        backend, *answers = _asked(connection)
        words = Words(info.host, told, *answers)
    found = found or server_kinds.kind(words)
    server_kinds.check(found, info.server_version, words.isolation)
    connection.traits = TRAITS[found]
    # A pooler answers for the server when a connection begins, and it is no process of the server's that it names.
    pooled = backend != info.backend_pid or server_kinds.is_pooler(info.host)
    said = place.notices
    connection.gives_notice = said is Notices.LISTEN or (said is Notices.AUTO and connection.traits.notices)
    connection.lasting = said is Notices.LISTEN or (said is Notices.AUTO and not pooled)
    connection.listens = connection.lasting and connection.gives_notice


def _asked(connection: ServerConnection) -> tuple[Any, ...]:
    cursor = connection.execute(STATEMENTS["server_words"])
    cursor.nextset()
    (answers,) = cursor.fetchall()
    cursor.nextset()
    return tuple(answers)


def _set(place: Place, durability: Durability, verb: str) -> list[str]:
    return [f"{verb} {name} = {_value(name, value)}" for name, value in settings(place, durability).items()]


def _value(name: str, value: str) -> str:
    return value if name == "search_path" else f"'{value}'"


class Statements(ABC):
    """Runs named statements, on whatever connection; see `Tx`."""

    def many(self, name: str, bindings: Sequence[Any] = ()) -> list[Row]:
        """See `Reader`."""
        if name in SETS:
            return self._run(name, [array((value,), kind) for value, kind in zip(bindings, SETS[name], strict=True)])
        return self._run(name, [text(value) for value in bindings])

    def one(self, name: str, bindings: Sequence[Any] = ()) -> Row | None:
        """See `Reader`."""
        rows = self.many(name, bindings)
        return rows[0] if rows else None

    def each(self, name: str, rows: Sequence[Sequence[Any]]) -> list[list[Row]]:
        """See `Tx`."""
        if not rows:
            return []
        asked = [bindings[0] for bindings in rows]
        alone = len(set(asked)) < len(rows)
        if name not in SETS or (alone and name in ONE_ROW_EACH):
            return [self.many(name, bindings) for bindings in rows]
        returned = self._run(name, list(map(array, zip(*rows, strict=True), SETS[name])))
        if not returned:
            return [[] for _ in rows]
        if asked == [row[0] for row in returned]:
            return [[row] for row in returned]
        found: dict[Any, list[Row]] = {first: [] for first in asked}
        for row in returned:
            found[row[0]].append(row)
        return [found[first] for first in asked]

    @abstractmethod
    def _run(self, name: str, values: Sequence[str | None]) -> list[Row]:
        """Run a statement with the values of its marks; return its rows."""


class Session(Statements):
    """
    A connection with its transactions, and the numbers that are known on it. Used on one thread only.

    Args:
        lease_clock: Milliseconds by which leases are judged, in tests; ``None``: the server's clock.
        server_clock: Told what the server's clock shows when a transaction begins.

    Attributes:
        committing: From then on only the database shows whether the transaction was written.
        lease_now: What the lease clock showed when the transaction began.
        backend: The process of the server that the transaction runs in.
        since: When the transaction began, in the server's microseconds. With the process it names the transaction:
            behind a pooler the process may run somebody else's next.
        patient: Whether a key that is taken already may be one that another transaction has just taken: then all of the
            transaction is worth another try.
    """

    def __init__(
        self,
        connection: ServerConnection,
        place: Place,
        durability: Durability,
        lease_clock: Callable[[], int] | None,
        server_clock: ServerClock,
    ) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self.numbers = Numbers(self)
        self.committing = False
        self.lease_now = 0
        self.backend = 0
        self.since = 0
        self.patient = True
        self._lease_clock = lease_clock
        self._server_clock = server_clock
        self._sizes_ms = server_clock.boot_ms()
        self._sizes: dict[str, int] = {}
        self._kept = False
        self._overview: list[Row] | None = None
        self._copier = Copier(self, connection, server_clock)
        self._local = [f"{one};" for one in _set(place, durability, "SET LOCAL")] if not connection.lasting else []
        self._warned: list[str] = []
        connection.add_notice_handler(self._on_notice)

    def _on_notice(self, said: psycopg.errors.Diagnostic) -> None:
        if self.committing:
            self._warned.append(said.message_primary or "a warning")

    @property
    def broken(self) -> bool:
        """Whether the connection is gone."""
        return self.connection.broken or self.connection.closed

    @contextlib.contextmanager
    def transaction(self, begin: str = "begin", *, overview: bool = False) -> Iterator[None]:
        """
        Write what is done inside, or nothing of it where an error leaves it.

        Args:
            begin: The statements that it begins with.
            overview: Whether `overview` will be asked for. It is run along with the first ones, in their round trip.

        Raises:
            StoreOutcomeUnknown: It is committed, but not as durable as it should be: whoever administers the server
                had it wait no longer for its standby.
        """
        self.committing = self._kept = False
        self._warned = []
        try:
            self._begin(begin, overview=overview and self.connection.lasting)
            yield
            self.committing = True
            self.connection.commit_written()
            self.committing = False
        except BaseException:
            # Rows that they name were undone.
            self.numbers.forget()
            with contextlib.suppress(psycopg.Error):
                self._end()
            raise
        if self._warned:
            self.numbers.forget()
            raise StoreOutcomeUnknown(f"committing: {self._warned[0]}")

    def at_once(self, names: Sequence[str]) -> None:
        """Run a transaction without values in one round trip: it ends, whatever becomes of this process meanwhile."""
        begin, _, rest = "; ".join((*(STATEMENTS[name] for name in names), "COMMIT")).partition(";")
        try:
            self._simple(" ".join((f"{begin};", *self._local, rest)))
        finally:
            with contextlib.suppress(psycopg.Error):
                self._end()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Show all reads inside one state of the database."""
        try:
            self._begin("snapshot")
            yield
            # Not by the word that ends what is written: tests break the connection there.
            self._simple("END")
        finally:
            self._end()

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Return what a single statement is read in. It needs no transaction, and so only one round trip."""
        return contextlib.nullcontext() if self.connection.lasting else self.snapshot()

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """See `Tx`. One is kept until the next one begins: a commit ends it as well, without being asked."""
        self._simple("RELEASE item; SAVEPOINT item" if self._kept else "SAVEPOINT item")
        self._kept = False
        try:
            yield
        except PillarboxError:
            self._undo()
            raise
        except REFUSALS as exc:
            if self.patient and isinstance(exc, CONFLICTS):
                raise
            self._undo()
            raise ValueRefused(f"the database refused a value ({type(exc).__name__})") from exc
        self._kept = True

    def hint(self, channel: str) -> None:
        """Notify who listens."""
        self._simple(STATEMENTS["hint"].replace("{channel}", channel))

    def many(self, name: str, bindings: Sequence[Any] = ()) -> list[Row]:
        """See `Reader`."""
        if name == "overview" and self._overview is not None:
            return self._overview
        return super().many(name, bindings)

    def each(self, name: str, rows: Sequence[Sequence[Any]]) -> list[list[Row]]:
        """See `Tx`."""
        if name == "enqueue" and self._copier.takes(len(rows)):
            return self._copier.store(rows)
        return super().each(name, rows)

    def copy_was_refused(self) -> bool:
        """See `Copier.was_refused`."""
        return self._copier.was_refused()

    def _run(self, name: str, values: Sequence[str | None]) -> list[Row]:
        cursor = self._cursor.execute(STATEMENTS[name], values or None, prepare=True)
        return cursor.fetchall() if cursor.description is not None else []

    def _simple(self, sql: str) -> list[list[Row]]:
        """Run statements that take no values, in one round trip; return the rows of each that returns any."""
        cursor = self._cursor.execute(sql)
        found = []
        while True:
            if cursor.description is not None:
                found.append(cursor.fetchall())
            if not cursor.nextset():
                return found

    def _begin(self, name: str, *, overview: bool = False) -> None:
        begin, _, rest = STATEMENTS[name].partition(";")
        asked_ms = self._server_clock.boot_ms()
        if overview and not self.connection.overview_prepared:
            self._simple(f"PREPARE overview AS {STATEMENTS['overview']}")
            self.connection.overview_prepared = True
        also = ["; EXECUTE overview"] if overview else []
        ((now, self.backend, self.since),), *seen = self._simple(" ".join((f"{begin};", *self._local, rest, *also)))
        self._overview = seen[0] if seen else None
        self._server_clock.read(now, asked_ms=asked_ms)
        self.lease_now = now if self._lease_clock is None else self._lease_clock()
        if self.connection.lasting and asked_ms - self._sizes_ms >= _GROWTH_MS:
            self._sizes_ms = asked_ms
            self._plan_anew()

    def _plan_anew(self) -> None:
        """Forget plans that were made while a table was much smaller: they may read all of it."""
        sizes: dict[str, int] = dict(self.many("sizes"))
        if any(pages >= max(2 * self._sizes.get(name, 0), _GROWTH_PAGES) for name, pages in sizes.items()):
            self._simple("DISCARD PLANS")
            self._sizes = sizes

    def _end(self) -> None:
        if not self.broken and self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self._undo("ROLLBACK")

    def _undo(self, sql: str = "ROLLBACK TO item; RELEASE item") -> None:
        """Undo what was written. Past the library, which would forget every statement that is prepared."""
        result = self.connection.pgconn.exec_(sql.encode())
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)
