"""
Real webhooks a second, beside the same POSTs with no queue.

Whole lives: accept, POST over a socket to a receiver in another process, settle. Beside us: a bare aiohttp loop with as
many connections that sends the same body and headers to the same receiver, and remembers nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from bench.harness.figure import Figure, Goal
from bench.harness.processes import Program
from pillarbox import Outbox
from pillarbox.clock import SystemClock
from pillarbox.domain.ids import message_id
from pillarbox.entropy import SystemEntropy

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.plan import Plan

_CONNECTIONS = 100
_PRODUCERS = 500
_TEXT = "Deploy done, all checks are green"


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=500, quick=3_000, usual=5_000)
    ours: list[float] = []
    bare: list[float] = []
    with plan.folder() as folder, Program("receiver") as receiver:
        url = receiver.hear()["url"]
        for number in range(plan.rounds):
            bare.append(asyncio.run(_bare(url, count)))
            ours.append(asyncio.run(_webhooks(folder / f"{number}.db", url, count)))
    return [
        Figure(
            name="one process",
            unit="webhooks/s",
            samples=tuple(ours),
            peer="bare aiohttp",
            peer_samples=tuple(bare),
            goal=Goal(least=0.8),
            note=f"{_PRODUCERS} producers, {_CONNECTIONS} connections on both sides, unsigned",
        )
    ]


async def _webhooks(path: Path, url: str, count: int) -> float:
    each = count // _PRODUCERS
    box = Outbox(path)
    box.channel("hooks", url, concurrency=_CONNECTIONS)

    async def produce(recipient: str) -> None:
        for _ in range(each):
            await box.send("hooks", to=recipient, text=_TEXT)

    async with box:
        began = time.perf_counter()
        await asyncio.gather(*(produce(f"recipient-{number}") for number in range(_PRODUCERS)))
        await box.drain(120)
        seconds = time.perf_counter() - began
        delivered = box.counts["delivered"]
    assert delivered == each * _PRODUCERS
    return delivered / seconds


async def _bare(url: str, count: int) -> float:
    entropy, clock = SystemEntropy(), SystemClock()
    encode = msgspec.json.Encoder().encode
    left = iter(range(count))
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)

    async def post() -> None:
        for number in left:
            one = message_id(clock.wall_ms(), entropy.token(10))
            headers = {
                "Content-Type": "application/json",
                "Idempotency-Key": one,
                "webhook-id": one,
                "webhook-timestamp": str(clock.wall_ms() // 1000),
            }
            body = encode({"id": one, "to": f"recipient-{number}", "text": _TEXT})
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                assert answer.ok

    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        began = time.perf_counter()
        await asyncio.gather(*(post() for _ in range(_CONNECTIONS)))
        return count / (time.perf_counter() - began)
