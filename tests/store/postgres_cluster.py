"""
A server that can be killed as a machine's is, and a standby of it that can take its place.

Its first process is a child of ours: one that pg_ctl starts is nobody's, and would stay a zombie that looks alive.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from tests.store.postgres_server import OPTIONS, Server, connected

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDBY: Final = "standby"
SYNCHRONOUS: Final = f"{OPTIONS} -c synchronous_standby_names={STANDBY}"
_TRIES: Final = 600
_SECONDS: Final = 0.05


@cache
def _empty_server() -> Path:
    """Make what a server has before anything is written, once a process: it takes longer than to copy it."""
    folder = Path(tempfile.mkdtemp(prefix="pbx"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    server = Server(folder)
    server.make()
    return folder / "data"


class Machine(Server):
    """A server of which every process can be killed at once."""

    def __init__(self, folder: Path, options: str = OPTIONS) -> None:
        super().__init__(folder)
        self.options = options
        self._first: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its first process."""
        assert self._first is not None
        return self._first.pid

    def processes(self) -> list[int]:
        """Return the others, which are its children."""
        with contextlib.suppress(FileNotFoundError):
            said = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
            return [int(pid) for pid in said.split()]
        return []

    def make(self) -> None:
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        # With its owner.
        subprocess.run(["cp", "-a", _empty_server(), self.folder / "data"], check=True)

    def run(self) -> None:
        """Start it, whatever state it was left in, and wait until it answers."""
        data = self.folder / "data"
        if not data.exists():
            self.make()
        with (self.folder / "log").open("ab") as log:
            self._first = subprocess.Popen(
                [self._programs / "postgres", "-D", data, "-k", self.folder, *self.options.split()],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                user=self._user,
                cwd="/",
            )
        for _ in range(_TRIES):
            assert self._first.poll() is None, (self.folder / "log").read_text(encoding="utf-8")[-2000:]
            with contextlib.suppress(psycopg.OperationalError):
                connected(self.url).close()
                return
            # The only news of it is that it answers.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._first.wait(_SECONDS)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """End all of its processes with SIGKILL, and wait until they are gone. Safe to repeat."""
        if self._first is None:
            return
        # It makes no others meanwhile.
        self._first.send_signal(signal.SIGSTOP)
        pids = self.processes()
        self._first.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._first.wait()
        self._first = None

    def promote(self) -> None:
        """Let a standby take its primary's place."""
        self._run("pg_ctl", "promote", "-w", "-t", "240", "-D", f"{self.folder}/data")

    def standby(self, folder: Path) -> Machine:
        """Make a standby of it in a folder, in the place of what may be there; it is not started yet."""
        shutil.rmtree(folder / "data", ignore_errors=True)
        made = Machine(folder, self.options)
        if made._user is not None:
            shutil.chown(folder, made._user)
        # The programs need not be there twice.
        made._programs = self._programs
        place = f"host={self.folder} user=postgres application_name={STANDBY}"
        data = folder / "data"
        made._run("pg_basebackup", "-d", place, "-D", str(data), "--checkpoint=fast", "--no-sync")
        # By ourselves: a newer version's program would write words that an older server does not know.
        with (data / "postgresql.auto.conf").open("a", encoding="ascii") as conf:
            conf.write(f"primary_conninfo = '{place}'\n")
        (data / "standby.signal").touch()
        return made


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder for a server. Its name is short, because a socket's may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="pbx"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_server() -> Iterator[Server]:
    """Start a server that nobody else uses."""
    with short_folder() as folder:
        server = Server(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
