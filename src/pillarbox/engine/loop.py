"""The only ``while``: runs a tick when poked or when its time has come, and survives one that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pillarbox.errors import StoreError
from pillarbox.fencing import Log, is_from_outside, pass_on

_log = Log("pillarbox.engine")
_FAILED_SECONDS: Final = (0.05, 0.2, 1.0, 5.0)

# A tick says in how many seconds it wants to run again; ``None`` waits for a poke.
Tick = Callable[[], Awaitable[float | None]]


class Loop:
    """
    Runs one tick after another on the event loop.

    Whatever a tick raises, it does not end the loop. What ends a program (``KeyboardInterrupt``, ``SystemExit``) is
    passed on beside it.

    Args:
        failed: Told of every tick that raised; the loop goes on after a pause that grows to 5 s.
    """

    def __init__(self, name: str, tick: Tick, *, failed: Callable[[str, BaseException], None] | None = None) -> None:
        self._name = name
        self._tick = tick
        self._failed = failed
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin; the first tick runs at once."""
        if self._task is None:
            self._stopping = False
            self._poked.set()
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"pillarbox-{self._name}")

    def poke(self) -> None:
        """Run a tick as soon as the current one is over."""
        self._poked.set()

    async def stop(self) -> None:
        """Let the current tick end, and run no more. Safe to repeat."""
        self._stopping = True
        self._poked.set()
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        if task is not None:
            await task

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._poked.wait()
            self._poked.clear()
            if self._stopping:
                return
            try:
                wait = await self._tick()
                failures = 0
            except BaseException as exc:
                # A loop outlives one failed tick (style.md).
                if is_from_outside(exc):
                    raise
                pass_on(exc)
                wait = _FAILED_SECONDS[min(failures, len(_FAILED_SECONDS) - 1)]
                failures += 1
                self._report(exc)
            if wait is not None:
                self._schedule(wait)

    def _schedule(self, seconds: float) -> None:
        if seconds <= 0:
            self._poked.set()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._poked.set)

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
