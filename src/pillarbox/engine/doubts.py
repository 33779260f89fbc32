"""
What is done before a send whose part may have arrived already (contract UN1).

Nothing, where the policy resends, a person has decided, or the platform itself still drops a second copy. Otherwise its
channel is asked, where the policy is to ask and the channel can; and what nobody can say falls to the policy.
"""

from __future__ import annotations

import math
from typing import Final, assert_never

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.envelope import Op
from pillarbox.domain.outcome import AnyOutcome, Delivered, Outcome, Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.engine.flight import Flight

_FOUND: Final = "not sent again: the platform was asked, and has it from an earlier attempt"
_CANNOT_ASK: Final = "an earlier attempt may have arrived, and the channel cannot ask its platform"
_TOO_LATE: Final = "an earlier attempt may have arrived, and the platform drops a second copy no more"


async def tried(flight: Flight, channel: Channel, attempt: Attempt, *, since_ms: int, now_ms: int) -> object:
    """
    Send, unless the platform must be asked before, or a person; return what came of it.

    Args:
        since_ms: When the first attempt began that may have arrived.
    """
    message = flight.message
    action = message.policy.uncertain
    if action.resends or message.op is not Op.SEND:
        return await channel.send(attempt)
    if now_ms - since_ms < channel.recognised_seconds * 1000:
        return await channel.send(attempt)
    flight.undecided = True
    if action is not UncertainAction.RECONCILE:
        return Uncertain(_TOO_LATE)
    if not channel.capabilities.looks_up:
        return Uncertain(_CANNOT_ASK)
    attempt.progress.written = False
    found: AnyOutcome | Outcome | None
    try:
        found = await channel.look_up(attempt, since_ms=since_ms)
    except Outcome as said:
        found = said  # outcomes may be raised, as out of a send
    if found is None:
        flight.undecided = False
        return await channel.send(attempt)
    return Delivered(found.receipt, degraded=_FOUND) if isinstance(found, Delivered) else found


def what_follows(channel: Channel, policy: Policy) -> str:
    """Return what becomes of a message of which no answer came, as `tried` and `lifecycle` have it: for people."""
    match policy.uncertain:
        case UncertainAction.RESEND:
            return "it is sent again, whoever has it"
        case UncertainAction.RESEND_MARKED:
            return f"it is sent again, and says so: {policy.uncertain_mark}"
        case UncertainAction.HOLD:
            then, lost = "it is held until a person decides", ", or where its worker was lost"
        case UncertainAction.DROP:
            then, lost = "it is given up", ", or where its worker was lost"
        case UncertainAction.RECONCILE if channel.capabilities.looks_up:
            then, lost = "the platform is asked before it is sent again; where that cannot say, a person decides", ""
        case UncertainAction.RECONCILE:
            then, lost = "it is held until a person decides, as the channel cannot ask its platform", ""
        case _:
            assert_never(policy.uncertain)
    seconds = channel.recognised_seconds if channel.covered or not lost else 0.0
    if not seconds:
        return then
    if math.isinf(seconds):
        again = "it is sent again, as a second copy is dropped"
        return f"{again}; where its worker was lost, {then}" if lost else again
    return f"it is sent again for {seconds:.0f} seconds, in which a second copy is dropped; later{lost}, {then}"
