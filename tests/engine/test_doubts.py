"""A message that may have arrived, before it is sent again: who is asked, and what follows (contract UN1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.domain.transition import Reason
from pillarbox.events import RetryScheduled
from pillarbox.testing.scripted import ScriptedChannel

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt
    from pillarbox.domain.message import MessageView
    from tests.engine.stand import Box, Stand

pytestmark = pytest.mark.contract("UN1")

RECONCILE = Policy(jitter=0.0, uncertain=UncertainAction.RECONCILE)
HOLD = Policy(jitter=0.0, uncertain=UncertainAction.HOLD)


class Asked(ScriptedChannel):
    """Says what it is told to say when it is asked for an earlier attempt."""

    def __init__(self, *steps: Any, says: tuple[AnyOutcome | Exception | None, ...] = ()) -> None:
        super().__init__(*steps, policy=RECONCILE)
        self.capabilities = replace(self.capabilities, looks_up=True)
        self.says = list(says)
        self.asked: list[tuple[str, int]] = []
        self.raises = False

    async def look_up(self, attempt: Attempt, *, since_ms: int) -> AnyOutcome | None:
        self.asked.append((attempt.token, since_ms))
        said = self.says.pop(0)
        if isinstance(said, ValueError):
            raise said
        if self.raises and said is not None:
            raise said
        return cast("AnyOutcome | None", said)


async def ended(stand: Stand, box: Box, message: Any, retries: int = 1) -> MessageView:
    """Let it be tried again *retries* times; return where it stands when nothing is under way any more."""
    for count in range(1, retries + 1):
        await box.heard.wait_for(RetryScheduled, count)
        stand.advance(600_000)
        box.look()
        await box.store.until(lambda batch: bool(batch.settle), count + 1)
    await box.idle()
    return await box.view(message)


@pytest.mark.parametrize("raises", [False, True])
async def test_what_the_platform_has_is_not_sent_again(stand: Stand, *, raises: bool) -> None:
    channel = Asked(Uncertain("no answer"), says=(Delivered("ts-1"),))
    channel.raises = raises
    box = await stand.open(channel)
    began_ms = stand.clock.wall_ms()
    message = await box.send()
    view = await ended(stand, box, message)
    assert (view.state, view.receipt, len(channel.attempts)) == (State.DELIVERED, "ts-1", 1)
    assert channel.asked == [(channel.attempts[0].token, began_ms)]
    assert channel.attempts[0].reconciles
    assert "the platform was asked" in str((await box.outbox.history(str(message.id)))[-1].reason)


async def test_what_the_platform_does_not_have_is_sent_at_once(stand: Stand) -> None:
    channel = Asked(Uncertain("no answer"), says=(None,))
    box = await stand.open(channel)
    message = await box.send()
    assert (await ended(stand, box, message)).state is State.DELIVERED
    assert len(channel.attempts) == 2


@pytest.mark.parametrize("later", [Deferred("busy"), RateLimited("slow")])
async def test_a_platform_that_cannot_be_asked_now_is_asked_again(stand: Stand, later: AnyOutcome) -> None:
    channel = Asked(Uncertain("no answer"), says=(later, Delivered("r")))
    box = await stand.open(channel)
    message = await box.send()
    assert (await ended(stand, box, message, 2)).state is State.DELIVERED
    assert (len(channel.attempts), len(channel.asked)) == (1, 2)


@pytest.mark.parametrize("says", [Uncertain("too much was said since"), ValueError("a bug")])
async def test_what_nobody_can_say_a_person_decides_and_is_not_asked_about_again(
    stand: Stand, says: AnyOutcome | ValueError
) -> None:
    channel = Asked(Uncertain("no answer"), says=(says,))
    box = await stand.open(channel)
    message = await box.send()
    view = await ended(stand, box, message)
    assert (view.state, view.terminal_reason, len(channel.attempts)) == (State.HELD, Reason.UNCERTAIN, 1)
    assert view.charged == 1
    await box.outbox.resolve(str(message.id), "resend", reason="looked")
    assert (await box.settled(message)).state is State.DELIVERED
    assert (len(channel.attempts), len(channel.asked)) == (2, 1)


async def test_a_channel_that_cannot_ask_leaves_it_to_a_person(stand: Stand) -> None:
    channel = ScriptedChannel(Uncertain("no answer"), policy=RECONCILE)
    box = await stand.open(channel)
    view = await ended(stand, box, await box.send())
    assert (view.state, view.terminal_reason, len(channel.attempts)) == (State.HELD, Reason.UNCERTAIN, 1)


async def test_the_last_attempt_is_held_and_not_dead(stand: Stand) -> None:
    channel = Asked(Uncertain("no answer"))
    box = await stand.open(channel)
    message = await box.send(max_attempts=1)
    await box.store.until(lambda batch: bool(batch.settle))
    await box.idle()
    assert (await box.view(message)).state is State.HELD


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(("seconds", "state", "sends"), [(600.0, State.DELIVERED, 2), (599.0, State.HELD, 1)])
async def test_a_copy_goes_under_every_policy_only_while_the_platform_drops_it(
    stand: Stand, seconds: float, state: State, sends: int
) -> None:
    class Covered(ScriptedChannel):
        recognised_seconds = seconds + 0.001

    channel = Covered(Uncertain("no answer", covered=True), policy=HOLD)
    box = await stand.open(channel)
    view = await ended(stand, box, await box.send())
    assert (view.state, len(channel.attempts)) == (state, sends)
