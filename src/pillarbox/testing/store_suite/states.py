"""States: only the table's moves, terminal is terminal, every failure is counted (contract ST1–ST8)."""

from __future__ import annotations

from typing import Final

import msgspec
import pytest

from pillarbox.domain.ids import LeaseId
from pillarbox.domain.lifecycle import MOVES, Verdict, lost_worker
from pillarbox.domain.message import STATES, Admission, Leased, State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected
from pillarbox.domain.retry import UncertainAction
from pillarbox.domain.transition import ErrorClass, Reason, Transition
from pillarbox.store.base import AdmissionWrite, Cancel, Prune, Replay, Resolve, Retry, Settled
from pillarbox.testing.store_suite.driver import LEASE_MS, POLICY, StoreDriver, fields_of
from pillarbox.testing.store_suite.fixtures import StoreFixtures
from pillarbox.testing.store_suite.leasing import STALE

LEASE_SECONDS: Final = LEASE_MS / 1000
MANUAL: Final = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
TERMINAL: Final = [state for state in STATES if state.terminal]
S, L, H, D, X, E, C = STATES
# What each verb makes of a message in each state; a state that is missing stays as it is.
EXPECTED: Final[dict[str, dict[State, State]]] = {
    "claim": {S: L},
    "renew": {},
    "admit": {},
    # With the last lease that the message had.
    "deliver": {S: D, H: D, L: D},
    "retry": {L: S},
    "release": {L: S},
    "redirect": {L: S},
    "pause": {L: S},
    "bury": {L: X},
    "hold": {L: H},
    "expire": {L: E},
    "cancel": {L: C},
    # With a lease that was lost before.
    "late deliver": {S: D, H: D, L: D},
    **{f"late {name}": {} for name in STALE},
    "late lapse": {},
    # Without one.
    "lapse": {L: S},
    "run out of time": {S: E},
    "prune": {},
    "order cancel": {S: C, H: C},
    "order retry": {H: S},
    "order bury": {H: X},
    "order resolve delivered": {H: D},
    "order resolve not_delivered": {H: S},
    "order resolve resend": {H: S},
    "order replay": {},
}


class StateSuite(StoreFixtures):
    """States and their moves."""

    @pytest.mark.contract("ST1", "ST2", "ST3", "ST4", "ST7", "EX3")
    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("verb", EXPECTED)
    async def test_every_verb_in_every_state_makes_a_move_of_the_table_or_none(
        self, driver: StoreDriver, verb: str, state: State
    ) -> None:
        old, last = await in_state(driver, state)
        before = fields_of(await driver.view(old.id))
        assert before["state"] is state
        await apply(driver, verb, state, old, last)
        after = fields_of(await driver.view(old.id))
        expected = EXPECTED[verb].get(state, state)
        assert after["state"] is expected
        assert expected is state or (state, expected) in MOVES
        assert after["content"] == before["content"]
        if state.terminal and "deliver" not in verb:
            assert after == before
        await driver.healthy()

    @pytest.mark.contract("ST1")
    def test_every_move_of_the_table_is_tried(self) -> None:
        tried = {(before, after) for moves in EXPECTED.values() for before, after in moves.items()}
        # A waiting non-final message whose process is gone: its own verb does not exist yet.
        assert set(MOVES) - tried == {(State.SCHEDULED, State.DEAD)}

    @pytest.mark.contract("ST5")
    async def test_the_end_of_an_unknown_message_is_reported_and_changes_nothing(self, driver: StoreDriver) -> None:
        await driver.send()
        message = await driver.claim_one()
        unknown = msgspec.structs.replace(message, seq=message.seq + 1000, id=driver.draft().id)
        for transition in (Transition.deliver("r"), *STALE.values()):
            assert await driver.settle(unknown, transition) is Settled.STALE
        for act in (
            Cancel(id=unknown.id, actor="ann"),
            Retry(id=unknown.id, actor="ann"),
            driver.burial(unknown.id),
        ):
            acted = await driver.act(act)
            assert (acted.applied, acted.state) == (False, None)
        assert len(await driver.everything()) == 1
        await driver.healthy()

    @pytest.mark.contract("ST5")
    @pytest.mark.parametrize("keep", [False, True], ids=["outcomes", "full"])
    async def test_a_second_delivery_keeps_the_first_time_and_receipt(self, driver: StoreDriver, *, keep: bool) -> None:
        await driver.send()
        message = await driver.claim_one()
        await driver.settle(message, Delivered("first"), keep_attempt=keep)
        before = await driver.view(message.id)
        driver.clock.advance(5)
        assert await driver.settle(message, Delivered("second"), keep_attempt=keep) is Settled.STALE
        assert await driver.view(message.id) == before
        await driver.healthy()

    @pytest.mark.contract("ST7")
    async def test_the_same_end_twice_in_one_batch_counts_once(self, driver: StoreDriver) -> None:
        await driver.send()
        message = await driver.claim_one()
        twice = [driver.settlement(message, Delivered("r"))] * 2
        result = await driver.commit(settle=twice)
        assert result.settled == [Settled.APPLIED, Settled.STALE]
        assert (await driver.view(message.id)).extra_copies == 0
        await driver.healthy()

    @pytest.mark.contract("ST6", "ST7")
    @pytest.mark.parametrize("count", [2, 7, 100])
    @pytest.mark.parametrize("late", [True, False])
    async def test_of_many_ends_in_one_batch_those_count_whose_lease_holds(
        self, driver: StoreDriver, count: int, *, late: bool
    ) -> None:
        drafts = [driver.draft(lane=f"lane {place}") for place in range(count)]
        behind = [driver.draft(lane=draft.lane) for draft in drafts]
        await driver.enqueue(*drafts)
        await driver.enqueue(*behind)
        *others, odd = await driver.claim(count)
        if late:
            await driver.settle(odd, Deferred("busy"))
        else:
            odd = msgspec.structs.replace(odd, lease=LeaseId(driver.entropy.token(16)))
        result = await driver.commit(settle=[driver.settlement(one, Delivered(one.id)) for one in (*others, odd)])
        assert result.settled == [Settled.APPLIED] * len(others) + [Settled.LATE if late else Settled.STALE]
        for message in others:
            view = await driver.view(message.id)
            assert (view.state, view.receipt) == (State.DELIVERED, message.id)
        assert await driver.state(odd.id) is (State.DELIVERED if late else State.LEASED)
        assert await driver.claimed_ids(count) == [draft.id for draft in (behind if late else behind[:-1])]
        await driver.healthy()

    @pytest.mark.contract("ST6", "ST7")
    @pytest.mark.parametrize("late_first", [True, False])
    async def test_an_old_and_the_current_delivery_in_one_batch_are_told_apart(
        self, driver: StoreDriver, *, late_first: bool
    ) -> None:
        old, current = await in_state(driver, State.LEASED)
        settlements = [driver.settlement(old, Delivered("old")), driver.settlement(current, Delivered("new"))]
        result = await driver.commit(settle=settlements if late_first else settlements[::-1])
        assert sorted(result.settled) in ([Settled.APPLIED, Settled.LATE], [Settled.LATE, Settled.LATE])
        view = await driver.view(old.id)
        assert (view.state, view.extra_copies) == (State.DELIVERED, 1)
        await driver.healthy()

    @pytest.mark.contract("ST8")
    async def test_a_permanent_failure_counts_the_attempt_with_its_time_and_text(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        message = await driver.claim_one()
        driver.clock.advance(2)
        await driver.settle(message, Rejected("chat not found"))
        view = await driver.view(accepted)
        assert (view.state, view.claims, view.charged) == (State.DEAD, 1, 1)
        assert (view.terminal_reason, view.error_class) == (Reason.REJECTED, ErrorClass.PERMANENT)
        assert (view.last_error, view.completed_ms) == ("chat not found", driver.clock.wall_ms())

    @pytest.mark.contract("ST8")
    async def test_a_failure_is_counted_alike_by_its_worker_and_by_the_reaper(
        self, driver: StoreDriver, other: StoreDriver
    ) -> None:
        views = []
        for reaped in (False, True):
            accepted = await driver.send(max_attempts=1)
            message = await driver.claim_one()
            driver.clock.advance(LEASE_SECONDS)
            if reaped:
                await other.reap()
            else:
                end = lost_worker(message, now_ms=driver.clock.wall_ms(), fraction=0.0)
                await driver.settle(message, end, began_ms=None)
            view = fields_of(await driver.view(accepted))
            history = await driver.store.history(message.id)
            moved = [(event.act, event.from_state, event.to_state, event.reason) for event in history]
            views.append(({name: view[name] for name in view if not _of_its_own(name)}, moved))
        assert views[0] == views[1]

    @pytest.mark.contract("ST8", "RE2")
    async def test_attempts_run_out_after_exactly_as_many_as_allowed(self, driver: StoreDriver) -> None:
        accepted = await driver.send(max_attempts=4)
        calls = 0
        while messages := await driver.claim():
            calls += 1
            await driver.settle(messages[0], Deferred("busy"))
            driver.clock.advance(3600)
        view = await driver.view(accepted)
        assert (calls, view.claims, view.charged) == (4, 4, 4)
        assert (view.state, view.terminal_reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED)

    async def test_a_delivery_leaves_no_trace_of_earlier_trouble(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        await driver.settle(await driver.claim_one(), Deferred("busy"))
        driver.clock.advance(5)
        await driver.deliver(await driver.claim_one(), receipt="r-1")
        view = await driver.view(accepted)
        assert (view.receipt, view.error_class, view.last_error) == ("r-1", None, None)
        assert (view.completed_ms, view.charged, view.claims) == (driver.clock.wall_ms(), 1, 2)

    async def test_a_redirected_message_has_its_new_recipient(self, driver: StoreDriver) -> None:
        accepted = await driver.send()
        await driver.settle(await driver.claim_one(), STALE["redirect"])
        assert (await driver.view(accepted)).recipient == "eve"
        assert (await driver.claim_one()).recipient == "eve"


async def in_state(driver: StoreDriver, state: State) -> tuple[Leased, Leased]:
    """
    Bring a message into a state, after an attempt whose lease was lost.

    Returns:
        The message as it was claimed with that old lease, and as it was claimed last.
    """
    await driver.send(policy=MANUAL if state is State.HELD else POLICY, expires_ms=driver.clock.wall_ms() + 60_000)
    old = await driver.claim_one()
    driver.clock.advance(LEASE_SECONDS)
    await driver.reap()
    driver.clock.advance(5)
    match state:
        case State.SCHEDULED | State.HELD:
            return old, old
        case State.CANCELLED:
            await driver.act(Cancel(id=old.id, actor="ann"))
            return old, old
        case State.EXPIRED:
            driver.clock.advance(60)
            await driver.expire()
            return old, old
    last = await driver.claim_one()
    if state is not State.LEASED:
        await driver.settle(last, Delivered("r") if state is State.DELIVERED else Rejected("no"))
    return old, last


async def apply(driver: StoreDriver, verb: str, state: State, old: Leased, last: Leased) -> None:
    """Do what a verb says to a message in a state, and see what it is told."""
    word = verb.removeprefix("late ")
    lease = old if word != verb else last
    if word == "deliver":
        await deliver(driver, state, lease, last)
    elif word in STALE:
        ours = state is State.LEASED and lease is last
        assert await driver.settle(lease, STALE[word]) is (Settled.APPLIED if ours else Settled.STALE)
    elif verb == "late lapse":
        end = lost_worker(old, now_ms=driver.clock.wall_ms(), fraction=0.0)
        assert await driver.settle(old, end, lapsed="owner") is Settled.STALE
    else:
        await without_lease(driver, verb, old, last)


async def deliver(driver: StoreDriver, state: State, lease: Leased, last: Leased) -> None:
    """Resolve an attempt as delivered; where another one is under way, let that end too."""
    told = await driver.settle(lease, Delivered("late"))
    if lease is last and state is State.LEASED:
        assert told is Settled.APPLIED
    elif lease is last and state is State.DELIVERED:
        assert told is Settled.STALE  # it is that delivery
    else:
        assert told is Settled.LATE
    if lease is not last and state is State.LEASED:
        assert await driver.settle(last, Deferred("busy")) is Settled.LATE


async def without_lease(driver: StoreDriver, verb: str, old: Leased, last: Leased) -> None:
    """Do what needs no lease, or gives none up."""
    match verb:
        case "claim":
            await driver.claim()
        case "renew":
            await driver.commit(renew=[old, last], renew_ms=1 << 60)
        case "admit":
            await driver.commit(admit=[AdmissionWrite(message=old, admission=Admission(recipient="eve"))])
        case "lapse":
            driver.clock.advance(LEASE_SECONDS)
            await driver.reap()
        case "run out of time":
            driver.clock.advance(60)
            await driver.expire()
        case "prune":
            # Everything that ended before this message did: it stays whatever its state.
            view = await driver.view(old.id)
            before_ms = (view.state.terminal and view.completed_ms) or driver.clock.wall_ms() + 1
            request = Prune(before_ms=dict.fromkeys(TERMINAL, before_ms), keys_until_ms=0, audit_before_ms=0)
            await driver.commit(prune=request)
        case "order cancel":
            await driver.act(Cancel(id=old.id, actor="ann"))
        case "order retry":
            await driver.act(Retry(id=old.id, actor="ann"))
        case "order bury":
            await driver.act(driver.burial(old.id))
        case "order replay":
            await driver.act(Replay(id=old.id, new_id=driver.draft().id, actor="ann"))
        case _ if verb.startswith("order resolve"):
            await driver.act(Resolve(id=old.id, actor="ann", verdict=Verdict(verb.split()[2])))
        case _:
            pytest.fail(f"no such verb: {verb}")


def _of_its_own(name: str) -> bool:
    """Whether two messages differ in a field anyway."""
    return name.endswith("_ms") or name in {"id", "seq", "worker"}
