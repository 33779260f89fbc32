"""
Power cuts while callers' transactions commit to a shared file: what was committed is there, and never the half of it.

Every operation on the disk is recorded, and what each cut may leave is opened with another SQLite, Python's own. The
long form: ``PILLARBOX_TEST_POWER_CUTS=40`` (states for each operation; 2 without it).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from typing import TYPE_CHECKING, Final

import apsw
import pytest

from pillarbox import Outbox
from pillarbox.store.registry import share
from tests.store.recorded_disk import RecordedDisk, after_power_cut

if TYPE_CHECKING:
    from pathlib import Path

STATES: Final = int(os.environ.get("PILLARBOX_TEST_POWER_CUTS", "2"))
COMMITS: Final = 2
pytestmark = pytest.mark.contract("EN9")


async def cut_everywhere(folder: Path, synchronous: str, states: int) -> list[str]:
    """Commit orders with their messages, and cut the power after each operation. Returns what was wrong."""
    db = folder / "shop.db"
    with contextlib.closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TABLE shop_order (number INTEGER)")
    share(db)
    async with Outbox(db, deliver=False, durability="power") as box:
        # Once, so that what is recorded are transactions like all that follow.
        await box.send("pager", to="ann", text="before")
    start = {db.name: db.read_bytes()}
    told: list[tuple[int, int]] = [(0, 0)]
    with RecordedDisk() as disk:
        with contextlib.closing(apsw.Connection(str(db), flags=apsw.SQLITE_OPEN_READWRITE, vfs=disk.name)) as shop:
            shop.execute(f"PRAGMA synchronous = {synchronous}")
            async with Outbox(db, deliver=False, durability="power" if synchronous == "EXTRA" else "process") as box:
                for number in range(1, COMMITS + 1):
                    shop.execute("BEGIN IMMEDIATE; INSERT INTO shop_order VALUES (?)", (number,))
                    await box.enqueue(shop, "pager", to="ann", text="x" * 3000, key=f"order-{number}")
                    shop.execute("COMMIT")
                    told.append((len(disk.log), number))
        log = list(disk.log)
    wrong = []
    place = folder / "cut"
    for at in range(len(log) + 1):
        acknowledged = max(number for when, number in told if when <= at)
        for seed in range(states):
            chance = None if seed == 0 else random.Random(f"{at} {seed}")
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for name, content in after_power_cut(start, log[:at], chance).items():
                (place / name).write_bytes(content)
            said = found(place / db.name, acknowledged)
            if said:
                wrong.append(f"after {at} of {len(log)} operations, state {seed}: {said}")
    return wrong


def found(db: Path, acknowledged: int) -> str | None:
    with contextlib.closing(sqlite3.connect(db)) as connection:
        try:
            ((sound,),) = connection.execute("PRAGMA integrity_check").fetchall()
            orders = {number for (number,) in connection.execute("SELECT number FROM shop_order")}
            keys = {key for (key,) in connection.execute("SELECT key FROM message WHERE key IS NOT NULL")}
        except sqlite3.DatabaseError as exc:
            return str(exc)
    if sound != "ok":
        return str(sound)
    if keys != {f"order-{number}" for number in orders}:
        return f"orders {orders} and messages {keys}"
    missing = set(range(1, acknowledged + 1)) - orders
    return f"orders {missing} are gone" if missing else None


async def test_nothing_is_lost_and_no_half_is_left(tmp_path: Path) -> None:
    assert await cut_everywhere(tmp_path, "EXTRA", STATES) == []


async def test_with_less_a_commit_can_be_undone_which_is_why_it_is_refused(tmp_path: Path) -> None:
    wrong = await cut_everywhere(tmp_path, "FULL", 1)
    assert wrong
    assert all("are gone" in one for one in wrong)
