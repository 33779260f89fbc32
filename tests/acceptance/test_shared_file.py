"""Applications that are killed in the midst of their transactions: the order and its message are there, or neither."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import sys
from pathlib import Path
from typing import Final

import pytest

from pillarbox import Outbox
from pillarbox.store.registry import share

KILLS: Final = int(os.environ.get("PILLARBOX_TEST_SHARED_KILLS", "3"))
SECONDS: Final = 60.0
ORDERING: Final = Path(__file__).with_name("ordering_process.py")


async def ordered_until_killed(db: Path, first: int, chance: random.Random) -> list[int]:
    """Take orders, and kill who takes them in the midst of one. Returns what he said that he has committed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ORDERING), str(db), str(first), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said: list[int] = []
    try:
        async with asyncio.timeout(SECONDS):
            said += [int(await process.stdout.readline()) for _ in range(chance.randrange(1, 12))]
            # Where it is by then, nobody knows.
            for _ in range(chance.randrange(200)):
                await asyncio.sleep(0)
    finally:
        process.kill()
        rest = await process.stdout.read()
        await process.wait()
    lines = rest.decode().split("\n")
    return said + [int(line) for line in lines[:-1]]


@pytest.mark.contract("EN9")
async def test_an_order_and_its_message_are_there_or_neither(tmp_path: Path) -> None:
    db = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(db)) as shop, shop:
        shop.execute("CREATE TABLE shop_order (number INTEGER)")
        shop.execute("CREATE TABLE bulk (content BLOB)")
    share(db)
    chance = random.Random(7)
    sent: list[int] = []
    said: list[int] = []
    # Sent meanwhile by a process of its own, through another library: this one.
    async with Outbox(db, channels={"pager": lambda attempt: sent.append(int(attempt.text or ""))}) as box:
        for round_ in range(KILLS):
            said += await ordered_until_killed(db, round_ * 1000 + 1, chance)
        found = {message.view.key: message for message in await box.list(limit=1000) if message.view}
        for message in found.values():
            await message.wait(SECONDS)
        assert await box.check() == []
    with contextlib.closing(sqlite3.connect(db)) as shop:
        orders = {number for (number,) in shop.execute("SELECT number FROM shop_order")}
    assert {f"order-{number}" for number in orders} == set(found)
    assert set(said) <= orders
    assert not {number for number in orders if number % 3 == 0}
    assert sent == sorted(orders)
