"""What `pillarbox top` shows, made of what was read: rows, rates and sentences. No terminal, no database."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pillarbox.cli.output import counted
from pillarbox.cli.spans_of_time import about
from pillarbox.domain.message import MessageView, State
from pillarbox.store.base import Flow, Tally, WorkerInfo

_SECOND_MS: Final = 1000
_RATE_SPAN_MS: Final = 10_000
_NOTHING: Final = "–"

Key = tuple[str, str]
"""A channel and a tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    One look at a queue.

    Attributes:
        at_ms: When it was taken.
        letters: The newest messages of the states that are shown.
    """

    at_ms: int
    tallies: Sequence[Tally]
    flow: Sequence[Flow]
    workers: Sequence[WorkerInfo]
    letters: Sequence[MessageView]

    def count(self, *states: State, key: Key | None = None) -> int:
        """Count messages in *states*, or in any: those of one channel and tenant, or all."""
        return sum(
            one.messages
            for one in self.tallies
            if (not states or one.state in states) and key in {None, (one.channel, one.tenant)}
        )

    def alive(self) -> list[WorkerInfo]:
        """Return the workers that are not known to be dead."""
        return [worker for worker in self.workers if worker.alive is not False]


class Rate(NamedTuple):
    """Messages a second; ``None`` where that is not known yet, or pruning makes it unknowable."""

    accepted: float | None
    delivered: float | None


class Rates:
    """How fast messages come and go, by the looks of the last ten seconds."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque()

    def add(self, look: Look) -> None:
        """Take another look into account."""
        self._looks.append(look)
        while len(self._looks) > 2 and look.at_ms - self._looks[1].at_ms >= _RATE_SPAN_MS:  # noqa: PLR2004 — the two ends
            self._looks.popleft()

    def of(self, key: Key | None = None) -> Rate:
        """Return the rates of one channel and tenant, or of all."""
        if not self._looks:
            return Rate(None, None)
        first, last = self._looks[0], self._looks[-1]
        seconds = (last.at_ms - first.at_ms) / _SECOND_MS

        def rate(*states: State) -> float | None:
            more = last.count(*states, key=key) - first.count(*states, key=key)
            return more / seconds if seconds > 0 and more >= 0 else None

        return Rate(rate(), rate(State.DELIVERED))


CHANNEL_COLUMNS: Final = (
    "CHANNEL", "TENANT", "IS", "WAITING", "SENDING", "HELD", "DEAD", "IN/S", "OUT/S", "OLDEST", "WORKERS", "WHY",
)  # fmt: skip
WORKER_COLUMNS: Final = ("WORKER", "HOST", "PID", "UP", "SEEN", "ALIVE", "CHANNELS")
LETTER_COLUMNS: Final = ("ID", "STATE", "CHANNEL", "TO", "AGE", "TRIES", "WHY")
_ALIVE: Final = {True: "yes", False: "no", None: "unknown"}


def channel_rows(look: Look, rates: Rates) -> dict[Key, tuple[str, ...]]:
    """Return a row for each channel and tenant, what waits longest first."""
    served = [worker.channels for worker in look.alive()]
    rows: dict[Key, tuple[str, ...]] = {}
    for flow in sorted(look.flow, key=lambda one: (_oldest(one, look), one.channel, one.tenant)):
        key = (flow.channel, flow.tenant)
        rate = rates.of(key)
        rows[key] = (
            flow.channel,
            flow.tenant or _NOTHING,
            _is(flow, look),
            *(_number(look.count(state, key=key)) for state in (State.SCHEDULED, State.LEASED, State.HELD, State.DEAD)),
            _per_second(rate.accepted),
            _per_second(rate.delivered),
            _waited(flow, look),
            _number(sum(flow.channel in channels for channels in served)),
            flow.pause_reason or _rests(flow),
        )
    return rows


def _waited(flow: Flow, look: Look) -> str:
    """Return for how long a channel's first message has been due."""
    if flow.due_ms is None or flow.due_ms > look.at_ms:
        return _NOTHING
    return about((look.at_ms - flow.due_ms) / _SECOND_MS)


def _oldest(flow: Flow, look: Look) -> float:
    """Return where a channel stands in the order: by when its first message was due, without one at the end."""
    return math.inf if flow.due_ms is None or flow.due_ms > look.at_ms else flow.due_ms


def _is(flow: Flow, look: Look) -> str:
    until_ms = flow.paused_until_ms if flow.paused else flow.full_until_ms
    rest = "" if until_ms is None else f" {about((until_ms - look.at_ms) / _SECOND_MS)}"
    return f"{flow.word}{rest}"


def _rests(flow: Flow) -> str:
    said = [
        f"{counted(flow.resting, 'recipient')} resting" if flow.resting else "",
        f"{counted(flow.suppressed, 'recipient')} suppressed" if flow.suppressed else "",
    ]
    return ", ".join(filter(None, said)) or _NOTHING


def worker_rows(look: Look) -> dict[int, tuple[str, ...]]:
    """Return a row for each worker, by its number."""
    return {
        worker.slot: (
            str(worker.slot),
            worker.host,
            str(worker.pid),
            about((look.at_ms - worker.started_ms) / _SECOND_MS),
            f"{about((look.at_ms - worker.seen_ms) / _SECOND_MS)} ago",
            _ALIVE[worker.alive],
            ", ".join(worker.channels),
        )
        for worker in look.workers
    }


def letter_rows(look: Look) -> dict[str, tuple[str, ...]]:
    """Return a row for each message, by its id."""
    return {
        view.id: (
            view.id,
            str(view.state),
            view.channel,
            view.recipient,
            about((look.at_ms - view.created_ms) / _SECOND_MS),
            str(view.claims),
            _one_line(view.last_error or view.terminal_reason or _NOTHING),
        )
        for view in look.letters
    }


def heading(look: Look, rates: Rates) -> str:
    """Return the line above all: how many messages there are of each state, how fast they go, and the workers."""
    by_state = (f"{_number(look.count(state))} {state}" for state in State if look.count(state))
    rate = rates.of()
    flowing = f"in {_per_second(rate.accepted)}/s, out {_per_second(rate.delivered)}/s"
    return " · ".join([", ".join(by_state) or "no messages", flowing, counted(len(look.alive()), "worker")])


def _number(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _per_second(rate: float | None) -> str:
    if rate is None:
        return _NOTHING
    return f"{rate:.1f}" if rate < 10 else _number(round(rate))  # noqa: PLR2004 — above that tenths are noise


def _one_line(text: str) -> str:
    return " ".join(text.split())
