"""A channel of one's own: a function of an attempt, which is rate limited at first."""

import asyncio
import sys

from pillarbox import Attempt, Outbox, RateLimited

box = Outbox(sys.argv[1] if len(sys.argv) > 1 else "outbox.db")


@box.channel("pager")
async def page(attempt: Attempt) -> str:
    """Send a page; the first try is turned away, which costs the message nothing."""
    if attempt.number == 1:
        raise RateLimited(after=1)
    return f"page-{attempt.to}"


async def main() -> None:
    """Send one message and wait for its end."""
    async with box:
        message = await box.send("pager", to="ann", text="Deploy done", key="deploy-812")
        print(await message.wait(timeout=10))


if __name__ == "__main__":
    asyncio.run(main())
