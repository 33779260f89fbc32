"""The store of a disabled outbox (contract EN12): it holds nothing and makes no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pillarbox.domain.clock_steps import ClockNews
from pillarbox.domain.explain.facts import Facts
from pillarbox.domain.ids import MessageId
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Draft, MessageView, State
from pillarbox.domain.mirror import MirrorEntry
from pillarbox.errors import Refused
from pillarbox.store.base import (
    Acted,
    Backlog,
    Batch,
    BatchResult,
    Durability,
    Event,
    Flow,
    Lapsed,
    Query,
    QueueInfo,
    Ready,
    Redirect,
    Schema,
    Suppressed,
    Tally,
    WorkerInfo,
    WorkerStart,
)
from pillarbox.store.steps.tx import Tx

T = TypeVar("T")

_DISABLED = "the queue is disabled (enabled = false): nothing is stored"


class NullStore:
    """
    Answers as an empty database does. What would have to be kept is refused.

    Args:
        key: What recipients are hashed with in the log, random.
    """

    durability = Durability.MEMORY
    in_memory = True
    place = ""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def open(self, *, make: bool = True) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    async def limit(self, limits: Limits) -> None:
        """Do nothing: nothing is stored that could be limited."""

    async def commit(self, batch: Batch) -> BatchResult:
        """Apply no act: there are no messages. Raises Refused for what would have to be kept."""
        if batch.enqueue or batch.imports or batch.settle or batch.admit:
            raise Refused(_DISABLED)
        return BatchResult(acted=[Acted(applied=False) for _ in batch.acts])

    async def ready(self, drafts: Sequence[Draft], *, now_ms: int) -> Ready:  # noqa: ARG002 — of `Store`
        """Refuse."""
        raise Refused(_DISABLED)

    async def register(self, start: WorkerStart) -> int:  # noqa: ARG002 — of `Store`
        """Refuse."""
        raise Refused(_DISABLED)

    async def deregister(self, worker: int) -> None:
        """Do nothing: there is no worker."""

    async def lapsed(self, *, limit: int) -> list[Lapsed]:  # noqa: ARG002 — of `Store`
        """Return none: nothing is leased."""
        return []

    async def gone_acceptors(self) -> list[bytes]:
        """Return none: nothing is ever accepted here."""
        return []

    async def gone(self, worker: bytes) -> bool:  # noqa: ARG002 — of `Store`
        """Return true: there never was such a worker."""
        return True

    async def turn(self, correlation_id: str, *, final_only: bool) -> dict[State, int]:  # noqa: ARG002 — of `Store`
        """Return counts of 0."""
        return {}

    async def mirror_pending(self, session_key: str, *, limit: int) -> list[MirrorEntry]:  # noqa: ARG002 — of `Store`
        """Return none: there is no record."""
        return []

    async def log_key(self) -> bytes:
        """Return a key of this process alone."""
        return self._key

    async def label(self) -> str | None:
        """Return none: there is no database."""
        return None

    async def set_label(self, label: str) -> str | None:  # noqa: ARG002 — of `Store`
        """Refuse."""
        raise Refused(_DISABLED)

    async def kept(self, channel: str) -> str | None:  # noqa: ARG002 — of `Store`
        """Return none: there is no database."""
        return None

    async def keep(self, channel: str, *, old: str | None, new: str) -> bool:  # noqa: ARG002 — of `Store`
        """Refuse."""
        raise Refused(_DISABLED)

    async def clock_news(self) -> ClockNews:
        """Return no news: nothing here is judged by time."""
        return ClockNews()

    async def overdue_holds(self, *, before_ms: int, limit: int) -> list[MessageId]:  # noqa: ARG002 — of `Store`
        """Return none: nothing is held."""
        return []

    async def get(self, message: MessageId) -> MessageView | None:  # noqa: ARG002 — of `Store`
        """Return none: there is no message."""
        return None

    async def files(self, digests: Sequence[str]) -> dict[str, bytes]:  # noqa: ARG002 — of `Store`
        """Return none: there is no file."""
        return {}

    async def ended(self, messages: Sequence[MessageId]) -> set[MessageId]:
        """Return none: there is no message."""
        return set(messages)

    async def resolve_id(self, text: str) -> list[MessageId]:  # noqa: ARG002 — of `Store`
        """Return none: there is no message."""
        return []

    async def list_messages(self, query: Query) -> list[MessageView]:  # noqa: ARG002 — of `Store`
        """Return none: there is no message."""
        return []

    async def read_messages(self, query: Query, *, bytes_max: int) -> list[MessageView]:  # noqa: ARG002 — of `Store`
        """Return none: there is no message."""
        return []

    async def facts(self, message: MessageId, *, now_ms: int) -> Facts | None:  # noqa: ARG002 — of `Store`
        """Return none: there is no message."""
        return None

    async def history(self, message: MessageId) -> list[Event]:  # noqa: ARG002 — of `Store`
        """Return none: there is no message."""
        return []

    async def known_imports(self, system: str, source_ids: Sequence[str]) -> set[str]:  # noqa: ARG002 — of `Store`
        """Return none: nothing was ever imported."""
        return set()

    async def stats(self) -> list[Tally]:
        """Return counts of 0."""
        return []

    async def backlog(self, *, now_ms: int, channels: Sequence[str], worker: int) -> Backlog:  # noqa: ARG002 — of `Store`
        """Return an empty backlog: nothing waits."""
        return Backlog()

    async def flow(self, *, now_ms: int) -> list[Flow]:  # noqa: ARG002 — of `Store`
        """Return none: there is no queue."""
        return []

    async def redirects(self, *, limit: int) -> list[Redirect]:  # noqa: ARG002 — the protocol's signature
        """Return none: nothing is remembered."""
        return []

    async def suppressed(self, *, limit: int) -> list[Suppressed]:  # noqa: ARG002 — of `Store`
        """Return none: nothing is remembered."""
        return []

    async def queues(self) -> list[QueueInfo]:
        """Return none: there is no queue."""
        return []

    async def workers(self) -> list[WorkerInfo]:
        """Return none: there is no worker."""
        return []

    async def check(self) -> list[str]:
        """Return none: there is nothing that could be wrong."""
        return []

    def problems(self) -> list[str]:
        """Return none: there is no file."""
        return []

    def remarks(self) -> list[str]:
        """Return none: there is no file."""
        return []

    async def backup(self, path: Path) -> int:  # noqa: ARG002 — of `Store`
        """Refuse."""
        raise Refused(_DISABLED)

    async def schema(self) -> Schema:
        """Refuse."""
        raise Refused(_DISABLED)

    def script(self) -> str:
        """Refuse."""
        raise Refused(_DISABLED)

    def on_question(self, problems: Callable[[], Sequence[str]]) -> None:
        """Do nothing: no other process can ask."""

    async def moving(self, work: Callable[[Tx], T]) -> T:  # noqa: ARG002 — of `Store`
        """Refuse: there is nothing to move."""
        raise Refused(_DISABLED)

    def on_change(self, listener: Callable[[], None], *, seconds: float) -> Callable[[], None]:  # noqa: ARG002
        """Return what ends the notices; *listener* is never called, because nothing is ever written here."""
        return _nothing


def _nothing() -> None:
    """Do nothing: nothing was begun that could be ended."""
