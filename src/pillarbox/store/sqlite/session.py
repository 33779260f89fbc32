"""
One transaction's state, and the caches that outlive it: queue and policy numbers, and the counters' changes.

Counters are summed up here and written once per transaction; the caches are dropped when a transaction is rolled back,
because what they hold may have been rolled back with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import apsw
import msgspec

from pillarbox.domain.message import FIRST_TERMINAL, Leased, State
from pillarbox.domain.retry import Policy
from pillarbox.store.base import Lapsed, LapsedBy
from pillarbox.store.sqlite.statements import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pillarbox.store.base import Limits

Row = tuple[Any, ...]

_POLICY_ENCODER = msgspec.json.Encoder()
_POLICY_DECODER = msgspec.json.Decoder(Policy)
_SMALL_CONTENT = 2048
_BEGIN_TRIES: Final = 100
_DEAD = State.DEAD.code
_ALL = 0  # where the counters of all queues together are kept


class Keeper(Protocol):
    """Keeps SQLite's write lock from being dropped by others, and looks after the files; see `guarding`."""

    def await_write_lock(self) -> bytes:
        """Called before a transaction; gives what is passed on to `hold_write_lock`."""

    def look(self) -> None:
        """Called at both ends of a transaction, while it is held."""

    def hold_write_lock(self, before: bytes) -> bool:
        """Called when a transaction has taken it. False: begin anew."""

    def drop_write_lock(self) -> None:
        """Called at the transaction's end."""


class Session:
    """
    What the steps of a batch share. Used on the writer thread only.

    Args:
        lease_clock: Milliseconds by which leases are judged; read once the transaction holds the write lock, so that a
            lease never begins before whoever asked for it began to wait.
    """

    def __init__(
        self, connection: apsw.Connection, limits: Limits, keeper: Keeper, lease_clock: Callable[[], int]
    ) -> None:
        self.connection = connection
        self._keeper = keeper
        self._lease_clock = lease_clock
        self._held = False
        self.limits = limits
        self.now = 0
        self.lease_now = 0
        self.committing = False
        self.touched: set[int] = set()
        self.later: dict[int, int] = {}
        self.left: dict[str, None] = {}
        self._tally: dict[tuple[int, int], list[int]] = {}
        self._queues: dict[tuple[str, str], int] = {}
        self._names: dict[int, tuple[str, str]] = {}
        self._active: tuple[int, int] | None = None
        self._policies: dict[Policy, int] = {}
        self._policy_by_id: dict[int, Policy] = {}

    def begin(self, *, now: int) -> None:
        """Open a transaction that holds the write lock."""
        self.now = now
        self.committing = False
        self.touched = set()
        self.later = {}
        self.left = {}
        self._tally = {}
        self._active = None
        for _ in range(_BEGIN_TRIES):
            before = self._keeper.await_write_lock()
            self.connection.execute(WRITE["begin"])
            self._held = self._keeper.hold_write_lock(before)
            if self._held:
                break
            # Nothing was written, so this only ends it. A rollback would tidy up the log's index, where somebody else
            # may be writing by now.
            self.connection.execute(WRITE["commit"])
        else:
            raise apsw.BusyError("others took the write lock away again and again")
        self.lease_now = self._lease_clock()
        try:
            # Before anything is written: what was cut short looks whole again when more is written behind the gap.
            self._keeper.look()
        except BaseException:
            self.rollback()
            raise

    def commit(self) -> None:
        """Write the counters and make everything durable."""
        total: dict[tuple[int, int], list[int]] = {}
        for (_, state), change in self._tally.items():
            kept = total.setdefault((_ALL, state), [0, 0])
            kept[0] += change[0]
            kept[1] += change[1]
        changes = (*self._tally.items(), *total.items())
        rows = [(queue, state, count, size) for (queue, state), (count, size) in changes if count or size]
        if rows:
            self.connection.executemany(WRITE["tally_add"], rows)
        # From here on nobody but the file can say whether it was written.
        self.committing = True
        self.connection.execute(WRITE["commit"])
        self._keeper.look()
        self._let_write()

    def rollback(self) -> None:
        """Undo, if a transaction is still open."""
        self.forget()
        try:
            if self.connection.in_transaction:
                self.connection.execute(WRITE["rollback"])
        finally:
            self._let_write()

    def _let_write(self) -> None:
        if self._held:
            self._held = False
            self._keeper.drop_write_lock()

    def forget(self) -> None:
        """Drop the cached numbers, because rows they name were undone."""
        self._queues.clear()
        self._names.clear()
        self._policies.clear()
        self._policy_by_id.clear()

    def run(self, name: str, bindings: Sequence[Any] = ()) -> list[Row]:
        """Execute a named statement and give all its rows."""
        return self.connection.execute(WRITE[name], bindings).fetchall()

    def run_many(self, name: str, bindings: Iterable[Sequence[Any]]) -> list[Row]:
        """Execute a named statement once per bindings and give the rows of all."""
        return self.connection.executemany(WRITE[name], bindings).fetchall()

    def one(self, name: str, bindings: Sequence[Any] = ()) -> Row | None:
        """Execute a named statement and give its first row."""
        rows = self.connection.execute(WRITE[name], bindings).fetchall()
        return rows[0] if rows else None

    def count(self, queue: int, state: int, messages: int, size: int) -> None:
        """Change a counter."""
        entry = self._tally.get((queue, state))
        if entry is None:
            self._tally[queue, state] = [messages, size]
        else:
            entry[0] += messages
            entry[1] += size

    def move(self, queue: int, before: int, after: int, size: int) -> None:
        """Count one message from a state to another."""
        self.count(queue, before, -1, -size)
        self.count(queue, after, 1, size)

    def active(self) -> tuple[int, int]:
        """How many active messages and content bytes there are, this transaction's included."""
        if self._active is None:
            # Read once: nobody else can write the counters while this transaction holds the lock.
            row = self.one("active_total")
            self._active = (row[0], row[1]) if row else (0, 0)
        messages, size = self._active
        for (_, state), (count, octets) in self._tally.items():
            if state < FIRST_TERMINAL:
                messages += count
                size += octets
        return messages, size

    def active_in(self, scope: str, name: str) -> int:
        """How many active messages a ``channel`` or ``tenant`` has, this transaction's included."""
        row = self.one(f"active_{scope}", (name,)) or (0,)
        at = 1 if scope == "channel" else 0
        return int(row[0]) + sum(
            count
            for (queue, state), (count, _) in self._tally.items()
            if state < FIRST_TERMINAL and self.queue_name(queue)[at] == name
        )

    def pending(self, queue: int, state: int) -> int:
        """How many messages this transaction has added to a counter that is not written yet."""
        return self._tally.get((queue, state), (0, 0))[0]

    def tally_snapshot(self) -> dict[tuple[int, int], list[int]]:
        """Copy the counters' changes, to be given back when a part of the transaction is undone."""
        return {key: list(value) for key, value in self._tally.items()}

    def tally_restore(self, snapshot: dict[tuple[int, int], list[int]]) -> None:
        """Forget the changes since *snapshot* was taken."""
        self._tally = snapshot

    def put_off(self, queue: int, due: int) -> None:
        """Remember when something may be claimed in a queue."""
        if due <= self.now:
            self.touched.add(queue)
        else:
            self.later[queue] = min(due, self.later.get(queue, due))

    def leave_lane(self, lane: str | None) -> None:
        """Remember that a message left its lane, so that the next one is freed."""
        if lane is not None:
            self.left[lane] = None

    def free_lanes(self) -> None:
        """Free the lowest waiting row of every lane left. A later statement on purpose: it sees what left."""
        if self.left and self.run("any_waiting"):
            for (queue,) in self.run_many("free", [(lane,) for lane in self.left]):
                self.touched.add(queue)
        self.left = {}

    def queue(self, tenant: str, channel: str) -> int:
        """Give the number of a queue, made on first use."""
        number = self._queues.get((tenant, channel))
        if number is None:
            number = self._number("queue", (tenant, channel), self.now)
            self._queues[tenant, channel] = number
        return number

    def _number(self, kind: str, key: Row, *more: object) -> int:
        found = self.one(f"{kind}_of", key)
        return self.insert(f"{kind}_insert", (*key, *more)) if found is None else int(found[0])

    def insert(self, name: str, bindings: Row) -> int:
        """Execute a named INSERT … RETURNING and give the number of the new row."""
        return int(self.run(name, bindings)[0][0])

    def queue_name(self, number: int) -> tuple[str, str]:
        """Give a queue's tenant and channel."""
        name = self._names.get(number)
        if name is None:
            row = self.one("queue_name", (number,))
            name = (row[0], row[1]) if row else ("", "")
            self._names[number] = name
        return name

    def policy(self, policy: Policy) -> int:
        """Give the number of a policy, stored on first use."""
        number = self._policies.get(policy)
        if number is None:
            number = self._number("policy", (_POLICY_ENCODER.encode(policy).decode(),))
            self._policies[policy] = number
        return number

    def policy_by_id(self, number: int) -> Policy:
        """Read a stored policy."""
        policy = self._policy_by_id.get(number)
        if policy is None:
            row = self.one("policy_spec", (number,))
            policy = decode_policy(row[0]) if row else Policy()
            self._policy_by_id[number] = policy
        return policy

    def parts_delivered(self, seq: int) -> int:
        """How many parts of a split message the platform has."""
        return int(self._first("parts_delivered", (seq,)))

    def leased(self, row: Row) -> Leased:
        """
        Decode a row of the ``LEASED`` columns.

        Raises:
            ValueError, TypeError, msgspec.MsgspecError: Its content is missing, or a value is not what it must be.
        """
        content, payload, part_count, part_next = row[32], row[33], row[21], row[22]
        parts: list[Row] = []
        if part_count > 1:
            content = self._first("part_content", (row[0], part_next))
            parts = self.run("parts_before", (row[0], part_next))
        elif payload is not None:
            content = self._first("payload_content", (payload,))
        if content is None:
            raise ValueError("its content is missing")
        return self._leased(row, self.policy_by_id(row[19]), _octets(content), parts)

    def leased_as_is(self, row: Row) -> Leased:
        """Decode a row as far as it can be read: whose lease was lost must be settled even if nobody can send it."""
        try:
            return self.leased(row)
        except (ValueError, TypeError, msgspec.MsgspecError):
            return self._leased(row, Policy(), b"", [])

    def lapsed(self, rows: Sequence[Row], by: LapsedBy, worker: int) -> list[Lapsed]:
        """Decode leases of one worker that nobody holds any more."""
        if not rows:
            return []
        found: list[Row] = self.connection.execute(READ["last_suspect"], (worker,)).fetchall()
        suspect_ms = found[0][0]
        return [Lapsed(message=self.leased_as_is(row), by=by, suspect_ms=suspect_ms) for row in rows]

    def _leased(self, row: Row, policy: Policy, content: bytes, parts: Sequence[Row]) -> Leased:
        metadata = None if row[26] is None else _octets(row[26])
        receipts = tuple(receipt for receipt, _ in parts)
        dead = sum(state == _DEAD for _, state in parts)
        values = (
            *row[:19], policy, row[20] == 1, *row[21:26], metadata, *row[27:32], content, *self.queue_name(row[2]),
            receipts, dead, *row[34:36],
        )  # fmt: skip
        return Leased(*values)

    def _first(self, name: str, bindings: Row) -> Any:  # noqa: ANN401 — a column's value
        row = self.one(name, bindings)
        return None if row is None else row[0]


def _octets(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def decode_policy(spec: str) -> Policy:
    """Read a stored policy. Raises ValueError where it is not one."""
    return _POLICY_DECODER.decode(spec)


def is_small(size: int) -> bool:
    """Whether content of so many bytes is kept in the message's own row."""
    return size <= _SMALL_CONTENT
