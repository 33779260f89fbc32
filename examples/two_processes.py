"""One process accepts, another delivers: the first needs no channel, and may end before anything is sent."""

import asyncio
import sys

from pillarbox import Attempt, Outbox

DB = sys.argv[1] if len(sys.argv) > 1 else "outbox.db"


async def accept() -> None:
    """Accept three messages to one recipient."""
    async with Outbox(DB, deliver=False) as box:
        for number in range(3):
            await box.send("notes", to="ann", text=f"note {number}")


async def deliver() -> None:
    """Send whatever is due, in order."""

    async def write(attempt: Attempt) -> None:
        print(attempt.to, attempt.text)

    async with Outbox(DB, channels={"notes": write}) as box:
        report = await box.drain(10)
        print(report.delivered, "delivered")


if __name__ == "__main__":
    asyncio.run(accept())
    asyncio.run(deliver())
