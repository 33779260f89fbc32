"""
PostgreSQL: how large messages become on the disk while somebody reads all the time, and while nobody does.

A report or a backup keeps one transaction open for hours. Until it ends the server may tidy up nothing that was there
when it began: the rows and index entries that queues leave behind, one at every step of a message.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal
from bench.harness.server import Server, reader, size
from bench.programs.crowd import lives

if TYPE_CHECKING:
    from bench.harness.plan import Plan

_MB = 1e6


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=1_000, quick=10_000, usual=40_000, full=1_000_000)
    read: list[float] = []
    alone: list[float] = []
    rates: dict[str, list[float]] = {"read": [], "alone": []}
    with plan.folder() as folder, Server(folder) as server:
        for _ in range(plan.size(trial=1, quick=1, usual=2, full=1)):
            with server.database() as url:
                rates["alone"].append(asyncio.run(lives(url, count)).rate)
                alone.append(size(url) / _MB)
            with server.database() as url, reader(url):
                rates["read"].append(asyncio.run(lives(url, count)).rate)
                read.append(size(url) / _MB)
    return [
        Figure(
            name=f"messages and their indexes after {count} lives, with a reader open",
            unit="MB",
            samples=tuple(read),
            peer="without one",
            peer_samples=tuple(alone),
            goal=Goal(most=1.5),
        ),
        Figure(
            name="1 000 producers, with a reader open",
            unit="lives/s",
            samples=tuple(rates["read"]),
            peer="without one",
            peer_samples=tuple(rates["alone"]),
        ),
    ]
