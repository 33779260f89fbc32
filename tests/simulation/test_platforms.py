"""
A bot's night at each chat platform: its pace, its limits, cut connections, and workers that are killed.

The adapters are real, and the platforms are those of `pillarbox.testing.platforms`; only the socket between them is
simulated, so that an hour passes in a second. PILLARBOX_TEST_PLATFORM_MESSAGES says how many messages go through each
(``make proof-platforms``: 2000).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox.channels.discord import DiscordChannel
from pillarbox.channels.egress import Egress
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.client import Client
from pillarbox.channels.http.failures import Disconnected, NotConnected, failure
from pillarbox.channels.slack import SlackChannel
from pillarbox.channels.telegram import TelegramChannel
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import State
from pillarbox.errors import Refused
from pillarbox.outbox.outbox import Outbox
from pillarbox.testing.fakes import SeededEntropy
from pillarbox.testing.platforms import FakeDiscord, FakeSlack, FakeTelegram
from pillarbox.testing.receiver import Received
from pillarbox.testing.simulation import Killed, Process, SimulatedClock, SimulatedLoop
from tests.simulation.world import store_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from multidict import CIMultiDictProxy
    from yarl import URL

    from pillarbox.channels.base import Attempt, Channel
    from pillarbox.channels.http.failures import NoAnswer
    from pillarbox.store.base import Tally

Fake = FakeDiscord | FakeSlack | FakeTelegram
COUNT: Final = int(os.environ.get("PILLARBOX_TEST_PLATFORM_MESSAGES", "60"))
_COMMIT_SECONDS: Final = 0.1
NOBODY: Final = "base_url=http://127.0.0.1:9"

# A process that was killed closed nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*was never closed:ResourceWarning")


class Wire(Client):
    """In the place of an adapter's HTTP client: the way to a fake, on which a request or an answer gets lost."""

    def __init__(self, night: Night) -> None:
        super().__init__(egress=Egress(operator=True), headers={}, timeout_seconds=30, concurrency=32)
        self._night = night

    async def post(
        self,
        url: URL,
        body: bytes,
        *,
        content_type: str,
        headers: Mapping[str, str],
        attempt: Attempt,
        covered: bool = False,
        method: str = "POST",
    ) -> Answer | NoAnswer:
        night, luck = self._night, self._night.luck
        attempt.progress.written = False
        await night.clock.sleep(luck.uniform(0.001, 0.1))
        fate = luck.random()
        if fate < 0.01:
            return failure(NotConnected(), written=False)
        attempt.progress.written = True
        known = {name.lower(): value for name, value in headers.items()} | {"content-type": content_type}
        night.requests += 1
        ignored = night.fake.ignored_limits
        answer = night.fake.answer(
            Received(
                number=night.requests,
                at_ms=night.clock.wall_ms(),
                method=method,
                path=url.raw_path_qs,
                headers=known,
                body=body,
                connection=1,
            )
        )
        night.limited += answer.status == 429
        if night.fake.ignored_limits > ignored and attempt.to in night.told:
            night.impatient.append(f"{attempt.to} at {night.clock.mono()}")
        night.told.pop(attempt.to, None)
        await night.clock.sleep(luck.uniform(0.001, 0.1))
        if fate < 0.03:
            return failure(Disconnected(), written=True, covered=covered)
        if answer.status == 429:
            night.told[attempt.to] = night.clock.mono()
        return Answer(status=answer.status, headers=_headers(answer.headers), body=answer.body)


def _headers(given: Mapping[str, str]) -> CIMultiDictProxy[str]:
    from multidict import CIMultiDict, CIMultiDictProxy

    return CIMultiDictProxy(CIMultiDict(given))


class Night:
    """
    One platform, one database, and one worker after the other.

    Attributes:
        requests: How many reached the platform.
        limited: How many of them it answered with 429.
        kills: How many workers were killed.
        told: Who was limited last, when a worker was told so that had the time to write it down.
        impatient: Requests that came too early in spite of that.
    """

    def __init__(
        self, folder: Path, seed: int, fake: Callable[[SimulatedClock], Fake], channel: Callable[[], Channel]
    ) -> None:
        self.loop = SimulatedLoop(seed, seconds_max=6 * 3600.0)
        self.clock = SimulatedClock(self.loop)
        self.fake = fake(self.clock)
        self.luck = random.Random(f"way {seed}")
        self.requests = self.limited = self.kills = 0
        self.told: dict[str, float] = {}
        self.impatient: list[str] = []
        self.seconds = 0.0
        self.counts: Counter[State] = Counter()
        self._seed = seed
        self._channel = channel
        self._path = folder / "outbox.db"
        self._processes = itertools.count(1)

    def live(self, recipients: list[str], count: int, kills: int) -> None:
        """Send *count* messages, to each of *recipients* in turn, and let them be delivered."""
        asyncio.set_event_loop(None)
        self.loop.run(self._live(recipients, count, kills))
        self.loop.close()

    def __str__(self) -> str:
        """Return what there is to report."""
        copies = len(self.fake.messages) - self.counts[State.DELIVERED]
        return (
            f"{dict(self.counts)} in {self.seconds:.0f} s, {self.kills} kills, {copies} copies, {self.requests} "
            f"requests, {self.limited} of them limited, {len(self.impatient)} limits ignored"
        )

    async def _live(self, recipients: list[str], count: int, kills: int) -> None:
        await self.loop.process("bot").spawn(self._accept(recipients, count))
        plan = random.Random(f"plan {self._seed}")
        while True:
            number = next(self._processes)
            worker = self.loop.process(f"worker-{number}")
            if self.kills < kills:
                worker.kill_after(plan.randrange(1, 40 * count // kills))
            try:
                await worker.spawn(self._work(worker, number))
            except Killed:
                self.kills += 1
                # What it had just been told may not have been written down.
                self.told = {to: at for to, at in self.told.items() if at < self.clock.mono() - _COMMIT_SECONDS}
            else:
                return

    async def _accept(self, recipients: list[str], count: int) -> None:
        async with self._box(self.loop.process("bot's files"), 0, deliver=False) as box:
            for first in range(0, count, 100):
                await box.send_many(
                    [
                        {"channel": "chat", "to": recipients[n % len(recipients)], "text": f"number {n}"}
                        for n in range(first, min(first + 100, count))
                    ]
                )

    async def _work(self, worker: Process, number: int, bot: asyncio.Future[None] | None = None) -> None:
        async with self._box(worker, number) as box:
            while not (self._is_over(await box.stats()) and (bot is None or bot.done())):
                await self.clock.sleep(1)

    def _is_over(self, tallies: list[Tally]) -> bool:
        self.seconds = self.loop.time()
        self.counts = Counter()
        for tally in tallies:
            self.counts[tally.state] += tally.messages
        return not any(self.counts[state] for state in State if not state.terminal)

    def _box(self, process: Process, number: int, **said: Any) -> Outbox:
        channel = self._channel()
        channel._client = Wire(self)  # type: ignore[attr-defined]
        return Outbox(
            str(self._path),
            channels={"chat": channel},
            clock=self.clock,
            entropy=SeededEntropy(self._seed * 1000 + number),
            store=lambda: store_of(process, self._path, self.clock, lambda: 0.002),
            drain_on_startup=False,
            **said,
        )


TELEGRAM: Final = [*(str(n) for n in range(1, 41)), "-100", "-200"]
SLACK: Final = [f"C{n:010}" for n in range(40)]
DISCORD: Final = [str(10**17 + n) for n in range(40)]


def telegram() -> Channel:
    return TelegramChannel.from_url(f"tgram://{FakeTelegram().token}?{NOBODY}")


def slack() -> Channel:
    return SlackChannel.from_url(f"slack://{FakeSlack().token}?{NOBODY}")


def discord() -> Channel:
    return DiscordChannel.from_url(f"discord://{FakeDiscord().token}?{NOBODY}")


# Each platform with the limits that its documents name, and one that takes less than it says.
PLATFORMS: Final[dict[str, tuple[Callable[[SimulatedClock], Fake], Callable[[], Channel], list[str]]]] = {
    "telegram": (lambda clock: FakeTelegram(chat_seconds=1, overall_seconds=1 / 30, clock=clock), telegram, TELEGRAM),
    "slack": (lambda clock: FakeSlack(channel_seconds=1, clock=clock), slack, SLACK),
    "discord": (lambda clock: FakeDiscord(channel_seconds=1, clock=clock), discord, DISCORD),
    "strict": (lambda clock: FakeTelegram(chat_seconds=4, clock=clock), telegram, TELEGRAM),
}


@pytest.mark.contract("EN1", "LA1", "RE4", "FL1")
@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_gets_all_in_order_at_its_pace_whoever_is_killed(tmp_path: Path, name: str) -> None:
    fake, channel, recipients = PLATFORMS[name]
    recipients = recipients[-max(4, COUNT // 40) :]
    kills = max(3, COUNT // 100)
    night = Night(tmp_path, 1, fake, channel)
    night.live(recipients, COUNT, kills)
    print(f"\n{name}: {night}")  # noqa: T201 — the figures of the long form
    assert night.counts == {State.DELIVERED: COUNT}
    assert night.kills >= kills // 2
    assert night.impatient == []
    for place, to in enumerate(recipients):
        arrived = night.fake.texts(to)
        assert list(dict.fromkeys(arrived)) == [f"number {n}" for n in range(place, COUNT, len(recipients))]
        # Discord knows a second copy by its nonce.
        assert len(arrived) == len(set(arrived)) or name != "discord"
    if name in {"telegram", "slack"}:
        assert night.limited <= COUNT // 100, "what it says that it takes, it should never have to refuse"
    elif name == "strict":
        assert night.limited


class Changes(Night):
    """
    A night in which what was said is changed, taken back and grows, while two workers are killed again and again.

    Attributes:
        last: What each message says in the end, by its id; ``None`` where it is taken back.
        places: Where each message went.
        dead: What was dead in the end.
    """

    async def _live(self, recipients: list[str], count: int, kills: int) -> None:
        self.last: dict[str, str | None] = {}
        self.places: dict[str, str] = {}
        self._plan = random.Random(f"plan {self._seed}")
        bot = self.loop.process("bot").spawn(self._talk(recipients, count))
        await asyncio.gather(bot, *(self._keep_working(bot, kills // 2) for _ in "12"))
        async with self._box(self.loop.process("who looks"), 0, deliver=False) as box:
            self.dead = [message.view.op for message in await box.list(where="state=dead") if message.view]

    async def _keep_working(self, bot: asyncio.Future[None], kills: int) -> None:
        for lives in itertools.count():
            number = next(self._processes)
            worker = self.loop.process(f"worker-{number}")
            if lives < kills:
                worker.kill_after(self._plan.randrange(1, 2000))
            try:
                await worker.spawn(self._work(worker, number, bot))
            except Killed:
                self.kills += 1
            else:
                return

    async def _talk(self, recipients: list[str], count: int) -> None:
        async with self._box(self.loop.process("bot's files"), 0, deliver=False) as box:
            for number in range(count):
                await self.clock.sleep(self._plan.expovariate(4))
                with contextlib.suppress(Refused):  # it is cancelled, and an edit of that is refused
                    await self._say(box, self._plan.choice(recipients), number)
            await box.resume("chat")

    async def _say(self, box: Outbox, to: str, number: int) -> None:
        late = list(self.last)[-6:]
        match self._plan.choices(("send", "edit", "delete", "pause", "resume"), (30, 30, 4, 2, 4))[0]:
            case "edit" if late:
                about = self._plan.choice(late)
                await box.edit(about, text=f"edit {number} of it")
                # No edit takes the place of a deletion.
                self.last[about] = self.last[about] and f"edit {number} of it"
            case "delete" if late:
                about = self._plan.choice(late)
                await box.delete(about)
                self.last[about] = None
            case "pause":
                await box.pause("chat")
            case "resume":
                await box.resume("chat")
            case _:
                message = await box.send("chat", to=to, text=f"message {number} of it")
                assert message.id is not None
                self.last[message.id], self.places[message.id] = f"message {number} of it", to


@pytest.mark.contract("CO5", "CH7", "LA1")
def test_the_newest_edit_is_what_stands_whoever_is_killed(tmp_path: Path) -> None:
    fake, channel, recipients = PLATFORMS["discord"]
    night = Changes(tmp_path, 7, fake, channel)
    night.live(recipients[:3], 100, 6)
    assert night.kills >= 3
    assert night.impatient == []
    # An edit of what is gone by then is refused.
    assert set(night.dead) <= {Op.EDIT}
    standing = {(to, text) for to in recipients for text in night.fake.texts(to)}
    said = {(night.places[identity], text) for identity, text in night.last.items() if text is not None}
    assert standing == said
    assert len(standing) == len(night.fake.messages)
