"""The only ``while``: runs a tick when poked or when its time has come, and survives one that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pillarbox.clock import Clock, Timer
from pillarbox.errors import NotStarted, StoreError
from pillarbox.user_code import Log, is_from_outside, pass_on

_log = Log("pillarbox.engine")
_FAILED_SECONDS: Final = (0.05, 0.2, 1.0, 5.0)
_CUT_SHORT_SECONDS: Final = 1.0

# A tick says in how many seconds it wants to run again; ``None`` waits for a poke.
Tick = Callable[[], Awaitable[float | None]]


class Loop:
    """
    Runs one tick after another on the event loop.

    Whatever a tick raises, it does not end the loop. What ends a program (``KeyboardInterrupt``, ``SystemExit``) is
    passed on beside it.

    Its task lives from a poke until nothing more is to be done, so that an idle loop holds nothing. A task that is
    cancelled from outside (``for task in asyncio.all_tasks(): task.cancel()``) ends, as it was asked to; the next poke
    starts another, and it pokes itself in case its tick was cut short.

    Args:
        clock: By which a tick's pause passes.
        failed: Called for every tick that raised; the loop goes on after a pause that grows to 5 s.
    """

    def __init__(
        self, name: str, tick: Tick, *, clock: Clock, failed: Callable[[str, BaseException], None] | None = None
    ) -> None:
        self._name = name
        self._tick = tick
        self._clock = clock
        self._failed = failed
        self._poked = False
        self._failures = 0
        self._events: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._due = 0.0
        self._stopping = False
        # Whether a stop could not wait any longer for the tick.
        self._left = False

    def start(self) -> None:
        """Begin; the first tick runs at once. Safe to repeat."""
        if self._events is None:
            self._events = asyncio.get_running_loop()
            self._stopping = False
            self._failures = 0
            self.poke()

    def poke(self) -> None:
        """Run a tick as soon as the current one is over."""
        self._poked = True
        if self._task is None and self._events is not None and not self._stopping and not self._events.is_closed():
            self._task = self._events.create_task(self._run(), name=f"pillarbox-{self._name}")
            self._task.add_done_callback(self._on_task_end)

    def poke_within(self, seconds: float) -> None:
        """Run a tick in *seconds* at the latest, where the last one said a later time."""
        if self._timer is not None and self._due > self._clock.mono() + seconds:
            self._schedule(seconds)

    async def stop(self) -> None:
        """
        Wait for the end of the current tick; run no more. Safe to repeat, also where a first call was cancelled.

        A call that is cancelled leaves the tick behind: a store that fails it then is reported to nobody.
        """
        self._stopping, self._left = True, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            try:
                await asyncio.wait((self._task,))
            except asyncio.CancelledError:
                self._left = True
                raise
        self._events = None

    async def _run(self) -> None:
        while self._poked and not self._stopping:
            self._poked = False
            try:
                wait = await self._tick()
                self._failures = 0
            except BaseException as exc:
                # A loop outlives one failed tick (style.md).
                if is_from_outside(exc, self._task):
                    raise
                if self._is_left_behind(exc):
                    return
                pass_on(exc)
                wait = _FAILED_SECONDS[min(self._failures, len(_FAILED_SECONDS) - 1)]
                self._failures += 1
                self._report(exc)
            if wait is not None:
                self._schedule(wait)

    def _is_left_behind(self, exc: BaseException) -> bool:
        """Whether the tick was to end, and failed because what it works with is closed or does not answer."""
        return self._stopping and (isinstance(exc, NotStarted) or (self._left and isinstance(exc, StoreError)))

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if self._poked:
            self.poke()
        elif (task.cancelled() or task.exception() is not None) and not self._stopping:
            # Cut short from outside, or by a BaseException: whatever the tick had not done is still wanted. Not at
            # once: an event loop that is being closed has an end, and what fails for ever does not keep it busy.
            self._schedule(_CUT_SHORT_SECONDS)

    def _schedule(self, seconds: float) -> None:
        if seconds <= 0:
            self._poked = True
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._events is not None and not self._events.is_closed():
            self._due = self._clock.mono() + seconds
            self._timer = self._clock.call_later(seconds, self.poke)

    def _report(self, exc: BaseException) -> None:
        if isinstance(exc, StoreError):
            _log.warning("%s: %s", self._name, exc)
        else:
            _log.error("%s failed", self._name, exc_info=exc)
        if self._failed is not None:
            try:
                self._failed(self._name, exc)
            except BaseException as failure:  # noqa: BLE001 — who is told of a failure must not make another
                _log.error("telling of it failed", exc_info=failure)
                pass_on(failure)
