"""
How long anybody waits for the write lock of a file that several processes write to, and what their waiting costs.

One, two or four processes commit batches of 100 messages to one file as fast as they may, through pillarbox's store;
beside two and four, one more commits a single message now and then, as a command line does. What counts is how long
anybody waits at worst, and what they write in sum. Beside it stands SQLite alone, which waits with its busy timeout: it
writes plain rows, so that only its waits can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Of, Statistic
from bench.harness.processes import Program, programs
from bench.harness.raw import connect

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan

_ROWS = 100
_RARE_PAUSE_SECONDS = 0.05
_WRITERS = (1, 2, 4)
_SUM_LEAST = {2: 1.0, 4: 1.0}
_WORST_MS_MOST = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    rows: float
    worst_ms: float
    rare_worst_ms: float


def measure(plan: Plan) -> list[Figure]:
    seconds = plan.size(quick=0.5, usual=0.7, full=10.0)
    ours: dict[int, list[_Round]] = {writers: [] for writers in _WRITERS}
    theirs: dict[int, list[_Round]] = {writers: [] for writers in _WRITERS}
    with plan.folder() as folder:
        for number in range(plan.rounds):
            for writers in _WRITERS:
                ours[writers].append(_race(folder / f"{writers}-{number}.db", "pillarbox", writers, seconds))
                if writers > 1:
                    theirs[writers].append(_race(folder / f"sqlite-{writers}-{number}.db", "timeout", writers, seconds))
    one = tuple(found.rows for found in ours[1])
    figures = [Figure(name="1 writer", unit="rows/s", samples=one)]
    for writers, least in _SUM_LEAST.items():
        figures += _figures(writers, ours[writers], theirs[writers], one, Goal(least=least))
    return figures


def _figures(writers: int, ours: list[_Round], theirs: list[_Round], one: tuple[float, ...], aim: Goal) -> list[Figure]:
    return [
        Figure(
            name=f"{writers} writers in sum",
            unit="rows/s",
            samples=tuple(found.rows for found in ours),
            peer="1 writer",
            peer_samples=one,
            aim=aim,
        ),
        *(
            Figure(
                name=f"{writers} writers: worst wait{of_whom}",
                unit="ms",
                samples=tuple(getattr(found, field) for found in ours),
                peer="busy timeout",
                peer_samples=tuple(getattr(found, field) for found in theirs),
                statistic=Statistic.MOST,
                aim=Goal(of=Of.VALUE, most=_WORST_MS_MOST),
            )
            for of_whom, field in (("", "worst_ms"), (" of a rare one", "rare_worst_ms"))
        ),
    ]


def _race(db: Path, way: str, writers: int, seconds: float) -> _Round:
    if way == "timeout":
        # Before the others come: who finds no log yet would have to have the file for itself.
        connection = connect(db)
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, content TEXT)")
        connection.close()
    started = [Program("writer", db, way, seconds, _ROWS, 0.0) for _ in range(writers)]
    if writers > 1:
        started.append(Program("writer", db, way, seconds, 1, _RARE_PAUSE_SECONDS))
    with programs(*started) as all_of_them:
        for program in all_of_them:
            program.hear()
        for program in all_of_them:
            program.say("go")
        said = [program.hear() for program in all_of_them]
    busy, rare = said[:writers], said[writers:]
    return _Round(
        rows=sum(one["commits"] for one in busy) * _ROWS / seconds,
        worst_ms=max(one["worst"] for one in busy) * 1e3,
        rare_worst_ms=max((one["worst"] for one in rare), default=0.0) * 1e3,
    )
