"""Why a scheduled message does not go: its own time, a worker, its channel, its lane, a slot, and when it expires."""

from __future__ import annotations

from typing import Final

import msgspec

from pillarbox.domain.explain import texts
from pillarbox.domain.explain.causes import Cause, Why
from pillarbox.domain.explain.facts import Facts, Gate, Standing, WorkerStanding
from pillarbox.domain.explain.leased import SILENT_MS, under_way
from pillarbox.domain.lifecycle import expired
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.orders import Order, allowed
from pillarbox.domain.retry import SUSPECT_LOST, UncertainAction
from pillarbox.domain.transition import (
    OURSELVES,
    OURSELVES_FOR_CREDENTIALS,
    OURSELVES_FOR_READINESS,
    OUT_OF_ORDER,
    RATE_LIMITS,
    ErrorClass,
)

# In the order in which a claim asks; `later` and its like go by their times.
_RANK: Final = {word: place for place, word in enumerate(Why)}
_SLOW_MS: Final = 10_000
_FREE: Final = OUT_OF_ORDER | {ErrorClass.REDIRECTED, ErrorClass.RELEASED}
_NEVER: Final = 1 << 62


def of_scheduled(facts: Facts) -> list[Cause]:
    """Explain a message without a lease."""
    subject = facts.subject
    if expired(subject.view.expires_ms, facts.now_ms):
        return [_overdue(facts), *_clock_set(facts)]
    causes = sorted((*_outside(facts, subject), *_lane(facts)), key=_order)
    if not causes:
        causes = _slot(facts)
    elif subject.view.lost >= SUSPECT_LOST:
        causes.append(_suspect(facts, 0))
    if not subject.view.prepared:
        causes.append(_not_admitted(facts))
    return [*causes, *_suppressed(subject), *_expiry(facts, causes), *_clock_set(facts)]


def _order(cause: Cause) -> tuple[int, int]:
    return (_NEVER if cause.until_ms is None else cause.until_ms, _RANK[cause.word])


def _outside(facts: Facts, standing: Standing) -> list[Cause]:
    """Return what keeps any message from going, whatever is before it in its lane."""
    causes = [*_own_time(facts, standing), *_workers(facts, standing), *_channel(facts, standing)]
    if not standing.has_content:
        causes.append(_unreadable())
    return causes


def _own_time(facts: Facts, standing: Standing) -> list[Cause]:
    view = standing.view
    rests_until_ms = standing.rests_until_ms or 0
    if rests_until_ms > facts.now_ms and view.error_class not in RATE_LIMITS and view.due_ms <= rests_until_ms:
        return [_rests(standing, rests_until_ms)]
    if view.due_ms <= facts.now_ms:
        return []
    error = texts.error(standing)
    since_ms = standing.attempt_ended_ms or view.claimed_ms or view.created_ms
    if view.error_class is None and (view.not_before_ms or 0) < view.due_ms:
        return [_paced(view, view.due_ms, "this recipient")]
    if view.error_class is None:
        word, since_ms = Why.LATER, view.created_ms
        text = "It is not to go before its time."
    elif view.error_class in RATE_LIMITS:
        word = Why.RATE_LIMITED
        text = f"The platform asked it to wait: {error}; that cost no attempt."
    elif view.error_class in _FREE:
        word = Why.GIVEN_BACK
        times = texts.many(standing.free_returns, "time", "times")
        text = f"It was given back without an attempt being charged, {times} in a row now: {error}."
    elif view.error_class == ErrorClass.WORKER_LOST:
        word = Why.BACKOFF
        workers = "A worker was" if view.lost <= 1 else f"{view.lost} workers in a row were"
        text = (
            f"{workers} lost while sending it (attempt {view.charged} of {view.max_attempts}), so the platform may have"
            " it; the wait grows with every worker, whatever the channel's own waits are."
        )
    else:
        word = Why.BACKOFF
        text = f"Attempt {view.charged} of {view.max_attempts} failed: {error}."
    if view.policy.uncertain is UncertainAction.RESEND_MARKED and view.maybe_arrived:
        text += " What goes next says that it may be a second copy."
    return [
        Cause(
            word=word,
            since_ms=since_ms,
            until_ms=view.due_ms,
            text=text,
            unblock=f"{texts.order(Order.RETRY, view.id, view.state)} makes it due now.",
        )
    ]


def _serving(facts: Facts, channel: str) -> list[WorkerStanding]:
    """Return the workers that have a channel and probably live."""
    return [worker for worker in facts.workers if worker.alive is not False and channel in worker.channels]


def _awake(facts: Facts, channel: str) -> list[WorkerStanding]:
    """Return the workers of `_serving` that gave a sign of life lately."""
    return [worker for worker in _serving(facts, channel) if facts.now_ms - worker.seen_ms <= SILENT_MS]


def _workers(facts: Facts, standing: Standing) -> list[Cause]:
    channel = standing.view.channel
    serving = _serving(facts, channel)
    seen = max((worker.seen_ms for worker in facts.workers if channel in worker.channels), default=None)
    if not serving:
        last = (
            "nobody knows of one that had it"
            if seen is None
            else f"the last one that had it died after {texts.at(seen)}"
        )
        text = f"No live worker has channel {channel}; {last}."
        start = f"Start a worker that has channel {channel}: `pillarbox run`, or the application whose outbox has it."
        return [Cause(word=Why.NO_WORKER, since_ms=seen, text=text, unblock=start)]
    if not _awake(facts, channel):
        latest = max(serving, key=lambda worker: worker.seen_ms)
        text = f"Only {texts.worker(latest)} could send it, and gives no sign of life."
        look = (
            f"Look at process {latest.pid} on {latest.host}: it was stopped, hangs, or cannot reach the database; end"
            " it, and start another with `pillarbox run`."
        )
        return [Cause(word=Why.WORKER_SILENT, since_ms=latest.seen_ms, text=text, unblock=look)]
    return []


def _channel(facts: Facts, standing: Standing) -> list[Cause]:
    gate = standing.gate
    if gate.paused(facts.now_ms):
        return [_pause(gate, standing)]
    if gate.strikes and gate.sending:
        text = (
            f"Channel {gate.channel} was unavailable {texts.many(gate.strikes, 'time', 'times')} in a row, and is"
            " tried with one message, which is under way."
        )
        wait = f"If that one is delivered, the others follow; {texts.resume(gate)} does not wait for it."
        return [Cause(word=Why.CHANNEL_PROBED, since_ms=gate.paused_until_ms, text=text, unblock=wait)]
    if gate.full_until_ms is not None and gate.full_until_ms > facts.now_ms:
        return [_paced(standing.view, gate.full_until_ms, f"channel {gate.channel}")]
    return []


def _rests(standing: Standing, until_ms: int) -> Cause:
    view = standing.view
    text = f"The platform asked this recipient to wait: {texts.said(standing.rest_reason)}."
    unblock = f"Wait; or, if the limit is known to be over, {texts.order(Order.RETRY, view.id, view.state)}."
    return Cause(word=Why.RATE_LIMITED, until_ms=until_ms, text=text, unblock=unblock)


def _paced(view: MessageView, until_ms: int, by: str) -> Cause:
    text = f"Its platform takes only so many messages in a time for {by}."
    wait = "Wait; `rate` and `recipient_rate` of its channel say how many."
    return Cause(word=Why.PACED, since_ms=view.created_ms, until_ms=until_ms, text=text, unblock=wait)


def _pause(gate: Gate, standing: Standing) -> Cause:
    channel, reason = f"Channel {gate.channel}", texts.said(gate.pause_reason)
    resume = texts.resume(gate)
    retry = texts.order(Order.RETRY, standing.view.id, standing.view.state)
    if gate.paused_by == OURSELVES_FOR_CREDENTIALS:
        word, text = Why.CHANNEL_UNAVAILABLE, f"{channel} cannot send, its credentials are refused: {reason}."
        unblock = f"Give it others: a reload or a start of its worker tries them with one message; or {resume}."
    elif gate.paused_by == OURSELVES_FOR_READINESS:
        word, text = Why.CHANNEL_UNAVAILABLE, f"{channel} is not ready, says its hook: {reason}."
        unblock = "The hook is asked again when the pause is over."
    elif gate.paused_by != OURSELVES:
        word, text = Why.PAUSED, f"{channel} was paused by {gate.paused_by or 'somebody'}: {reason}."
        unblock = f"{resume} lets its messages go."
    elif gate.paused_until_ms is None:
        word, text = Why.CHANNEL_CLOSED, f"The receiver wants no more from channel {gate.channel}: {reason}."
        unblock = f"Point the channel to where messages are wanted; then {resume}."
    elif gate.strikes and not _was_rate_limited(gate, standing):
        word, text = Why.CHANNEL_UNAVAILABLE, f"{channel} cannot send: {reason}."
        unblock = (
            f"Put right what it complains of; then {resume}. Otherwise it is tried with one message when the pause is"
            " over."
        )
    else:
        word, text = Why.CHANNEL_RATE_LIMITED, f"The platform asked channel {gate.channel} to wait: {reason}."
        unblock = (
            f"Wait; or, if the limit is known to be over, {resume}, and {retry} for a message that was given back."
        )
    return Cause(word=word, since_ms=gate.paused_ms, until_ms=gate.paused_until_ms, text=text, unblock=unblock)


def _was_rate_limited(gate: Gate, standing: Standing) -> bool:
    """Whether this very message met the limit. A pause keeps its reason, but not what kind of outcome gave it."""
    view = standing.view
    return view.error_class in RATE_LIMITS and view.last_error == gate.pause_reason


def _unreadable() -> Cause:
    return Cause(
        word=Why.UNREADABLE,
        text="Its content is missing from the database, so whoever claims it gives it up.",
        unblock="`pillarbox db check` tells what else is damaged; send the message anew, or restore a backup.",
    )


def _lane(facts: Facts) -> list[Cause]:
    """Return what stands before it in its lane. What is for later is in no lane before it is due."""
    subject = facts.subject
    view = subject.view
    if view.lane is None or (subject.position is None and view.due_ms > facts.now_ms):
        return []
    held = [one for one in facts.ahead if one.view.state is State.HELD]
    others = [one for one in facts.ahead if one.view.state is not State.HELD]
    causes = [_held_ahead(facts, one) for one in held]
    if others:
        causes.append(_turn(facts, others[0]))
    if view.waiting and not causes:
        causes.append(
            Cause(
                word=Why.STRANDED,
                text="It waits for its turn in its lane, but nothing stands before it.",
                unblock="That must not happen: `pillarbox db check` tells what else is damaged.",
            )
        )
    return causes


def _waits_since_ms(facts: Facts) -> int:
    view = facts.subject.view
    return view.due_ms if view.due_ms <= facts.now_ms else view.created_ms


def _held_ahead(facts: Facts, one: Standing) -> Cause:
    view = one.view
    return Cause(
        word=Why.LANE_HELD,
        since_ms=max(view.completed_ms or 0, _waits_since_ms(facts)),
        text=f"Message {view.id} of its lane is held ({view.terminal_reason}) and keeps its turn: {texts.error(one)}.",
        unblock=f"{texts.command('explain', view.id)} says how to decide about that one; "
        f"{texts.order(Order.CANCEL, view.id, view.state)} gives it up and opens the lane.",
        ahead=view.id,
    )


def _turn(facts: Facts, one: Standing) -> Cause:
    view = one.view
    short = under_way(facts, one) if one.under_lease else min(_outside(facts, one), key=_order, default=None)
    state = "delivered" if view.state is State.DELIVERED else f"{view.state}"
    why = f"{state}: {_lowered(short.text)}" if short is not None else f"{state}, due and next to go."
    before = max(1, facts.ahead_count)
    count = "The first" if before > 1 else "It"
    cancel = ""
    if allowed(Order.CANCEL, view.state):
        cancel = f"; {texts.order(Order.CANCEL, view.id, view.state)} takes it out of the way"
    return Cause(
        word=Why.TURN,
        since_ms=_waits_since_ms(facts),
        text=f"{texts.many(before, 'message', 'messages')} of its lane must go first. {count} is {view.id}, {why}",
        unblock=f"What lets {view.id} go or end opens the lane: {texts.command('explain', view.id)} says what{cancel}.",
        ahead=view.id,
    )


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _slot(facts: Facts) -> list[Cause]:
    """Return what a message waits for that may go: nothing, or that its workers have room."""
    view = facts.subject.view
    serving = _awake(facts, view.channel)
    least = min(serving, key=lambda worker: worker.sending)
    if view.lost >= SUSPECT_LOST:
        return [_suspect(facts, least.sending)]
    first = _suspect_first(facts, serving)
    if first is not None:
        return [first]
    before = f", and {texts.many(facts.due_before, 'due message goes', 'due messages go')} before it"
    queue = before if facts.due_before else ""
    under = sum(worker.sending for worker in serving)
    if least.sending:
        text = (
            f"It is due, and its workers are sending {texts.many(under, 'message', 'messages')}, "
            f"{facts.subject.gate.sending} of them through channel {view.channel}{queue}."
        )
        more = (
            f"It goes when a slot is free; `channels.{view.channel}.concurrency` and `concurrency` allow more at once."
        )
        return [Cause(word=Why.BUSY, since_ms=view.due_ms, text=text, unblock=more)]
    late = facts.now_ms - view.due_ms > _SLOW_MS
    look = f"Look at what {texts.worker(least)} logs: it should have been claimed long ago."
    text = f"Nothing stands against it: it is due, and {texts.worker(least)} claims it next{queue}."
    unblock = look if late else "Nothing has to be done."
    return [Cause(word=Why.DUE, since_ms=view.due_ms, text=text, unblock=unblock, blocking=False)]


def _suspect(facts: Facts, sending: int) -> Cause:
    view = facts.subject.view
    wait = f"; {texts.many(sending, 'other send is', 'other sends are')} under way" if sending else ""
    return Cause(
        word=Why.SUSPECT,
        since_ms=facts.subject.attempt_ended_ms or view.due_ms,
        text=f"{view.lost} workers in a row were lost while sending it, so it is sent alone, when its worker has time"
        f" for that{wait}.",
        unblock="Find out whether it is what kills them; "
        f"{texts.order(Order.CANCEL, view.id, view.state)} withdraws it.",
        blocking=sending > 0,
    )


def _suspect_first(facts: Facts, serving: list[WorkerStanding]) -> Cause | None:
    """Return a cause where every worker that could send it sends a suspect alone, or is about to; else ``None``."""
    for worker in serving:
        if not worker.suspects and not any(one.channel in worker.channels for one in facts.suspects):
            return None
    ahead = next((one.id for one in facts.suspects if any(one.channel in worker.channels for worker in serving)), None)
    name = f"Message {ahead}" if ahead else "A message"
    unblock = "It ends with that attempt."
    if ahead:
        unblock = f"{texts.order(Order.CANCEL, ahead, State.SCHEDULED)} takes it out of the way."
    return Cause(
        word=Why.SUSPECT_FIRST,
        since_ms=facts.subject.view.due_ms,
        text=f"{name}, whose workers keep dying, is sent alone first, and nothing else is claimed meanwhile,"
        " for five seconds at most.",
        unblock=unblock,
        ahead=ahead,
    )


def _not_admitted(facts: Facts) -> Cause:
    view = facts.subject.view
    return Cause(
        word=Why.NOT_ADMITTED,
        since_ms=view.created_ms,
        text=f"Channel {view.channel} has not looked at it yet: the worker that claims it first checks it, and gives it"
        " up (`invalid`) if the channel cannot carry it.",
        unblock="Nothing has to be done.",
        blocking=False,
    )


def _suppressed(standing: Standing) -> list[Cause]:
    if standing.suppressed is None or not standing.view.policy.suppress:
        return []
    text = (
        f"Its recipient was refused for good before ({texts.said(standing.suppressed)}), so it ends without being sent."
    )
    unblock = f"If the recipient can be reached again, {texts.clear(standing)}."
    return [Cause(word=Why.SUPPRESSED, text=text, unblock=unblock, blocking=False)]


def _overdue(facts: Facts) -> Cause:
    view = facts.subject.view
    runs = any(worker.alive is not False for worker in facts.workers)
    record = "A worker records that within a second" if runs else "Start a worker, `pillarbox run`, to have it recorded"
    return Cause(
        word=Why.OVERDUE,
        since_ms=view.expires_ms,
        text="Its time is over, so it is not sent any more.",
        unblock=f"{record}; then {_replay(view.id)} sends it again, as a new message.",
    )


def _expiry(facts: Facts, causes: list[Cause]) -> list[Cause]:
    view = facts.subject.view
    if view.expires_ms is None:
        return []
    ends = [cause.until_ms for cause in causes if cause.blocking and cause.until_ms is not None]
    ends += [_own_end_ms(facts, one) for one in facts.ahead]
    soonest_ms = max(ends, default=0)
    cause = Cause(
        word=Why.EXPIRES,
        since_ms=view.created_ms,
        until_ms=view.expires_ms,
        text="It expires then, if it is not delivered before.",
        unblock="Its `ttl` was set when it was accepted; what is still wanted later can be replayed.",
        blocking=False,
    )
    if soonest_ms <= view.expires_ms:
        return [cause]
    text = f"It expires before it can go, which is at {texts.at(soonest_ms)} at the soonest."
    unblock = f"Unblock it before then, or send it anew with a longer `ttl` once it has expired: {_replay(view.id)}."
    return [msgspec.structs.replace(cause, word=Why.EXPIRES_FIRST, text=text, unblock=unblock)]


def _clock_set(facts: Facts) -> list[Cause]:
    if not facts.parted_ms:
        return []
    text = (
        f"The wall clock was set by {facts.parted_ms / 1000:+.0f} s. It goes when it would have: its times are judged"
        " by boot time. Nothing expires or is pruned meanwhile."
    )
    unblock = "Nothing has to be done: that ends when the clock agrees again, or has run steadily for a while."
    return [Cause(word=Why.CLOCK_SET, text=text, unblock=unblock, blocking=False)]


def _own_end_ms(facts: Facts, one: Standing) -> int:
    if one.view.state is not State.SCHEDULED:
        return 0
    return max((cause.until_ms for cause in _outside(facts, one) if cause.until_ms is not None), default=0)


def _replay(message: str) -> str:
    """Write what sends it anew once it has expired."""
    return texts.order(Order.REPLAY, message, State.EXPIRED)
