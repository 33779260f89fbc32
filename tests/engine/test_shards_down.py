"""A shard that is down: the others go on, what is missing is said, and it is served again when it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox import Message, Outbox
from pillarbox.domain.message import State
from pillarbox.errors import InvalidMessage, ShardsUnavailable, StoreError
from pillarbox.events.events import Alarm
from pillarbox.outbox.outbox import inside
from pillarbox.outbox.shards import sharded_lifetime
from tests.engine.stand import until
from tests.engine.test_shards import ONE, SECONDS, TWO, Ways

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@pytest.fixture
async def half(files: list[str], tmp_path: Path) -> AsyncIterator[tuple[Outbox, Path]]:
    """An outbox whose second shard is away; the path under which it would come back."""
    async with Outbox(shards=files, deliver=False) as box:
        for tenant in (*ONE, *TWO):
            await box.send("ops", to="ann", text="hi", tenant=tenant)
    away = tmp_path / "away"
    Path(files[1]).rename(away)
    # What cannot be opened as a database: a folder.
    Path(files[1]).mkdir()
    box = Outbox(shards=files, channels={"ops": Ways()})
    yield box, away
    await box.close()


async def test_the_others_go_on_and_the_answer_says_what_is_missing(half: tuple[Outbox, Path]) -> None:
    box, _ = half
    alarms: list[Any] = []
    box.subscribe(alarms.append, Alarm)
    await box.start()
    assert ["shard_down" in alarm.what for alarm in alarms] == [True]
    sent = await box.send("ops", to="bob", text="hi", tenant=ONE[0])
    assert (await sent.wait(SECONDS)).state is State.DELIVERED
    assert (await box.get(sent.id or "")) is not None
    with pytest.raises(ShardsUnavailable, match=r"shard 2 of 2 \(.*b\.db\) did not answer"):
        await box.send("ops", to="bob", text="hi", tenant=TWO[0])
    with pytest.raises(ShardsUnavailable) as missing:
        await box.list()
    assert isinstance(missing.value.partial, list)
    assert {message.view.tenant for message in missing.value.partial} == set(ONE)
    with pytest.raises(ShardsUnavailable) as missing:
        await box.cancel_many("state=delivered,scheduled", dry_run=True)
    assert missing.value.partial is not None
    # It may be there: nobody knows.
    for ask in (box.get("A" * 22), box.cancel("A" * 22), box.find("AAAA")):
        with pytest.raises(ShardsUnavailable):
            await ask
    (problem,) = (await box.health()).problems
    assert "shard 2 of 2" in problem


async def test_what_is_asked_of_one_tenant_needs_its_home_alone(half: tuple[Outbox, Path]) -> None:
    box, _ = half
    await box.start()
    assert len(await box.list(tenant=ONE[0])) == 1
    (page,) = await box.list(where=f"tenant={ONE[0]}", limit=1)
    assert await box.list(where=f"tenant={ONE[0]}", before=page) == []
    assert (await box.replay_many(f"tenant={ONE[0]} state=delivered", dry_run=True)).dry_run
    assert (await box.cancel_many(f"tenant={ONE[1]}")).matched <= 1
    for ask in (
        box.list(tenant=TWO[0]),
        box.cancel_many(f"tenant={TWO[0]}"),
        box.list(where=f"tenant={ONE[0]},{TWO[0]}"),
    ):
        with pytest.raises(ShardsUnavailable):
            await ask


# Each is wrong in one way, and for the home of one tenant alone.
WRONG: Final[tuple[Callable[[Any, str], Awaitable[object]], ...]] = (
    lambda box, tenant: box.cancel_many(f"tenant={tenant}", dry_run=1),
    lambda box, tenant: box.retry_many(f"tenant={tenant}", ttl="soon"),
    lambda box, tenant: box.resolve_many("maybe", f"tenant={tenant}"),
    lambda box, tenant: box.replay_many(f"tenant={tenant}", fresh=1),
    lambda box, tenant: box.purge_many(f"tenant={tenant}", actor=5),
    lambda box, tenant: box.pause("ops", tenant=tenant, span=timedelta(-1)),
    lambda box, tenant: box.resume("ops", tenant=tenant, reason=5),
    lambda box, tenant: box.forget_redirect("ops", 5, tenant=tenant),
    lambda box, tenant: box.clear_recipient("ops", 5, tenant=tenant),
    lambda box, tenant: box.edit(receipt="1", channel="ops", text="x", tenant=tenant),
    lambda box, tenant: box.delete(receipt=5, channel="ops", to="ann", tenant=tenant),
)


async def test_what_is_wrong_with_an_argument_is_said_though_its_shard_is_down(half: tuple[Outbox, Path]) -> None:
    box, _ = half
    await box.start()
    for call in WRONG:
        with pytest.raises(InvalidMessage) as here:
            await call(box, ONE[0])
        with pytest.raises(InvalidMessage) as away:
            await call(box, TWO[0])
        assert str(away.value) == str(here.value)
    for ask in (box.pause("ops", tenant=TWO[0]), box.delete(receipt="5", channel="ops", to="ann", tenant=TWO[0])):
        with pytest.raises(ShardsUnavailable, match=r"shard 2 of 2 \(.*b\.db\) did not answer"):
            await ask


async def test_a_shard_that_comes_back_is_served(
    half: tuple[Outbox, Path], files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_lifetime, "AGAIN_SECONDS", 0.05)
    box, away = half
    await box.start()
    Path(files[1]).rmdir()
    away.rename(files[1])
    async with asyncio.timeout(SECONDS):
        (found,) = await _listed(box, TWO[0])
    assert (await found.wait(SECONDS)).state is State.DELIVERED


async def test_what_comes_back_as_another_database_keeps_no_other_shard_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_lifetime, "AGAIN_SECONDS", 0.05)
    files = [tmp_path / f"{name}.db" for name in "abc"]
    names = [str(file) for file in files]
    async with Outbox(shards=names, deliver=False):
        pass
    for file in files[1:]:
        file.rename(file.with_suffix(".away"))
        file.mkdir()
    async with Outbox(shards=names, deliver=False) as box, asyncio.timeout(SECONDS):
        for file in files[1:]:
            file.rmdir()
        shutil.copy(files[0], files[1])
        files[2].with_suffix(".away").rename(files[2])

        async def only_the_wrong_one_is_missing() -> bool:
            (first, *others) = (await box.health()).problems
            return not others and "shard 1 of 3, and not shard 2 of 3" in first

        await until(only_the_wrong_one_is_missing)


async def _listed(box: Outbox, tenant: str) -> list[Message]:
    """Ask until all answer."""
    while True:
        with contextlib.suppress(ShardsUnavailable):
            return await box.list(tenant=tenant)
        await asyncio.sleep(0)


async def test_nothing_starts_where_no_shard_answers(files: list[str]) -> None:
    for file in files:
        Path(file).mkdir()
    box = Outbox(shards=files, deliver=False)
    with pytest.raises(StoreError):
        await box.start()
    assert not box.started
    assert not inside(box).lifetime.begun
