"""
`ScriptedChannel`: a way out that answers by script, and can be held so that a test looks while a send is under way.

Public: use it for tests of your own, ``Outbox(db, channels={"ops": ScriptedChannel(Delivered("1"))})``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, cast

from pillarbox.channels.base import Attempt, Capabilities, Channel, Seams
from pillarbox.domain.message import Admission, Content
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.domain.retry import CHAT, Policy
from pillarbox.errors import InvalidMessage

Step = AnyOutcome | BaseException | object
WAIT_SECONDS: Final = 30.0


class ScriptedChannel(Channel):
    """
    Takes its outcomes from a script, in the order of its sends; when that is used up, every send is delivered.

    A step is an outcome to return, an exception to raise, a value to return as it is, or a function of the `Attempt`
    (async or not) that returns one of these.

    Args:
        refuses: Recipients that `admit` refuses.
        text_limit: Longer text comes in parts; in code points.
        concurrency: As of any channel, like the others.

    Attributes:
        attempts: Every attempt that was begun, in order.
        ended: Every attempt that was ended by an answer, in order.
        in_flight: How many sends are under way, and ``most`` the highest that ever was.
        cut: How many sends were cut off.
    """

    kind = "scripted"

    def __init__(
        self,
        *steps: Step,
        policy: Policy = CHAT,
        ordered: bool = True,
        concurrency: int = 64,
        send_timeout_seconds: float = 30.0,
        refuses: tuple[str, ...] = (),
        text_limit: int | None = None,
    ) -> None:
        self.capabilities = Capabilities(text_limit=text_limit, receipts="accepted")
        self.policy = policy
        self.ordered = ordered
        self.concurrency = concurrency
        self.send_timeout_seconds = send_timeout_seconds
        self.attempts: list[Attempt] = []
        self.ended: list[Attempt] = []
        self.in_flight = 0
        self.most = 0
        self.cut = 0
        self.is_open = False
        self._refuses = refuses
        self._script: deque[Step] = deque(steps)
        self._by_recipient: dict[str, deque[Step]] = {}
        self._gate = asyncio.Event()
        self._gate.set()
        self._changed = asyncio.Event()

    def script(self, *steps: Step, to: str | None = None) -> None:
        """Add steps; those for *to* concern that recipient alone and come first."""
        (self._script if to is None else self._by_recipient.setdefault(to, deque())).extend(steps)

    def hold(self) -> None:
        """Stop each send after it began, until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Continue the stopped sends, and stop none after them."""
        self._gate.set()

    async def begun(self, count: int, *, timeout: float = WAIT_SECONDS) -> list[Attempt]:
        """Wait until *count* sends have begun in all; return them. Raises TimeoutError."""
        await self._until(lambda: len(self.attempts) >= count, timeout)
        return self.attempts

    async def answered(self, count: int, *, timeout: float = WAIT_SECONDS) -> list[Attempt]:
        """Wait until *count* sends were answered in all; return them. Raises TimeoutError."""
        await self._until(lambda: len(self.ended) >= count, timeout)
        return self.ended

    async def _until(self, reached: Callable[[], bool], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not reached():
                await self._changed.wait()

    def _notify(self) -> None:
        # Everyone who waits now looks again; who comes later gets a fresh event.
        self._changed.set()
        self._changed = asyncio.Event()

    async def start(self, seams: Seams) -> None:  # noqa: ARG002 — of `Channel`
        """See `Channel`."""
        self.is_open = True

    async def close(self) -> None:
        """See `Channel`."""
        self.is_open = False

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
        """See `Channel`."""
        if to in self._refuses:
            raise InvalidMessage("to", "expected a recipient that this channel knows")
        return super().admit(to=to, content=content, thread=thread)

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        self.attempts.append(attempt)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        self._notify()
        try:
            await self._gate.wait()
            outcome = await self._play(attempt)
            self.ended.append(attempt)
        except asyncio.CancelledError:
            self.cut += 1
            raise
        finally:
            self.in_flight -= 1
            self._notify()
        return outcome

    async def _play(self, attempt: Attempt) -> AnyOutcome:
        own = self._by_recipient.get(attempt.to)
        script = own or self._script
        step: object = script.popleft() if script else Delivered(f"receipt-{len(self.attempts)}")
        if callable(step):
            step = step(attempt)
        if asyncio.iscoroutine(step) or isinstance(step, asyncio.Future):
            waiting: Awaitable[object] = step
            step = await waiting
        if isinstance(step, BaseException) and not isinstance(step, AnyOutcome):
            raise step
        # A script may also say what no adapter may.
        return cast("AnyOutcome", step)
