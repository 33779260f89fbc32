"""docs/how-to/celery.md: tasks in forked children of a real worker."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from pillarbox import Attempt, Outbox
from tests.integrations.programs import SECONDS, Program, commands

EXAMPLE = Path(__file__).parents[2] / "examples/celery_shop"
TRIES = 10


@pytest.mark.timeout(900)
@pytest.mark.contract("LE9", "EN7")
async def test_tasks_in_two_forked_children_send_each_message_once(tmp_path: Path) -> None:
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, tmp_path)
    (name, *arguments), (python, *buy), _deliver = commands("celery.md")
    children: set[str] = set()
    async with Program(name, *arguments, "--loglevel", "INFO", folder=tmp_path) as worker:
        await worker.said(r"celery@\S+ ready\.")
        for times in range(1, TRIES + 1):
            async with Program(python, *buy, folder=tmp_path) as buyer:
                await buyer.said("^8 tasks, 4 messages$")
            for number in range(8 * times - 7, 8 * times + 1):
                ended = await worker.said(r"/(\w+-\d+)\] Task shop\.confirm\S* succeeded", times=number)
                children.add(ended[1])
            if len(children) > 1:
                break
        # Which child takes a task is Celery's to choose.
        assert children == {"ForkPoolWorker-1", "ForkPoolWorker-2"}
        await worker.stop()
    sent: list[str | None] = []

    async def mail(attempt: Attempt) -> None:
        sent.append(attempt.text)

    async with Outbox(tmp_path / "outbox.db", channels={"mail": mail}) as box, asyncio.timeout(SECONDS):
        await box.drain(SECONDS)
        assert sorted(map(str, sent)) == [f"Order {number} is on its way" for number in range(4)]
        assert await box.check() == []
