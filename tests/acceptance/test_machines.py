"""Several machines on one PostgreSQL server, each in its own trouble: nothing is lost, and every copy is explained."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox.domain.message import State
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited
from pillarbox.outbox.outbox import Outbox
from pillarbox.testing.receiver import Receiver
from tests.acceptance.processes import SECONDS, Accepting, WorkerProcess, order_by_lane
from tests.store.postgres_cluster import own_server, short_folder
from tests.store.postgres_proxy import Proxy
from tests.store.postgres_server import Server, connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.channels.base import Attempt

LEASE: Final[dict[str, Any]] = {"lease_seconds": 3.5, "channel": {"timeout": "1s"}, "concurrency": 2}
LANES: Final = 8  # four workers, two sends each
EACH: Final = 4
_BUSY: Final = (
    "SELECT 1 FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()"
)


@pytest.fixture
def server() -> Iterator[Server]:
    with own_server() as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with short_folder() as folder:
        proxy = Proxy(folder, server.folder)
        yield proxy
        proxy.close()


async def freeze(worker: WorkerProcess, url: str) -> None:
    """Stop it with SIGSTOP, but not inside a transaction: its locks would stay for as long as it sleeps."""
    with connected(url) as connection:
        async with asyncio.timeout(SECONDS):
            while True:
                await worker.pause()
                if not connection.execute(_BUSY).fetchall():
                    return
                worker.signal(signal.SIGCONT)
                await asyncio.sleep(0)


@pytest.mark.contract("LE2", "LE3", "LE4", "LE6", "ST6", "ST7", "LA1", "EN1", "UN4")
async def test_killed_paused_cut_off_and_on_a_wrong_clock_workers_lose_nothing_and_explain_every_copy(
    server: Server, proxy: Proxy
) -> None:
    url = server.url
    async with Receiver() as receiver, Accepting(url) as box, contextlib.AsyncExitStack() as stack:
        receiver.hold()
        later = await box.send("later", at=timedelta(hours=1))
        made = [await box.send(f"lane{lane}", text=str(n)) for n in range(EACH) for lane in range(LANES)]
        through_proxy = url.replace(str(server.folder), str(proxy.folder))
        workers = [
            WorkerProcess(url, receiver.url, **LEASE),
            WorkerProcess(url, receiver.url, **LEASE),
            WorkerProcess(through_proxy, receiver.url, **LEASE),
            WorkerProcess(url, receiver.url, ahead_ms=2 * 3_600_000, **LEASE),
        ]
        killed, paused, cut_off, _ = await asyncio.gather(*map(stack.enter_async_context, workers))
        await receiver.wait_for(LANES, timeout=SECONDS)
        # Each of them waits for two answers.
        await killed.kill()
        await freeze(paused, url)
        proxy.isolate()
        receiver.release()
        await receiver.wait_for(LANES + 1, timeout=SECONDS)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await box.settled(*made)
        paused.signal(signal.SIGCONT)
        proxy.isolated = False
        for worker in (paused, cut_off):
            worker.signal(signal.SIGTERM)
            assert await worker.ended() == 0
        # Those whose answers nobody recorded went out once more, and a third time where a lease ended while the server
        # was away. There is a claim for each time, and they were six at least.
        copies = Counter(request.headers["webhook-id"] for request in receiver.requests)
        assert set(copies) == {message.id for message in made}
        assert sum(copies.values()) >= len(made) + 6
        assert order_by_lane(receiver.requests) == {
            f"lane{lane}": [str(n) for n in range(EACH)] for lane in range(LANES)
        }
        for message in made:
            found = await box.outbox.get(message.id or "")
            assert found is not None
            assert found.view is not None
            assert found.state is State.DELIVERED
            # A worker may have been killed, or cut off for longer than its lease, between a claim and its request.
            assert copies[found.view.id] <= found.view.claims
        assert (await box.outbox.find(later.id or "")).state is State.SCHEDULED
        assert await box.outbox.check() == []


MACHINES: Final = 4


class Way:
    """A channel of every machine's worker, and beside it one that answers only while all of them are at it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answer: AnyOutcome = Delivered("r")
        self._all_at_it = asyncio.Barrier(MACHINES)

    async def send(self, attempt: Attempt) -> AnyOutcome:
        self.calls.append(attempt.to)
        return self.answer

    async def beside(self, _: Attempt) -> AnyOutcome:
        await self._all_at_it.wait()
        return Delivered("r")


@pytest.mark.contract("FL1", "FL2", "FL3")
async def test_what_keeps_a_channel_back_keeps_it_back_on_every_machine() -> None:
    """A pause, a rate limit and an outage: whoever meets it, the others do not try for themselves."""
    way = Way()
    with fresh_database() as url:
        async with Accepting(url) as box, contextlib.AsyncExitStack() as stack, asyncio.timeout(3 * SECONDS):
            for _ in range(MACHINES):
                channels = {"hooks": way.send, "beside": way.beside}
                await stack.enter_async_context(Outbox(url, channels=channels, concurrency=1, drain_on_startup=False))

            async def kept_back() -> None:
                made = [await box.send(f"late {n}") for n in range(MACHINES)]
                # Each of the workers has looked for something to do since, and found this.
                beside = [await box.outbox.send("beside", to=f"{n}", text="hi") for n in range(MACHINES)]
                await box.settled(*beside)
                assert not any(to.startswith("late") for to in way.calls)
                way.answer = Delivered("r")
                await box.outbox.resume("hooks")
                await box.settled(*made)
                assert sorted(way.calls)[-MACHINES:] == [f"late {n}" for n in range(MACHINES)]
                way.calls.clear()

            await box.outbox.pause("hooks", reason="we look at it")
            await kept_back()
            for answer in (RateLimited("slowly", scope="channel", after=600), Deferred("refused", outage=True)):
                way.answer = answer
                first = [await box.send(f"first {n}") for n in range(MACHINES)]
                while not any(queue.paused for queue in await box.outbox.queues()):  # noqa: ASYNC110 — no event tells here
                    await asyncio.sleep(0)
                await kept_back()
                for message in first:
                    await box.outbox.cancel(message.id or "")
