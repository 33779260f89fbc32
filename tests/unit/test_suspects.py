"""How long the others wait for suspects: five seconds at a time, a tenth of all of it."""

from __future__ import annotations

import random

import pytest

from pillarbox.engine.suspects import ALONE_SECONDS, OTHERS_SHARE, QUIET_SECONDS, Suspects

pytestmark = pytest.mark.contract("LA2", "LE2")


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_suspect_waits_for_what_is_under_way_but_not_for_ever() -> None:
    time = Time()
    suspects = Suspects(time)
    suspects.begin()
    assert suspects.hold_back()
    assert not suspects.may_start([1])
    assert suspects.may_start([])
    time.now += QUIET_SECONDS
    assert suspects.may_start([1])
    suspects.started(2)
    assert not suspects.may_start([])


def test_the_others_start_again_after_five_seconds_and_have_nine_times_as_long() -> None:
    time = Time()
    suspects = Suspects(time)
    suspects.begin()
    suspects.started(1)
    time.now += ALONE_SECONDS - 0.001
    assert suspects.hold_back()
    time.now += 0.001
    assert not suspects.hold_back()
    assert suspects.wait_seconds() == pytest.approx(OTHERS_SHARE * ALONE_SECONDS)
    suspects.begin()
    assert not suspects.hold_back()
    time.now += OTHERS_SHARE * ALONE_SECONDS
    suspects.begin()
    # The first one flies on; the next does not wait for it.
    assert suspects.hold_back()
    assert suspects.may_start([1])
    suspects.started(2)
    assert not suspects.landed(1)
    assert suspects.landed(2)
    assert not suspects.hold_back()


def test_a_quick_suspect_delays_the_next_by_as_little() -> None:
    time = Time()
    suspects = Suspects(time)
    suspects.begin()
    suspects.started(1)
    time.now += 0.01
    assert suspects.landed(1)
    time.now += 0.0901
    suspects.begin()
    assert suspects.hold_back()


@pytest.mark.parametrize("seed", range(5))
def test_hundreds_of_suspects_hold_the_others_back_a_tenth_of_the_time(seed: int) -> None:
    time, chance = Time(), random.Random(seed)
    suspects = Suspects(time)
    began, held = time.now, 0.0
    for seq in range(300):
        while not suspects.hold_back():
            time.now += suspects.wait_seconds()
            suspects.begin()
        since = time.now
        while not suspects.may_start([]):
            time.now += 0.1
        suspects.started(seq)
        lasts = chance.choice((0.001, 1.0, 4.9, 3600.0))
        time.now += min(lasts, ALONE_SECONDS)
        if lasts < ALONE_SECONDS:
            suspects.landed(seq)
        assert not suspects.hold_back()
        held += time.now - since
        assert time.now - since <= ALONE_SECONDS + 0.01
    time.now += suspects.wait_seconds()
    assert held <= 0.1001 * (time.now - began)
