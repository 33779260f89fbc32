"""
What an application may say about a message on its way: before it is stored, just before it is sent, and after.

A hook that raises, is too slow or returns nonsense is skipped and reported; it stops no message (contract HO1). What
is no `Exception`, a cancellation among it, defers the message where it was asked whether it may still go. A plain
function runs on the loop: it cannot be cut off, so it must not block. A coroutine function can; one that goes on all
the same is left behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from pillarbox.channels.base import Attempt
from pillarbox.clock import Clock
from pillarbox.domain.channel_names import check_name
from pillarbox.domain.moments import shown, span_ms
from pillarbox.domain.outcome import Deferred
from pillarbox.domain.outgoing import Outgoing
from pillarbox.engine.calls import LEFT_MAX, Calls, Ended
from pillarbox.errors import InvalidMessage, InvalidOutcome
from pillarbox.events.bus import Bus
from pillarbox.events.events import HookCancelled, MessageDelivered, MessageDied, MessageExpired
from pillarbox.user_code import name_of, pass_on

TEXT_MAX: Final = 50_000
REASON_MAX: Final = 500
HOOK_SECONDS: Final = 5.0

Report = Callable[[str, str], None]


class Cancelled(msgspec.Struct, frozen=True):
    """Returned by a ``before_delivery`` hook: do not send this. ``reason`` is cut at 500 characters."""

    reason: str = ""


class Withdraw(msgspec.Struct, frozen=True):
    """Returned by a ``revalidate`` hook: the message is not wanted any more."""

    reason: str = ""


class Defer(msgspec.Struct, frozen=True):
    """Returned by a ``revalidate`` hook: not now. Costs no attempt. ``seconds``: at least 1."""

    seconds: float = 1.0
    reason: str = ""


Before = Callable[[Outgoing], Any]
After = Callable[[MessageDelivered | MessageDied | MessageExpired], Any]
Revalidate = Callable[[Attempt], Any]
Readiness = Callable[[str], Any]


class Hooks:
    """
    The hooks of one outbox. An async one may take ``timeout_seconds``: 1 ms or more.

    What can never be called is refused where it is given: TypeError for what is no function, InvalidMessage for a time,
    a priority or a channel's name that is none.

    Args:
        report: Called for every hook that was skipped: with a stable word, and with which hook did what.
        bus: It calls the hooks after delivery at a message's end.
        clock: By which their time passes.
    """

    def __init__(self, report: Report, bus: Bus | None = None, *, clock: Clock) -> None:
        self._report = report
        self._bus = bus or Bus()
        self._before: list[tuple[int, int, Before, float]] = []
        self._revalidate: list[tuple[Revalidate, float]] = []
        self._readiness: dict[str, tuple[Readiness, float]] = {}
        self._calls = Calls(clock)

    def before_delivery(self, hook: Before, *, priority: int = 0, timeout_seconds: float = HOOK_SECONDS) -> None:
        """
        Run *hook* on every message before it is stored; higher priorities first, then in the order of registration.

        It gets the message as it is so far, and returns ``None`` (unchanged), text of at most 50 000 characters
        (in its place), or `Cancelled`. Plain or async. It is not run again when the message is sent later.
        """
        seconds = _checked_seconds(hook, timeout_seconds)
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise InvalidMessage("priority", f"expected a whole number, not {shown(priority)}")
        self._before.append((-priority, len(self._before), hook, seconds))
        self._before.sort(key=lambda entry: entry[:2])

    def after_delivery(self, hook: After, *, timeout_seconds: float = HOOK_SECONDS) -> None:
        """
        Run *hook* when a message was delivered, is dead or expired: by this process, live or recovered (contract HO2).

        It gets the event, is not run for a message that was cancelled, and nobody waits for it. Plain or async.
        """
        seconds = _checked_seconds(hook, timeout_seconds)

        async def after(event: MessageDelivered | MessageDied | MessageExpired) -> None:
            ended = await self._ask(hook, event, seconds)
            if ended.error is not None:
                pass_on(ended.error)

        self._bus.subscribe(after, MessageDelivered, MessageDied, MessageExpired)

    def revalidate(self, hook: Revalidate, *, timeout_seconds: float = HOOK_SECONDS) -> None:
        """Ask *hook* just before each send: ``None`` lets it go, `Withdraw` cancels it, `Defer` gives it back."""
        seconds = _checked_seconds(hook, timeout_seconds)
        self._revalidate.append((hook, seconds))

    def readiness(self, channel: str, hook: Readiness, *, timeout_seconds: float = HOOK_SECONDS) -> None:
        """
        Ask *hook* just before each send through *channel*, by its name, whether anything may go through it now.

        ``None`` says yes; text says why not. Then the channel rests for five seconds, and no message is charged.
        """
        seconds = _checked_seconds(hook, timeout_seconds)
        check_name(channel)
        self._readiness[channel] = (hook, seconds)

    @property
    def any_before(self) -> bool:
        """Whether there is one to run before delivery."""
        return bool(self._before)

    def any_for(self, channel: str) -> bool:
        """Return whether there is any to ask before a send through a channel."""
        return bool(self._revalidate) or channel in self._readiness

    def asks_ready(self, channel: str) -> bool:
        """Return whether there is one to ask whether a channel is ready."""
        return channel in self._readiness

    @property
    def any_revalidate(self) -> bool:
        """Whether there is one to ask before a send."""
        return bool(self._revalidate)

    def left(self) -> Counter[str]:
        """Return how many calls of each hook go on though they were cut off."""
        return self._calls.left()

    async def before(self, outgoing: Outgoing) -> Outgoing | Cancelled:
        """Run every hook in turn; each sees what the one before it made of the message."""
        for _, _, hook, seconds in self._before:
            ended = await self._ask(hook, outgoing, seconds)
            if ended.error is not None:
                pass_on(ended.error)
            answer = ended.value
            if isinstance(answer, Cancelled) and isinstance(answer.reason, str):
                return Cancelled(_writable(answer.reason))
            if isinstance(answer, str) and len(answer) <= TEXT_MAX:
                outgoing = msgspec.structs.replace(outgoing, text=answer)
            elif answer is not None:
                what = f"text of {len(answer)} characters" if isinstance(answer, str) else _shape(answer)
                self._report("hook_invalid", f"{name_of(hook)} gave {what}; it was skipped")
        return outgoing

    async def still_wanted(
        self, attempt: Attempt, *, fatal: Callable[[BaseException], None] = pass_on
    ) -> Withdraw | Defer | None:
        """
        Ask whether a message may still go; the first that objects decides.

        Args:
            fatal: Called with what a hook raised to end the program; the default ends it at once.
        """
        for hook, seconds in self._revalidate:
            ended = await self._ask(hook, attempt, seconds)
            if ended.error is not None:
                fatal(ended.error)
                if not isinstance(ended.error, Exception):
                    return Defer(reason=f"{name_of(hook)} raised {type(ended.error).__name__}")
            answer = ended.value
            if isinstance(answer, Withdraw | Defer):
                try:
                    return _checked(answer)
                except InvalidOutcome as exc:
                    field = "seconds" if exc.field == "after" else exc.field
                    what = f"{type(answer).__name__} with {field}: {exc.expected}"
                    self._report("hook_invalid", f"{name_of(hook)} gave {what}; it was skipped")
            elif answer is not None:
                self._report("hook_invalid", f"{name_of(hook)} gave {_shape(answer)}; it was skipped")
        return None

    async def not_ready(self, channel: str, *, fatal: Callable[[BaseException], None] = pass_on) -> str | None:
        """
        Return why nothing may go through a channel now; ``None`` where it may.

        Args:
            fatal: See `still_wanted`.
        """
        asked = self._readiness.get(channel)
        if asked is None:
            return None
        hook, seconds = asked
        ended = await self._ask(hook, channel, seconds)
        if ended.error is not None:
            fatal(ended.error)
            return (
                None if isinstance(ended.error, Exception) else f"{name_of(hook)} raised {type(ended.error).__name__}"
            )
        if isinstance(ended.value, str):
            return _writable(ended.value) or "not ready"
        if ended.value is not None:
            self._report("hook_invalid", f"{name_of(hook)} gave {_shape(ended.value)}; it was skipped")
        return None

    async def _ask(self, hook: Callable[[Any], Any], subject: object, seconds: float) -> Ended:
        """Call a hook and report what it does wrong; a value is only there where it did not."""
        name = name_of(hook)
        if self._calls.is_stuck(hook):
            self._report("hook_slow", f"{name} was skipped: {LEFT_MAX} calls of it do not end")
            return Ended()
        ended = await self._calls.run(name, hook, subject, seconds=seconds)
        if ended.overran:
            self._report("hook_slow", f"{name} took more than {seconds:g} s; it was skipped")
            return Ended()
        if ended.error is not None:
            what = "it was skipped" if isinstance(ended.error, Exception) else "the message goes on without it"
            self._report("hook_failed", f"{name} raised {type(ended.error).__name__}; {what}")
        return ended


def _checked_seconds(hook: object, timeout: object) -> float:
    """Refuse at once what would fail at every message; return how long a hook may take."""
    if not callable(hook):
        msg = f"hook: expected a function, not {type(hook).__name__}"
        raise TypeError(msg)
    return span_ms("timeout_seconds", timeout) / 1000


def _checked(answer: Withdraw | Defer) -> Withdraw | Defer:
    """Hold a hook's words to what an outcome's are held to: they are stored too. Raises InvalidOutcome."""
    if isinstance(answer, Withdraw):
        return Withdraw(Deferred(answer.reason).reason)
    said = Deferred(answer.reason, after=answer.seconds)
    return Defer(1.0 if said.after is None else said.after, said.reason)


def _writable(reason: str) -> str:
    """Return a reason that can be stored: not too long, and no half of a surrogate pair in it."""
    return reason[:REASON_MAX].encode("utf-8", "replace").decode()


def _shape(answer: object) -> str:
    if isinstance(answer, Cancelled | Withdraw | Defer):
        return f"{type(answer).__name__} with a field of the wrong type"
    return type(answer).__name__


def cancelled_event(outgoing: Outgoing, reason: str, *, at_ms: int) -> HookCancelled:
    """Return the event of a message that a hook stopped, and that was never stored."""
    return HookCancelled(
        at_ms=at_ms,
        channel=str(outgoing.channel),
        to=str(outgoing.to),
        correlation_id=outgoing.correlation_id,
        origin=outgoing.origin,
        reason=reason,
    )
