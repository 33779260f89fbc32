"""Two workers at a platform that takes so much in a time: nearly all of that, and never more (contract FL1)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.domain.pace import Pace, Rate
from pillarbox.outbox.outbox import Outbox
from pillarbox.testing.fakes import SeededEntropy
from pillarbox.testing.simulation import Process, SimulatedClock, SimulatedLoop
from tests.simulation.world import store_of
from tests.unit.test_pace import most_in

TELEGRAM = Pace(whole=(Rate(30),), each=(Rate(1),), group=(Rate(1), Rate(20, 60)), group_prefix="-")


class Platform(Channel):
    """Takes everything, and notes when."""

    pace = TELEGRAM

    def __init__(self, clock: SimulatedClock, arrived: dict[str, list[int]]) -> None:
        self._clock, self._arrived = clock, arrived

    async def send(self, attempt: Attempt) -> AnyOutcome:
        self._arrived[attempt.to].append(round(self._clock.mono() * 1000))
        await self._clock.sleep(0.05)
        return Delivered("r")


class City:
    """Workers on one file."""

    def __init__(self, folder: Path) -> None:
        self.loop = SimulatedLoop(1, seconds_max=3600.0)
        self.clock = SimulatedClock(self.loop)
        self.arrived: dict[str, list[int]] = defaultdict(list)
        self._path = folder / "outbox.db"

    def box(self, process: Process, seed: int) -> Outbox:
        return Outbox(
            str(self._path),
            channels={"chat": Platform(self.clock, self.arrived)},
            clock=self.clock,
            entropy=SeededEntropy(seed),
            store=lambda: store_of(process, self._path, self.clock, lambda: 0.002),
            drain_on_startup=False,
        )

    def live(self, recipients: list[str], seconds: float) -> list[int]:
        """Let two workers send, and return when anything arrived."""
        asyncio.set_event_loop(None)
        self.loop.run(self._live(recipients, seconds))
        self.loop.close()
        return sorted(at for times in self.arrived.values() for at in times)

    async def _live(self, recipients: list[str], seconds: float) -> None:
        workers = [self.loop.process(f"worker-{n}") for n in range(2)]
        ends = [
            worker.spawn(self._work(self.box(worker, n), recipients[n::2], seconds)) for n, worker in enumerate(workers)
        ]
        for end in ends:
            await end

    async def _work(self, box: Outbox, recipients: list[str], seconds: float) -> None:
        async with box:
            await box.send_many([{"channel": "chat", "to": to, "text": "hi"} for to in recipients])
            await self.clock.sleep(seconds)
            await box.stop(0)


@pytest.mark.contract("FL1")
def test_many_chats_get_nearly_thirty_messages_a_second_and_never_more(tmp_path: Path) -> None:
    arrived = City(tmp_path).live([f"c{n}" for n in range(1000)], 20.0)
    assert most_in(arrived, 1000) <= 30
    assert len(arrived) >= 0.95 * 30 * 20


@pytest.mark.contract("FL1")
def test_one_chat_and_one_group_get_what_they_may_while_others_go_on(tmp_path: Path) -> None:
    city = City(tmp_path)
    city.live(["ann"] * 200 + ["-100"] * 100 + [f"c{n}" for n in range(200)], 120.0)
    ann, group = city.arrived["ann"], city.arrived["-100"]
    assert most_in(ann, 1000) == 1
    # At first all of them share the thirty messages a second.
    assert sum(at >= 20_000 for at in ann) >= 0.95 * 100
    assert most_in(group, 1000) == 1
    assert most_in(group, 60_000) <= 20
    assert len(group) >= 0.95 * 40
    others = [at for to, times in city.arrived.items() if to.startswith("c") for at in times]
    assert len(others) == 200
    assert max(others) <= min(others) + 10_000
