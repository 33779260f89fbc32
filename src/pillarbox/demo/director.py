"""
Directs a demonstration: a receiver and a worker as processes of their own, and what happens to them.

The worker is killed with SIGKILL only while the receiver holds answers back: so each time at least one message was
read there and not settled here. Nothing waits for time to pass; every step follows a line that a process wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from pillarbox.demo.judge import Entry, Sent, Told, Verdict, judge
from pillarbox.domain.message import State
from pillarbox.entropy import SystemEntropy
from pillarbox.outbox.outbox import Outbox
from pillarbox.settings import load as config

CHANNEL: Final = "demo"
# A message may be in the hands of every worker that is killed; then it is tried again soon, and never given up.
_SCHEDULE: Final = "100ms"
# On a server a killed worker is noticed when its leases run out: they are short, and longer than an attempt.
_ATTEMPT_SECONDS: Final = 1
_LEASE_SECONDS: Final = 4
_MAX_ATTEMPTS: Final = 100
_STOP_SECONDS: Final = 10.0
_PAGE: Final = 1000
_LEDGER: Final = msgspec.json.Decoder(Entry)


class DemoFailed(Exception):
    """The demonstration could not be held: a process of its own ended, or nothing moved any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """
    What is to be shown.

    Attributes:
        folder: For the database, the ledger and the workers' logs; must exist.
        db: A server's database for the queue, under a channel of its own; ``None``: a file in *folder*.
        worker: The command that delivers; ``--db`` and ``--config`` are added.
        seconds_max: When it is called off, and judged as it stands.
    """

    folder: Path
    messages: int = 300
    lanes: int = 20
    kills: int = 3
    db: str | None = None
    worker: Sequence[str] = (sys.executable, "-m", "pillarbox", "run")
    seconds_max: float = 25.0


@dataclass(slots=True, kw_only=True)
class Scene:
    """How far it is: what is shown while it runs."""

    sent: int = 0
    answered: int = 0
    kills: int = 0


Show = Callable[[Scene, str | None], None]
"""Told of every step: how far it is, and a sentence where there is something to say."""


class Director:
    """One demonstration. `hold` it once."""

    def __init__(self, play: Play, show: Show) -> None:
        self._play = play
        self._show = show
        self._db = str(play.folder / "outbox.db") if play.db is None else play.db
        # Of one that was broken off on a server, something may still be waiting.
        self._channel = CHANNEL if play.db is None else f"{CHANNEL}_{SystemEntropy().token(4).hex()}"
        self._ledger = play.folder / "ledger.jsonl"
        self._config = play.folder / "pillarbox.toml"
        self._scene = Scene()
        self._moved = asyncio.Event()
        self._holding = False
        self._ready = False
        self._listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._workers = 0

    async def hold(self) -> tuple[Verdict, int]:
        """
        Send, kill, restart, and judge. Gives the verdict and the number of kills.

        Raises:
            DemoFailed: A process ended that was not killed.
        """
        async with self._receiver() as (url, orders):
            self._config.write_text(self._settings(url), "utf-8")
            async with Outbox(self._db, deliver=False) as box:
                sent: list[Sent] = []
                sending = asyncio.ensure_future(self._send_all(box, sent))
                try:
                    async with asyncio.timeout(self._play.seconds_max):
                        await self._kill_and_restart(orders)
                        await sending
                except TimeoutError:
                    self._tell(f"called off after {self._play.seconds_max:g} s")
                finally:
                    sending.cancel()
                told = await self._told(box, sent)
        return judge(sent, _entries(self._ledger), told), self._scene.kills

    def _settings(self, url: str) -> str:
        channel = f'[channels.{self._channel}]\nurl = "{url}"\n'
        if self._play.db is None:
            return channel
        return f'lease_seconds = {_LEASE_SECONDS}\n{channel}timeout = "{_ATTEMPT_SECONDS}s"\n'

    async def _told(self, box: Outbox, sent: Sequence[Sent]) -> dict[str, Told]:
        """Ask the database about every message, and when each of its attempts was committed."""
        told = {}
        for item in sent:
            message = await box.get(item.id)
            events = await box.history(item.id)
            # A server's clock is not the receiver's: then it counts that an attempt was committed, and not when.
            told[item.id] = Told(
                delivered=message is not None and message.state is State.DELIVERED,
                claims={
                    event.attempt: event.at_ms if self._play.db is None else 0
                    for event in events
                    if event.act == "claim" and event.attempt
                },
            )
        return told

    def _tell(self, sentence: str | None = None) -> None:
        self._show(self._scene, sentence)

    async def _send_all(self, box: Outbox, sent: list[Sent]) -> None:
        """Accept everything, while the workers come and go: lane by lane one after the other, the lanes at once."""
        await asyncio.gather(*(self._send_lane(box, lane, sent) for lane in range(self._play.lanes)))
        self._tell(f"{len(sent)} messages in {self._play.lanes} lanes are on disk")

    async def _send_lane(self, box: Outbox, lane: int, sent: list[Sent]) -> None:
        for place in range(len(range(lane, self._play.messages, self._play.lanes))):
            message = await box.send(
                self._channel,
                to=f"lane {lane}",
                text=f"message {place}",
                lane=f"lane {lane}",
                schedule=_SCHEDULE,
                max_attempts=_MAX_ATTEMPTS,
            )
            sent.append(Sent(id=message.id or "", lane=lane, place=place))
            self._scene.sent += 1
            self._tell()

    async def _kill_and_restart(self, orders: asyncio.StreamWriter) -> None:
        for kill in range(self._play.kills):
            # Before the worker starts: so it meets a receiver that will hold after exactly so many.
            await self._order(orders, hold_after=(kill + 1) * self._play.messages // (self._play.kills + 1))
            async with self._worker() as worker:
                await self._until(lambda: self._holding, worker)
                worker.send_signal(signal.SIGKILL)
                await worker.wait()
            self._scene.kills += 1
            self._tell(f"worker {worker.pid} was killed with SIGKILL")
        await self._order(orders)
        async with self._worker() as worker:
            await self._until(lambda: self._scene.answered >= self._play.messages, worker)
            # What is answered is not yet settled: a stop that is asked for waits for that.
            worker.send_signal(signal.SIGTERM)
            await worker.wait()
        self._tell("everything was answered; the last worker has stopped")

    async def _order(self, orders: asyncio.StreamWriter, **order: int) -> None:
        """Send the receiver its next order, and wait until it obeys."""
        self._ready = self._holding = False
        orders.write(msgspec.json.encode(order) + b"\n")
        await self._until(lambda: self._ready)

    async def _until(self, there: Callable[[], bool], worker: asyncio.subprocess.Process | None = None) -> None:
        """Wait until the receiver has said enough. Raises DemoFailed when it, or the *worker*, ends first."""
        processes: list[asyncio.Future[Any]] = [self._listening]
        if worker is not None:
            processes.append(asyncio.ensure_future(worker.wait()))
        try:
            while not there():
                self._moved.clear()
                moved = asyncio.ensure_future(self._moved.wait())
                await asyncio.wait((*processes, moved), return_when=asyncio.FIRST_COMPLETED)
                moved.cancel()
                if self._listening.done():
                    raise DemoFailed("the receiver ended by itself")
                if processes[-1].done():
                    raise DemoFailed(f"the worker ended by itself: {self._last_words()}")
        finally:
            for process in processes[1:]:
                process.cancel()

    def _log(self) -> Path:
        return self._play.folder / f"worker-{self._workers}.log"

    def _last_words(self) -> str:
        lines = self._log().read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator[asyncio.subprocess.Process]:
        self._workers += 1
        # A URL may hold a password, which everybody on this machine could read in a command line.
        named = ("--db", self._db) if self._play.db is None else ()
        told = {} if self._play.db is None else {"PILLARBOX_DB": self._db}
        with self._log().open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *self._play.worker,
                *named,
                "--config",
                str(self._config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._play.folder,
                env=config.environ_of_others() | told,
            )
        async with _ending(process):
            yield process

    @contextlib.asynccontextmanager
    async def _receiver(self) -> AsyncIterator[tuple[str, asyncio.StreamWriter]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pillarbox.demo.webhook_server",
            "--ledger",
            str(self._ledger),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if process.stdin is None or process.stdout is None:
            raise DemoFailed("the receiver has no pipes")
        async with _ending(process):
            ready = await process.stdout.readline()
            if not ready:
                raise DemoFailed("the receiver did not start")
            self._listening = asyncio.ensure_future(self._listen(process.stdout))
            try:
                yield msgspec.json.decode(ready)["url"], process.stdin
            finally:
                self._listening.cancel()

    async def _listen(self, lines: asyncio.StreamReader) -> None:
        """Keep up with what the receiver says."""
        while line := await lines.readline():
            said: dict[str, Any] = msgspec.json.decode(line)
            match said["event"]:
                case "answered":
                    self._scene.answered = said["count"]
                case "held":
                    self._holding = True
                case "ready":
                    self._ready = True
                    if said["count"]:
                        read = "1 message" if said["count"] == 1 else f"{said['count']} messages"
                        self._tell(f"the receiver had read {read} and not answered")
            self._tell()
            self._moved.set()


@contextlib.asynccontextmanager
async def _ending(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Leave no process behind, whatever happens."""
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _entries(ledger: Path) -> list[Entry]:
    """Read the ledger; a last line that was cut short counts for nothing."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    return [_LEDGER.decode(line) for line in lines if line.endswith(b"\n")]
