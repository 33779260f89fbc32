"""
Tasks that run one send after another: as long as none of them waits, a single one serves all there are.

Each send has a context of its own, a copy of the one that the outbox was started in: what it sets in a context variable
the next one on the same task does not see. A task whose send waits stays with it to its end, and calls others for those
that stand behind: two each, so that many are under way after a few turns of the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from pillarbox.engine.flight import Flight


class Runners:
    """
    Those of one executor.

    Args:
        run: Makes the coroutine of a send; its flight's ``task`` is set while that runs.
        on_wait: Called with a flight when its task waits for the first time.
        on_failed: Called with a flight of which `run` raised.
        on_refused: Called with each flight that is not begun, because the task that would have was cancelled before it.
    """

    def __init__(
        self,
        run: Callable[[Flight], Coroutine[Any, Any, None]],
        *,
        on_wait: Callable[[Flight], None],
        on_failed: Callable[[Flight], None],
        on_refused: Callable[[Flight], None],
    ) -> None:
        self._run = run
        self._on_first_wait = on_wait
        self._on_failed = on_failed
        self._on_refused = on_refused
        self._context = contextvars.copy_context()
        self._queue: deque[Flight] = deque()
        self._called: set[asyncio.Task[None]] = set()

    def start(self, flight: Flight) -> None:
        """Begin in the next turn of the loop."""
        self._queue.append(flight)
        if not self._called:
            self._call()

    def _call(self) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(), context=self._context)
        self._called.add(task)
        task.add_done_callback(self._on_end)

    def _on_wait(self, flight: Flight) -> None:
        """Called when a send waits, and its task with it: others are called."""
        self._on_first_wait(flight)
        for _ in range(min(2, len(self._queue) - len(self._called))):
            self._call()

    async def _serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 — a coroutine of ours runs in no other way
        self._called.discard(task)
        # One that was cancelled is not to be trusted with another's send.
        while self._queue and not task.cancelling():
            flight = self._queue.popleft()
            if flight.given_back:
                continue
            flight.task = task
            try:
                await _apart(self._run(flight), self._context.copy(), self._on_wait, flight)
            except GeneratorExit:
                # Nobody runs this task any more: its loop is closed.
                raise
            except BaseException:
                self._on_failed(flight)
                _leave(flight)
                raise
            _leave(flight)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._called.discard(task)
        while task.cancelled() and self._queue:
            self._on_refused(self._queue.popleft())
        if self._queue and not self._called:
            self._call()


def _leave(flight: Flight) -> None:
    flight.task = None
    if flight.left is not None and not flight.left.done():
        flight.left.set_result(None)


@types.coroutine
def _apart(
    running: Coroutine[Any, Any, None],
    context: contextvars.Context,
    on_wait: Callable[[Flight], None],
    flight: Flight,
) -> Generator[Any, Any, None]:
    """Run a flight's coroutine on the current task in *context*; call *on_wait* when it waits for the first time."""
    try:
        awaited = context.run(running.send, None)
        on_wait(flight)
        while True:
            try:
                yield awaited
            except BaseException as exc:  # noqa: BLE001 — it is thrown into what runs
                awaited = context.run(running.throw, exc)
            else:
                awaited = context.run(running.send, None)
    except StopIteration:
        return
