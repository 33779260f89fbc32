"""What a queue's counts say that somebody should look at, each with the command that leads on. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pillarbox.cli.output import messages
from pillarbox.domain.message import State
from pillarbox.store.base import QueueInfo, Tally, WorkerInfo


class Finding(NamedTuple):
    """One thing to look at: what it is, and what to do."""

    what: str
    remedy: str


class Condition(NamedTuple):
    """A queue as one look found it."""

    tallies: Sequence[Tally]
    queues: Sequence[QueueInfo]
    workers: Sequence[WorkerInfo]

    def states(self) -> Counter[State]:
        """Count messages by state."""
        found: Counter[State] = Counter()
        for tally in self.tallies:
            found[tally.state] += tally.messages
        return found

    def alive(self) -> list[WorkerInfo]:
        """Return the workers that are not known to be dead."""
        return [worker for worker in self.workers if worker.alive is not False]

    def served(self) -> set[str]:
        """Return the channels that a live worker has."""
        return {channel for worker in self.alive() for channel in worker.channels}

    def waiting(self) -> Counter[str]:
        """Count the scheduled messages of each channel."""
        found: Counter[str] = Counter()
        for tally in self.tallies:
            if tally.state is State.SCHEDULED:
                found[tally.channel] += tally.messages
        return found


def findings(seen: Condition) -> Iterator[Finding]:
    """Yield what keeps messages from being delivered, then what a person has to decide."""
    yield from _unserved(seen)
    yield from _paused(seen.queues)
    states = seen.states()
    if held := states[State.HELD]:
        yield Finding(
            f"{messages(held)} held, until somebody decides", "`pillarbox ls --state held`, then `pillarbox resolve ID`"
        )
    if dead := states[State.DEAD]:
        yield Finding(
            f"{messages(dead)} dead: nobody tries again", "`pillarbox ls --state dead`, then `pillarbox replay ID`"
        )


def _unserved(seen: Condition) -> Iterator[Finding]:
    served = seen.served()
    for channel, count in sorted(seen.waiting().items()):
        if count and channel not in served:
            why = f"no worker has channel {channel}" if seen.alive() else "no worker runs"
            yield Finding(
                f"{messages(count)} waiting for {channel}: {why}",
                f"`pillarbox run`, where channel {channel} is configured (`pillarbox config show`)",
            )


def _paused(queues: Iterable[QueueInfo]) -> Iterator[Finding]:
    for queue in queues:
        if queue.paused:
            tenant = f" of tenant {queue.tenant}" if queue.tenant else ""
            yield Finding(
                f"channel {queue.channel}{tenant} is paused: {queue.pause_reason or 'no reason given'}",
                f"`pillarbox resume {queue.channel}`",
            )
