"""A service on FastAPI: what docs/how-to/fastapi.md says of several workers, and of tests."""

from __future__ import annotations

import asyncio
import os
import re
import runpy
import shutil
import signal
from pathlib import Path

import httpx
import pytest

from pillarbox import Outbox
from pillarbox.domain.message import State
from pillarbox.testing.recording_outbox import RecordingOutbox
from tests.integrations.programs import SECONDS, Program, commands

SHOP = Path(__file__).parents[2] / "examples/fastapi_shop/shop.py"
ORDERS = 12


async def ordered(server: str, number: int) -> bool:
    """Order on a connection of its own, so that the kernel chooses the process; return whether the order was new."""
    async with httpx.AsyncClient(base_url=server, timeout=SECONDS) as client:
        answer = await client.post(f"/orders/{number}", params={"to": "ann@example.org"})
    assert answer.status_code == 202, answer.text
    return bool(answer.json()["new"])


@pytest.mark.timeout(600)
@pytest.mark.contract("EN7", "LE4")
async def test_two_workers_on_one_file_send_each_message_once_and_a_killed_one_loses_nothing(tmp_path: Path) -> None:
    shutil.copy(SHOP, tmp_path)
    ((name, *arguments),) = commands("fastapi.md")
    async with Program(name, *arguments, "--port", "0", folder=tmp_path) as server:
        url = (await server.said(r"Uvicorn running on (http://\S+)"))[1]
        await server.said("Application startup complete", times=2)
        async with Outbox(tmp_path / "outbox.db", deliver=False) as box:
            pids = {worker.pid for worker in await box.workers()}
            assert len(pids) == 2
            assert server.process.pid not in pids
            new = await asyncio.gather(*(ordered(url, number % ORDERS) for number in range(2 * ORDERS)))
            assert (new.count(True), new.count(False)) == (ORDERS, ORDERS)
            os.kill(pids.pop(), signal.SIGKILL)
            await server.said("Application startup complete", times=3)
            assert await ordered(url, ORDERS)
            async with asyncio.timeout(SECONDS):
                messages = [await message.wait() for message in await box.list(limit=100)]
        assert {message.state for message in messages} == {State.DELIVERED}
        await server.stop()
    sent = re.findall(r"^to ann@example.org Order (\d+) ", "".join(server.output), re.MULTILINE)
    # The one that was killed may have been at a message, which another sends again then.
    assert set(sent) == {str(number) for number in range(ORDERS + 1)}
    assert len(sent) <= ORDERS + 2


async def test_a_route_uses_the_outbox_that_a_test_puts_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = runpy.run_path(str(SHOP))
    async with RecordingOutbox(["mail"]) as recording:
        shop["app"].dependency_overrides[shop["outbox"]] = lambda: recording
        asgi = httpx.ASGITransport(shop["app"])
        async with httpx.AsyncClient(transport=asgi, base_url="http://shop") as client:
            await client.post("/orders/812", params={"to": "ann@example.org"})
            assert (await client.get("/health")).json() == {"ok": True, "problems": []}
        recording.assert_sent(to="ann@example.org", text__contains="812", count=1)
