"""Processes for the acceptance tests: each is ended by the one who started it, by its own id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import apsw
import pytest

from pillarbox.outbox.outbox import Outbox

if TYPE_CHECKING:
    from types import TracebackType

    from pillarbox.outbox.message import Message
    from pillarbox.testing.receiver import Received

SECONDS: Final = 60.0
WORKER: Final = Path(__file__).with_name("worker_process.py")
RETRY: Final = {"schedule": "10ms", "jitter": 0.0}


class WorkerProcess:
    """One worker in a process of its own. Killed at the end of the context, if it still runs."""

    script = WORKER

    def __init__(self, db: Path | str, url: str, **settings: Any) -> None:
        channel = RETRY | settings.pop("channel", {})
        self._arguments = [str(db), url, json.dumps({"channel": channel} | settings)]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(self.script), *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        try:
            await self.said("ready")
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def said(self, line: str) -> None:
        """Wait until it said so."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            assert (await self.process.stdout.readline()).decode().strip() == line

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def pause(self) -> None:
        """Stop it with SIGSTOP, and wait until it stands still."""
        self.signal(signal.SIGSTOP)
        async with asyncio.timeout(SECONDS):
            while _state_of(self.process.pid) != "T":  # noqa: ASYNC110 — the kernel sends no event
                await asyncio.sleep(0)

    async def freeze(self, db: Path) -> None:
        """Stop it with SIGSTOP, but not inside a transaction: nobody else could write for as long as it sleeps."""
        async with asyncio.timeout(SECONDS):
            while True:
                await self.pause()
                with contextlib.closing(apsw.Connection(str(db))) as probe, contextlib.suppress(apsw.BusyError):
                    probe.execute("BEGIN IMMEDIATE; ROLLBACK")
                    return
                self.signal(signal.SIGCONT)
                await asyncio.sleep(0)

    async def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone. Safe to repeat."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.ended()

    async def ended(self) -> int:
        """Wait until it is gone; gives its exit code."""
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


class Accepting:
    """An outbox of the test's own process, which accepts and looks but does not deliver."""

    def __init__(self, db: Path | str, **settings: Any) -> None:
        self.outbox = Outbox(db, deliver=False, **settings)

    async def __aenter__(self) -> Self:
        await self.outbox.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.outbox.close()

    async def send(self, to: str = "ann", *, text: str = "hi", **said: Any) -> Message:
        # What is accepted without its channel takes the outbox's own policy: short waits, so that tests are quick.
        said.setdefault("schedule", "10ms")
        return await self.outbox.send("hooks", to=to, text=text, **said)

    async def settled(self, *messages: Message) -> list[Message]:
        """Wait until nothing more happens to them by itself."""
        async with asyncio.timeout(SECONDS):
            return [await message.wait() for message in messages]


class Witness:
    """
    Looks into the database at the moment in which a request arrives.

    Attributes:
        unexplained: Requests whose attempt was not committed as begun when they arrived.
    """

    def __init__(self, db: Path) -> None:
        self._db = db
        self.unexplained: list[str] = []

    def __call__(self, request: Received) -> None:
        identity, number = request.headers["webhook-id"], int(request.headers["pillarbox-attempt"])
        connection = apsw.Connection(str(self._db), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(5_000)
            rows = connection.execute("SELECT claims, state FROM message WHERE id = ?", (identity,)).fetchall()
        finally:
            connection.close()
        claims = rows[0][0] if rows else 0
        if not isinstance(claims, int) or claims < number:
            self.unexplained.append(f"{identity}: attempt {number} of {rows}")


def order_by_lane(requests: list[Received]) -> dict[str, list[str]]:
    """The texts of each recipient in the order in which they arrived first."""
    lanes: dict[str, list[str]] = {}
    for request in requests:
        texts = lanes.setdefault(request.json["to"], [])
        if request.json["text"] not in texts:
            texts.append(request.json["text"])
    return lanes


async def run_script(script: str, *arguments: str, code: int = 0) -> str:
    """Run a Python script in a process of its own to its end; gives what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != code:
        pytest.fail(f"exit code {process.returncode}, expected {code}\n{out.decode()}\n{err.decode()}")
    return out.decode()
