"""Workers that are stopped past their leases, and commits that take longer than one: late is told, never lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import apsw
import pytest

from pillarbox.clock import SystemClock
from pillarbox.domain.message import State
from pillarbox.testing.receiver import Receiver
from tests.acceptance.processes import SECONDS, Accepting, Witness, WorkerProcess, order_by_lane

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.outbox.message import Message
    from pillarbox.testing.receiver import Received

LEASE_SECONDS: Final = 3.5
LEASE: Final[dict[str, Any]] = {"lease_seconds": LEASE_SECONDS, "channel": {"timeout": "1s"}}
LANES: Final = 5
EACH: Final = 3


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


async def made_in_lanes(box: Accepting) -> list[Message]:
    return [await box.send(f"lane{lane}", text=str(n)) for n in range(EACH) for lane in range(LANES)]


async def explained(box: Accepting, made: list[Message], requests: list[Received]) -> set[str]:
    """See that all arrived, in order, and that every copy has its claim; gives those that arrived more than once."""
    copies = Counter(request.headers["webhook-id"] for request in requests)
    assert set(copies) == {message.id for message in made}
    assert order_by_lane(requests) == {f"lane{lane}": [str(n) for n in range(EACH)] for lane in range(LANES)}
    for message in made:
        found = await box.outbox.get(message.id or "")
        assert found is not None
        view = found.view
        assert view is not None
        assert view.state is State.DELIVERED
        assert copies[view.id] <= view.claims, (view.id, copies[view.id], view.claims)
    assert await box.outbox.check() == []
    return {identity for identity, count in copies.items() if count > 1}


@pytest.mark.contract("LE2", "LE3", "ST6", "ST7", "LA1", "EN1")
async def test_what_a_stopped_worker_was_sending_is_sent_by_another_and_its_late_answers_undo_nothing(db: Path) -> None:
    witness = Witness(db)
    async with Receiver(on_request=witness) as receiver, Accepting(db) as box:
        receiver.hold()
        made = await made_in_lanes(box)
        async with WorkerProcess(db, receiver.url, **LEASE) as stopped:
            held = {request.headers["webhook-id"] for request in await receiver.wait_for(LANES, timeout=SECONDS)}
            await stopped.freeze(db)
            receiver.release()
            async with WorkerProcess(db, receiver.url, **LEASE):
                await box.settled(*made)
                stopped.signal(signal.SIGCONT)
                stopped.signal(signal.SIGTERM)
                assert await stopped.ended() == 0
        # Both answers of each: the one that was late says so, and the other stands. On a slow machine another send may
        # have timed out too.
        assert held <= await explained(box, made, receiver.requests)
        assert witness.unexplained == []


@pytest.mark.contract("LE2", "LE3", "ST6", "LA1", "EN1", "UN4")
async def test_commits_that_take_longer_than_a_lease_lose_nothing_and_explain_every_copy(db: Path) -> None:
    clock = SystemClock()
    async with Receiver() as receiver, Accepting(db) as box:
        receiver.hold()
        made = await made_in_lanes(box)
        async with WorkerProcess(db, receiver.url, **LEASE), WorkerProcess(db, receiver.url, **LEASE):
            await receiver.wait_for(LANES, timeout=SECONDS)
            with contextlib.closing(apsw.Connection(str(db))) as writing:
                writing.set_busy_timeout(10_000)
                writing.execute("BEGIN IMMEDIATE")
                # The answers come, and can neither be recorded nor their leases be extended until these are over.
                receiver.release()
                until = clock.mono() + LEASE_SECONDS + 0.5
                async with asyncio.timeout(SECONDS):
                    while clock.mono() < until:
                        await box.outbox.get(made[0].id or "")
                writing.execute("ROLLBACK")
            await box.settled(*made)
        await explained(box, made, receiver.requests)
