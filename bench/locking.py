"""
How several processes should wait for one SQLite file.

A sketch, without pillarbox: two or four processes commit batches of 100 rows as fast as they may, and one more commits
now and then, as a command line does. They wait with SQLite's busy timeout; with a busy handler that looks every half
millisecond; or with a lock on a file beside the database, which the kernel hands on. What counts is how long anybody
waits for the write lock at worst, and what the waiting costs in throughput (design decision 5). SQLite's own blocking
locks (``setlk_timeout``) were tried too: they wait as long as the busy timeout does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Statistic
from bench.harness.processes import Program, programs
from bench.harness.raw import connect

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan

_WAYS = {
    "timeout": "busy timeout",
    "polling": "looking every 0.5 ms",
    "sidecar": "sidecar lock",
}
_BUSY_PAUSE_SECONDS = 0.0005
_RARE_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    commits: float
    worst_ms: float
    rare_worst_ms: float


def measure(plan: Plan) -> list[Figure]:
    seconds = plan.size(quick=0.5, usual=0.7, full=10.0)
    figures: list[Figure] = []
    for writers in (2, 4):
        rounds: dict[str, list[_Round]] = {way: [] for way in _WAYS}
        with plan.folder() as folder:
            for number in range(plan.rounds):
                for way, found in rounds.items():
                    found.append(_race(folder / f"{way}-{number}.db", way, writers, seconds))
        figures += _figures(writers, rounds)
    return figures


def _figures(writers: int, rounds: dict[str, list[_Round]]) -> list[Figure]:
    first = next(iter(_WAYS))
    peer = _WAYS[first]
    figures = []
    for way, name in _WAYS.items():
        ours, theirs = rounds[way], rounds[first]
        figures += [
            Figure(
                name=f"{writers} writers, {name}: commits",
                unit="/s",
                samples=tuple(one.commits for one in ours),
                peer="" if way == first else peer,
                peer_samples=() if way == first else tuple(one.commits for one in theirs),
            ),
            Figure(
                name=f"{writers} writers, {name}: worst wait",
                unit="ms",
                samples=tuple(one.worst_ms for one in ours),
                peer="" if way == first else peer,
                peer_samples=() if way == first else tuple(one.worst_ms for one in theirs),
                statistic=Statistic.MOST,
            ),
            Figure(
                name=f"{writers} writers, {name}: worst wait of a rare one",
                unit="ms",
                samples=tuple(one.rare_worst_ms for one in ours),
                peer="" if way == first else peer,
                peer_samples=() if way == first else tuple(one.rare_worst_ms for one in theirs),
                statistic=Statistic.MOST,
            ),
        ]
    return figures


def _race(db: Path, way: str, writers: int, seconds: float) -> _Round:
    connection = connect(db)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, content TEXT)")
    connection.close()
    pauses = [_BUSY_PAUSE_SECONDS] * writers + [_RARE_PAUSE_SECONDS]
    with programs(*(Program("writer", db, way, seconds, pause) for pause in pauses)) as all_of_them:
        for program in all_of_them:
            program.hear()
        for program in all_of_them:
            program.say("go")
        said = [program.hear() for program in all_of_them]
    *busy, rare = said
    return _Round(
        commits=sum(one["commits"] for one in busy) / seconds,
        worst_ms=max(one["worst"] for one in busy) * 1e3,
        rare_worst_ms=rare["worst"] * 1e3,
    )
