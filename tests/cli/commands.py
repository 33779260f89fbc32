"""Runs the real command in processes of its own, far from whoever runs the tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

    from tests.warm import WarmProcess, WarmPython

COMMAND = str(Path(sys.executable).with_name("pillarbox"))
PATIENCE_SECONDS = 60
LAST_SECONDS = 10

Process: TypeAlias = "asyncio.subprocess.Process | WarmProcess"


async def communicated(process: Process, communicating: Awaitable[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Wait for its end; return what it wrote. If it does not end it is killed, and the error has its last words."""
    reading = asyncio.ensure_future(communicating)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await asyncio.shield(reading)
    except BaseException as exc:
        exc.add_note(await last_words(process, reading))
        raise


async def last_words(process: Process, communicating: Awaitable[tuple[bytes, bytes]]) -> str:
    """Kill it; return what it wrote."""
    reading = asyncio.ensure_future(communicating)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    if not (await asyncio.wait({reading}, timeout=LAST_SECONDS))[0]:
        return "somebody else holds its output open"
    out, err = reading.result()
    return f"stdout:\n{out.decode(errors='replace')}\nstderr:\n{err.decode(errors='replace')}"


async def heard(systemd: socket.socket) -> str:
    """Return the next word that systemd is told."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return (await asyncio.get_running_loop().sock_recv(systemd, 4096)).decode()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def row(self, event: str) -> Any:
        """The only line of JSON that tells of *event*."""
        (found,) = (row for row in map(json.loads, self.out.splitlines()) if row["event"] == event)
        return found

    @property
    def said(self) -> str:
        """The only line on stderr, beside that which tells of a new database."""
        (line,) = (line for line in self.err.splitlines() if not line.startswith("made a new database: "))
        return line


@dataclass(kw_only=True)
class Running:
    """A command that runs on; its stdout is JSON lines."""

    process: Process

    async def line(self, event: str) -> dict[str, Any]:
        """Wait for the next line that tells of *event*."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while text := await self.process.stdout.readline():
                    row: dict[str, Any] = json.loads(text)
                    if row["event"] == event:
                        return row
        except TimeoutError as exc:
            exc.add_note(await last_words(self.process, self.process.communicate()))
            raise
        raise AssertionError(f"it ended before it told of {event!r}")

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> Ended:
        out, err = await communicated(self.process, self.process.communicate())
        assert self.process.returncode is not None
        return Ended(code=self.process.returncode, out=out.decode(), err=err.decode())


class Pillarbox:
    """
    The command `pillarbox`, with a home of its own.

    Calling it runs one command to its end; ``running`` leaves it running. ``variables`` are its environment's.
    """

    def __init__(self, home: Path, python: WarmPython) -> None:
        self._python = python
        self.home = home
        self.db = home / "outbox.db"
        ours = ("PILLARBOX_", "XDG_")
        self.variables = {
            **{name: value for name, value in python.environment.items() if not name.startswith(ours)},
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PILLARBOX_DB": str(self.db),
        }

    async def start(self, *arguments: str, **variables: str) -> Process:
        """Leave it running. It has nothing on stdin."""
        environment = {**self.variables, **variables}
        if self._python.suits(environment):
            return await self._python.start(COMMAND, *arguments, env=environment, cwd=self.home)
        return await self._start_cold((COMMAND, *arguments), environment, stdin=DEVNULL)

    async def _start_cold(
        self, words: Sequence[str], environment: Mapping[str, str], *, stdin: int
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *words, stdin=stdin, stdout=PIPE, stderr=PIPE, cwd=self.home, env=environment
        )

    async def __call__(
        self, *arguments: str, stdin: bytes | None = None, before: Sequence[str] = (), **variables: str
    ) -> Ended:
        process: Process
        if before or stdin is not None:
            environment = {**self.variables, **variables}
            cold = await self._start_cold((*before, COMMAND, *arguments), environment, stdin=PIPE)
            process, communicating = cold, cold.communicate(stdin)
        else:
            process = await self.start(*arguments, **variables)
            communicating = process.communicate()
        out, err = await communicated(process, communicating)
        assert process.returncode is not None
        ended = Ended(code=process.returncode, out=out.decode(), err=err.decode())
        assert "Traceback" not in ended.err
        assert "internal error" not in ended.err
        return ended

    @asynccontextmanager
    async def running(self, *arguments: str, **variables: str) -> AsyncIterator[Running]:
        process = await self.start(*arguments, **variables)
        try:
            yield Running(process=process)
        finally:
            if process.returncode is None:
                # It may have ended, and that not be told yet.
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.communicate()

    def serving(self, url: str, *, name: str = "ops", **settings: str) -> None:
        """Configure a channel for every command that follows."""
        prefix = f"PILLARBOX_CHANNELS__{name.upper()}__"
        self.variables |= {f"{prefix}URL": url} | {f"{prefix}{key.upper()}": value for key, value in settings.items()}
