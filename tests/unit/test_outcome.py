"""The seven outcomes."""

from __future__ import annotations

from typing import get_args

import pytest

from pillarbox.domain.outcome import (
    AnyOutcome,
    Deferred,
    Delivered,
    Outcome,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
)


@pytest.mark.contract("CL1")
def test_there_are_seven_outcomes() -> None:
    seven = {Delivered, Deferred, RateLimited, Rejected, Redirected, Unavailable, Uncertain}
    assert set(get_args(AnyOutcome)) == seven
    assert set(Outcome.__subclasses__()) == seven


@pytest.mark.contract("CL1")
@pytest.mark.parametrize(
    "outcome",
    [
        Delivered("1"),
        Deferred("no", after=3),
        RateLimited("slow", scope="channel", after=3),
        Rejected("no", about="recipient"),
        Redirected("bob"),
        Unavailable("off", after=3),
        Uncertain("no answer"),
    ],
)
def test_an_outcome_may_be_raised_and_is_then_the_same_value(outcome: AnyOutcome) -> None:
    with pytest.raises(Outcome) as caught:
        raise outcome
    assert caught.value is outcome


def test_outcomes_are_equal_by_their_fields() -> None:
    assert Deferred("no", after=3) == Deferred("no", after=3)
    assert hash(Deferred("no", after=3)) == hash(Deferred("no", after=3))
    assert Deferred("no", after=3) != Deferred("no", after=4)
    assert Deferred("no") != Uncertain("no")
    assert Delivered("1") != "1"


def test_an_outcome_shows_its_fields() -> None:
    assert "'no such chat'" in repr(Rejected("no such chat"))
