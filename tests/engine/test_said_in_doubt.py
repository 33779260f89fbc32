"""What a channel's users read about a message in doubt is what becomes of it (contract CH4, UN5)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from pillarbox.domain.lifecycle import decide, lost_worker, undecided
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.engine.attempts import attempt_of
from pillarbox.engine.doubts import tried, what_follows
from pillarbox.engine.flight import Flight
from pillarbox.testing.scripted import ScriptedChannel
from tests.unit.leased_messages import NOW, leased

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt
    from pillarbox.domain.message import Leased
    from pillarbox.domain.transition import Transition

HELD: Final = "it is held until a person decides"
ASKED: Final = "the platform is asked before it is sent again; where that cannot say"
WINDOW: Final = "it is sent again for 120 seconds, in which a second copy is dropped; later"
ALWAYS: Final = "it is sent again, as a second copy is dropped"
SAID: Final = {
    "it is sent again, whoever has it": ("again", "again", "again"),
    "it is sent again, and says so: ⚠ possibly sent twice": ("again", "again", "again"),
    HELD: ("held", "held", "held"),
    "it is given up": ("dead", "dead", "dead"),
    f"{ASKED}, a person decides": ("asked", "asked", "asked"),
    f"{HELD}, as the channel cannot ask its platform": ("held", "held", "held"),
    f"{WINDOW}, or where its worker was lost, {HELD}": (
        "again", "held", "held",
    ),
    f"{WINDOW}, or where its worker was lost, it is given up": (
        "again", "dead", "dead",
    ),
    f"{WINDOW}, {ASKED}, a person decides": (
        "again", "asked", "again",
    ),
    f"{WINDOW}, {HELD}, as the channel cannot ask its platform": (
        "again", "held", "again",
    ),
    f"{ALWAYS}; where its worker was lost, {HELD}": ("again", "again", "held"),
    f"{ALWAYS}; where its worker was lost, it is given up": ("again", "again", "dead"),
    ALWAYS: ("again", "again", "again"),
}  # fmt: skip
"""What a channel's users read, and what is to become of a message soon, later, and after the loss of its worker."""


class Asked(ScriptedChannel):
    """Notes whether it was asked; its platform never has anything."""

    asked = False
    recognised = 0.0

    @property
    def recognised_seconds(self) -> float:
        return self.recognised

    async def look_up(self, attempt: Attempt, *, since_ms: int) -> None:
        del attempt, since_ms
        self.asked = True


async def fate(channel: Asked, message: Leased, ended: Transition, *, seconds: float) -> str:
    """Return what becomes of a message whose first attempt *ended* in doubt, so long after it."""
    if ended.to is not State.SCHEDULED:
        return str(ended.to)
    again = msgspec.structs.replace(message, claims=2, undecided_ms=NOW)
    flight = Flight(message=again, until_ms=NOW)
    attempt = attempt_of(again, channel)
    channel.asked, before = False, len(channel.attempts)
    outcome = await tried(flight, channel, attempt, since_ms=NOW, now_ms=NOW + int(seconds * 1000))
    if channel.asked:
        return "asked"
    if len(channel.attempts) > before:
        return "again"
    assert isinstance(outcome, Uncertain)
    return str(undecided(again, outcome).to)


@pytest.mark.contract("CH4", "UN5")
@pytest.mark.parametrize("looks_up", [False, True])
@pytest.mark.parametrize(("seconds", "covered"), [(0.0, False), (120.0, False), (120.0, True), (math.inf, True)])
@pytest.mark.parametrize("action", UncertainAction)
async def test_what_is_said_of_a_message_in_doubt_is_what_becomes_of_it(
    action: UncertainAction, seconds: float, *, covered: bool, looks_up: bool
) -> None:
    channel = Asked()
    channel.capabilities = replace(channel.capabilities, looks_up=looks_up)
    channel.covered, channel.recognised = covered, seconds
    message = leased(Policy(jitter=0.0, uncertain=action))
    unanswered = decide(message, Uncertain("no answer", covered=covered), now_ms=NOW, fraction=0.0, strikes=0)
    lost = lost_worker(message, now_ms=NOW, fraction=0.0)
    assert SAID[what_follows(channel, message.policy)] == (
        await fate(channel, message, unanswered, seconds=10),
        await fate(channel, message, unanswered, seconds=200),
        await fate(channel, message, lost, seconds=10),
    )
