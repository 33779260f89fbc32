"""`Health`: whether an outbox keeps what it promises at this moment, for a service's own health check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pillarbox.engine.clock_guard import untrusted
from pillarbox.errors import StoreError, StoreReplaced
from pillarbox.store.base import Durability

if TYPE_CHECKING:
    from pillarbox.outbox.runtime import Runtime
    from pillarbox.store.base import QueueInfo


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """
    How an open outbox is.

    Attributes:
        problems: One sentence for each thing that a person should look at; empty when all is well. None holds a text,
            a recipient or a secret.
        durability: What an accepted message survives.
        in_memory: Nothing outlives the process.
        fell_back: Because the database could not be opened (``fallback = "memory"``, contract SG1).
        delivers: This process sends.
    """

    problems: tuple[str, ...]
    durability: Durability
    in_memory: bool
    fell_back: bool
    delivers: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


async def examine(runtime: Runtime) -> Health:
    """Look at an open outbox. Asks the database once; raises nothing of its own."""
    store, counts = runtime.store, runtime.reporter.counts
    problems = present(runtime)
    try:
        queues = await store.queues()
    except StoreReplaced as exc:
        # Seen between the two looks, or before them.
        problems += [] if str(exc) in problems else [str(exc)]
    except StoreError as exc:
        problems.append(f"the database does not answer: {exc}")
    else:
        problems += [_unavailable(queue) for queue in queues if queue.strikes]
    lost = counts["alarm:recording_failed"]
    if lost:
        problems.append(f"outcomes that could not be recorded since the start: {lost}")
    return Health(
        problems=tuple(problems),
        durability=store.durability,
        in_memory=store.in_memory,
        fell_back=runtime.fell_back,
        delivers=runtime.worker is not None or runtime.direct is not None,
    )


def present(runtime: Runtime) -> list[str]:
    """List what is wrong with this process now, without asking the database."""
    problems = _left(runtime)
    if runtime.fell_back:
        problems.append("the database could not be opened: messages are kept in memory, and end with this process")
    problems += runtime.store.problems()
    problems += runtime.reporter.troubles.sentences()
    parted_ms = runtime.clock.parted_ms()
    if parted_ms:
        problems.append(untrusted(parted_ms))
    return problems


def _left(runtime: Runtime) -> list[str]:
    """Return a sentence for the calls that go on though they were cut off, for as long as they do."""
    sender = runtime.worker.executor if runtime.worker is not None else runtime.direct
    sends = sender.left().items() if sender is not None else ()
    problems = [f"channel {name} does not end what was cut off: {count} of its slots are lost" for name, count in sends]
    hooks = runtime.hooks.left().items()
    return problems + [f"hook {name} does not end what was cut off: {count} calls go on" for name, count in hooks]


def _unavailable(queue: QueueInfo) -> str:
    why = f": {queue.pause_reason}" if queue.pause_reason else ""
    times = "once" if queue.strikes == 1 else f"{queue.strikes} times in a row"
    return f"channel {queue.channel} was unavailable {times}{why}"
