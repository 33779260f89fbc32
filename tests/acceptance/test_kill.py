"""Workers killed with SIGKILL at chosen moments, over real sockets: nothing is lost, every copy is accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.transition import Reason
from pillarbox.testing.receiver import Answer, Receiver
from tests.acceptance.processes import SECONDS, Accepting, Witness, WorkerProcess, order_by_lane, run_script
from tests.kept_port import kept_port

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.testing.receiver import Received


def tokens(requests: list[Received]) -> Counter[str]:
    return Counter(request.headers["webhook-id"] for request in requests)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


# One message, killed at each point of its way


@pytest.mark.contract("EN1", "LE4")
async def test_a_worker_killed_before_its_request_is_read_loses_nothing(db: Path) -> None:
    with kept_port() as port:
        url = f"http://127.0.0.1:{port}/"
        async with Accepting(db) as box:
            message = await box.send()
            # A socket that takes connections and never reads: the request is written, but nobody has it.
            with socket.create_server(("127.0.0.1", port)) as silent:
                async with WorkerProcess(db, url) as worker:
                    connected, _ = await asyncio.wait_for(asyncio.to_thread(silent.accept), SECONDS)
                    connected.close()
                    await worker.kill()
            async with Receiver(port=port) as receiver, WorkerProcess(db, url):
                await box.settled(message)
                assert tokens(receiver.requests) == {message.id: 1}
            assert message.state is State.DELIVERED


@pytest.mark.contract("EN1", "LE4", "LE5", "UN2", "EN3")
async def test_a_worker_killed_between_the_receivers_read_and_its_settle_sends_one_explained_copy(db: Path) -> None:
    witness = Witness(db)
    async with Receiver(on_request=witness) as receiver, Accepting(db) as box:
        receiver.hold()
        message = await box.send()
        async with WorkerProcess(db, receiver.url) as worker:
            await receiver.wait_for(1)
            await worker.kill()
        receiver.release()
        async with WorkerProcess(db, receiver.url):
            await box.settled(message)
        assert message.state is State.DELIVERED
        assert tokens(receiver.requests) == {message.id: 2}
        assert [request.headers["pillarbox-attempt"] for request in receiver.requests] == ["1", "2"]
        assert len({request.headers["idempotency-key"] for request in receiver.requests}) == 1
        assert witness.unexplained == []
        view = message.view
        assert view is not None
        assert (view.claims, view.charged, view.lost) == (2, 1, 0)
        assert await box.outbox.check() == []


@pytest.mark.contract("EN1", "ST2", "LE5")
async def test_a_worker_killed_after_its_settle_sends_nothing_again(db: Path) -> None:
    async with Receiver() as receiver, Accepting(db) as box:
        first = await box.send("one")
        async with WorkerProcess(db, receiver.url) as worker:
            await box.settled(first)
            await worker.kill()
        second = await box.send("two")
        async with WorkerProcess(db, receiver.url):
            await box.settled(second)
        assert tokens(receiver.requests) == {first.id: 1, second.id: 1}


@pytest.mark.contract("EN1")
async def test_a_producer_killed_right_after_its_send_returned_has_sent(db: Path) -> None:
    script = """
import asyncio, os, signal, sys
from pillarbox import Outbox
async def main():
    box = Outbox(sys.argv[1], deliver=False)
    await box.start()
    for n in range(20):
        message = await box.send("hooks", to=f"r{n}", text="hi", key=f"k{n}")
        print(message.id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    printed = (await run_script(script, str(db), code=-signal.SIGKILL)).split()
    async with Accepting(db) as box:
        assert sorted(printed) == sorted(message.id or "" for message in await box.outbox.list())
        assert len(printed) == 20
        assert await box.outbox.check() == []


# Many


@pytest.mark.contract("EN1", "LE1", "LE4", "LE5", "LA1", "DR4")
async def test_many_messages_through_many_kills_all_arrive_in_order_and_every_copy_is_explained(db: Path) -> None:
    witness = Witness(db)
    lanes, each, kills = 8, 6, 3
    async with Receiver(on_request=witness) as receiver, Accepting(db) as box:
        made = [
            await box.send(f"lane{lane}", text=str(n), max_attempts=50) for n in range(each) for lane in range(lanes)
        ]
        copies = 0
        for _ in range(kills):
            # The receiver has read what is under way, answers none of it, and the worker dies.
            receiver.hold()
            before = receiver.count
            async with WorkerProcess(db, receiver.url) as worker:
                await receiver.wait_for(before + 1, timeout=SECONDS)
                await worker.kill()
            copies += receiver.count - before
            receiver.release()
            async with WorkerProcess(db, receiver.url) as worker:
                await receiver.wait_for(receiver.count + 3, timeout=SECONDS)
                before = receiver.count
                await worker.kill()
        async with WorkerProcess(db, receiver.url):
            await box.settled(*made)
        assert {message.state for message in made} == {State.DELIVERED}
        assert witness.unexplained == []
        assert set(tokens(receiver.requests)) == {message.id for message in made}
        assert order_by_lane(receiver.requests) == {
            f"lane{lane}": [str(n) for n in range(each)] for lane in range(lanes)
        }
        for message in made:
            view = message.view
            assert view is not None
            # Never more copies than attempts, and never an attempt without its claim.
            assert tokens(receiver.requests)[message.id or ""] <= view.claims
        assert await box.outbox.check() == []


@pytest.mark.contract("LE5", "LE1", "ST7")
async def test_two_recoveries_at_once_make_as_many_sends_as_there_are_messages(db: Path) -> None:
    witness = Witness(db)
    count = 20
    async with Receiver(on_request=witness) as receiver, Accepting(db) as box:
        receiver.hold()
        made = [await box.send(f"r{n}") for n in range(count)]
        async with WorkerProcess(db, receiver.url) as worker:
            await receiver.wait_for(count, timeout=SECONDS)
            await worker.kill()
        receiver.release()
        async with contextlib.AsyncExitStack() as stack:
            workers = [WorkerProcess(db, receiver.url) for _ in range(2)]
            await asyncio.gather(*map(stack.enter_async_context, workers))
            await box.settled(*made)
        assert receiver.count == 2 * count
        assert set(tokens(receiver.requests).values()) == {2}
        assert {message.attempts for message in made} == {2}
        assert witness.unexplained == []


@pytest.mark.contract("LE4")
async def test_a_killed_workers_messages_go_on_without_anybody_restarting_anything(db: Path) -> None:
    async with Receiver() as receiver, Accepting(db) as box:
        receiver.hold()
        message = await box.send()
        async with WorkerProcess(db, receiver.url) as first, WorkerProcess(db, receiver.url):
            await receiver.wait_for(1, timeout=SECONDS)
            # Whichever of the two has it: the other one goes on, or it answers for itself.
            (worker,) = [one for one in await box.outbox.workers() if one.pid == first.process.pid]
            assert worker.alive
            await first.kill()
            receiver.release()
            await box.settled(message)
        assert message.state is State.DELIVERED


@pytest.mark.contract("LE2", "LE3", "ST6")
async def test_a_stopped_worker_that_wakes_up_after_its_lease_is_recorded_and_undoes_nothing(db: Path) -> None:
    lease = {"lease_seconds": 3.5, "channel": {"timeout": "1s"}}
    async with Receiver() as receiver, Accepting(db) as box:
        receiver.hold()
        message = await box.send()
        async with WorkerProcess(db, receiver.url, **lease) as first:
            await receiver.wait_for(1, timeout=SECONDS)
            await first.freeze(db)
            receiver.release()
            # It is alive, so only time can tell; another worker takes over when the lease is over.
            async with WorkerProcess(db, receiver.url, **lease):
                await box.settled(message)
                assert message.state is State.DELIVERED
                # Once for each of them; on a slow machine a send may have timed out and be repeated.
                copies = receiver.count
                assert copies >= 2
                first.signal(signal.SIGCONT)
                # Awake again, it finds the answer that came while it slept, and says so.
                first.signal(signal.SIGTERM)
                assert await first.ended() == 0
        found = await box.outbox.get(message.id or "")
        assert found is not None
        view = found.view
        assert view is not None
        assert view.state is State.DELIVERED
        assert copies <= view.claims
        assert receiver.count == copies
        assert await box.outbox.check() == []


# How often, and what then


@pytest.mark.contract("RE2", "LE2")
async def test_attempts_are_counted_through_crashes(db: Path) -> None:
    async with Receiver() as receiver, Accepting(db) as box:
        receiver.script(Answer(status=503), Answer.hang(), Answer(status=503))
        message = await box.send(max_attempts=3)
        async with WorkerProcess(db, receiver.url) as worker:
            await receiver.wait_for(2, timeout=SECONDS)
            await worker.kill()
        async with WorkerProcess(db, receiver.url):
            await box.settled(message)
        assert (message.state, message.reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED)
        view = message.view
        assert view is not None
        assert receiver.count == view.claims == view.charged == 3


@pytest.mark.contract("RE2", "LE2")
async def test_a_message_that_kills_its_workers_is_dead_at_last(db: Path) -> None:
    async with Receiver(Answer.hang()) as receiver, Accepting(db) as box:
        message = await box.send(max_attempts=3)
        for count in range(1, 4):
            async with WorkerProcess(db, receiver.url) as worker:
                await receiver.wait_for(count, timeout=SECONDS)
                await worker.kill()
        receiver.answer = Answer()
        other = await box.send("bob")
        async with WorkerProcess(db, receiver.url):
            await box.settled(message, other)
        assert (message.state, message.reason) == (State.DEAD, Reason.KILLS_WORKERS)
        assert other.state is State.DELIVERED
        assert tokens(receiver.requests) == {message.id: 3, other.id: 1}


@pytest.mark.contract("UN1", "UN4")
async def test_what_is_held_when_uncertain_is_held_after_a_crash_and_not_sent_again(db: Path) -> None:
    async with Receiver() as receiver, Accepting(db) as box:
        receiver.hold()
        message = await box.send(uncertain="hold")
        async with WorkerProcess(db, receiver.url) as worker:
            await receiver.wait_for(1, timeout=SECONDS)
            await worker.kill()
        receiver.release()
        async with WorkerProcess(db, receiver.url):
            await box.settled(message)
            assert (message.state, message.reason) == (State.HELD, Reason.UNCERTAIN)
            # The worker is there and does other work; the held one waits for a person.
            other = await box.send("bob")
            await box.settled(other)
            assert tokens(receiver.requests) == {message.id: 1, other.id: 1}
            await box.outbox.retry(message.id or "", reason="they did not get it")
            await box.settled(message)
        assert message.state is State.DELIVERED
        assert tokens(receiver.requests)[message.id or ""] == 2


# Ending in order


@pytest.mark.contract("DR3")
async def test_a_worker_that_is_asked_to_stop_ends_what_it_began_and_leaves_the_rest(db: Path) -> None:
    async with Receiver() as receiver, Accepting(db) as box:
        receiver.hold()
        made = [await box.send(f"r{n}") for n in range(6)]
        async with WorkerProcess(db, receiver.url, concurrency=2) as worker:
            await receiver.wait_for(2, timeout=SECONDS)
            worker.signal(signal.SIGTERM)
            await worker.said("stopping")
            receiver.release()
            assert await worker.ended() == 0
        states = Counter(found.state for found in await box.outbox.list())
        assert states == {State.DELIVERED: 2, State.SCHEDULED: 4}
        assert await box.outbox.workers() == []
        async with WorkerProcess(db, receiver.url):
            await box.settled(*made)
        assert set(tokens(receiver.requests).values()) == {1}


@pytest.mark.contract("DR3", "SG5")
@pytest.mark.parametrize("kind", ["pillarbox", "pillarbox.sync"])
async def test_an_outbox_that_nobody_closed_keeps_no_process_alive(db: Path, kind: str) -> None:
    asynchronous = """
import asyncio, sys
from pillarbox import Outbox
async def ch(attempt): return "r"
async def main():
    box = Outbox(sys.argv[1], channels={"hooks": ch})
    await box.start()
    message = await box.send("hooks", to="ann", text="hi")
    await message.wait(10)
    print(message.state)
asyncio.run(main())
"""
    blocking = """
import sys
from pillarbox.sync import Outbox
def ch(attempt): return "r"
box = Outbox(sys.argv[1], channels={"hooks": ch})
box.start()
message = box.send("hooks", to="ann", text="hi")
message.wait(10)
print(message.state)
"""
    out = await run_script(asynchronous if kind == "pillarbox" else blocking, str(db))
    assert out.strip() == "delivered"
    async with Accepting(db) as box:
        assert await box.outbox.check() == []
        assert json.dumps([message.to_dict()["state"] for message in await box.outbox.list()]) == '["delivered"]'
