"""The queue's time line: what is drift, what is a step, what a boot may have done; no order of it matters."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.clock_steps import (
    SETTLE_MS,
    STEP_MS_MAX,
    ClockMark,
    begun,
    followed,
    is_same_boot,
    moved,
    parted_ms,
    settled,
    shifted,
)
from pillarbox.domain.message import Part, State
from pillarbox.events import ChannelPaused, MessageDelivered
from pillarbox.store.base import QueueInfo

HOUR: Final = 3_600_000
WALL: Final = 1_700_000_000_000
BOOT: Final = 5_000_000


def mark(*, boot: str = "b", up: int = 0, set_by: int = 0) -> ClockMark:
    """A clock that was set by so much, *up* milliseconds after the first instant."""
    return ClockMark(boot=boot, boot_ms=BOOT + up, wall_ms=WALL + up + set_by)


def later(before: ClockMark, ms: int, *, set_by: int = 0) -> ClockMark:
    return followed(before, wall_ms=before.wall_ms + ms + set_by, boot_ms=before.boot_ms + ms)


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("step", [-2 * HOUR, 2 * HOUR, -61_000, 61_000, 400 * 24 * HOUR, -400 * 24 * HOUR])
def test_a_large_step_moves_nothing_on_the_line(step: int) -> None:
    after = later(mark(), 1_000, set_by=step)
    assert (after.now_ms, after.ahead_ms) == (WALL + 1_000, step)
    assert parted_ms(after, boot_ms=after.boot_ms) == step
    back = later(after, 1_000, set_by=-step)
    assert (back.now_ms, back.ahead_ms, back.parted_ms) == (WALL + 2_000, 0, 0)


@pytest.mark.contract("LE6")
def test_a_small_step_forward_is_followed_and_a_small_one_backward_is_not() -> None:
    forward = later(mark(), 1_000, set_by=STEP_MS_MAX)
    assert (forward.now_ms, parted_ms(forward, boot_ms=forward.boot_ms)) == (forward.wall_ms, 0)
    backward = later(mark(), 1_000, set_by=-STEP_MS_MAX)
    assert (backward.now_ms, parted_ms(backward, boot_ms=backward.boot_ms)) == (WALL + 1_000, 0)


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("per_second", [-83, -5, 1, 5, 83])
def test_what_ntp_does_to_a_clock_is_followed(per_second: int) -> None:
    line = mark()
    for _ in range(7200):
        line = later(line, 1_000, set_by=per_second)
    assert (line.ahead_ms, line.parted_ms) == (0, 0)


@pytest.mark.contract("LE6")
def test_drift_that_nobody_looked_at_for_long_is_no_step() -> None:
    line = mark()
    for _ in range(48):
        line = later(line, HOUR, set_by=3_600)
    assert (line.ahead_ms, line.parted_ms) == (0, 0)


@pytest.mark.contract("LE6")
def test_a_clock_that_runs_steadily_is_trusted_and_the_line_stays() -> None:
    after = later(mark(), 0, set_by=2 * HOUR)
    assert parted_ms(after, boot_ms=BOOT + SETTLE_MS - 1) == 2 * HOUR
    assert parted_ms(after, boot_ms=BOOT + SETTLE_MS) == 0
    steady = later(after, SETTLE_MS)
    assert (steady.ahead_ms, steady.parted_ms) == (2 * HOUR, 0)
    # The next step counts from there, forward and backward.
    assert later(steady, 1_000, set_by=30_000).ahead_ms == 2 * HOUR
    assert parted_ms(later(steady, 0, set_by=HOUR), boot_ms=steady.boot_ms) == HOUR
    assert later(steady, 0, set_by=-2 * HOUR).ahead_ms == 0


_MOVES: Final = st.lists(
    st.tuples(st.integers(0, HOUR), st.sampled_from([0, 0, 5, -5, 400, -400, 30_000, -30_000, 2 * HOUR, -2 * HOUR])),
    max_size=40,
)


@pytest.mark.contract("LE6")
@given(_MOVES)
def test_the_line_never_goes_back_by_more_than_drift_and_never_ahead_by_more_than_a_minute_at_once(
    moves: list[tuple[int, int]],
) -> None:
    line = mark()
    seen = [line]
    for ms, step in moves:
        line = later(line, ms, set_by=step)
        assert line.wall_ms - line.ahead_ms == line.now_ms
        seen.append(line)
    for before, after in pairwise(seen):
        beyond = (after.now_ms - before.now_ms) - (after.boot_ms - before.boot_ms)
        assert -5_000 <= beyond <= STEP_MS_MAX + 5_000


@pytest.mark.contract("LE6")
@given(_MOVES, st.integers(0, 40))
def test_a_process_that_begins_in_between_computes_the_same_line(moves: list[tuple[int, int]], begins: int) -> None:
    line = mark()
    other: ClockMark | None = None
    for number, (ms, step) in enumerate(moves):
        if number == begins:
            other = begun(line, ClockMark(boot="b", boot_ms=line.boot_ms, wall_ms=line.wall_ms))
        line = later(line, ms, set_by=step)
        if other is not None:
            other = later(other, ms, set_by=step)
            assert abs(other.now_ms - line.now_ms) <= 1_000


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("step", [-2 * HOUR, 2 * HOUR])
def test_a_process_that_begins_after_a_step_knows_of_it(step: int) -> None:
    known = later(mark(), 1_000)
    after = begun(known, mark(up=60_000, set_by=step))
    assert (after.now_ms, after.ahead_ms) == (WALL + 60_000, step)
    assert parted_ms(after, boot_ms=after.boot_ms) == step


# Boots


@pytest.mark.contract("LE6")
@pytest.mark.parametrize(
    ("set_before", "set_now", "off", "line"),
    [
        (0, 0, HOUR, HOUR),  # an ordinary boot
        (2 * HOUR, 2 * HOUR, HOUR, HOUR),  # it was set before, and still is
        (-2 * HOUR, -2 * HOUR, HOUR, HOUR),
        (2 * HOUR, 0, HOUR, HOUR),  # it was set before, and was put right
        (-2 * HOUR, 0, HOUR, HOUR),
        (0, -2 * HOUR, HOUR, 0),  # it is behind what was seen: the line waits
        (0, 2 * HOUR, HOUR, 3 * HOUR),  # nobody can know
    ],
)
def test_what_a_boot_did_to_the_clock_never_takes_the_line_back(
    set_before: int, set_now: int, off: int, line: int
) -> None:
    known = settled(later(mark(), 0, set_by=set_before), boot_ms=BOOT + SETTLE_MS)
    here = ClockMark(boot="c", boot_ms=1_000, wall_ms=WALL + off + set_now)
    after = begun(known, here, seen_ms=WALL, active=True)
    assert after.now_ms == WALL + line
    assert parted_ms(after, boot_ms=after.boot_ms) == (-HOUR if line == 0 else 0)
    assert begun(known, here, seen_ms=WALL, active=False).now_ms == here.wall_ms


@pytest.mark.contract("LE6")
def test_a_clock_that_was_behind_at_the_boot_is_followed_when_it_is_put_right() -> None:
    here = ClockMark(boot="c", boot_ms=1_000, wall_ms=0)
    line = begun(mark(), here, seen_ms=WALL, active=True)
    assert parted_ms(line, boot_ms=1_000) == -WALL
    right = later(line, 60_000, set_by=WALL + HOUR)
    assert (right.now_ms, right.ahead_ms) == (WALL + HOUR + 60_000, 0)
    assert parted_ms(right, boot_ms=right.boot_ms) == 0


@pytest.mark.contract("LE6")
def test_however_late_a_clock_that_was_behind_at_the_boot_is_put_right_it_is_followed() -> None:
    line = begun(mark(), ClockMark(boot="c", boot_ms=1_000, wall_ms=0), seen_ms=WALL, active=True)
    line = later(later(line, 5 * HOUR), 5 * HOUR)
    assert parted_ms(line, boot_ms=line.boot_ms) == 0
    assert later(line, 0, set_by=WALL + HOUR).now_ms == WALL + 11 * HOUR


@pytest.mark.contract("LE6")
@pytest.mark.parametrize(("up", "believed"), [(1_000, True), (SETTLE_MS - 1, True), (SETTLE_MS, False)])
def test_a_clock_that_is_put_forward_just_after_a_boot_is_believed(up: int, believed: bool) -> None:
    """A machine without a battery comes up with the time at which it went down, until NTP answers."""
    line = begun(mark(), ClockMark(boot="c", boot_ms=1_000, wall_ms=WALL + 1), seen_ms=WALL, active=True)
    line = later(line, up - 1_000, set_by=8 * HOUR)
    assert line.ahead_ms == (0 if believed else 8 * HOUR)
    # Back is never believed, and a queue that no boot came over knows no such doubt.
    back = begun(mark(), ClockMark(boot="c", boot_ms=1_000, wall_ms=WALL + 1), seen_ms=WALL, active=True)
    assert later(back, 0, set_by=-8 * HOUR).ahead_ms == -8 * HOUR
    young = begun(None, ClockMark(boot="c", boot_ms=1_000, wall_ms=WALL))
    assert later(young, 0, set_by=8 * HOUR).ahead_ms == 8 * HOUR


@pytest.mark.contract("LE6")
def test_boots_without_names_are_told_apart_by_boot_time_alone() -> None:
    known = mark(boot="")
    assert is_same_boot(known, mark(boot="", up=HOUR))
    assert is_same_boot(known, mark(boot="", up=HOUR, set_by=2 * HOUR))
    assert not is_same_boot(known, ClockMark(boot="", boot_ms=1, wall_ms=WALL + HOUR))
    assert is_same_boot(mark(), mark(up=HOUR, set_by=2 * HOUR))
    assert not is_same_boot(mark(), mark(boot="c"))


# What people see


def test_times_are_shown_by_the_wall_clock_and_spans_as_they_are() -> None:
    event = MessageDelivered(
        at_ms=10, id="i", channel="c", to="t", receipt=None, duration_ms=7, send_ms=None, late=False
    )
    assert (shifted(event, 5).at_ms, shifted(event, 5).duration_ms) == (15, 7)
    assert shifted(event, 0) is event
    paused = ChannelPaused(at_ms=10, channel="c", tenant="", until_ms=None, reason=None)
    assert shifted(paused, 5).until_ms is None
    queue = QueueInfo(id=1, tenant="", channel="c", paused=True, paused_until_ms=9, pause_reason=None, strikes=0)
    assert shifted(queue, -5).paused_until_ms == 4
    part = Part(number=0, state=State.DELIVERED)
    assert shifted(part, 5) == part


def test_no_time_is_moved_out_of_the_calendar() -> None:
    assert moved(253_402_300_799_999, 1) == 253_402_300_799_999
