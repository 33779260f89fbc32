"""
The store's contract: `Store.commit` writes one batch in one transaction; the rest reads.

A batch is applied in a fixed order (`steps.batch.ORDER`), so that settling the head of a lane leases its successor in
the same transaction (lanes.md). What is due, expired and recorded is judged by the time that comes
with a batch. Leases are judged by the store's own clock, which its callers never see: they say and hear spans.
"""

# Long because: it is the whole contract between the engine and a database, and stands in one place.
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol, Self, TypeVar

import msgspec

from pillarbox.domain.clock_steps import ClockMark, ClockNews
from pillarbox.domain.explain.facts import Facts
from pillarbox.domain.filter_fields import Condition
from pillarbox.domain.ids import LeaseId, MessageId
from pillarbox.domain.lifecycle import Verdict
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Draft, Leased, MessageView, State
from pillarbox.domain.mirror import MirrorEntry
from pillarbox.domain.pace import Pace
from pillarbox.domain.plain_values import COUNT_MAX
from pillarbox.domain.transition import Reason, Transition
from pillarbox.errors import PillarboxError
from pillarbox.store.steps.tx import Tx

T = TypeVar("T")


class Durability(StrEnum):
    """What a commit survives: a power cut, the end of the process, or nothing."""

    POWER = "power"
    PROCESS = "process"
    MEMORY = "memory"


StateCounts = dict[State, int]
"""How many messages there are in each state that has any."""
LapsedBy = Literal["time", "owner"]
"""How a lease is known to be nobody's: its time is over, or its worker is surely gone."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    The end of one attempt.

    Attributes:
        lapsed: For the reaper: how it knows that the lease has lost its holder. By ``time``, it is applied only if
            the lease was not renewed meanwhile. ``None`` from the lease's holder.
        began_ms: When the channel was called; ``None`` if it was not.
        keep_attempt: Leave an attempt row even for a plain success (history ``full``).
    """

    message: Leased
    transition: Transition
    began_ms: int | None
    ended_ms: int
    lapsed: LapsedBy | None = None
    keep_attempt: bool = False


class Settled(StrEnum):
    """What became of a settlement."""

    APPLIED = "applied"
    LATE = "late"
    """The lease was gone, but the platform has the message: recorded as such (contract ST6)."""
    STALE = "stale"
    """The lease was gone; nothing changed."""
    CANCEL = "cancel"
    """Someone asked to cancel while it was being sent: it must not be scheduled again; nothing changed."""
    SUPERSEDE = "supersede"
    """A newer message waits to take its place: as `CANCEL` (contract FL4)."""
    SUPERSEDE_IN_DOUBT = "supersede_in_doubt"
    """The same, and the platform may have it from an earlier attempt."""


CANCELLED_FOR: Final[Mapping[Settled, Reason]] = {
    Settled.CANCEL: Reason.REQUESTED,
    Settled.SUPERSEDE: Reason.SUPERSEDED,
    Settled.SUPERSEDE_IN_DOUBT: Reason.SUPERSEDED_MAYBE_SENT,
}
"""Settlements that a store refuses because the message must end: why it is cancelled, see `lifecycle.cancelled`."""


class AdmissionWrite(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The channel's admission of a claimed message that had none yet."""

    message: Leased
    admission: Admission


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Withdraw a message. One that is being sent is only marked: it ends when its attempt does."""

    id: MessageId
    actor: str
    reason: str | None = None


class Retry(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make a scheduled or held message due now. ``ttl_ms`` is its new time to live from now on; see `Resolve`."""

    id: MessageId
    actor: str
    reason: str | None = None
    ttl_ms: int | None = None


class Bury(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Bury a message that has been held since before *held_before_ms*; one that was held anew meanwhile stays.

    ``reason`` becomes its terminal reason.
    """

    id: MessageId
    actor: str
    reason: str
    held_before_ms: int


class Resolve(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Decide a held message by what a person knows of it (contract UN3).

    What is to be sent takes a new place at the tail of its lane; a message whose first unsent part was delivered goes
    on with the next one where it stands.

    Attributes:
        force_copy: With ``resend``: under a new dedupe token, so that no platform takes it for what it has. The only
            thing that changes a message's resend epoch (UN2).
        receipt: With ``delivered``: the platform's id for it.
        ttl_ms: Its new time to live from now on, above 0. Without it, what is past its time is not scheduled again,
            because it would end at once.
    """

    id: MessageId
    actor: str
    verdict: Verdict
    force_copy: bool = False
    receipt: str | None = None
    ttl_ms: int | None = None
    reason: str | None = None


class Replay(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Send what has ended once more, as a new message (contract ST2). Limits apply; the original never changes.

    Attributes:
        id: The original's.
        new_id: The new message's.
        fresh: Under a dedupe token of its own, with every part anew, even where a replay is on its way or delivered.
            A delivered original is always replayed under a token of its own.
    """

    id: MessageId
    new_id: MessageId
    actor: str
    fresh: bool = False
    reason: str | None = None


class Purge(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Delete a terminal message now, whatever its retention: content, parts, attempts.

    Its key is kept until ``keys_until_ms``; what people did to it, and the ledger of imports, stay.
    """

    id: MessageId
    actor: str
    keys_until_ms: int
    reason: str | None = None


class Pause(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Stop claiming from a channel. ``until_ms`` ``None``: until resumed.

    ``tenant`` ``None``: every tenant's messages, also of tenants that come later (contract FL3).
    """

    tenant: str | None
    channel: str
    actor: str
    reason: str | None = None
    until_ms: int | None = None


class Resume(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Claim from a channel again. ``tenant`` ``None``: every tenant's messages, also of one that was paused alone."""

    tenant: str | None
    channel: str
    actor: str
    reason: str | None = None


class TryAgain(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """
    Try a channel with one message that was paused without end for what it was configured with, and see what is said.

    Attributes:
        other: It was configured anew: also where its receiver wanted nothing more of what it was.
    """

    channel: str
    other: bool
    actor: str = "pillarbox"
    reason: str | None = None


class ForgetRedirect(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send to *recipient* itself again, which a channel said had another address (contract CH3)."""

    tenant: str
    channel: str
    recipient: str
    actor: str
    reason: str | None = None


class ClearRecipient(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Send again to *recipient*, which was refused for good; ``None``: to all of the channel."""

    tenant: str
    channel: str
    recipient: str | None
    actor: str
    reason: str | None = None


ActOnMessage = Cancel | Retry | Bury | Resolve | Replay | Purge
ActOnChannel = Pause | Resume | TryAgain | ForgetRedirect | ClearRecipient
Act = ActOnMessage | ActOnChannel


class Acted(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an act did.

    ``applied`` is false where the message's state did not allow it. ``state`` is the one it is in now, ``None`` where
    there is no such message (any more) or the act was about none; ``pending`` marks a cancel that waits for an
    attempt's end. ``refused`` says why nothing was changed although the state would have allowed it: Refused, or
    QueueFull.
    """

    applied: bool
    state: State | None = None
    pending: bool = False
    refused: PillarboxError | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """
    What may be leased.

    Attributes:
        capacity: Queue number → free slots, in the order to serve; at most 1000 each.
        lease: Fresh for this claim; every later write presents it.
        lease_ms: How long the leases last, from the commit on; above 0.
        oldest_first: Take the oldest whatever its priority.
        suspect: Take one message that may kill workers, and nothing else.
        only: Take this message alone.
        judge_expiry: What is past its time ends instead of being leased (contract EX1). False while the wall clock
            cannot be trusted (LE6): then nothing expires here.
        paces: What the platforms of channels take in a time, where they say so.
    """

    worker: int
    lease: LeaseId
    lease_ms: int
    capacity: Mapping[int, int]
    oldest_first: bool = False
    suspect: bool = False
    only: MessageId | None = None
    judge_expiry: bool = True
    paces: Mapping[str, Pace] = {}


class Prune(msgspec.Struct, frozen=True, kw_only=True):
    """
    Delete terminal messages completed before a time, per state.

    Attributes:
        before_ms: For every terminal state that goes; the others stay.
        keys_until_ms: When the idempotency keys of what is deleted are forgotten.
        scrub_before_ms: The content of terminal messages completed before goes, their rows stay; ``None``: nothing.
        audit_before_ms: Attempts and history of messages already gone, kept for the audit, go if older.
        mirror_before_ms: Mirror entries delivered or acknowledged before it go.
    """

    before_ms: Mapping[State, int]
    keys_until_ms: int
    audit_before_ms: int
    scrub_before_ms: int | None = None
    mirror_before_ms: int = 0
    limit: int = 500


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's sign of life."""

    worker: int
    channels: tuple[str, ...]


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """
    A message that another system's queue held, in the state that it comes in (contract IM1).

    The ledger knows it by ``system`` and ``source_id`` for ever; what it knows is never stored again.

    Attributes:
        alias: Another name that the ledger is to know it by, for `Store.known_imports`.
        outcome: The ledger's word for what became of it.
        state: Scheduled, held, dead or expired.
        attempts: What it was charged before.
        reason: Why it is held or ended; ``None`` for a scheduled one.
        last_attempt_ms: When its last attempt was; ``None`` where that is not known.
        note: For its history: where it comes from, and why it is what it is.
    """

    system: str
    source_id: str
    outcome: str
    draft: Draft
    alias: str | None = None
    state: State = State.SCHEDULED
    attempts: int = 0
    reason: str | None = None
    error_class: str | None = None
    last_error: str | None = None
    last_attempt_ms: int | None = None
    note: str = ""


ABANDON_MAX: Final = 500


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything one transaction writes.

    Attributes:
        now_ms: The queue's time (`domain.clock_steps`), for what is due, expired and recorded.
        renew_ms: How long the leases of ``renew`` last, from this commit on.
        enqueue: Groups; each is stored whole or not at all, independent of the others.
        imports: Each is stored or not, independent of the others. Refused by a database in memory.
        sync: What was committed before, at whatever durability, becomes as durable as this batch.
        expire: At most so many scheduled messages whose time is over become expired.
        abandon: Scheduled messages that must not outlive these acceptors become dead, at most `ABANDON_MAX` of each.
        acknowledge: Keys of mirror entries that their host has taken over.
        mark: How the clocks stand, where the database does not know that yet.
        again: All of this, or some of it, may have been committed before, by a try whose answer was lost. It becomes as
            durable as this batch.
    """

    now_ms: int
    settle: Sequence[Settlement] = ()
    admit: Sequence[AdmissionWrite] = ()
    renew: Sequence[Leased] = ()
    renew_ms: int = 0
    acts: Sequence[Act] = ()
    expire: int = 0
    abandon: Sequence[bytes] = ()
    acknowledge: Sequence[str] = ()
    enqueue: Sequence[Sequence[Draft]] = ()
    imports: Sequence[Import] = ()
    sync: bool = False
    claim: Claim | None = None
    prune: Prune | None = None
    presence: Presence | None = None
    mark: ClockMark | None = None
    again: bool = False


class Enqueued(msgspec.Struct, frozen=True, gc=False):
    """
    One accepted message.

    ``created`` is false where its key found an earlier one, whose id this is. ``superseded`` are the messages whose
    place it took (contract FL4).
    """

    id: MessageId
    created: bool
    superseded: Sequence[Ended] = ()


class Ended(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message that a batch ended without an attempt: enough for an event."""

    id: MessageId
    queue: int
    state: State
    reason: str | None
    tenant: str
    channel: str
    recipient: str
    origin: str | None
    correlation_id: str | None
    created_ms: int
    claims: int
    charged: int
    part_count: int = 1
    parts_delivered: int = 0


class BatchResult(msgspec.Struct, kw_only=True):
    """
    What a batch did, each list in the order of its request.

    Attributes:
        enqueued: Per group its messages, or the error that refused the group.
        imported: Per import its message, not created where the ledger knew it, or the error that refused it.
        claimed: In order of priority and due time.
        unreadable: Claimed rows that could not be decoded; they are dead now.
        overdue: Messages past their time that the claim came upon; they have expired now.
        touched: Queues with something new to claim.
        later_ms: Queues in which something was put off, and until when.
        next_due_ms: For queues that ran dry: when something there will be due, suspects aside; ``None`` for nothing.
        suspect_due: A message that may kill workers is due; it wants a worker for itself.
        suspects_ms: For queues that were looked at: when such a message there is due; ``None`` for none.
        pruned: Deleted messages by state.
        more: A bounded step (expire, prune, parking) left work for the next batch.
    """

    settled: list[Settled] = []
    admitted: list[bool] = []
    lost: list[Leased] = []
    cancelling: list[MessageId] = []
    acted: list[Acted] = []
    expired: list[Ended] = []
    abandoned: list[Ended] = []
    acknowledged: int = 0
    enqueued: list[list[Enqueued] | PillarboxError] = []
    imported: list[Enqueued | PillarboxError] = []
    claimed: list[Leased] = []
    unreadable: list[Ended] = []
    overdue: list[Ended] = []
    touched: set[int] = set()
    later_ms: dict[int, int] = {}
    next_due_ms: dict[int, int | None] = {}
    suspect_due: bool = False
    suspects_ms: dict[int, int | None] = {}
    pruned: dict[State, int] = {}
    more: bool = False


class QueueInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One (tenant, channel) and whether it may be claimed from. ``strikes``: times in a row it was unavailable."""

    id: int
    tenant: str
    channel: str
    paused: bool
    paused_until_ms: int | None
    pause_reason: str | None
    strikes: int

    def judged(self, now_ms: int) -> Self:
        """Return it as it is at a time: without a pause that has run out by then."""
        if self.paused_until_ms is None or self.paused_until_ms > now_ms:
            return self
        return msgspec.structs.replace(self, paused=False, paused_until_ms=None, pause_reason=None)


class Flow(QueueInfo, frozen=True, kw_only=True):
    """
    What goes through one (tenant, channel), and what keeps the rest back (contract FL1-FL3).

    Attributes:
        paused_ms, paused_by: Since when it is paused, and by whom; ``pillarbox`` itself after an answer.
        reopened_ms: Since when it is opened step by step after an outage; ``None`` where it is not.
        full_until_ms: When its channel's platform takes more, where it takes no more now.
        resting: Recipients of its channel that rest after a rate limit.
        suppressed: Recipients that were refused for good.
        due_ms: When the first of its messages that wait was due, or is to be, its lane and all else aside that keeps it
            back; ``None`` where none waits.
    """

    paused_ms: int | None
    paused_by: str | None
    reopened_ms: int | None
    full_until_ms: int | None
    resting: int
    suppressed: int
    due_ms: int | None

    @property
    def word(self) -> str:
        """Return in a word how it is: ``paused``, ``probed``, ``reopening``, ``full`` or ``open``."""
        if self.paused:
            return "paused"
        if self.strikes:
            return "probed"
        if self.reopened_ms is not None:
            return "reopening"
        return "open" if self.full_until_ms is None else "full"


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """Which version a database's schema has, and the oldest that a pillarbox must know to work on it."""

    version: int
    usable_from: int


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient of a (tenant, channel) that has another address now, and since when that is known."""

    tenant: str
    channel: str
    recipient: str
    address: str
    at_ms: int


class Suppressed(msgspec.Struct, frozen=True, kw_only=True):
    """A recipient of a (tenant, channel) that was refused for good, since when, and what was said then."""

    tenant: str
    channel: str
    recipient: str
    reason: str
    at_ms: int


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's row. ``alive``: its process is known to run, ``None`` where that cannot be told."""

    slot: int
    id: bytes
    host: str
    pid: int
    version: str
    channels: tuple[str, ...]
    started_ms: int
    seen_ms: int
    alive: bool | None


class WorkerStart(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself when it begins."""

    id: bytes
    host: str
    pid: int
    version: str
    channels: tuple[str, ...]
    now_ms: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a message's history: who did what when, and why."""

    at_ms: int
    act: str
    actor: str
    from_state: State | None
    to_state: State
    reason: str | None = None
    attempt: int | None = None
    began_ms: int | None = None
    outcome: str | None = None
    receipt: str | None = None
    answer: str | None = None
    due_ms: int | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages and content bytes of one queue are in a state. From counters, never from a scan."""

    tenant: str
    channel: str
    state: State
    messages: int
    bytes: int


_Number = Annotated[int, msgspec.Meta(ge=-COUNT_MAX, le=COUNT_MAX)]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """
    A filter over messages; every field given must match.

    Attributes:
        where: All of these must hold too. They are looked for row by row; a ``correlation_id``, and a ``collapse_key``
            of messages in active states only, are looked up.
        created_from_ms, created_to_ms: Of acceptance, in milliseconds since 1970; the second is exclusive.
        before_seq, after_seq: Both exclusive.
        oldest_first: Newest first without it.
        limit: From 0 on.
    """

    states: tuple[State, ...] = ()
    channel: str | None = None
    tenant: str | None = None
    recipient: str | None = None
    correlation_id: str | None = None
    collapse_key: str | None = None
    lane: str | None = None
    created_from_ms: _Number | None = None
    created_to_ms: _Number | None = None
    where: tuple[Condition, ...] = ()
    before_seq: _Number | None = None
    after_seq: _Number | None = None
    oldest_first: bool = False
    limit: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] = 50


class Lapsed(msgspec.Struct, frozen=True, kw_only=True):
    """
    A leased message whose lease has lost its holder, and how that is known.

    ``suspect_ms``: when the same worker began the last suspect among all that it has leased; ``None``: it has none.
    """

    message: Leased
    by: LapsedBy
    suspect_ms: int | None = None


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """
    Active messages of some channels, each counted once.

    Attributes:
        due: Scheduled, and due.
        later: Scheduled for later.
        lost: As ``later``, because the worker that sent it last was lost.
        ours: Leased by the worker that asks.
        others: Leased by another one: alive, gone, or not known.
    """

    due: int = 0
    later: int = 0
    lost: int = 0
    ours: int = 0
    others: int = 0


class Ready(Protocol):
    """Messages that are judged, and still to be written in a caller's own transaction (contract EN9)."""

    def write(self, connection: object) -> list[Enqueued]:
        """
        Write them on *connection*, which blocks, in the transaction that is open there.

        Raises:
            KeyConflict, InvalidMessage, StoreError: Nothing was written, and the transaction stands as before.
            Refused: It is no connection to this database, no transaction is open, or the open one has failed.
        """

    async def write_awaited(self, connection: object) -> list[Enqueued]:
        """As `write`, on a connection that may be awaited."""


class Store(Protocol):
    """
    What every database offers the engine.

    All methods raise `StoreError` subclasses, and `commit` one error more, where the batch is at fault.

    Attributes:
        place: What names it; it may hold a password.
    """

    durability: Durability
    in_memory: bool
    place: str

    async def open(self, *, make: bool = True) -> None:
        """
        Connect, check the library and the file, migrate where the database allows it. Safe to repeat.

        Args:
            make: Whether a database that is not there may be made, by a store that makes any.

        Raises:
            StoreNotFound: It is not there, and not made.
            StoreError: It cannot be opened; its subclass says why.
        """

    async def close(self) -> None:
        """Close every handle, in a bounded time whatever the database does. Safe to repeat."""

    async def limit(self, limits: Limits) -> None:
        """Judge by other limits from now on; what is stored already stays."""

    async def commit(self, batch: Batch) -> BatchResult:
        """
        Write *batch* in one transaction.

        A batch whose answer was lost may be given again, with ``again``, whole or in pieces. Its ids and leases were
        made before the first try: by them the store recognises what that try has written, answers as it would have
        answered then, and writes it no second time. What ended by time is found by the time of its end; how much was
        pruned is not known any more, and orders that one person gave for one message in one millisecond are taken for
        one. `lost_answers.commit` commits it again.

        Raises:
            StoreOutcomeUnknown: The answer was lost: the batch was written, or it was not.
            StoreError: Nothing was written; the same batch may be given again.
            ValueRefused: Nothing was written, because the database cannot hold one of the values; it would be refused
                again. Given apart, everything else can be written (contract EN8, LE7). A message to be stored is told
                so in the result, as any other refusal.
            Refused: Imports, into a database in memory; nothing was written.
        """

    async def ready(self, drafts: Sequence[Draft], *, now_ms: int) -> Ready:
        """
        Judge *drafts*, which are to be written in a caller's transaction, by what is committed.

        Raises:
            KeyConflict, QueueFull: Nothing is to be written.
            Refused: This database takes none but its own transactions.
        """

    async def register(self, start: WorkerStart) -> int:
        """
        Make a worker's row, take its liveness lock and return its number.

        The queues of its channels exist afterwards, for the tenant '' at least.
        """

    async def deregister(self, worker: int) -> None:
        """Remove the row and the lock. Leases it still has lapse at once."""

    async def lapsed(self, *, limit: int) -> list[Lapsed]:
        """Return leased messages whose lease ran out, or whose worker is surely gone."""

    async def gone_acceptors(self) -> list[bytes]:
        """
        Return the ids of workers that are surely gone and had accepted scheduled messages which must end with them.

        In doubt they run (contract DK1: another live process's messages are left alone).
        """

    async def gone(self, worker: bytes) -> bool:
        """Whether the worker of that id surely runs no more; in doubt it runs."""

    async def turn(self, correlation_id: str, *, final_only: bool) -> StateCounts:
        """Count the messages of one turn by state, all kinds or the final ones alone."""

    async def mirror_pending(self, session_key: str, *, limit: int) -> list[MirrorEntry]:
        """Return records of what was delivered in a session and not acknowledged, the oldest first."""

    async def log_key(self) -> bytes:
        """Return the key for the hashes of recipients in log lines: the same for every process of a database."""

    async def label(self) -> str | None:
        """Return what the database was labelled with, once and for ever; ``None`` where it was not. See `set_label`."""

    async def set_label(self, label: str) -> str | None:
        """
        Label the database, if it has no label yet and no queue in it; return the label that it has now.

        ``None`` where it has none, because there is a queue in it.

        Raises:
            StoreError: It could not be written.
            Refused: The queue is disabled.
        """

    async def kept(self, channel: str) -> str | None:
        """Return the text that *channel* keeps here; ``None`` where it keeps none. Nobody else is to see it."""

    async def keep(self, channel: str, *, old: str | None, new: str) -> bool:
        """
        Keep *new* for *channel* in the place of *old*, and return whether it is what is kept now.

        Of several who replace the same text, one does. Once this returns, it is as durable as a message.

        Raises:
            StoreOutcomeUnknown: The answer was lost: it was written, or it was not.
            StoreError: Nothing was written.
            Refused: The queue is disabled.
        """

    async def clock_news(self) -> ClockNews:
        """Return what is known of the clocks, for a process that has just opened the database."""

    async def overdue_holds(self, *, before_ms: int, limit: int) -> list[MessageId]:
        """Return messages that have been held since before *before_ms*."""

    async def get(self, message: MessageId) -> MessageView | None:
        """Read one message whole."""

    async def files(self, digests: Sequence[str]) -> dict[str, bytes]:
        """Read files of messages by their digests; what is not stored is missing."""

    async def ended(self, messages: Sequence[MessageId]) -> set[MessageId]:
        """Return which of *messages* do not go on by themselves: they are terminal, held, or not there any more."""

    async def resolve_id(self, text: str) -> list[MessageId]:
        """Return ids that begin or end with *text*, at most 10."""

    async def list_messages(self, query: Query) -> list[MessageView]:
        """Return messages that match, without their content."""

    async def read_messages(self, query: Query, *, bytes_max: int) -> list[MessageView]:
        """
        Return messages that match, each whole, as of one moment.

        They are fewer than ``limit`` says where more would hold over *bytes_max* of content together; but where any
        matches, there is one.
        """

    async def history(self, message: MessageId) -> list[Event]:
        """Return every transition in order; the first one is the acceptance."""

    async def facts(self, message: MessageId, *, now_ms: int) -> Facts | None:
        """Return what explains *message*, read in one snapshot; ``None`` if there is no such message."""

    async def known_imports(self, system: str, source_ids: Sequence[str]) -> set[str]:
        """Return which of *source_ids*, or aliases, the ledger of imports has."""

    async def stats(self) -> list[Tally]:
        """Return counts by queue and state."""

    async def backlog(self, *, now_ms: int, channels: Sequence[str], worker: int) -> Backlog:
        """Return what is not settled of *channels*, in one snapshot. Counts the messages, so it is slow."""

    async def queues(self) -> list[QueueInfo]:
        """Return every queue."""

    async def flow(self, *, now_ms: int) -> list[Flow]:
        """Return how every queue is at a time, by channel and tenant. Counts recipients, so it is for people."""

    async def redirects(self, *, limit: int) -> list[Redirect]:
        """Return recipients that have another address now, the newest first."""

    async def suppressed(self, *, limit: int) -> list[Suppressed]:
        """Return recipients that get no more messages, the newest first."""

    async def workers(self) -> list[WorkerInfo]:
        """Return every registered worker."""

    async def check(self) -> list[str]:
        """
        Return what is wrong with the database: integrity, counters, lanes. Empty when nothing is.

        Also: that nothing more can be written, and what its workers in other processes say is wrong with them.
        """

    async def schema(self) -> Schema:
        """Return which version the database's schema has."""

    def script(self) -> str:
        """
        Return the SQL that makes the schema, and roles with no more rights than they need, for who runs it by hand.

        Raises:
            Refused: Nobody but its driver makes such a database.
        """

    def on_question(self, problems: Callable[[], Sequence[str]]) -> None:
        """Answer with *problems* when another process asks this one's workers what is wrong (`check`)."""

    def problems(self) -> list[str]:
        """
        Return what is wrong with the files it has open, and with who else uses them: deleted, moved, replaced, stopped.

        Cheap; raises nothing.
        """

    def remarks(self) -> list[str]:
        """Return what a person should know of how the database is kept, though nothing is wrong. Raises nothing."""

    async def backup(self, path: Path) -> int:
        """
        Write a checked copy of one moment's content to a new file, durable when this returns; returns its bytes.

        Delays no commit.

        Raises:
            InvalidMessage: Something has that name, or its directory is missing; nothing was written.
            StoreCorrupt: The copy is damaged, and so may be the database; nothing was kept.
            StoreError: It could not be written or read; nothing was kept.
        """

    async def moving(self, work: Callable[[Tx], T]) -> T:
        """
        Run *work* in one transaction, for what moves whole databases (`store.database_copy`); it may be run again.

        Raises:
            StoreOutcomeUnknown: The answer was lost: it was written, or it was not.
            StoreError, ValueRefused: Nothing was written.
        """

    def on_change(self, listener: Callable[[], None], *, seconds: float) -> Callable[[], None]:
        """
        Call *listener* on the event loop that runs now, whenever another handle wrote; return what ends that.

        A call may come late, more than once, or not at all, and does not say what was written: who must not miss
        anything looks now and then. What this handle wrote itself is no reason to call, as far as it can tell. A close
        ends all calls.

        Args:
            seconds: How late a call may come at most, where the database says nothing by itself and must be looked at.
        """
