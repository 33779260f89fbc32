"""
Whether a channel that is down slows down one that is healthy.

Two outboxes in one process: one with nothing else to do, one where 100 000 messages of a second channel wait. Messages
are sent to the healthy channel of each in turns, and timed from `send()` to the channel's. The second channel is paused
by a person; it is down, and the worker finds that out again and again; or it goes on at its platform's pace.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Statistic
from bench.harness.filling import fill
from bench.harness.stopwatch import Timed
from pillarbox.channels.function import FunctionChannel
from pillarbox.clock import SystemClock
from pillarbox.domain.pace import Pace, Rate

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan
    from pillarbox.channels.base import Attempt

_SICK = "sick"
_STATES = ("paused", "down", "limited")
_MS = 1e3


def measure(plan: Plan) -> list[Figure]:
    log = logging.getLogger("pillarbox")
    before = log.level
    # An outage is told of once for every send that met it.
    log.setLevel(logging.ERROR)
    try:
        return _figures(plan)
    finally:
        log.setLevel(before)


def _figures(plan: Plan) -> list[Figure]:
    waiting = plan.size(trial=500, quick=10_000, usual=100_000, full=900_000)
    turns = plan.size(trial=10, quick=100, usual=1_000)
    figures = []
    for state in _STATES:
        alone: list[float] = []
        beside: list[float] = []
        with plan.folder() as folder:
            asyncio.run(fill(folder / "beside.db", waiting, now_ms=SystemClock().wall_ms(), channel=_SICK))
            for number in range(plan.rounds):
                one, other = asyncio.run(_round(folder, number, turns, state))
                alone += one
                beside += other
        goal = Goal(most=1.2)
        figures += [
            Figure(
                name=f"p99, {waiting} of another channel {state}",
                unit="ms",
                samples=tuple(beside),
                peer="alone",
                peer_samples=tuple(alone),
                statistic=Statistic.P99,
                goal=goal if state == "paused" else None,
                aim=goal if state != "paused" else None,
            ),
            Figure(
                name=f"p50, the same {state}", unit="ms", samples=tuple(beside), peer="alone", peer_samples=tuple(alone)
            ),
        ]
    return figures


async def _round(folder: Path, number: int, turns: int, state: str) -> tuple[list[float], list[float]]:
    alone, beside = Timed(folder / f"alone-{number}.db"), Timed(folder / "beside.db")
    if state != "paused":
        beside.box.channel(_SICK, _channel(state))
    ours: list[float] = []
    theirs: list[float] = []
    async with alone, beside:
        if state == "paused":
            await beside.box.pause(_SICK)
        for warming in range(10):
            await alone.seconds(warming)
            await beside.seconds(warming)
        for turn in range(turns):
            ours.append(await alone.seconds(turn) * _MS)
            theirs.append(await beside.seconds(turn) * _MS)
    return ours, theirs


def _channel(state: str) -> FunctionChannel:
    channel = FunctionChannel(_refuse if state == "down" else _take)
    if state == "limited":
        channel.pace = Pace(whole=(Rate(30),), each=(Rate(1),))
    return channel


async def _refuse(_: Attempt) -> None:
    raise ConnectionRefusedError


async def _take(_: Attempt) -> None:
    return None
