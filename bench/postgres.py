"""
PostgreSQL: lives beside other queues there, from another process's `send()` to the channel's, and what grows.

Every system works on the same server, which runs beside it with fsync on, in a database that is empty when it begins.
Lives are whole ones, each system with the batches that are best for it: ours are sent by the thousand, and beside that
by 1 000 producers who await each send.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bench.harness.claimer import BLOCKED_LANE, Claimer, beside_few, medians
from bench.harness.figure import Figure, Goal, Of, Statistic
from bench.harness.filling import CHANNEL
from bench.harness.other_process import latencies
from bench.harness.peers import OBAN, PGQUEUER, PROCRASTINATE, Installed, install
from bench.harness.server import RawCommits, Server, fill, reader, size, store, tidy
from bench.programs.crowd import SLOTS, TEXT, lives
from pillarbox import Attempt, Outbox, Outgoing
from pillarbox.clock import SystemClock

if TYPE_CHECKING:
    from bench.harness.plan import Plan

_SECOND_MS: Final = 1e3
_GROUP: Final = 1000
_FEW: Final = 1_000
_PEERS: Final = (PGQUEUER, PROCRASTINATE, OBAN)
# The slower ones get fewer messages, so that a round takes seconds.
_SHARES: Final = {PGQUEUER.name: 1.0, PROCRASTINATE.name: 0.1, OBAN.name: 0.25}
_GOALS: Final = {PGQUEUER.name: 1.5, PROCRASTINATE.name: 10.0, OBAN.name: 4.0}


def measure(plan: Plan) -> list[Figure]:
    with plan.folder() as folder, Server(folder) as server:
        figures = _lives(server, plan)
        figures += _latency(server, plan)
        figures += asyncio.run(_claims(server, plan))
        figures += _growth(server, plan)
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


async def _claims(server: Server, plan: Plan) -> list[Figure]:
    many = plan.size(trial=100, quick=100_000, usual=1_000_000, full=10_000_000)
    few = plan.size(trial=50, quick=10_000, usual=10_000)
    blocked = plan.size(trial=200, quick=20_000, usual=1_000_000)
    turns = plan.size(trial=2, quick=20, usual=50)
    now_ms = SystemClock().wall_ms()
    with server.database() as small, server.database() as large, server.database() as behind:
        short = Claimer(store(small), await fill(small, few, now_ms=now_ms - 60_000))
        long = Claimer(store(large), await fill(large, many, now_ms=now_ms - 60_000))
        queue = await fill(behind, blocked, now_ms=now_ms - 60_000, lane=BLOCKED_LANE)
        await fill(behind, _FEW, now_ms=now_ms)
        waiting = Claimer(store(behind), queue)
        for claimer in (short, long, waiting):
            await claimer.open()
        steps = await waiting.step_over()
        at_once = await waiting.median(turns) * 1e6
        # As the server does by itself within a minute: what was stepped over stands dead at the front of an index.
        tidy(behind)
        base, longer, stepped = await medians((short, long, waiting), plan)
        for claimer in (short, long, waiting):
            await claimer.close()
    figures = [
        Figure(name=f"claim of ten of {few}", unit="µs", samples=base),
        beside_few(f"claim of ten of {many}", longer, few, base),
        beside_few(f"claim of ten behind {blocked} of a blocked lane", stepped, few, base),
    ]
    note = f"{len(steps)} claims"
    return [
        *figures,
        Figure(name="stepping over that lane, once", unit="ms", samples=(sum(steps) * 1e3,), note=note),
        Figure(
            name="claim of ten right after that",
            unit="µs",
            samples=(at_once,),
            peer=f"of {few}",
            peer_samples=base,
            note="until the server tidies up what was stepped over, which it does within a minute",
        ),
    ]


def _growth(server: Server, plan: Plan) -> list[Figure]:
    """Look at how large the table of messages becomes while somebody reads all the time, and while nobody does."""
    count = plan.size(trial=1_000, quick=10_000, usual=40_000, full=1_000_000)
    read: list[float] = []
    alone: list[float] = []
    for _ in range(plan.size(trial=1, quick=1, usual=2)):
        with server.database() as url:
            asyncio.run(lives(url, count))
            alone.append(size(url) / 1e6)
        with server.database() as url, reader(url):
            asyncio.run(lives(url, count))
            read.append(size(url) / 1e6)
    return [
        Figure(
            name=f"messages and their indexes after {count} lives, with a reader open",
            unit="MB",
            samples=tuple(read),
            peer="without one",
            peer_samples=tuple(alone),
            goal=Goal(most=1.5),
        )
    ]
