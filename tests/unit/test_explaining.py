"""Every cause by itself: its word, since when, until when, and which command would unblock it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any, Final

import pytest

from pillarbox.domain.envelope import Kind, Op
from pillarbox.domain.explain import explain
from pillarbox.domain.explain.causes import Cause, Explanation, Why
from pillarbox.domain.explain.facts import Deed, Facts, Gate, Heir, Standing, Suspect, WorkerStanding
from pillarbox.domain.ids import message_id
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.domain.transition import OURSELVES_FOR_CREDENTIALS, OURSELVES_FOR_READINESS, ErrorClass, Reason
from tools.reference.command_line import commands

pytestmark = pytest.mark.contract("OP2")

NOW: Final = 1_700_000_000_000
SECOND: Final = 1_000
HOUR: Final = 3_600_000
ID: Final = message_id(NOW, bytes(10))
OTHER: Final = message_id(NOW, bytes([1] * 10))


def view(**fields: Any) -> MessageView:
    """A message of channel ops, accepted a minute ago and due since then."""
    values: dict[str, Any] = dict.fromkeys(MessageView.__struct_encode_fields__)
    values |= {
        "id": ID, "seq": 1, "state": State.SCHEDULED, "tenant": "", "channel": "ops", "recipient": "ann",
        "account": "", "kind": Kind.FINAL, "op": Op.SEND, "priority": 1, "waiting": False,
        "created_ms": NOW - 60 * SECOND, "due_ms": NOW - 60 * SECOND, "claims": 0, "charged": 0, "lost": 0,
        "max_attempts": 5, "policy": Policy(), "extra_copies": 0, "prepared": True, "part_count": 1, "part_next": 0,
        "content_size": 2, "parts": (), "parts_delivered": 0, "maybe_arrived": False,
    }  # fmt: skip
    return MessageView(**values | fields)


def standing(gate: Gate | None = None, **fields: Any) -> Standing:
    own = {name: fields.pop(name) for name in tuple(fields) if name in Standing.__struct_fields__}
    return Standing(view=view(**fields), gate=gate or Gate(tenant="", channel="ops"), **{"position": 1} | own)


def worker(slot: int = 1, **fields: Any) -> WorkerStanding:
    usual: dict[str, Any] = {"host": "box", "pid": 42, "channels": ("ops",), "seen_ms": NOW - SECOND, "alive": True}
    return WorkerStanding(slot=slot, **usual | fields)


WORKER: Final = worker()
GONE: Final = worker(alive=False, seen_ms=NOW - 30 * SECOND)


def facts(subject: Standing, *, workers: tuple[WorkerStanding, ...] = (WORKER,), **fields: Any) -> Facts:
    return Facts(now_ms=NOW, subject=subject, workers=workers, **fields)


def failed(error_class: ErrorClass, **fields: Any) -> Standing:
    """An attempt ended ten seconds ago, and the next is in an hour."""
    usual: dict[str, Any] = {
        "due_ms": NOW + HOUR, "claims": 2, "charged": 2, "claimed_ms": NOW - 20 * SECOND, "last_error": "HTTP 503",
        "attempt_ended_ms": NOW - 10 * SECOND, "free_returns": 3,
    }  # fmt: skip
    return standing(error_class=error_class, **usual | fields)


def leased(**fields: Any) -> Standing:
    usual: dict[str, Any] = {
        "state": State.LEASED, "claims": 3, "claimed_ms": NOW - 5 * SECOND, "under_lease": True,
        "lease_left_ms": 50 * SECOND, "worker": 1,
    }  # fmt: skip
    return standing(**usual | fields)


def ended(state: State, reason: Reason | None = None, **fields: Any) -> Standing:
    return standing(state=state, terminal_reason=reason, completed_ms=NOW - 7 * SECOND, **fields)


def gate(**fields: Any) -> Gate:
    return Gate(tenant="", channel="ops", **fields)


def paused(by: str = "pillarbox", *, until_ms: int | None = NOW + HOUR, strikes: int = 0) -> Gate:
    return gate(
        paused_ms=NOW - 9 * SECOND, paused_until_ms=until_ms, pause_reason="tea break", paused_by=by, strikes=strikes
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is known, and the first cause that must be told from it; ``says`` are pieces of its two sentences."""

    facts: Facts
    since_ms: int | None
    until_ms: int | None = None
    blocking: bool = True
    ahead: str | None = None
    says: tuple[str, ...] = ()


CASES: Final[dict[tuple[Why, str], Case]] = {
    (Why.OVERDUE, "a worker will see it"): Case(
        facts=facts(standing(expires_ms=NOW - 1)),
        since_ms=NOW - 1,
        says=("A worker records that", f"`pillarbox replay {ID}`"),
    ),
    (Why.OVERDUE, "nobody is there to see it"): Case(
        facts=facts(standing(expires_ms=NOW - 1), workers=()), since_ms=NOW - 1, says=("`pillarbox run`",)
    ),
    (Why.UNREADABLE, ""): Case(
        facts=facts(standing(has_content=False)), since_ms=None, says=("missing", "`pillarbox db check`")
    ),
    (Why.NO_WORKER, "none ever"): Case(
        facts=facts(standing(), workers=()), since_ms=None, says=("nobody knows", "`pillarbox run`")
    ),
    (Why.NO_WORKER, "it died"): Case(
        facts=facts(standing(), workers=(GONE,)), since_ms=NOW - 30 * SECOND, says=("died after 2023-11-14T22:12:50Z",)
    ),
    (Why.NO_WORKER, "the one there is has other channels"): Case(
        facts=facts(standing(), workers=(worker(channels=("mail",)),)), since_ms=None
    ),
    (Why.WORKER_SILENT, ""): Case(
        facts=facts(standing(), workers=(worker(seen_ms=NOW - 46 * SECOND),)),
        since_ms=NOW - 46 * SECOND,
        says=("worker 1 (box, pid 42)", "process 42"),
    ),
    (Why.PAUSED, "for a while"): Case(
        facts=facts(standing(paused("ann"))),
        since_ms=NOW - 9 * SECOND,
        until_ms=NOW + HOUR,
        says=("by ann: tea break", "`pillarbox resume ops`"),
    ),
    (Why.PAUSED, "until resumed, one tenant's"): Case(
        facts=facts(standing(Gate(tenant="a b", channel="ops", paused_ms=NOW - 9 * SECOND, paused_by="ann"))),
        since_ms=NOW - 9 * SECOND,
        says=("no reason given", "`pillarbox resume ops --tenant 'a b'`"),
    ),
    (Why.CHANNEL_RATE_LIMITED, ""): Case(
        facts=facts(standing(paused())),
        since_ms=NOW - 9 * SECOND,
        until_ms=NOW + HOUR,
        says=("asked channel ops to wait: tea break", "`pillarbox resume ops`", f"`pillarbox retry {ID}`"),
    ),
    (Why.CHANNEL_RATE_LIMITED, "after an outage"): Case(
        facts=facts(
            failed(ErrorClass.RATE_LIMITED, gate=paused(strikes=1), last_error="tea break", due_ms=NOW + 2 * HOUR)
        ),
        since_ms=NOW - 9 * SECOND,
        until_ms=NOW + HOUR,
    ),
    (Why.RATE_LIMITED, "by another message"): Case(
        facts=facts(standing(rests_until_ms=NOW + SECOND, rest_reason="slow down")),
        since_ms=None,
        until_ms=NOW + SECOND,
        says=("this recipient to wait: slow down", f"`pillarbox retry {ID}`"),
    ),
    (Why.PACED, "the whole channel"): Case(
        facts=facts(standing(gate(full_until_ms=NOW + SECOND))),
        since_ms=NOW - 60 * SECOND,
        until_ms=NOW + SECOND,
        says=("for channel ops",),
    ),
    (Why.PACED, ""): Case(
        facts=facts(standing(due_ms=NOW + SECOND, not_before_ms=None)),
        since_ms=NOW - 60 * SECOND,
        until_ms=NOW + SECOND,
        says=("for this recipient", "`recipient_rate`"),
    ),
    (Why.CHANNEL_UNAVAILABLE, "its credentials"): Case(
        facts=facts(standing(paused(OURSELVES_FOR_CREDENTIALS, strikes=1, until_ms=None))),
        since_ms=NOW - 9 * SECOND,
        says=("its credentials are refused: tea break", "a reload or a start", "`pillarbox resume ops`"),
    ),
    (Why.CHANNEL_UNAVAILABLE, "its readiness"): Case(
        facts=facts(standing(paused(OURSELVES_FOR_READINESS))),
        since_ms=NOW - 9 * SECOND,
        until_ms=NOW + HOUR,
        says=("is not ready, says its hook: tea break", "asked again"),
    ),
    (Why.CHANNEL_UNAVAILABLE, ""): Case(
        facts=facts(standing(paused(strikes=2))),
        since_ms=NOW - 9 * SECOND,
        until_ms=NOW + HOUR,
        says=("cannot send: tea break", "`pillarbox resume ops`", "one message when the pause is over"),
    ),
    (Why.CHANNEL_CLOSED, ""): Case(
        facts=facts(standing(paused(until_ms=None, strikes=2))),
        since_ms=NOW - 9 * SECOND,
        says=("wants no more", "`pillarbox resume ops`"),
    ),
    (Why.CHANNEL_PROBED, ""): Case(
        facts=facts(standing(gate(paused_ms=NOW - HOUR, paused_until_ms=NOW - SECOND, strikes=1, sending=1))),
        since_ms=NOW - SECOND,
        says=("1 time in a row", "`pillarbox resume ops`"),
    ),
    (Why.LATER, ""): Case(
        facts=facts(standing(due_ms=NOW + HOUR, not_before_ms=NOW + HOUR, position=None)),
        since_ms=NOW - 60 * SECOND,
        until_ms=NOW + HOUR,
        says=(f"`pillarbox retry {ID}`",),
    ),
    (Why.BACKOFF, ""): Case(
        facts=facts(failed(ErrorClass.TRANSIENT)),
        since_ms=NOW - 10 * SECOND,
        until_ms=NOW + HOUR,
        says=("Attempt 2 of 5 failed: HTTP 503", f"`pillarbox retry {ID}`"),
    ),
    (Why.BACKOFF, "after lost workers"): Case(
        facts=facts(failed(ErrorClass.WORKER_LOST, lost=3, charged=3)),
        since_ms=NOW - 10 * SECOND,
        until_ms=NOW + HOUR,
        says=("3 workers in a row were lost while sending it (attempt 3 of 5)", "the platform may have it"),
    ),
    (Why.BACKOFF, "after one lost worker"): Case(
        facts=facts(failed(ErrorClass.WORKER_LOST, lost=1)),
        since_ms=NOW - 10 * SECOND,
        until_ms=NOW + HOUR,
        says=("A worker was lost while sending it (attempt 2 of 5)", f"`pillarbox retry {ID}`"),
    ),
    (Why.BACKOFF, "of an attempt that left no trace"): Case(
        facts=facts(failed(ErrorClass.UNCERTAIN, attempt_ended_ms=None)),
        since_ms=NOW - 20 * SECOND,
        until_ms=NOW + HOUR,
    ),
    (Why.RATE_LIMITED, ""): Case(
        facts=facts(failed(ErrorClass.RATE_LIMITED)),
        since_ms=NOW - 10 * SECOND,
        until_ms=NOW + HOUR,
        says=("asked it to wait: HTTP 503",),
    ),
    (Why.GIVEN_BACK, ""): Case(
        facts=facts(failed(ErrorClass.RELEASED)),
        since_ms=NOW - 10 * SECOND,
        until_ms=NOW + HOUR,
        says=("3 times in a row", f"`pillarbox retry {ID}`"),
    ),
    (Why.LANE_HELD, ""): Case(
        facts=facts(
            standing(lane="l", waiting=True),
            ahead=(ended(State.HELD, Reason.REJECTED, id=OTHER, last_error="HTTP 400"),),
            ahead_count=1,
        ),
        since_ms=NOW - 7 * SECOND,
        ahead=OTHER,
        says=("held (rejected)", "HTTP 400", f"`pillarbox explain {OTHER}`", f"`pillarbox cancel {OTHER}`"),
    ),
    (Why.TURN, "behind one that is tried again later"): Case(
        facts=facts(
            standing(lane="l", waiting=True), ahead=(failed(ErrorClass.TRANSIENT, id=OTHER),), ahead_count=3
        ),
        since_ms=NOW - 60 * SECOND,
        ahead=OTHER,
        says=("3 messages", f"The first is {OTHER}, scheduled: attempt 2 of 5 failed: HTTP 503",
              f"`pillarbox cancel {OTHER}`"),
    ),
    (Why.TURN, "behind one that is being sent"): Case(
        facts=facts(standing(lane="l", waiting=True), ahead=(leased(id=OTHER),), ahead_count=1),
        since_ms=NOW - 60 * SECOND,
        ahead=OTHER,
        says=(f"1 message of its lane must go first. It is {OTHER}, leased: attempt 3 is being sent by worker 1",),
    ),
    (Why.TURN, "behind one that is due"): Case(
        facts=facts(standing(lane="l"), ahead=(standing(id=OTHER),), ahead_count=1000),
        since_ms=NOW - 60 * SECOND,
        ahead=OTHER,
        says=("1000 messages or more", "due and next to go"),
    ),
    (Why.STRANDED, ""): Case(
        facts=facts(standing(lane="l", waiting=True)), since_ms=None, says=("`pillarbox db check`",)
    ),
    (Why.SUSPECT, "while others are under way"): Case(
        facts=facts(standing(lost=2, claims=2, attempt_ended_ms=NOW - SECOND), workers=(worker(sending=2),)),
        since_ms=NOW - SECOND,
        says=("2 workers in a row", "2 other sends are under way", f"`pillarbox cancel {ID}`"),
    ),
    (Why.SUSPECT, "when nothing else is under way"): Case(
        facts=facts(standing(lost=2), workers=(worker(sending=2), worker(2))),
        since_ms=NOW - 60 * SECOND,
        blocking=False,
    ),
    (Why.SUSPECT_FIRST, "that is due"): Case(
        facts=facts(standing(), suspects=(Suspect(id=OTHER, channel="ops"),)),
        since_ms=NOW - 60 * SECOND,
        ahead=OTHER,
        says=(f"`pillarbox cancel {OTHER}`",),
    ),
    (Why.SUSPECT_FIRST, "that is being sent"): Case(
        facts=facts(standing(), workers=(worker(sending=1, suspects=1),)), since_ms=NOW - 60 * SECOND
    ),
    (Why.BUSY, ""): Case(
        facts=facts(standing(gate(sending=3)), workers=(worker(sending=5),), due_before=7),
        since_ms=NOW - 60 * SECOND,
        says=("sending 5 messages, 3 of them through channel ops, and 7 due messages go before it",
              "`channels.ops.concurrency`"),
    ),
    (Why.DUE, "since this instant"): Case(
        facts=facts(standing(due_ms=NOW), workers=(worker(sending=5), worker(2))),
        since_ms=NOW,
        blocking=False,
        says=("worker 2 (box, pid 42) claims it next", "Nothing has to be done"),
    ),
    (Why.DUE, "for too long"): Case(
        facts=facts(standing()), since_ms=NOW - 60 * SECOND, blocking=False, says=("what worker 1 (box, pid 42) logs",)
    ),
    (Why.SENDING, ""): Case(
        facts=facts(leased()),
        since_ms=NOW - 5 * SECOND,
        until_ms=NOW + 50 * SECOND,
        says=("Attempt 3 is being sent by worker 1 (box, pid 42), whose lease runs until 2023-11-14T22:14:10Z",
              f"`pillarbox cancel {ID}`"),
    ),
    (Why.SENDING, "by a silent worker"): Case(
        facts=facts(leased(), workers=(worker(seen_ms=NOW - HOUR),)),
        since_ms=NOW - 5 * SECOND,
        until_ms=NOW + 50 * SECOND,
        says=("no sign of life since 2023-11-14T21:13:20Z",),
    ),
    (Why.WORKER_LOST, "and nobody else is there"): Case(
        facts=facts(leased(), workers=(GONE,)),
        since_ms=NOW - 30 * SECOND,
        says=("worker 1 (box, pid 42) was lost", "`pillarbox run`", "it is sent again"),
    ),
    (Why.WORKER_LOST, "and forgotten"): Case(
        facts=facts(leased(policy=Policy(uncertain=UncertainAction.HOLD)), workers=(worker(2),)),
        since_ms=NOW - 5 * SECOND,
        says=("A worker that runs settles it within a second, and it is held",),
    ),
    (Why.LEASE_OVER, ""): Case(
        facts=facts(leased(lease_left_ms=-SECOND)),
        since_ms=NOW - SECOND,
        says=("not renewed in time", "`pillarbox run`", "process 42 on box"),
    ),
    (Why.HELD_UNCERTAIN, ""): Case(
        facts=facts(ended(State.HELD, Reason.UNCERTAIN, last_error="no answer")),
        since_ms=NOW - 7 * SECOND,
        until_ms=NOW - 7 * SECOND + HOUR,
        says=("may have it", "no answer", f"`pillarbox resolve {ID} --delivered`",
              f"`pillarbox resolve {ID} --not-delivered`", f"`pillarbox cancel {ID}`"),
    ),
    (Why.HELD_UNCERTAIN, "past its time"): Case(
        facts=facts(ended(State.HELD, Reason.UNCERTAIN, expires_ms=NOW - 1)),
        since_ms=NOW - 7 * SECOND,
        until_ms=NOW - 7 * SECOND + HOUR,
        says=(f"`pillarbox resolve {ID} --not-delivered --ttl 1h`",),
    ),
    (Why.HELD_STUCK, ""): Case(
        facts=facts(ended(State.HELD, Reason.STUCK)),
        since_ms=NOW - 7 * SECOND,
        until_ms=NOW - 7 * SECOND + HOUR,
        says=("1000 times", f"`pillarbox retry {ID}`"),
    ),
    (Why.HELD_DEAD, ""): Case(
        facts=facts(ended(State.HELD, Reason.RETRIES_EXHAUSTED, expires_ms=NOW - 1)),
        since_ms=NOW - 7 * SECOND,
        until_ms=NOW - 7 * SECOND + HOUR,
        says=("retries_exhausted", f"`pillarbox retry {ID} --ttl 1h`", f"`pillarbox cancel {ID}`"),
    ),
    (Why.HELD_DEAD, "refused for good"): Case(
        facts=facts(ended(State.HELD, Reason.REJECTED, suppressed="blocked")),
        since_ms=NOW - 7 * SECOND,
        until_ms=NOW - 7 * SECOND + HOUR,
        says=("`pillarbox recipients clear ops ann`, if", f"`pillarbox retry {ID}`"),
    ),
    (Why.DELIVERED, ""): Case(
        facts=facts(ended(State.DELIVERED, claims=2, receipt="r-1", extra_copies=1)),
        since_ms=NOW - 7 * SECOND,
        blocking=False,
        says=("at attempt 2, receipt r-1; 1 copy arrived besides", f"`pillarbox replay {ID} --fresh`"),
    ),
    (Why.DEAD, "used up"): Case(
        facts=facts(ended(State.DEAD, Reason.RETRIES_EXHAUSTED, charged=5, last_error="HTTP 503")),
        since_ms=NOW - 7 * SECOND,
        says=("used up its attempts (5 of 5 charged): HTTP 503", f"`pillarbox replay {ID}`"),
    ),
    (Why.DEAD, "refused before"): Case(
        facts=facts(ended(State.DEAD, Reason.SUPPRESSED, tenant="acme", suppressed="no", last_error="refused: no")),
        since_ms=NOW - 7 * SECOND,
        says=("Nothing was sent", "refused: no", "`pillarbox recipients clear ops ann --tenant acme`",
              f"`pillarbox replay {ID}`"),
    ),
    (Why.DEAD, "in parts"): Case(
        facts=facts(
            ended(State.DEAD, Reason.PARTIAL, parts_delivered=2, part_count=3, maybe_arrived=True, last_error="no")
        ),
        since_ms=NOW - 7 * SECOND,
        says=("2 of 3 parts were delivered; the platform may have what was sent last",),
    ),
    (Why.DEAD, "for a reason of somebody else's"): Case(
        facts=facts(standing(state=State.DEAD, terminal_reason="odd", completed_ms=NOW - 7 * SECOND)),
        since_ms=NOW - 7 * SECOND,
        says=("given up (odd): no error recorded",),
    ),
    (Why.EXPIRED, "tried"): Case(
        facts=facts(
            ended(State.EXPIRED, Reason.EXPIRED, claims=1, expires_ms=NOW - 8 * SECOND, last_error="HTTP 503")
        ),
        since_ms=NOW - 7 * SECOND,
        says=("at 2023-11-14T22:13:12Z, after 1 attempt: HTTP 503", f"`pillarbox replay {ID}`"),
    ),
    (Why.EXPIRED, "never tried"): Case(
        facts=facts(ended(State.EXPIRED, Reason.EXPIRED)),
        since_ms=NOW - 7 * SECOND,
        says=("before it could be tried",),
    ),
    (Why.CANCELLED, "by a person"): Case(
        facts=facts(
            ended(State.CANCELLED, Reason.REQUESTED),
            acts=(Deed(at_ms=NOW, act="cancel", actor="ann", reason="wrong text"),
                  Deed(at_ms=NOW, act="replay", actor="bob")),
        ),
        since_ms=NOW - 7 * SECOND,
        says=("cancelled by ann: wrong text", f"`pillarbox replay {ID}`"),
    ),
    (Why.CANCELLED, "by its application"): Case(
        facts=facts(ended(State.CANCELLED, Reason.WITHDRAWN, last_error="not wanted")),
        since_ms=NOW - 7 * SECOND,
        says=("Its application withdrew it just before the send: not wanted",),
    ),
    (Why.CANCELLED, "by nobody that is known"): Case(
        facts=facts(ended(State.CANCELLED, Reason.REQUESTED)), since_ms=NOW - 7 * SECOND, says=("(requested)",)
    ),
}  # fmt: skip


def explained(known: Facts) -> Explanation:
    return explain(known, held_retention_ms=HOUR)


@pytest.mark.parametrize(("word", "variant"), CASES)
def test_the_first_cause_is_told_with_its_times_and_what_unblocks_it(word: Why, variant: str) -> None:
    case = CASES[word, variant]
    first = explained(case.facts).causes[0]
    assert first.word is word
    assert (first.since_ms, first.until_ms) == (case.since_ms, case.until_ms)
    assert (first.blocking, first.ahead) == (case.blocking, case.ahead)
    for piece in case.says:
        assert piece in f"{first.text}\n{first.unblock}"
    for sentence in (first.text, first.unblock):
        assert re.fullmatch(r"[A-Z0-9`][^\n]*[.]", sentence), sentence
        assert "None" not in sentence


# What never stands first: it is added to something else.
ADDED: Final[dict[Why, Facts]] = {
    Why.CANCELLING: facts(
        leased(cancel_requested_ms=NOW - 2 * SECOND),
        acts=(Deed(at_ms=NOW, act="cancel requested", actor="ann", reason="wrong text"),),
    ),
    Why.NOT_ADMITTED: facts(standing(prepared=False)),
    Why.SUPPRESSED: facts(standing(suppressed="blocked")),
    Why.EXPIRES: facts(standing(expires_ms=NOW)),
    Why.CLOCK_SET: facts(standing(), parted_ms=-2 * HOUR),
    Why.EXPIRES_FIRST: facts(failed(ErrorClass.TRANSIENT, expires_ms=NOW + HOUR - 1)),
    Why.ALSO_SENDING: facts(ended(State.DELIVERED, under_lease=True, lease_left_ms=SECOND, worker=1)),
    Why.REPLAYED: facts(
        ended(State.DEAD, Reason.REJECTED),
        heirs=(
            Heir(id=ID, state=State.CANCELLED, created_ms=NOW - 3),
            Heir(id=OTHER, state=State.SCHEDULED, created_ms=NOW - 2),
        ),
    ),
    Why.CONTENT_GONE: facts(ended(State.DEAD, Reason.REJECTED, has_content=False)),
}


def added(word: Why) -> Cause:
    causes = explained(ADDED[word]).causes
    assert causes[0].word is not word
    (found,) = (cause for cause in causes if cause.word is word)
    return found


def test_a_cancel_that_waits_for_an_attempt_says_by_whom_and_since_when() -> None:
    cause = added(Why.CANCELLING)
    assert (cause.since_ms, cause.until_ms, cause.blocking) == (NOW - 2 * SECOND, None, True)
    assert "by ann: wrong text" in cause.text


@pytest.mark.contract("FL4")
def test_a_newer_message_that_waits_for_an_attempt_is_named_unless_a_person_cancelled_as_well() -> None:
    newer = (Deed(at_ms=NOW, act="supersede requested", actor="msg_newer", reason=None),)
    person = Deed(at_ms=NOW, act="cancel requested", actor="ann", reason="wrong text")
    for acts, says in ((newer, "newer msg_newer of its collapse key"), ((person, *newer), "by ann: wrong text")):
        found = explained(facts(leased(cancel_requested_ms=NOW), acts=acts))
        (cause,) = (cause for cause in found.causes if cause.word is Why.CANCELLING)
        assert says in cause.text
        assert ("ends as superseded" in cause.text) is (acts == newer)


@pytest.mark.contract("CL1")
def test_a_recipient_that_was_refused_is_told_unless_that_is_off() -> None:
    cause = added(Why.SUPPRESSED)
    assert (cause.blocking, "blocked" in cause.text) == (False, True)
    assert "`pillarbox recipients clear ops ann`" in cause.unblock
    off = facts(standing(suppressed="blocked", policy=Policy(suppress=False)))
    assert Why.SUPPRESSED not in {one.word for one in explained(off).causes}


def test_what_no_channel_has_looked_at_says_so() -> None:
    cause = added(Why.NOT_ADMITTED)
    assert (cause.since_ms, cause.blocking) == (NOW - 60 * SECOND, False)
    assert "Channel ops" in cause.text


def test_an_expiry_is_always_told_and_whether_it_comes_before_the_message_can_go() -> None:
    assert (added(Why.EXPIRES).until_ms, added(Why.EXPIRES).blocking) == (NOW, False)
    first = added(Why.EXPIRES_FIRST)
    assert (first.until_ms, first.blocking) == (NOW + HOUR - 1, False)
    assert "2023-11-14T23:13:20Z at the soonest" in first.text
    # The last millisecond is still in time.
    in_time = explained(facts(failed(ErrorClass.TRANSIENT, expires_ms=NOW + HOUR)))
    assert [cause.word for cause in in_time.causes] == [Why.BACKOFF, Why.EXPIRES]


def test_a_wall_clock_that_was_set_is_told_beside_what_keeps_a_message() -> None:
    cause = added(Why.CLOCK_SET)
    assert (cause.since_ms, cause.until_ms, cause.blocking) == (None, None, False)
    assert "set by -7200 s" in cause.text
    overdue = explained(facts(standing(expires_ms=NOW - 1), parted_ms=2 * HOUR))
    assert [cause.word for cause in overdue.causes] == [Why.OVERDUE, Why.CLOCK_SET]


def test_an_expiry_before_the_head_of_its_lane_is_due_is_told_too() -> None:
    waiting = standing(lane="l", waiting=True, expires_ms=NOW + SECOND)
    ahead = failed(ErrorClass.TRANSIENT, id=OTHER)
    found = explained(facts(waiting, ahead=(ahead,), ahead_count=1))
    assert [cause.word for cause in found.causes] == [Why.TURN, Why.EXPIRES_FIRST]


def test_a_delivered_message_whose_lane_is_not_open_yet_says_so() -> None:
    cause = added(Why.ALSO_SENDING)
    assert (cause.until_ms, cause.blocking) == (NOW + SECOND, False)


def test_what_was_scrubbed_is_not_offered_for_a_replay() -> None:
    assert not added(Why.CONTENT_GONE).blocking
    (dead, gone) = explained(ADDED[Why.CONTENT_GONE]).causes
    assert "replay" not in dead.unblock
    assert "send it anew" in dead.unblock
    assert f"`pillarbox history {ID}`" in gone.unblock


def test_what_was_replayed_is_not_to_be_replayed_again_while_that_one_may_arrive() -> None:
    cause = added(Why.REPLAYED)
    assert (cause.since_ms, cause.blocking) == (NOW - 2, False)
    dead = explained(ADDED[Why.REPLAYED]).causes[0]
    assert (dead.word, dead.unblock) == (Why.DEAD, cause.unblock)
    assert f"`pillarbox explain {OTHER}`" in cause.unblock
    failed_again = Heir(id=OTHER, state=State.DEAD, created_ms=NOW - 2)
    (dead,) = explained(facts(ended(State.DEAD, Reason.REJECTED), heirs=(failed_again,))).causes
    assert f"`pillarbox replay {ID}`" in dead.unblock


def test_every_word_has_a_case_and_a_meaning() -> None:
    assert {word for word, _ in CASES} | set(ADDED) == set(Why)
    assert all(word.about for word in Why)


def test_what_goes_away_first_stands_first() -> None:
    """By time, and where nobody knows the time, in the order in which a claim asks."""
    stuck = failed(
        ErrorClass.UNAVAILABLE, gate=paused(strikes=1), due_ms=NOW + 2 * HOUR, lane="l", waiting=True, prepared=False,
        expires_ms=NOW + 3 * HOUR, lost=2,
    )  # fmt: skip
    ahead = (ended(State.HELD, Reason.UNCERTAIN, id=OTHER), leased())
    causes = explained(facts(stuck, ahead=ahead, ahead_count=2, workers=())).causes
    assert [cause.word for cause in causes] == [
        Why.CHANNEL_UNAVAILABLE, Why.GIVEN_BACK, Why.NO_WORKER, Why.LANE_HELD, Why.TURN, Why.SUSPECT,
        Why.NOT_ADMITTED, Why.EXPIRES,
    ]  # fmt: skip
    assert [cause.blocking for cause in causes] == [True] * 5 + [False] * 3
    # Of two that end together, the channel's comes first: it concerns more than this message.
    both = failed(ErrorClass.RATE_LIMITED, gate=paused())
    assert [cause.word for cause in explained(facts(both)).causes] == [Why.CHANNEL_RATE_LIMITED, Why.RATE_LIMITED]
    sooner = failed(ErrorClass.TRANSIENT, gate=paused(), due_ms=NOW + HOUR - 1)
    assert [cause.word for cause in explained(facts(sooner)).causes] == [Why.BACKOFF, Why.CHANNEL_RATE_LIMITED]


def test_the_soonest_moment_is_told_where_it_is_known() -> None:
    assert explained(facts(standing())).earliest_ms == NOW
    assert explained(facts(failed(ErrorClass.TRANSIENT, gate=paused(), due_ms=NOW + 5))).earliest_ms == NOW + HOUR
    assert explained(facts(standing(), workers=())).earliest_ms is None
    assert explained(facts(ended(State.DEAD))).earliest_ms is None
    assert explained(facts(leased())).earliest_ms is None


def test_a_message_for_later_is_in_no_lane_before_it_is_due() -> None:
    ahead = (leased(id=OTHER),)
    later = standing(lane="l", position=None, due_ms=NOW + HOUR, not_before_ms=NOW + HOUR)
    assert [cause.word for cause in explained(facts(later, ahead=ahead)).causes] == [Why.LATER]
    due = standing(lane="l", position=None)
    assert [cause.word for cause in explained(facts(due, ahead=ahead)).causes] == [Why.TURN]


def test_one_worker_that_may_well_live_is_enough() -> None:
    silent = worker(seen_ms=NOW - HOUR)
    for workers in ((worker(2, alive=None),), (silent, worker(2)), (GONE, worker(2))):
        first = explained(facts(standing(), workers=workers)).causes[0]
        assert first.word is Why.DUE
        assert "worker 2" in first.text


def test_a_channel_that_is_to_be_tried_again_holds_nobody_up_while_nothing_is_under_way() -> None:
    over = gate(paused_ms=NOW - HOUR, paused_until_ms=NOW, strikes=1)
    assert explained(facts(standing(over))).causes[0].word is Why.DUE


def test_a_worker_of_another_channel_that_meets_a_suspect_is_in_nobody_s_way() -> None:
    free = worker(2, sending=0)
    for workers, suspects in {
        (worker(sending=1, suspects=1), free): (),
        (free,): (Suspect(id=OTHER, channel="mail"),),
    }.items():
        assert explained(facts(standing(), workers=workers, suspects=suspects)).causes[0].word is Why.DUE


def test_what_platforms_say_is_told_in_one_line_of_bounded_length() -> None:
    text = explained(facts(failed(ErrorClass.TRANSIENT, last_error=f"two\nlines {'x' * 400}"))).causes[0].text
    assert "two lines xxx" in text
    assert len(text) < 350


COMMAND = re.compile(r"`pillarbox ([^`]+)`")


def test_every_command_that_is_advised_exists_with_its_options() -> None:
    known = commands()
    advised: set[str] = set()
    for case in (*(case.facts for case in CASES.values()), *ADDED.values()):
        for cause in explained(case).causes:
            advised.update(COMMAND.findall(cause.unblock))
    assert advised
    for line in advised:
        words = shlex.split(line)
        name = f"pillarbox {' '.join(words[:2])}" if words[0] in {"db", "recipients"} else f"pillarbox {words[0]}"
        options = {text for option in known[name].params for text in option.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
