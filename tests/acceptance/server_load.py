"""
An application that sends without a pause, two workers, and a platform that counts, while the server is in trouble.

Whoever sends finds out by a key or by an id what became of a commit whose answer was lost, as an application would.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.message import State
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.domain.retry import Policy, parse_schedule
from pillarbox.domain.transition import MAYBE_ARRIVED
from pillarbox.errors import StoreError, StoreOutcomeUnknown
from pillarbox.outbox.outbox import Outbox
from tests.store.postgres_server import connected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from pillarbox.store.base import Event

SECONDS: Final = 240.0
LEASE_SECONDS: Final = 3.5
_POLICY: Final = Policy(schedule=parse_schedule("10ms"), max_attempts=100, ttl_seconds=None)


async def pause() -> None:
    """Let others run for a moment: a server that is away gives no sign when it is back."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().create_future()


class Platform(Channel):
    """Takes everything, and writes down which attempt it was."""

    kind = "counting"
    concurrency = 8
    send_timeout_seconds = 1.0
    policy = _POLICY

    def __init__(self, calls: list[Attempt]) -> None:
        self._calls = calls

    async def send(self, attempt: Attempt) -> AnyOutcome:
        self._calls.append(attempt)
        await asyncio.sleep(0)
        return Delivered(f"{attempt.id} {attempt.number}")


class Load:
    """
    Sends, and is sent, for as long as it is open. Afterwards `faults` says what is wrong.

    Attributes:
        accepted: By recipient, the messages that were accepted, in order.
        calls: Every call of the platform, in order.
        unknown: How often whoever sent had to find out by itself what became of a commit.
    """

    def __init__(self, url: str) -> None:
        self.accepted: defaultdict[str, list[str]] = defaultdict(list)
        self.calls: list[Attempt] = []
        self.unknown = 0
        self._url = url
        self._box = Outbox(url, deliver=False)
        self._workers = [
            Outbox(url, channels={"hooks": Platform(self.calls)}, lease_seconds=LEASE_SECONDS, drain_on_startup=False)
            for _ in "12"
        ]
        self._over = False
        self._senders: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for box in (self._box, *self._workers):
            await box.start()
        ways: list[Callable[[str, str], Awaitable[str | None]]] = [self._by_key, self._by_id, self._by_transaction]
        self._senders = [
            asyncio.ensure_future(self._send(f"{way.__name__} {lane}", way)) for way in ways for lane in "ab"
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        for sender in self._senders:
            sender.cancel()
        for box in (self._box, *self._workers):
            await box.close()

    @property
    def count(self) -> int:
        """How many were accepted."""
        return sum(map(len, self.accepted.values()))

    async def moves(self, messages: int) -> None:
        """Wait until so many more were accepted, and as many were sent."""
        accepted, calls = self.count + messages, len(self.calls) + messages
        await self.until(lambda: self.count >= accepted and len(self.calls) >= calls)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that comes while there is load."""
        async with asyncio.timeout(SECONDS):
            while not holds():
                self._check()
                await pause()

    async def ends(self) -> None:
        """Send no more, and wait until nothing is under way."""
        self._over = True
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*self._senders)
            while True:
                with contextlib.suppress(StoreError):
                    if not any(tally.messages for tally in await self._box.stats() if not tally.state.terminal):
                        return
                await pause()

    def _check(self) -> None:
        for sender in self._senders:
            if sender.done():
                sender.result()

    # Who sends

    async def _send(self, to: str, way: Callable[[str, str], Awaitable[str | None]]) -> None:
        for number in itertools.count():
            accepted = None
            while accepted is None:
                accepted = await way(to, f"{number}")
                if accepted is None:
                    await pause()
            self.accepted[to].append(accepted)
            if self._over:
                return

    async def _by_key(self, to: str, text: str) -> str | None:
        try:
            return (await self._box.send("hooks", to=to, text=text, key=f"{to} {text}")).id
        except StoreError as error:
            self.unknown += isinstance(error, StoreOutcomeUnknown)
            return None

    async def _by_id(self, to: str, text: str) -> str | None:
        try:
            return (await self._box.send("hooks", to=to, text=text)).id
        except StoreOutcomeUnknown as lost:
            self.unknown += 1
            (identity,) = lost.message_ids
            return await self._found(identity)
        except StoreError:
            return None

    async def _by_transaction(self, to: str, text: str) -> str | None:
        try:
            async with (
                await psycopg.AsyncConnection.connect(self._url) as connection,
                connection.transaction(),
            ):
                # Its id is known, but not what a commit that is still under way will leave: its key is waited for.
                message = await self._box.enqueue(connection, "hooks", to=to, text=text, key=f"{to} {text}")
        except (psycopg.Error, StoreError):
            self.unknown += 1
            return None
        return message.id

    async def _found(self, identity: str) -> str | None:
        while True:
            try:
                return identity if await self._box.get(identity) is not None else None
            except StoreError:
                await pause()

    # What must be so

    async def faults(self, url: str) -> list[str]:
        """Return what is wrong at the end. *url*: where all of it is now."""
        accepted = {identity for identities in self.accepted.values() for identity in identities}
        with connected(url) as connection:
            stored = dict(connection.execute("SELECT id, state FROM pillarbox.message").fetchall())
        sent = Counter(call.id for call in self.calls)
        found = [f"{identity} is lost" for identity in accepted - set(stored)]
        found += [f"{identity} is there, and nobody accepted it" for identity in set(stored) - accepted]
        found += [f"{identity} is not delivered" for identity, state in stored.items() if state != State.DELIVERED.code]
        found += [f"{identity} was never sent" for identity in accepted - set(sent)]
        for identity, times in sent.items():
            if times > 1 and identity in stored:
                numbers = [call.number for call in self.calls if call.id == identity]
                found += unexplained(identity, numbers, await self._box.history(identity))
        for to, identities in self.accepted.items():
            first = list(dict.fromkeys(call.id for call in self.calls if call.to == to))
            found += [] if first == identities else [f"{to} got its messages in another order"]
        return found + await self._box.check()

    @property
    def copies(self) -> int:
        """How many sends there were too many."""
        return len(self.calls) - len({call.id for call in self.calls})


def unexplained(identity: str, numbers: list[int], history: list[Event]) -> list[str]:
    """Return which calls of a message are not on record as attempts whose end nobody knew, but for the one that was."""
    unknown = {event.attempt for event in history if event.outcome in MAYBE_ARRIVED}
    left = [number for number in numbers if number not in unknown]
    if len(set(numbers)) < len(numbers):
        return [f"{identity} was sent twice by one claim: {numbers}"]
    return [f"{identity}: nobody knows why it was sent again after attempt {left[0]}"] if len(left) > 1 else []


def facts(load: Load, **counts: Any) -> str:
    """Return what there is to report."""
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{told}: {load.count} accepted, {load.unknown} unknown, {load.copies} copies, all explained"
