"""Processes that need not import anything first: `tests/warm_server.py` forks them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER: Final = Path(__file__).with_name("warm_server.py")
# What an interpreter reads before it runs anything, so that a fork comes too late for it.
READ_AT_START: Final = ("PYTHON", "LANG", "LC_")


class WarmProcess:
    """A forked process, to be used as a `Process` of asyncio. It is started by ``WarmPython``."""

    def __init__(self, news: socket.socket, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self.pid = 0
        self._news = news
        self._told = b""
        self._ending: asyncio.Task[int] | None = None

    async def begun(self) -> Self:
        """Wait for its id."""
        self.pid = await self._number()
        self._ending = asyncio.create_task(self._end())
        return self

    async def _number(self) -> int:
        loop = asyncio.get_running_loop()
        while b"\n" not in self._told:
            piece = await loop.sock_recv(self._news, 64)
            assert piece, "the server of warm processes has ended"
            self._told += piece
        line, _, self._told = self._told.partition(b"\n")
        return int(line)

    async def _end(self) -> int:
        with self._news:
            self.returncode = await self._number()
        return self.returncode

    async def wait(self) -> int:
        assert self._ending is not None
        return await asyncio.shield(self._ending)

    async def communicate(self) -> tuple[bytes, bytes]:
        out, err = await asyncio.gather(_rest(self.stdout), _rest(self.stderr))
        await self.wait()
        return out, err

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def _rest(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


class WarmPython:
    """
    Starts scripts in processes of their own, which have all imports behind them.

    Attributes:
        environment: The server's own: that of the tests, but what is imported stays compiled in any case.
    """

    def __init__(self) -> None:
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._server: subprocess.Popen[bytes] | None = None
        self._requests, self._theirs = socket.socketpair()

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether *environment* says what the server's says, in all that an interpreter reads before it runs."""
        return _read_at_start(environment) == _read_at_start(self.environment)

    async def start(self, script: str, *arguments: str, env: Mapping[str, str], cwd: Path) -> WarmProcess:
        """Run *script* with nothing on stdin, and pipes at stdout and stderr."""
        if self._server is None:
            self._server = self._serve()
        (stdout, out), (stderr, err) = await _pipe(), await _pipe()
        ours, news = socket.socketpair()
        ours.setblocking(False)
        with tempfile.TemporaryFile("w+", encoding="utf-8") as asked, out, err, news:
            json.dump([[script, *arguments], dict(env), str(cwd)], asked)
            asked.seek(0)
            socket.send_fds(self._requests, [b"!"], [one.fileno() for one in (out, err, asked, news)])
        return await WarmProcess(ours, stdout, stderr).begun()

    def _serve(self) -> subprocess.Popen[bytes]:
        with self._theirs as theirs:
            command = [sys.executable, str(SERVER), str(theirs.fileno())]
            nothing = subprocess.DEVNULL
            return subprocess.Popen(command, env=self.environment, stdin=nothing, pass_fds=[theirs.fileno()])

    def close(self) -> None:
        """End the server. Processes that still run go on."""
        self._requests.close()
        self._theirs.close()
        if self._server is not None:
            self._server.wait()


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


async def _pipe() -> tuple[asyncio.StreamReader, IO[bytes]]:
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
    )
    return reader, os.fdopen(writing, "wb", 0)
