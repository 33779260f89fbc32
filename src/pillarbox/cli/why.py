"""`explain`: every reason why a message is not delivered yet, and what to do about each. It changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pillarbox.cli.exits import Exit
from pillarbox.cli.last_sent import find
from pillarbox.cli.output import emit, emit_json, to_second
from pillarbox.cli.shared_options import shared

if TYPE_CHECKING:
    from pillarbox.cli.call import Call
    from pillarbox.domain.explain.causes import Explanation
    from pillarbox.outbox.outbox import Outbox


@click.command()
@click.argument("message", metavar="ID|LAST")
@shared
def explain(call: Call, message: str) -> int:
    """Explain why a message is not delivered yet, since when, until when, and what would unblock it."""

    async def look(box: Outbox) -> Explanation:
        return await box.explain((await find(box, message)).id or message)

    from pillarbox.views import explanation_dict

    row = explanation_dict(call.observe(look))
    if call.json:
        emit_json(row)
    else:
        _tell(row)
    return Exit.OK


def _tell(row: dict[str, Any]) -> None:
    soonest = f", can go at {to_second(row['earliest_at'])} at the soonest" if row["earliest_at"] else ""
    emit(f"{row['id']} is {row['state']}{soonest}")
    for place, cause in enumerate(row["causes"], start=1):
        since = f"  since {to_second(cause['since'])}" if cause["since"] else ""
        until = f"  until {to_second(cause['until'])}" if cause["until"] else ""
        emit(f"{place}. {cause['word']}{since}{until}")
        emit(f"   {cause['text']}")
        emit(f"   → {cause['unblock']}")
