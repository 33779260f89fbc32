"""
Pillarbox for the neutral harness of ``hardbyte/postgresql-job-queue-benchmarking``, which starts it as a process.

It follows that project's ``CONTRIBUTING_ADAPTERS.md``: what is asked for comes in environment variables, samples go out
as one JSON object a line, SIGTERM ends it. One process accepts messages at a fixed rate and delivers them; to join the
harness, copy this folder there as ``pillarbox-bench`` and register it, as that page says.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
import time
from collections import deque
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pillarbox import Attempt, Outbox, Outgoing

_MANIFEST: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("adapter.json").read_text("utf-8"))
_SYSTEM: Final[str] = _MANIFEST["system"]
_CHANNEL: Final = "bench"
_WINDOW_SECONDS: Final = 30.0
_LATENCIES_MAX: Final = 32_768  # bounded, as the rules ask for
_STOP_SECONDS: Final = 3.0
_STEP_SECONDS: Final = 0.01
_DEPTH_SECONDS: Final = 0.2
_MODES: Final = ("fixed", "depth-target")


class Asked:
    """What the harness asks for, out of *variables*. Raises ValueError that names what is wrong."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self.url = variables.get("DATABASE_URL", "")
        if not self.url:
            raise ValueError("DATABASE_URL: expected the URL of a PostgreSQL database")
        self.scenario = variables.get("SCENARIO", "long_horizon")
        if self.scenario not in {"long_horizon", "migrate_only"}:
            raise ValueError(f"SCENARIO: expected long_horizon or migrate_only, not {self.scenario}")
        self.mode = variables.get("PRODUCER_MODE", "fixed")
        if self.mode not in _MODES:
            raise ValueError(f"PRODUCER_MODE: expected {' or '.join(_MODES)}, not {self.mode}")
        self._rate = self._number("PRODUCER_RATE", 800)
        self.depth = self._number("TARGET_DEPTH", 1000)
        self.workers = self._number("WORKER_COUNT", 32) or 1
        self.payload_bytes = self._number("JOB_PAYLOAD_BYTES", 256)
        self.work_seconds = self._number("JOB_WORK_MS", 1) / 1000
        self.every_seconds = self._number("SAMPLE_EVERY_S", 5) or 1
        self.batch = self._number("PRODUCER_BATCH_MAX", 1) or 1
        self.instance = self._number("BENCH_INSTANCE_ID", 0)

    def rate(self) -> int:
        """Return messages a second; a file may change it while it runs."""
        file = self._variables.get("PRODUCER_RATE_CONTROL_FILE")
        if file is None:
            return self._rate
        try:
            return int(float(Path(file).read_text("utf-8")))
        except (OSError, ValueError):
            return self._rate

    def _number(self, name: str, otherwise: int) -> int:
        said = self._variables.get(name, str(otherwise))
        if not said.isdigit():
            raise ValueError(f"{name}: expected a whole number, 0 or more, not {said}")
        return int(said)


class Adapter:
    """One process of the harness: accepts, delivers, and tells how that goes."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._box = Outbox(asked.url, concurrency=asked.workers)
        self._box.channel(_CHANNEL, self._work, concurrency=asked.workers)
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_LATENCIES_MAX)
        self._accepted = 0
        self._completed = 0
        self._depth = 0
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        async with self._box:
            if self._asked.scenario == "migrate_only":
                return
            self._say_who()
            tasks = [asyncio.create_task(one()) for one in (self._produce, self._look, self._sample)]
            await self._ended.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._box.stop(_STOP_SECONDS)

    async def _work(self, attempt: Attempt) -> None:
        accepted_ms = float(attempt.text.partition(" ")[0])
        self._latencies.append((time.monotonic(), max(0.0, time.time() * 1000 - accepted_ms)))
        if self._asked.work_seconds:
            await asyncio.sleep(self._asked.work_seconds)
        self._completed += 1

    async def _produce(self) -> None:
        credit, looked = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(_STEP_SECONDS)
            now = time.monotonic()
            if self._asked.mode == "fixed":
                credit += self._asked.rate() * (now - looked)
            else:
                credit = float(max(0, self._asked.depth - self._depth))
            looked = now
            while credit >= 1:
                count = min(int(credit), self._asked.batch)
                await self._accept(count)
                credit -= count

    async def _accept(self, count: int) -> None:
        stamp = f"{time.time() * 1000:.3f} "
        text = stamp.ljust(self._asked.payload_bytes, "x")
        numbers = range(self._accepted, self._accepted + count)
        await self._box.send_many([Outgoing(channel=_CHANNEL, to=f"recipient-{n}", text=text) for n in numbers])
        self._accepted += count
        if self._asked.mode != "fixed":
            self._depth += count

    async def _look(self) -> None:
        while self._asked.instance == 0:
            self._depth = sum(one.messages for one in await self._box.stats() if one.state == "scheduled")
            await asyncio.sleep(_DEPTH_SECONDS)

    async def _sample(self) -> None:
        every = self._asked.every_seconds
        await asyncio.sleep(every - time.time() % every)
        began, accepted, completed = time.monotonic(), self._accepted, self._completed
        while True:
            await asyncio.sleep(every - time.time() % every)
            now = time.monotonic()
            seconds = now - began
            self._say_sample("enqueue_rate", (self._accepted - accepted) / seconds, every)
            self._say_sample("completion_rate", (self._completed - completed) / seconds, every)
            began, accepted, completed = now, self._accepted, self._completed
            recent = sorted(took for at, took in self._latencies if at >= now - _WINDOW_SECONDS)
            for percent in (50, 95, 99):
                self._say_sample(f"claim_p{percent}_ms", percentile(recent, percent), _WINDOW_SECONDS)
            if self._asked.instance == 0:
                self._say_sample("queue_depth", self._depth, 0)
                self._say_sample("producer_target_rate", self._asked.rate() if self._asked.mode == "fixed" else 0, 0)

    def _say_who(self) -> None:
        tables = {name: _MANIFEST[name] for name in ("system", "event_tables", "extensions", "db_name")}
        about = {"version": version("pillarbox"), "schema_version": "current", "started_at": _now()}
        self._say({"kind": "descriptor"} | tables | about)

    def _say_sample(self, metric: str, value: float, seconds: float) -> None:
        what = {"kind": "adapter", "subject_kind": "adapter", "subject": "", "metric": metric}
        self._say({"t": _now(), "system": _SYSTEM} | what | {"value": float(value), "window_s": float(seconds)})

    def _say(self, record: dict[str, Any]) -> None:
        print(json.dumps(record | {"instance_id": self._asked.instance}), flush=True)


def percentile(ordered: list[float], percent: float) -> float:
    """Return the smallest of *ordered* that *percent* of them do not exceed; 0 of none."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> int:
    """Run; 2 where what the harness asks for makes no sense."""
    try:
        asked = Asked(dict(os.environ))
    except ValueError as error:
        print(f"pillarbox: {error}", file=sys.stderr)
        return 2
    asyncio.run(_run(asked))
    return 0


async def _run(asked: Asked) -> None:
    await Adapter(asked).run()


if __name__ == "__main__":
    sys.exit(main())
