"""An outbox whose files were taken away accepts nothing, sends nothing, and says so (SG9)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox
from pillarbox.errors import StoreReplaced
from pillarbox.events import Alarm

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt

SECONDS = 30.0


@pytest.mark.contract("SG9", "EN4")
async def test_sends_are_refused_the_alarm_is_raised_health_fails_and_nothing_starts(tmp_path: Path) -> None:
    sent: list[str] = []

    async def channel(attempt: Attempt) -> str:
        sent.append(attempt.text)
        return "r"

    path = tmp_path / "outbox.db"
    alarms: list[Alarm] = []
    async with Outbox(path, channels={"x": channel}) as box:
        box.subscribe(alarms.append, Alarm)
        await (await box.send("x", to="ann", text="before")).wait(SECONDS)
        assert (await box.health()).ok
        path.unlink()
        with pytest.raises(StoreReplaced, match="was deleted or moved away while it was open"):
            await box.send("x", to="ann", text="after")
        health = await box.health()
        assert not health.ok
        assert str(await _refusal(box)) in health.problems
        assert str(await _refusal(box)) in await box.check()
    assert {"store_failed"} <= {alarm.what for alarm in alarms}
    assert any(str(path) in alarm.detail for alarm in alarms)
    assert sent == ["before"]


async def _refusal(box: Outbox) -> StoreReplaced:
    with pytest.raises(StoreReplaced) as caught:
        await box.send("x", to="ann", text="after")
    return caught.value


@pytest.mark.contract("SG9", "UN4")
async def test_the_outcome_of_a_send_under_way_is_kept_and_recorded_when_the_file_is_put_back(tmp_path: Path) -> None:
    begun, answer = asyncio.Event(), asyncio.Event()

    async def channel(attempt: Attempt) -> str:
        begun.set()
        await answer.wait()
        return "r"

    path, away = tmp_path / "outbox.db", tmp_path / "away.db"
    failed = asyncio.Event()
    async with Outbox(path, channels={"x": channel}) as box:
        box.subscribe(lambda _: failed.set(), Alarm)
        message = await box.send("x", to="ann", text="hi")
        async with asyncio.timeout(SECONDS):
            await begun.wait()
            path.rename(away)
            answer.set()
            await failed.wait()
            away.rename(path)
            await message.wait(SECONDS)
        assert (str(message.state), message.receipt) == ("delivered", "r")


@pytest.mark.contract("SG9", "UN4")
async def test_an_outcome_that_can_never_be_recorded_is_told_at_the_close(tmp_path: Path) -> None:
    begun, answer = asyncio.Event(), asyncio.Event()

    async def channel(attempt: Attempt) -> str:
        begun.set()
        await answer.wait()
        return "r"

    path = tmp_path / "outbox.db"
    alarms: list[str] = []
    box = Outbox(path, channels={"x": channel})
    await box.start()
    box.subscribe(lambda alarm: alarms.append(alarm.what), Alarm)
    await box.send("x", to="ann", text="hi")
    async with asyncio.timeout(SECONDS):
        await begun.wait()
        path.unlink()
        answer.set()
        await box.stop(0)
    assert "recording_failed" in alarms
