"""One turn of an agent: a hook, a progress note that may be lost, an answer that may not, and what the host learns."""

import asyncio
import sys

from pillarbox import AbortSignal, Attempt, Cancelled, Outbox, Outgoing
from pillarbox.events import comis

box = Outbox(sys.argv[1] if len(sys.argv) > 1 else "outbox.db")


@box.channel("chat")
async def chat(attempt: Attempt) -> str:
    """Stand in for a platform: give its id for what it took."""
    return f"{attempt.to}-{attempt.number}"


def redact(message: Outgoing) -> str | Cancelled:
    """Look at every message before it is stored; `None` would leave it as it is."""
    if "sk-" in message.text:
        return Cancelled("looks like a key")
    return message.text.replace("damn", "d***")


async def main() -> None:
    """Say what an agent says in one turn."""
    box.hooks.before_delivery(redact, priority=10)
    comis.listen(box.events, lambda name, fields: print(name, fields.get("reason") or fields.get("messageId") or ""))
    turn, interrupt = "turn-17", AbortSignal()
    async with box:
        # Another process never sends this: who reads "thinking" after a restart is worse off than without it.
        await box.send("chat", to="ann", text="Thinking …", kind="block", correlation_id=turn, abort=interrupt)
        await box.send("chat", to="ann", text="my key is sk-123", correlation_id=turn)
        answer = await box.send(
            "chat", to="ann", text="It is done, damn it.", correlation_id=turn, abort=interrupt,
            mirror={"sessionKey": "agent:main"},
        )  # fmt: skip
        await answer.wait(timeout=10)
        interrupt.abort("the user spoke again")  # too late for what was delivered, and harmless
        summary = await box.summary(turn)
        print(summary.complete, summary.delivered, "delivered")
        for entry in await box.mirror.pending("agent:main"):
            print("the session learns:", entry.text)
            await box.mirror.acknowledge([entry])


if __name__ == "__main__":
    asyncio.run(main())
