"""Who may order what, what is full, and what a late answer does: decisions as functions of values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pillarbox.domain.collapse import Place, reason, taken_over
from pillarbox.domain.explain import texts
from pillarbox.domain.late import Late, ends_part, late, late_part, speaks_first
from pillarbox.domain.lifecycle import MOVES
from pillarbox.domain.limits import Active, Limits, full
from pillarbox.domain.message import State
from pillarbox.domain.orders import ORDERS, Answer, Order, allowed, answer, shown
from pillarbox.domain.replay import Copy, copied
from pillarbox.domain.transition import Reason
from pillarbox.errors import Refused
from pillarbox.store.steps.batch import ORDER

ENDS = {
    Order.CANCEL: State.CANCELLED,
    Order.BURY: State.DEAD,
    Order.RESOLVE: State.SCHEDULED,
}


@pytest.mark.contract("ST1")
@pytest.mark.parametrize(("order", "to"), ENDS.items())
def test_no_order_is_for_a_state_that_it_could_not_leave(order: Order, to: State) -> None:
    assert {(state, to) for state in ORDERS[order].states} <= set(MOVES)


@pytest.mark.contract("ST2", "ST3", "ST4")
def test_what_has_ended_is_replayed_or_purged_and_nothing_else() -> None:
    for state in (state for state in State if state.terminal):
        assert {order for order in Order if allowed(order, state)} == {Order.REPLAY, Order.PURGE}


@pytest.mark.contract("ST6", "OP3")
def test_what_is_being_sent_is_only_marked_and_what_arrived_meanwhile_is_left_alone() -> None:
    assert answer(Order.CANCEL, State.LEASED) is Answer.MARKED
    assert {order for order in Order if answer(order, State.LEASED) is Answer.DONE} == set()
    assert {answer(order, State.LEASED, arrived=True) for order in Order} == {Answer.REFUSED}
    assert shown(State.LEASED, arrived=True) is State.DELIVERED


def test_a_filter_means_what_was_delivered_only_where_it_says_so() -> None:
    scope = ORDERS[Order.REPLAY]
    assert set(scope.possible) - set(scope.usual) == {State.DELIVERED}
    assert ORDERS[Order.CANCEL].usual == (State.SCHEDULED, State.LEASED, State.HELD)


def test_nobody_is_advised_to_order_what_would_be_refused() -> None:
    assert texts.order(Order.RETRY, "abc", State.HELD) == "`pillarbox retry abc`"
    with pytest.raises(ValueError, match="retry is not for what is delivered"):
        texts.order(Order.RETRY, "abc", State.DELIVERED)


@pytest.mark.contract("EN5")
@pytest.mark.parametrize(
    ("limits", "scope", "unit"),
    [
        (Limits(messages=3), "store", "messages"),
        (Limits(bytes=9), "store", "bytes"),
        (Limits(channel_messages=2), "channel", "messages"),
        (Limits(channels={"chat": 2}), "channel", "messages"),
        (Limits(tenant_messages=1), "tenant", "messages"),
        (Limits(recipient_messages=0), "recipient", "messages"),
    ],
)
def test_the_first_limit_that_is_reached_is_named(limits: Limits, scope: str, unit: str) -> None:
    active = Active(messages=3, bytes=5, channel=2, tenant=1, recipient=0)
    refused = full(limits, active, channel="chat", size=5)
    assert refused is not None
    assert (refused.scope, refused.unit) == (scope, unit)
    assert full(Limits(), active, channel="chat", size=5) is None


@pytest.mark.contract("ST6")
@pytest.mark.parametrize(
    ("state", "arrived", "what"),
    [
        (State.SCHEDULED, False, Late.DELIVERS),
        (State.HELD, False, Late.DELIVERS),
        (State.LEASED, False, Late.FORESTALLS),
        (State.LEASED, True, Late.COPY),
        *((state, False, Late.COPY) for state in State if state.terminal),
    ],
)
def test_what_a_late_answer_does_follows_from_the_state(state: State, arrived: bool, what: Late) -> None:
    assert late(state, arrived=arrived) is what


@pytest.mark.contract("ST6", "PA3")
def test_a_late_answer_about_a_part_moves_only_what_stands_at_it() -> None:
    assert late_part(State.SCHEDULED, part_next=2, part=2) is Late.DELIVERS
    assert late_part(State.SCHEDULED, part_next=3, part=2) is Late.COPY
    assert late_part(State.LEASED, part_next=2, part=2) is Late.COPY
    assert not ends_part(State.LEASED, part_next=2, part=2)
    assert ends_part(State.LEASED, part_next=3, part=2)


@pytest.mark.contract("ST5")
def test_an_attempt_that_is_known_to_have_delivered_tells_nothing_new() -> None:
    assert not speaks_first(State.DELIVERED, "delivered")
    assert not speaks_first(State.SCHEDULED, "delivered")
    assert speaks_first(State.SCHEDULED, "worker_lost")


REPLAYED: dict[str, Any] = {
    "fresh": False, "has_content": True, "earlier": [], "part_count": 3, "parts_done": 1, "behind": 1,
}  # fmt: skip


@pytest.mark.contract("ST2")
@pytest.mark.parametrize(
    ("state", "said", "copy"),
    [
        (State.DEAD, {}, Copy(own_token=False, anew=False, done=1)),
        # Its second part was delivered, so that the first gets another number.
        (State.DEAD, {"behind": 2}, Copy(own_token=True, anew=False, done=1)),
        (State.DEAD, {"fresh": True, "earlier": ["x"]}, Copy(own_token=True, anew=True)),
        (State.DELIVERED, {"parts_done": 3, "behind": 3}, Copy(own_token=True, anew=True)),
        (State.EXPIRED, {"part_count": 1, "parts_done": 0, "behind": 0}, Copy(own_token=False, anew=False)),
    ],
)
def test_a_replay_sends_what_the_original_did_not(state: State, said: dict[str, Any], copy: Copy) -> None:
    assert copied(state, **REPLAYED | said) == copy


@pytest.mark.contract("ST2")
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"has_content": False, "fresh": True}, "nothing left to send"),
        ({"earlier": ["x"]}, "replayed already, as x"),
        ({"parts_done": 3, "behind": 3}, "every part of it was delivered"),
    ],
)
def test_a_replay_that_would_send_nothing_or_one_more_copy_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        copied(State.DEAD, **REPLAYED | said)


@pytest.mark.contract("FL4", "RE4")
def test_a_newer_message_takes_the_earliest_place_and_waits_as_long_as_a_platform_asked() -> None:
    place = taken_over(Place(due_ms=50), due_ms=40, limited=False, position=7)
    assert place == Place(due_ms=40, position=7)
    place = taken_over(place, due_ms=90, limited=True, position=3)
    assert place == Place(due_ms=90, limited=True, position=3)
    assert taken_over(place, due_ms=95, limited=False, position=None) == place
    assert reason(State.LEASED, maybe_arrived=True) is None
    assert reason(State.SCHEDULED, maybe_arrived=True) is Reason.SUPERSEDED_MAYBE_SENT
    assert reason(State.HELD, maybe_arrived=False) is Reason.SUPERSEDED


def test_the_order_of_a_batch_is_told_as_it_is() -> None:
    text = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text("utf-8")
    told = re.search(r"A batch is applied \*([^*]*)\*", text)
    assert told is not None
    assert re.split(r",\s+", told[1]) == list(ORDER)
