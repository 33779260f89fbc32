"""
Whole lives in one process: many producers that await every send, a channel that accepts at once, nothing around it.

What `lives` measures, as a program of its own: to be run beside other systems' programs, on other Pythons, and under a
profiler. It needs nothing but pillarbox.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.programs.speech import say
from pillarbox import Attempt, Outbox

if TYPE_CHECKING:
    from pillarbox.outbox.add_channel import FunctionOptions

PRODUCERS: Final = 1000
SLOTS: Final = 1000
TEXT: Final = "Deploy done, all checks are green"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """What one round found: lives a second, and what one life costs."""

    rate: float
    cpu_microseconds: float


async def lives(
    path: Path | str,
    count: int,
    *,
    producers: int = PRODUCERS,
    slots: int | None = SLOTS,
    text: str = TEXT,
    **settings: Any,  # noqa: ANN401 — passed on as they are
) -> Lives:
    """Run *count* lives, each producer as many, *slots* at once; ``None`` leaves that to the defaults."""
    policy: FunctionOptions = {} if slots is None else {"concurrency": slots}
    box = Outbox(path, **policy, **settings)
    box.channel("ops", _accept, **policy)
    each = count // producers

    async def produce(recipient: str) -> None:
        for _ in range(each):
            await box.send("ops", to=recipient, text=text)

    async with box:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(produce(f"recipient-{number}") for number in range(producers)))
        report = await box.drain(600)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        delivered = box.counts["delivered"]
    assert delivered == each * producers, report
    return Lives(rate=delivered / seconds, cpu_microseconds=cpu / delivered * 1e6)


async def _accept(_: Attempt) -> None:
    """Take it at once."""


def main() -> None:
    """Live, and report how that went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("db", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--producers", type=int, default=PRODUCERS)
    parser.add_argument("--durability", default="power")
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    factory = importlib.import_module("uvloop").new_event_loop if options.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        found = runner.run(lives(options.db, options.count, producers=options.producers, durability=options.durability))
    say(rate=found.rate, cpu_microseconds=found.cpu_microseconds)


if __name__ == "__main__":
    main()
