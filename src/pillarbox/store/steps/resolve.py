"""Writes what people decide of held messages, and what they want tried at once: resolve and retry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from pillarbox.domain.ids import EPOCHS_MAX
from pillarbox.domain.lifecycle import Resolved, expired, new_expiry_ms, resolved
from pillarbox.domain.message import State
from pillarbox.domain.retry import Policy
from pillarbox.errors import Refused
from pillarbox.store.base import Acted, Resolve, Retry
from pillarbox.store.steps import audit, ledger
from pillarbox.store.steps.subject import Given, Subject
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_DELIVERED = State.DELIVERED.code
_OVER = "its time is over, so it would expire at once: give it a new ttl, or cancel it"
_COPIES = f"it was copied on purpose {EPOCHS_MAX - 1} times, which is all that its dedupe token can tell apart"


def retry(tx: Writing, given: Sequence[Given[Retry]]) -> list[Acted]:
    """Make scheduled or held messages due now."""
    rows = [
        (one.subject.seq, tx.now, one.item.ttl_ms is not None, _expiry_ms(tx, one.subject, one.item.ttl_ms))
        for one in given
    ]
    acted, lines = [], []
    retried: defaultdict[str, list[int]] = defaultdict(list)
    for one, done in zip(given, tx.each("retry", rows), strict=True):
        subject = one.subject
        if not done:
            refused = Refused(_OVER) if subject.state is State.HELD else None
            acted.append(Acted(applied=False, state=subject.shown, refused=refused))
            continue
        tx.move(subject.queue, subject.state.code, State.SCHEDULED.code, subject.content_size)
        tx.touched.add(subject.queue)
        retried[subject.channel].append(subject.seq)
        lines.append(audit.line(one, "retry", State.SCHEDULED))
        acted.append(Acted(applied=True, state=State.SCHEDULED))
    for channel, messages in retried.items():
        ledger.rest_no_more(tx, channel, messages)
    audit.record(tx, lines)
    return acted


def resolve(tx: Writing, given: Sequence[Given[Resolve]]) -> list[Acted]:
    """Carry out a person's verdict on held messages (contract UN3)."""
    after = [
        resolved(
            one.item.verdict,
            part_next=one.subject.part_next,
            part_count=one.subject.part_count,
            parts_dead=one.subject.parts_dead,
        )
        for one in given
    ]
    done = tx.each("resolve", [_bindings(tx, one, what) for one, what in zip(given, after, strict=True)])
    acted, lines, parts = [], [], []
    for one, what, rows in zip(given, after, done, strict=True):
        item, subject = one.item, one.subject
        if not rows:
            acted.append(Acted(applied=False, state=subject.shown, refused=_refusal(tx, item, subject)))
            continue
        if subject.part_count > 1 and not what.to_tail:
            parts.append((subject.seq, subject.part_next, _DELIVERED, item.receipt, None, tx.now))
        tx.move(subject.queue, subject.state.code, what.to.code, subject.content_size)
        if what.to.terminal or what.to_tail:
            tx.leave_lane(subject.lane)
        tx.touched.add(subject.queue)
        lines.append(audit.line(one, word(item), what.to, detail=_detail(item, what)))
        acted.append(Acted(applied=True, state=what.to))
    tx.each("part_end", parts)
    audit.record(tx, lines)
    return acted


def _bindings(tx: Writing, one: Given[Resolve], after: Resolved) -> Row:
    item, subject = one.item, one.subject
    return (
        subject.seq,
        after.to.code,
        tx.now,
        subject.part_next,
        item.receipt,
        after.reason,
        after.error_class,
        after.error,
        after.advance,
        after.to_tail,
        item.force_copy,
        EPOCHS_MAX,
        item.ttl_ms is not None,
        _expiry_ms(tx, subject, item.ttl_ms),
    )


def word(item: Resolve) -> str:
    """Name a verdict in the history."""
    verdict = str(item.verdict).replace("_", " ")
    return f"resolve {verdict}, a copy" if item.force_copy else f"resolve {verdict}"


def _detail(item: Resolve, after: Resolved) -> str:
    return msgspec.json.encode({"state": after.to, "receipt": item.receipt, "ttl_ms": item.ttl_ms}).decode()


def _refusal(tx: Writing, item: Resolve, subject: Subject) -> Refused | None:
    """Explain why the guards refused a held message; ``None`` where its state says it all."""
    if item.ttl_ms is None and expired(subject.expires_ms, tx.now):
        return Refused(_OVER)
    return Refused(_COPIES) if item.force_copy and subject.token_epoch + 1 >= EPOCHS_MAX else None


def _expiry_ms(tx: Writing, subject: Subject, ttl_ms: int | None) -> int | None:
    """Return until when a new time to live lasts; where the policy cannot be read, the default one limits it."""
    if ttl_ms is None:
        return None
    try:
        policy = tx.numbers.policy_by_id(subject.policy)
    except (ValueError, msgspec.MsgspecError):
        policy = Policy()
    return new_expiry_ms(policy, tx.now, ttl_ms=ttl_ms)
