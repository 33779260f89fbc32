"""
PostgreSQL: lives beside other queues there, and from another process's `send()` to the channel's.

Every system works on the same server, which runs beside it with fsync on, in a database that is empty when it begins.
Lives are whole ones, each system with the batches that are best for it: ours are sent by the thousand, and beside that
by 1 000 producers who await each send.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bench.harness.figure import Figure, Goal, Of, Statistic
from bench.harness.filling import CHANNEL
from bench.harness.other_process import latencies
from bench.harness.peers import OBAN, PGQUEUER, PROCRASTINATE, Installed, install
from bench.harness.server import RawCommits, Server
from bench.programs.crowd import SLOTS, TEXT, lives
from pillarbox import Attempt, Outbox, Outgoing

if TYPE_CHECKING:
    from bench.harness.plan import Plan

_SECOND_MS: Final = 1e3
_GROUP: Final = 1000
_PEERS: Final = (PGQUEUER, PROCRASTINATE, OBAN)
# The slower ones get fewer messages, so that a round takes seconds.
_SHARES: Final = {PGQUEUER.name: 1.0, PROCRASTINATE.name: 0.1, OBAN.name: 0.25}
_GOALS: Final = {PGQUEUER.name: 1.5, PROCRASTINATE.name: 10.0, OBAN.name: 4.0}


def measure(plan: Plan) -> list[Figure]:
    with plan.folder() as folder, Server(folder) as server:
        figures = _lives(server, plan)
        figures += _latency(server, plan)
    return figures


def _lives(server: Server, plan: Plan) -> list[Figure]:
    count = plan.size(trial=1_000, quick=10_000, usual=20_000, full=100_000)
    there, absent = install(plan.size(trial=(), quick=_PEERS, usual=_PEERS), plan)
    groups: list[float] = []
    crowd: list[float] = []
    cpu: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in there}
    for _ in range(plan.rounds):
        with server.database() as url:
            groups.append(asyncio.run(_by_groups(url, count)))
        with server.database() as url:
            one = asyncio.run(lives(url, count))
            crowd.append(one.rate)
            cpu.append(one.cpu_microseconds)
        for name, peer in there.items():
            with server.database() as url:
                theirs[name].append(_beside(peer, plan, round(count * _SHARES[name]), url))
    figures = [
        Figure(
            name="sent by the thousand",
            unit="lives/s",
            samples=tuple(groups),
            goal=Goal(of=Of.VALUE, least=15_000),
            note=f"PostgreSQL {server.version}, one process; {'; '.join(f'{n}: {w}' for n, w in absent.items())}",
        ),
        Figure(name="1 000 producers", unit="lives/s", samples=tuple(crowd)),
        Figure(name="our CPU of one life", unit="µs", samples=tuple(cpu), note="the server's is not in it"),
    ]
    figures += [
        Figure(
            name=f"beside {name}",
            unit="lives/s",
            samples=tuple(groups),
            peer=f"{name} {there[name].version}",
            peer_samples=tuple(rates),
            goal=Goal(least=_GOALS[name]),
        )
        for name, rates in theirs.items()
    ]
    return figures


def _beside(peer: Installed, plan: Plan, count: int, url: str) -> float:
    return peer.lives(plan, count, "fsync", place=url)


async def _by_groups(url: str, count: int) -> float:
    """Send *count* messages a thousand a call, while they are delivered; return lives a second."""
    box = Outbox(url, concurrency=SLOTS)
    box.channel(CHANNEL, _accept, concurrency=SLOTS)
    async with box:
        began = time.perf_counter()
        for first in range(0, count, _GROUP):
            group = range(first, first + _GROUP)
            await box.send_many([Outgoing(channel=CHANNEL, to=f"recipient-{n}", text=TEXT) for n in group])
        await box.drain(600)
        seconds = time.perf_counter() - began
        assert box.counts["delivered"] == count
    return count / seconds


async def _accept(_: Attempt) -> None:
    """Take it at once."""


def _latency(server: Server, plan: Plan) -> list[Figure]:
    count = plan.size(trial=5, quick=100, usual=200)
    figures: list[Figure] = []
    for knows in plan.size(trial=(False,), quick=(True, False), usual=(True, False)):
        ours: list[float] = []
        raw: list[float] = []
        for number in range(plan.rounds):
            with server.database() as url:
                commits = RawCommits(url)
                raw += [commits.commit() * _SECOND_MS for _ in range(count)]
                commits.close()
                ours += asyncio.run(latencies(url, count, seed=number, knows=knows))
        whose = "from a process that knows the channel" if knows else "from one that does not"
        samples, commit = tuple(ours), tuple(raw)
        figures += [
            Figure(name=f"p50 {whose}", unit="ms", samples=samples, peer="raw commit", peer_samples=commit),
            Figure(
                name=f"p99 {whose}",
                unit="ms",
                samples=samples,
                peer="raw commit",
                peer_samples=commit,
                statistic=Statistic.P99,
                goal=Goal(of=Of.VALUE, most=10),
                note="" if knows else "the worker stores what the channel made of the message before it is sent",
            ),
        ]
    return figures
