"""What a queue's counts say that somebody should look at, each with the command that leads on. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from pillarbox.cli.output import messages
from pillarbox.cli.spans_of_time import about
from pillarbox.domain.message import State
from pillarbox.store.base import Flow, Tally, WorkerInfo

_SECOND_MS: Final = 1000


class Finding(NamedTuple):
    """
    One thing to look at: what it is, and what to do.

    ``wakes``: whether somebody has to be told of it who is not looking; what passes by itself, or is a remark on a
    configuration that works, wakes nobody.
    """

    what: str
    remedy: str
    wakes: bool = True


class Condition(NamedTuple):
    """A queue as one look found it at ``at_ms``."""

    tallies: Sequence[Tally] = ()
    flows: Sequence[Flow] = ()
    workers: Sequence[WorkerInfo] = ()
    at_ms: int = 0

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


def findings(seen: Condition, *, late_ms: int) -> Iterator[Finding]:
    """Yield what keeps messages from being delivered, then what was not. *late_ms*: how long one may have been due."""
    yield from _unserved(seen)
    yield from _paused(seen)
    yield from _late(seen, late_ms)
    states = seen.states()
    if held := states[State.HELD]:
        yield Finding(
            f"{messages(held)} held, until somebody decides", "`pillarbox ls --state held`, then `pillarbox resolve ID`"
        )
    if dead := states[State.DEAD]:
        yield Finding(
            f"{messages(dead)} dead: nobody tries again",
            "`pillarbox ls --state dead`, then `pillarbox replay ID`, or `pillarbox purge ID`",
        )
    if expired := states[State.EXPIRED]:
        yield Finding(
            f"{messages(expired)} expired: not delivered in time",
            "`pillarbox ls --state expired`, then `pillarbox replay ID`, or `pillarbox purge ID`",
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


def _paused(seen: Condition) -> Iterator[Finding]:
    for flow in seen.flows:
        if not flow.paused:
            continue
        why = flow.pause_reason or "no reason given"
        resume = f"`pillarbox resume {flow.channel}`"
        if flow.paused_until_ms is None:
            yield Finding(f"channel {_named(flow)} is paused: {why}", f"{resume} lets its messages go")
        else:
            again = about((flow.paused_until_ms - seen.at_ms) / _SECOND_MS)
            yield Finding(
                f"channel {_named(flow)} rests: {why}",
                f"it goes on by itself in {again}; {resume} does it now",
                wakes=False,
            )


def _late(seen: Condition, late_ms: int) -> Iterator[Finding]:
    served = seen.served()
    for flow in seen.flows:
        if flow.due_ms is None or flow.channel not in served or (flow.paused and flow.paused_until_ms is None):
            continue  # that is told already
        if (waited_ms := seen.at_ms - flow.due_ms) > late_ms:
            yield Finding(
                f"channel {_named(flow)} does not keep up: its first message has been due for"
                f" {about(waited_ms / _SECOND_MS)}",
                f"`pillarbox ls --state scheduled --channel {flow.channel}`, then `pillarbox explain ID` of the oldest",
            )


def _named(flow: Flow) -> str:
    return f"{flow.channel} of tenant {flow.tenant}" if flow.tenant else flow.channel
