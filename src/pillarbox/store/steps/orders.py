"""
Writes what people order. Which state allows what, `domain.orders` says; the statements' guards say it too.

Orders of one kind, of different messages, are carried out together: a filter picks them by the thousand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pillarbox.domain.message import State
from pillarbox.domain.orders import Answer, Order, answer
from pillarbox.domain.transition import OURSELVES, OURSELVES_FOR_CREDENTIALS, Reason
from pillarbox.store.base import (
    Act,
    Acted,
    ActOnChannel,
    ActOnMessage,
    Bury,
    Cancel,
    ClearRecipient,
    ForgetRedirect,
    Pause,
    Purge,
    Replay,
    Resolve,
    Resume,
    Retry,
    TryAgain,
)
from pillarbox.store.steps import audit, ledger, redirects, suppression
from pillarbox.store.steps.replay import purge, replay
from pillarbox.store.steps.resolve import resolve, retry, word
from pillarbox.store.steps.subject import Given, Subject
from pillarbox.store.steps.writing import Writing


def act(tx: Writing, acts: Sequence[Act], *, again: bool) -> list[Acted]:
    """
    Carry out each act whose message is in a state that allows it.

    Args:
        again: An earlier try may have been committed: what it did is returned, not done twice.
    """
    acted: list[Acted] = []
    purged: Counter[tuple[str, str | None]] = Counter()
    for run in _runs(acts):
        first = run[0]
        if isinstance(first, ActOnChannel):
            done = _on_channel(tx, first)
            acted.append(Acted(applied=True) if again and not done.applied and _told(tx, first) else done)
            continue
        known = _done_before(tx, run) if again else [None] * len(run)
        left = iter(_carry_out(tx, [item for item, told in zip(run, known, strict=True) if told is None]))
        for item, told in zip(run, known, strict=True):
            done = next(left) if told is None else told
            if told is None and done.applied and isinstance(item, Purge):
                purged[item.actor, item.reason] += 1
            acted.append(done)
    # Of what is deleted by the thousand the audit has one line a transaction; the histories say which it was.
    lines = [(tx.now, actor, "purge", "messages", reason, str(count)) for (actor, reason), count in purged.items()]
    tx.each("audit_add", lines)
    return acted


def _runs(acts: Sequence[Act]) -> Iterator[list[Any]]:
    """Yield what can be done together: neighbours of one kind, each about another message."""
    run: list[Any] = []
    ids: set[str] = set()
    for item in acts:
        subject = None if isinstance(item, ActOnChannel) else item.id
        if run and (subject is None or subject in ids or type(run[0]) is not type(item)):
            yield run
            run, ids = [], set()
        run.append(item)
        if subject is not None:
            ids.add(subject)
        if isinstance(item, Replay):
            # A later order may be about the message that this one makes.
            ids.add(item.new_id)
    if run:
        yield run


def _done_before(tx: Writing, run: Sequence[ActOnMessage]) -> list[Acted | None]:
    """Return for each what an earlier try of this very act did; ``None`` where it was not committed."""
    words = tx.each("act_of", [(item.id, tx.now, item.actor) for item in run])
    copies = tx.each("seq_of", [(item.new_id if isinstance(item, Replay) else item.id,) for item in run])
    told: list[Acted | None] = []
    for item, said, copy, subject in zip(run, words, copies, _subjects(tx, run), strict=True):
        if isinstance(item, Replay):
            # Its new message is proof enough, whatever has become of the original since.
            told.append(Acted(applied=True, state=None if subject is None else subject.shown) if copy else None)
        elif not {act for _, act in said} & _words(item):
            told.append(None)
        elif subject is None:
            told.append(Acted(applied=True) if isinstance(item, Purge) else None)
        else:
            told.append(Acted(applied=True, state=subject.shown, pending=subject.state is State.LEASED))
    return told


def _words(item: ActOnMessage) -> set[str]:
    """Return the names of an act in the history."""
    match item:
        case Cancel():
            return {"cancel", "cancel requested"}
        case Resolve():
            return {word(item)}
        case _:
            return {type(item).__name__.lower()}


def _subjects(tx: Writing, run: Sequence[ActOnMessage]) -> list[Subject | None]:
    found = tx.each("order_row", [(item.id,) for item in run])
    return [Subject.of(rows[0]) if rows else None for rows in found]


def _carry_out(tx: Writing, run: Sequence[ActOnMessage]) -> list[Acted]:
    if not run:
        return []
    order, give = _ORDERS[type(run[0])]
    results: list[Acted | None] = []
    given: list[Given[Any]] = []
    for item, subject in zip(run, _subjects(tx, run), strict=True):
        if subject is None:
            results.append(Acted(applied=False))
            continue
        judged = answer(order, subject.state, arrived=subject.arrived)
        if judged is Answer.REFUSED:
            results.append(Acted(applied=False, state=subject.shown))
        else:
            results.append(None)
            given.append(Given(item, subject, marks=judged is Answer.MARKED))
    done = iter(give(tx, given) if given else [])
    return [next(done) if result is None else result for result in results]


def _cancel(tx: Writing, given: Sequence[Given[Cancel]]) -> list[Acted]:
    marked = [one for one in given if one.marks]
    tx.each("cancel_request", [(one.subject.seq, tx.now) for one in marked])
    audit.record(tx, [audit.line(one, "cancel requested", State.LEASED) for one in marked])
    ended = [one for one in given if not one.marks]
    tx.each("cancel", [(one.subject.seq, Reason.REQUESTED, tx.now) for one in ended])
    _leave(tx, ended, State.CANCELLED, "cancel")
    return [
        Acted(applied=True, state=State.LEASED, pending=True)
        if one.marks
        else Acted(applied=True, state=State.CANCELLED)
        for one in given
    ]


def _bury(tx: Writing, given: Sequence[Given[Bury]]) -> list[Acted]:
    done = tx.each("bury", [(one.subject.seq, one.item.reason, tx.now, one.item.held_before_ms) for one in given])
    _leave(tx, [one for one, rows in zip(given, done, strict=True) if rows], State.DEAD, "bury")
    return [
        Acted(applied=bool(rows), state=State.DEAD if rows else one.subject.shown)
        for one, rows in zip(given, done, strict=True)
    ]


def _leave(tx: Writing, given: Sequence[Given[Any]], after: State, said: str) -> None:
    """Count what has ended, and report it."""
    for one in given:
        subject = one.subject
        tx.move(subject.queue, subject.state.code, after.code, subject.content_size)
        tx.leave_lane(subject.lane)
    audit.record(tx, [audit.line(one, said, after) for one in given])


def _told(tx: Writing, item: ActOnChannel) -> bool:
    """Whether an earlier try of this very act did something."""
    return bool(tx.many("audit_of", (tx.now, item.actor, _SAID[type(item)], item.channel)))


def _on_channel(tx: Writing, item: ActOnChannel) -> Acted:
    match item:
        case Pause():
            return _pause(tx, item)
        case Resume():
            return _resume(tx, item)
        case TryAgain():
            return _try_again(tx, item)
        case ForgetRedirect():
            return redirects.forget(tx, item)
        case ClearRecipient():
            return suppression.clear(tx, item)


def _pause(tx: Writing, item: Pause) -> Acted:
    if item.tenant is None:
        tx.many("queues_lock")
    # Also before its first message, so that whoever looks sees the pause.
    tx.queue(item.tenant or "", item.channel)
    how = (tx.now, item.until_ms, item.reason, item.actor)
    tx.many("queue_pause", (item.tenant, item.channel, *how))
    tx.overview.gated = True
    if item.tenant is None:
        tx.many("channel_pause", (item.channel, *how))
    audit.audit(tx, item, "pause", item.channel, detail=_whose(item))
    return Acted(applied=True)


def _resume(tx: Writing, item: Resume) -> Acted:
    if item.tenant is None:
        tx.many("queues_lock")
    rows = tx.many("queue_resume", (item.tenant, item.channel))
    if item.tenant is None:
        tx.many("channel_resume", (item.channel,))
        ledger.rest_no_more(tx, item.channel)
    tx.touched.update(queue for (queue,) in rows)
    if rows:
        # Only then: by its line an order whose answer was lost is known to have done something.
        audit.audit(tx, item, "resume", item.channel, detail=_whose(item))
    return Acted(applied=bool(rows))


def _try_again(tx: Writing, item: TryAgain) -> Acted:
    also = OURSELVES if item.other else OURSELVES_FOR_CREDENTIALS
    rows = tx.many("try_again", (item.channel, tx.now, OURSELVES_FOR_CREDENTIALS, also))
    tx.touched.update(queue for (queue,) in rows)
    if rows:
        audit.audit(tx, item, "try again", item.channel)
    return Acted(applied=bool(rows))


_SAID: Final[Mapping[type[ActOnChannel], str]] = {
    Pause: "pause",
    Resume: "resume",
    TryAgain: "try again",
    ForgetRedirect: "forget redirect",
    ClearRecipient: "clear recipient",
}


def _whose(item: Pause | Resume) -> str:
    return "every tenant" if item.tenant is None else f"tenant {item.tenant!r}"


_ORDERS: Final[Mapping[type[ActOnMessage], tuple[Order, Callable[[Writing, Sequence[Given[Any]]], list[Acted]]]]] = {
    Cancel: (Order.CANCEL, _cancel),
    Retry: (Order.RETRY, retry),
    Bury: (Order.BURY, _bury),
    Resolve: (Order.RESOLVE, resolve),
    Replay: (Order.REPLAY, replay),
    Purge: (Order.PURGE, purge),
}
