"""
From another process's `send()` to the channel's.

A worker idles; another process, which does not deliver, sends at random moments, 10–40 ms apart, and writes into each
message when it began. At least two commits stand in between: the sender's, and the claim. Beside them, what one commit
of one row took before each round.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Of, Statistic
from bench.harness.other_process import latencies
from bench.harness.raw import RawCommits

if TYPE_CHECKING:
    from bench.harness.plan import Plan

_SECOND_MS = 1e3


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=5, quick=30, usual=100)
    ours: list[float] = []
    raw: list[float] = []
    with plan.folder() as folder:
        commits = RawCommits(folder / "raw.db")
        for number in range(plan.rounds):
            raw += [commits.commit() * _SECOND_MS for _ in range(count)]
            ours += asyncio.run(latencies(folder / f"{number}.db", count, seed=number))
        commits.close()
    samples, commit = tuple(ours), tuple(raw)
    return [
        Figure(name="p50", unit="ms", samples=samples, peer="raw commit", peer_samples=commit),
        Figure(name="p99", unit="ms", samples=samples, statistic=Statistic.P99, goal=Goal(of=Of.VALUE, most=20)),
        Figure(name="worst", unit="ms", samples=samples, statistic=Statistic.MOST),
    ]
