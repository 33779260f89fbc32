"""
What is known of one message and of all that stands between it and its recipient: what `explaining` explains from.

A store reads it in one snapshot. Times are milliseconds since 1970 unless they are called boot time.
"""

from __future__ import annotations

import msgspec

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import MessageView, State


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """
    A message's queue, and whether it may be claimed from.

    Attributes:
        paused_ms: Since when; ``None`` where it is not paused. A pause that has run out is still there.
        paused_until_ms: ``None`` until a person resumes it.
        paused_by: ``pillarbox`` itself after an answer of the platform, else who asked for it.
        strikes: Times in a row that the channel was unavailable; it is tried with one message at a time then.
        sending: Messages of this queue under a lease.
        full_until_ms: When its channel's platform takes more, as was known after the last claim.
    """

    tenant: str
    channel: str
    paused_ms: int | None = None
    paused_until_ms: int | None = None
    pause_reason: str | None = None
    paused_by: str | None = None
    strikes: int = 0
    sending: int = 0
    full_until_ms: int | None = None

    def paused(self, now_ms: int) -> bool:
        """Whether nothing is claimed from it at *now_ms*."""
        return self.paused_ms is not None and (self.paused_until_ms is None or self.paused_until_ms > now_ms)


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """What a person did to a message."""

    at_ms: int
    act: str
    actor: str
    reason: str | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """
    One message as it stands.

    Attributes:
        view: Without its content.
        under_lease: Someone has a lease on it; true also of a delivered one to which another attempt is not over yet.
        lease_left_ms: How long that lease still runs; below 0 since when it is over.
        worker: The number of who claimed it last.
        queue: The number of its queue.
        position: Its place in the order of lanes; ``None`` for one that takes it when it is due.
        has_content: What it says is still stored.
        free_returns: Times in a row that it was given back at no cost.
        attempt_ended_ms: When its last attempt that did not simply succeed was over.
        rests_until_ms, rest_reason: Until when its recipient rests after a rate limit, and what was said then.
        suppressed: What was said when its recipient was refused for good; then nothing is sent to it.
        answer: What may be shown of what the platform said to that attempt.
    """

    view: MessageView
    gate: Gate
    under_lease: bool = False
    lease_left_ms: int | None = None
    worker: int | None = None
    queue: int = 0
    position: int | None = None
    has_content: bool = True
    free_returns: int = 0
    attempt_ended_ms: int | None = None
    answer: str | None = None
    rests_until_ms: int | None = None
    rest_reason: str | None = None
    suppressed: str | None = None


class WorkerStanding(msgspec.Struct, frozen=True, kw_only=True):
    """
    One registered worker.

    Attributes:
        alive: Whether its process runs; ``None`` where that is not known.
        sending: Messages under its leases.
        suspects: Those of them whose workers keep dying.
    """

    slot: int
    host: str
    pid: int
    channels: tuple[str, ...]
    seen_ms: int
    alive: bool | None
    sending: int = 0
    suspects: int = 0


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A due message whose workers keep dying, which will be sent alone."""

    id: MessageId
    channel: str


class Heir(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a replay made, or a replay of that one."""

    id: MessageId
    state: State
    created_ms: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything at once.

    Attributes:
        ahead: What stands before it in its lane: the open head, the one under a lease, the held one that keeps its
            turn; each once, by position.
        ahead_count: How many active messages of its lane have a lower position; 1000 stands for more.
        due_before: How many due messages of its queue are claimed before it; 1000 stands for more.
        workers: Every registered one, in whatever process.
        suspects: Due ones, in whatever queue; at most 10.
        acts: What people did to it, the oldest first.
        heirs: What replays have made of it, at most 20.
        parted_ms: By how much the wall clock was set, while it is not to be trusted for that; else 0.
    """

    now_ms: int
    subject: Standing
    ahead: tuple[Standing, ...] = ()
    ahead_count: int = 0
    due_before: int = 0
    workers: tuple[WorkerStanding, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    acts: tuple[Deed, ...] = ()
    heirs: tuple[Heir, ...] = ()
    parted_ms: int = 0
