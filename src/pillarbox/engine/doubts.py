"""
What is done before a send whose part may have arrived already (contract UN1).

Nothing, where the policy resends, a person has decided, or the platform itself still drops a second copy. Otherwise its
channel is asked, where the policy is to ask and the channel can; and what nobody can say falls to the policy.
"""

from __future__ import annotations

from typing import Final

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.envelope import Op
from pillarbox.domain.outcome import AnyOutcome, Delivered, Outcome, Uncertain
from pillarbox.domain.retry import UncertainAction
from pillarbox.engine.flight import Flight

_FOUND: Final = "not sent again: the platform was asked, and has it from an earlier attempt"
_CANNOT_ASK: Final = "an earlier attempt may have arrived, and the channel cannot ask its platform"
_TOO_LATE: Final = "an earlier attempt may have arrived, and the platform drops a second copy no more"


async def tried(flight: Flight, channel: Channel, attempt: Attempt, *, now_ms: int) -> object:
    """Send, unless the platform may have it already and must be asked, or a person; return what came of it."""
    message = flight.message
    since_ms, action = message.undecided_ms, message.policy.uncertain
    if since_ms is None or action.resends or message.op is not Op.SEND:
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
