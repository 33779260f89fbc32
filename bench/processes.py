"""
Whether several processes on one file are slower than one.

Each process produces and delivers, as in `lives`; together they do as many lives as the one process beside them. The
time runs from the word "go" until the last of them finds nothing due any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Point
from bench.harness.processes import Program, programs

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=400, quick=8_000, usual=20_000, full=100_000)
    samples: dict[int, list[float]] = {1: [], 2: [], 4: []}
    with plan.folder() as folder:
        for number in range(plan.rounds):
            for processes, rates in samples.items():
                rates.append(_rate(folder / f"{number}-{processes}.db", processes, count))
    return [Figure(name="one", unit="lives/s", samples=tuple(samples[1]), point=_point(1))] + [
        Figure(
            name=name,
            unit="lives/s",
            samples=tuple(samples[processes]),
            peer="one process",
            peer_samples=tuple(samples[1]),
            goal=Goal(least=least),
            point=_point(processes),
        )
        for name, processes, least in (("two in sum", 2, 1.3), ("four in sum", 4, 1.0))
    ]


def _point(processes: int) -> Point:
    return Point(plot="processes", series="in sum", at=processes)


def _rate(db: Path, processes: int, count: int) -> float:
    """Return the lives a second of all processes together."""
    each = count // processes
    with programs(*(Program("liver", db, each, f"process-{number}") for number in range(processes))) as all_of_them:
        for program in all_of_them:
            program.hear()
        for program in all_of_them:
            program.say("go")
        done = [program.hear() for program in all_of_them]
        for program in all_of_them:
            program.say("close")
        delivered = sum(program.hear()["delivered"] for program in all_of_them)
    assert delivered == each * processes, (delivered, each * processes)
    return float(delivered / (max(one["ended"] for one in done) - min(one["began"] for one in done)))
