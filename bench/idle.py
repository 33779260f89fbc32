"""
What a worker costs that has nothing to do.

Over ten seconds: how often any of its threads was woken (voluntary context switches), how often its event loop was,
what it wrote, the share of a core it took, and its memory. The window lies between two signs of life, which are all
that an idle worker writes, every 15 seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench.harness.figure import Figure, Goal, Of
from bench.harness.processes import Program

if TYPE_CHECKING:
    from bench.harness.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    at: float
    switches: int
    wakes: int
    written: int
    written_to_disk: int
    cpu_seconds: float


def measure(plan: Plan) -> list[Figure]:
    seconds = plan.size(trial=0.2, quick=3.0, usual=10.0, full=60.0)
    settle = plan.size(trial=0.1, quick=3.0, usual=3.0)
    with plan.folder() as folder, Program("worker", folder / "idle.db") as program:
        program.hear()
        time.sleep(settle)
        # Asked outside of the window, because answering is work too.
        before = _read(program, wakes=_wakes(program))
        time.sleep(seconds)
        after = _read(program, wakes=0)
        wakes = _wakes(program) - before.wakes - 1
        resident = psutil.Process(program.pid).memory_info().rss / 1e6
        threads = len(list(Path(f"/proc/{program.pid}/task").iterdir()))
    span = after.at - before.at
    note = f"{span:.0f} s, {threads} threads"
    return [
        Figure(
            name="wake-ups, all threads",
            unit="/s",
            samples=((after.switches - before.switches) / span,),
            goal=Goal(of=Of.VALUE, most=5),
            note=note,
        ),
        Figure(name="wake-ups of the loop", unit="/s", samples=(wakes / span,)),
        Figure(
            name="written",
            unit="bytes",
            samples=(float(after.written - before.written),),
            goal=Goal(of=Of.VALUE, most=0) if seconds < 12 else None,
        ),
        Figure(
            name="written to the disk", unit="bytes", samples=(float(after.written_to_disk - before.written_to_disk),)
        ),
        Figure(
            name="CPU",
            unit="% of a core",
            samples=(100 * (after.cpu_seconds - before.cpu_seconds) / span,),
            aim=Goal(of=Of.VALUE, most=1),
        ),
        Figure(name="resident memory", unit="MB", samples=(resident,), goal=Goal(of=Of.VALUE, most=60)),
    ]


def _read(program: Program, wakes: int) -> _Reading:
    process = psutil.Process(program.pid)
    counters = process.io_counters()
    times = process.cpu_times()
    return _Reading(
        at=time.monotonic(),
        switches=sum(_voluntary(task) for task in Path(f"/proc/{program.pid}/task").iterdir()),
        wakes=wakes,
        written=counters.write_chars,
        written_to_disk=counters.write_bytes,
        cpu_seconds=times.user + times.system,
    )


def _wakes(program: Program) -> int:
    program.say("wakes")
    return int(program.hear()["wakes"])


def _voluntary(task: Path) -> int:
    for line in (task / "status").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "voluntary_ctxt_switches":
            return int(value)
    return 0
