"""
What an application may say about a message on its way: before it is stored, just before it is sent, and after.

A hook that raises, is too slow or gives nonsense is skipped and reported; it never stops a message (contract HO1). A
plain function runs on the loop: it cannot be cut off, so it must not block. A coroutine function can.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from pillarbox.channels.base import Attempt
from pillarbox.engine.acceptance import Outgoing
from pillarbox.events import Bus, HookCancelled, MessageDelivered, MessageDied, MessageExpired

TEXT_MAX: Final = 50_000
REASON_MAX: Final = 500
HOOK_SECONDS: Final = 5.0

Report = Callable[[str, str], None]


class Cancelled(msgspec.Struct, frozen=True):
    """Given back by a ``before_delivery`` hook: do not send this. ``reason`` is cut at 500 characters."""

    reason: str = ""


class Withdraw(msgspec.Struct, frozen=True):
    """Given back by a ``revalidate`` hook: the message is not wanted any more."""

    reason: str = ""


class Defer(msgspec.Struct, frozen=True):
    """Given back by a ``revalidate`` hook: not now. Costs no attempt. ``seconds``: at least 1."""

    seconds: float = 1.0
    reason: str = ""


Before = Callable[[Outgoing], Any]
After = Callable[[MessageDelivered | MessageDied | MessageExpired], Any]
Revalidate = Callable[[Attempt], Any]


class Hooks:
    """
    The hooks of one outbox.

    Args:
        report: Told of every hook that was skipped: a stable word, and which hook did what.
        bus: Where the hooks after delivery hear of a message's end.
    """

    def __init__(self, report: Report, bus: Bus | None = None) -> None:
        self._report = report
        self._bus = bus or Bus()
        self._before: list[tuple[int, int, Before, float]] = []
        self._revalidate: list[tuple[Revalidate, float]] = []

    def before_delivery(self, hook: Before, *, priority: int = 0, timeout_seconds: float = HOOK_SECONDS) -> None:
        """
        Run *hook* on every message before it is stored; higher priorities first, then in the order of registration.

        It is given the message as it was said so far, and gives ``None`` (unchanged), text of at most 50 000 characters
        (in its place), or `Cancelled`. Plain or async. It is not run again when the message is sent later.
        """
        self._before.append((-priority, len(self._before), hook, timeout_seconds))
        self._before.sort(key=lambda entry: entry[:2])

    def after_delivery(self, hook: After, *, timeout_seconds: float = HOOK_SECONDS) -> None:
        """
        Run *hook* when a message was delivered, is dead or expired: by this process, live or recovered (contract HO2).

        It is given the event, is not run for a message that was cancelled, and nobody waits for it. Plain or async.
        """

        async def after(event: MessageDelivered | MessageDied | MessageExpired) -> None:
            await self._ask(hook, event, timeout_seconds)

        self._bus.subscribe(after, MessageDelivered, MessageDied, MessageExpired)

    def revalidate(self, hook: Revalidate, *, timeout_seconds: float = HOOK_SECONDS) -> None:
        """Ask *hook* just before each send: ``None`` lets it go, `Withdraw` cancels it, `Defer` gives it back."""
        self._revalidate.append((hook, timeout_seconds))

    @property
    def any_before(self) -> bool:
        """Whether there is one to run before delivery."""
        return bool(self._before)

    @property
    def any_revalidate(self) -> bool:
        """Whether there is one to ask before a send."""
        return bool(self._revalidate)

    async def before(self, outgoing: Outgoing) -> Outgoing | Cancelled:
        """Run every hook in turn; each sees what the one before it made of the message."""
        for _, _, hook, seconds in self._before:
            answer = await self._ask(hook, outgoing, seconds)
            if isinstance(answer, Cancelled):
                return Cancelled(str(answer.reason)[:REASON_MAX])
            if isinstance(answer, str) and len(answer) <= TEXT_MAX:
                outgoing = msgspec.structs.replace(outgoing, text=answer)
            elif answer is not None:
                what = f"text of {len(answer)} characters" if isinstance(answer, str) else type(answer).__name__
                self._report("hook_invalid", f"{_name(hook)} gave {what}; it was skipped")
        return outgoing

    async def still_wanted(self, attempt: Attempt) -> Withdraw | Defer | None:
        """Ask whether a message may still go; the first that objects decides."""
        for hook, seconds in self._revalidate:
            answer = await self._ask(hook, attempt, seconds)
            if isinstance(answer, Withdraw | Defer):
                return answer
            if answer is not None:
                self._report("hook_invalid", f"{_name(hook)} gave {type(answer).__name__}; it was skipped")
        return None

    async def _ask(self, hook: Callable[[Any], Any], subject: object, seconds: float) -> Any:  # noqa: ANN401 — a hook's
        try:
            answer = hook(subject)
            if inspect.isawaitable(answer):
                answer = await asyncio.wait_for(_awaited(answer), seconds)
        except TimeoutError:
            self._report("hook_slow", f"{_name(hook)} took more than {seconds:g} s; it was skipped")
        except Exception as exc:  # noqa: BLE001 — an application's own code, which must not stop its messages
            self._report("hook_failed", f"{_name(hook)} raised {type(exc).__name__}; it was skipped")
        else:
            return answer
        return None


async def _awaited(answer: Awaitable[Any]) -> Any:  # noqa: ANN401 — whatever the hook gives
    return await answer


def _name(hook: Callable[..., Any]) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)


def cancelled_event(outgoing: Outgoing, reason: str, *, at_ms: int) -> HookCancelled:
    """Tell that a hook stopped a message that was never stored."""
    return HookCancelled(
        at_ms=at_ms,
        channel=str(outgoing.channel),
        to=str(outgoing.to),
        correlation_id=outgoing.correlation_id,
        origin=outgoing.origin,
        reason=reason,
    )
