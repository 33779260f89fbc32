"""Writes what people decide of held messages, and what they want tried at once: resolve and retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pillarbox.domain.ids import EPOCHS_MAX
from pillarbox.domain.lifecycle import expired, new_expiry_ms, resolved
from pillarbox.domain.message import State
from pillarbox.domain.retry import Policy
from pillarbox.errors import Refused
from pillarbox.store.base import Acted, Resolve, Retry
from pillarbox.store.steps.audit import record, shown

if TYPE_CHECKING:
    from pillarbox.domain.lifecycle import Resolved
    from pillarbox.store.steps.writing import Writing

_SCHEDULED, _HELD, _DELIVERED = (s.code for s in (State.SCHEDULED, State.HELD, State.DELIVERED))
_OVER = "its time is over, so it would expire at once: give it a new ttl, or cancel it"
_COPIES = f"it was copied on purpose {EPOCHS_MAX - 1} times, which is all that its dedupe token can tell apart"


def retry(tx: Writing, item: Retry) -> Acted:
    """Make a scheduled or held message due now."""
    row = tx.one("row_to_resolve", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, queue, _, size, arrived, _, policy, *_ = row
    renewed = item.ttl_ms is not None
    bindings = (seq, tx.now, renewed, _expiry(tx, policy, item.ttl_ms))
    if not tx.many("retry", bindings):
        refused = Refused(_OVER) if state == _HELD else None
        return Acted(applied=False, state=shown(state, arrived), refused=refused)
    tx.move(queue, state, _SCHEDULED, size)
    tx.touched.add(queue)
    record(tx, item, "retry", row, _SCHEDULED)
    return Acted(applied=True, state=State.SCHEDULED)


def resolve(tx: Writing, item: Resolve) -> Acted:
    """Carry out a person's verdict on a held message (contract UN3)."""
    row = tx.one("row_to_resolve", (item.id,))
    if row is None:
        return Acted(applied=False)
    seq, state, queue, lane, size, arrived, expires, policy, part_count, part_next, epoch, parts_dead = row
    after = resolved(item.verdict, part_next=part_next, part_count=part_count, parts_dead=parts_dead)
    bindings = (
        seq,
        after.to.code,
        tx.now,
        part_next,
        item.receipt,
        after.reason,
        after.error_class,
        after.error,
        after.advance,
        after.to_tail,
        item.force_copy,
        EPOCHS_MAX,
        item.ttl_ms is not None,
        _expiry(tx, policy, item.ttl_ms),
    )
    if not tx.many("resolve", bindings):
        return Acted(applied=False, state=shown(state, arrived), refused=_refusal(tx, item, state, expires, epoch))
    if part_count > 1 and not after.to_tail:
        tx.many("part_end", (seq, part_next, _DELIVERED, item.receipt, None, tx.now))
    tx.move(queue, _HELD, after.to.code, size)
    if after.to.terminal or after.to_tail:
        tx.leave_lane(lane)
    tx.touched.add(queue)
    record(tx, item, word(item), row, after.to.code, detail=_detail(item, after))
    return Acted(applied=True, state=after.to)


def word(item: Resolve) -> str:
    """Name a verdict in the history."""
    verdict = str(item.verdict).replace("_", " ")
    return f"resolve {verdict}, a copy" if item.force_copy else f"resolve {verdict}"


def _detail(item: Resolve, after: Resolved) -> str:
    return msgspec.json.encode({"state": after.to, "receipt": item.receipt, "ttl_ms": item.ttl_ms}).decode()


def _refusal(tx: Writing, item: Resolve, state: int, expires: int | None, epoch: int) -> Refused | None:
    """Explain why the guards refused a held message; ``None`` where its state says it all."""
    if state != _HELD:
        return None
    if item.ttl_ms is None and expired(expires, tx.now):
        return Refused(_OVER)
    return Refused(_COPIES) if item.force_copy and epoch + 1 >= EPOCHS_MAX else None


def _expiry(tx: Writing, policy: int, ttl_ms: int | None) -> int | None:
    """Say until when a new time to live lasts; a policy that cannot be read says nothing against it."""
    if ttl_ms is None:
        return None
    try:
        return new_expiry_ms(tx.numbers.policy_by_id(policy), tx.now, ttl_ms=ttl_ms)
    except (ValueError, msgspec.MsgspecError):
        return new_expiry_ms(Policy(), tx.now, ttl_ms=ttl_ms)
