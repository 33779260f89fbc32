"""A message that something is ordered of, as the orders see it."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import STATES, State
from pillarbox.domain.orders import shown
from pillarbox.store.steps.tx import Row

T = TypeVar("T")


class Subject(NamedTuple):
    """The columns of ``order_row``, in their order; ``arrived`` is whether a late answer said that it is delivered."""

    id: MessageId
    seq: int
    state: State
    arrived: bool
    queue: int
    tenant: str
    channel: str
    recipient: str
    lane: str | None
    content_size: int
    expires_ms: int | None
    completed_ms: int | None
    policy: int
    part_count: int
    part_next: int
    parts_dead: int
    token_epoch: int
    key: str | None
    payload: int | None
    has_content: bool
    replay_of: str | None

    @classmethod
    def of(cls, row: Row) -> Subject:
        """Decode a row."""
        identity, seq, state, arrived, *rest = row
        return cls(identity, seq, STATES[state], bool(arrived), *rest)

    @property
    def shown(self) -> State:
        """The state as every reader sees it."""
        return shown(self.state, arrived=self.arrived)


class Given(Generic[T]):
    """An order that its message's state allows; ``marks``: for when the attempt ends that is under way."""

    __slots__ = ("item", "marks", "subject")

    def __init__(self, item: T, subject: Subject, *, marks: bool) -> None:
        self.item = item
        self.subject = subject
        self.marks = marks
