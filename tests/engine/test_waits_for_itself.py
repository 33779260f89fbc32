"""A channel that waits for the end of its own send would wait until it is cut off: it is told so at once."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox, sync
from pillarbox.channels.function import FunctionChannel
from pillarbox.domain.message import State
from pillarbox.errors import Refused
from tests.engine.stand import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pillarbox import Message
    from pillarbox.channels.base import Attempt
    from tests.engine.stand import Stand

ITSELF = "waits for the very send that calls it"


async def in_channel(box: Outbox, message: Message) -> list[str]:
    """Call all that waits for a send under way; return what each was told."""
    said: list[str] = []
    call: Callable[[], Coroutine[Any, Any, object]]
    for call in (message.wait, lambda: message.wait(0.01), box.drain, lambda: box.drain(0), box.drained, box.stop):
        with pytest.raises(Refused, match=ITSELF) as refused:
            await call()
        said.append(str(refused.value))
    return said


@pytest.mark.contract("DR1", "DR3")
async def test_a_channel_that_waits_for_its_own_message_is_told_so(stand: Stand) -> None:
    told: list[list[str]] = []
    later: list[asyncio.Task[object]] = []

    async def speak(attempt: Attempt) -> str:
        message = await outbox.get(attempt.id)
        assert message is not None
        if attempt.to == "bob":
            return "r-bob"
        told.append(await in_channel(outbox, message))
        # Another message is another matter, and so is a task that nobody waits for.
        assert (await (await box.send("bob")).wait(SECONDS)).state is State.DELIVERED
        later.append(asyncio.create_task(message.wait(SECONDS)))
        return "r-ann"

    box = await stand.open(FunctionChannel(speak), drain_on_startup=True)
    outbox = box.outbox
    message = await box.send("ann")
    assert (await message.wait(SECONDS)).state is State.DELIVERED
    assert message.receipt == "r-ann"
    await outbox.drain(SECONDS)
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*later)
    (said,) = told
    assert [line.partition(" ")[0] for line in said] == [
        "message.wait()", "message.wait()", "box.drain()", "box.drain()", "box.drained()", "box.close()",
    ]  # fmt: skip
    assert "asyncio.create_task(message.wait())" in said[0]


@pytest.mark.contract("DR1", "DR3")
async def test_a_channel_on_shards_is_told_the_same(files: list[str]) -> None:
    told: list[list[str]] = []

    async def speak(attempt: Attempt) -> None:
        message = await box.get(attempt.id)
        assert message is not None
        told.append(await in_channel(box, message))

    async with Outbox(shards=files, channels={"ops": speak}) as box:
        message = await box.send("ops", to="ann", text="hi")
        assert (await message.wait(SECONDS)).state is State.DELIVERED
    assert [len(said) for said in told] == [6]


@pytest.mark.contract("DR1", "DR3")
@pytest.mark.parametrize("shards", [False, True])
def test_a_channel_that_is_a_plain_function_is_told_the_same(files: list[str], *, shards: bool) -> None:
    said: list[str] = []
    waited = threading.Event()

    def speak(attempt: Attempt) -> None:
        message = box.get(attempt.id)
        assert message is not None
        if attempt.to == "bob":
            return
        for call in (message.wait, lambda: message.wait(0.01), box.drain, lambda: box.drain(0), box.drained):
            with pytest.raises(Refused, match=ITSELF) as refused:
                call()
            said.append(str(refused.value))
        assert box.send("ops", to="bob", text="hi").wait(SECONDS).state is State.DELIVERED
        threading.Thread(target=lambda: waited.set() if message.wait(SECONDS).settled else None).start()

    where: dict[str, Any] = {"shards": files} if shards else {"db": files[0]}
    with sync.Outbox(channels={"ops": speak}, **where) as box:
        message = box.send("ops", to="ann", text="hi")
        assert message.wait(SECONDS).state is State.DELIVERED
        assert waited.wait(SECONDS)
        box.drain(SECONDS)
    assert len(said) == 5
    assert "threading.Thread(target=message.wait).start()" in said[0]
    assert "threading.Thread(target=box.drain).start()" in said[2]
