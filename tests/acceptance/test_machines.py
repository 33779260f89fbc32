"""Several machines on one PostgreSQL server, each in its own trouble: nothing is lost, and every copy is explained."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox.domain.message import State
from pillarbox.testing.receiver import Receiver
from tests.acceptance.processes import SECONDS, Accepting, WorkerProcess, order_by_lane
from tests.store.postgres_proxy import Proxy
from tests.store.postgres_server import Server, connected

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE: Final[dict[str, Any]] = {"lease_seconds": 3.5, "channel": {"timeout": "1s"}, "concurrency": 2}
LANES: Final = 8  # four workers, two sends each
EACH: Final = 4
_BUSY: Final = (
    "SELECT 1 FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()"
)


@pytest.fixture
def server() -> Iterator[Server]:
    # Short: a socket's name may not be long.
    folder = Path(tempfile.mkdtemp(prefix="pbx"))
    folder.chmod(0o755)
    server = Server(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    folder = Path(tempfile.mkdtemp(prefix="pbx"))
    proxy = Proxy(folder, server.folder)
    yield proxy
    proxy.close()
    shutil.rmtree(folder)


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
            assert copies[found.view.id] == found.view.claims
        assert (await box.outbox.find(later.id or "")).state is State.SCHEDULED
        assert await box.outbox.check() == []
