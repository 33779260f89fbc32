"""How much of a message arrived, and how each part stands: from a message's row and its parts' rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox.domain.arrival import Aggregate, aggregate, part_of
from pillarbox.domain.message import MessageView, Part, State
from pillarbox.domain.transition import Reason
from pillarbox.outbox.message import Message
from pillarbox.outbox.outbox import Outbox, inside
from pillarbox.views import message_dict
from tests.unit.leased_messages import NOW

if TYPE_CHECKING:
    from pillarbox.outbox.lifetime import Lifetime

TERMINAL = [state for state in State if state.terminal]


def seen(state: State, **fields: Any) -> MessageView:
    """Give a message of three parts as it is read."""
    values: dict[str, Any] = dict.fromkeys(MessageView.__struct_fields__)
    values |= {
        "id": "i", "state": state, "channel": "chat", "recipient": "ann", "kind": "final", "priority": 1,
        "created_ms": NOW, "due_ms": NOW, "part_count": 3, "part_next": 1, "parts_delivered": 1,
        "maybe_arrived": False, "parts": (),
    }  # fmt: skip
    return MessageView(**(values | fields))


@pytest.mark.contract("PA4")
@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(seen(State.SCHEDULED), None, id="between parts"),
        pytest.param(seen(State.SCHEDULED, maybe_arrived=True), None, id="to be sent again"),
        pytest.param(seen(State.LEASED), None, id="being sent"),
        pytest.param(seen(State.HELD, terminal_reason=Reason.UNCERTAIN), "uncertain", id="held, uncertain"),
        pytest.param(seen(State.HELD, terminal_reason=Reason.REJECTED), None, id="held, rejected"),
        pytest.param(seen(State.DELIVERED, parts_delivered=3), "delivered", id="delivered"),
        pytest.param(seen(State.DELIVERED, parts_delivered=2), "delivered", id="delivered, as a person said"),
        pytest.param(seen(State.DEAD), "partial", id="aborted after a part"),
        pytest.param(seen(State.DEAD, parts_delivered=0), "rejected", id="aborted at the first"),
        pytest.param(seen(State.EXPIRED), "partial", id="expired midway"),
        pytest.param(seen(State.CANCELLED, parts_delivered=0), "rejected", id="cancelled before anything went"),
        pytest.param(seen(State.DEAD, maybe_arrived=True), "uncertain", id="the rest may have arrived"),
        pytest.param(seen(State.CANCELLED, maybe_arrived=True), "uncertain", id="cancelled while uncertain"),
        pytest.param(seen(State.DEAD, parts_delivered=3, maybe_arrived=True), "delivered", id="the last came late"),
        pytest.param(seen(State.DEAD, part_count=1, parts_delivered=0), "rejected", id="whole, dead"),
        pytest.param(
            seen(State.DEAD, part_count=1, parts_delivered=0, also_arrived_ms=NOW, maybe_arrived=True),
            "delivered", id="whole, arrived after it was given up",
        ),
        pytest.param(
            seen(State.CANCELLED, part_count=1, parts_delivered=0, terminal_reason=Reason.SUPERSEDED_MAYBE_SENT),
            "uncertain", id="superseded, maybe sent",
        ),
    ],
)  # fmt: skip
def test_the_parts_taken_together(view: MessageView, expected: str | None) -> None:
    found = aggregate(view)
    assert found == (None if expected is None else Aggregate(expected))
    assert message_dict(view)["aggregate"] == expected
    message = Message(lifetime(), id="i", view=view)
    assert message.aggregate == expected


@pytest.mark.contract("PA4")
@pytest.mark.parametrize("state", TERMINAL)
def test_whatever_has_ended_has_an_aggregate(state: State) -> None:
    assert isinstance(aggregate(seen(state)), Aggregate)


def test_what_was_never_stored_or_read_has_none() -> None:
    message = Message(lifetime(), id=None, skipped="empty")
    assert (message.aggregate, message.parts) == (None, ())


@pytest.mark.contract("PA4", "PA5")
@pytest.mark.parametrize(
    ("message", "current", "behind"),
    [
        (State.SCHEDULED, State.SCHEDULED, State.SCHEDULED),
        (State.LEASED, State.LEASED, State.SCHEDULED),
        (State.HELD, State.HELD, State.SCHEDULED),
        (State.DEAD, State.DEAD, State.CANCELLED),
        (State.EXPIRED, State.EXPIRED, State.EXPIRED),
        (State.CANCELLED, State.CANCELLED, State.CANCELLED),
        (State.DELIVERED, State.DELIVERED, State.DELIVERED),
    ],
)
def test_a_part_without_an_end_of_its_own_stands_as_its_message_does(
    message: State, current: State, behind: State
) -> None:
    view = seen(message, last_error="no answer")
    parts = [part_of(view, n, State.SCHEDULED, receipt=None, reason=None, content=b"") for n in (1, 2)]
    assert [part.state for part in parts] == [current, behind]
    assert parts[1].reason is None
    assert parts[0].reason == (None if message is State.SCHEDULED else "no answer")


@pytest.mark.contract("PA4", "PA5")
@pytest.mark.parametrize("state", TERMINAL)
@pytest.mark.parametrize("message", list(State))
def test_a_part_that_an_attempt_ended_stays_as_it_ended(message: State, state: State) -> None:
    view = seen(message, last_error="another")
    part = part_of(view, 1, state, receipt="r", reason="its own", content=None)
    assert (part.state, part.receipt, part.reason) == (state, "r", "its own")


def test_a_split_message_that_was_only_listed_shows_no_parts() -> None:
    assert not Message(lifetime(), id="i", view=seen(State.DEAD)).parts
    whole = msgspec.structs.replace(seen(State.DEAD, terminal_reason="rejected"), part_count=1)
    message = Message(lifetime(), id="i", view=whole)
    assert message.parts == (Part(number=0, state=State.DEAD, reason="rejected"),)


def lifetime() -> Lifetime:
    """One of an outbox that is not open: nothing here asks a database."""
    return inside(Outbox(":memory:")).lifetime
