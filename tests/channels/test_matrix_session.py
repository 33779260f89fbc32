"""Tokens of a Matrix channel: kept in the store, renewed by one worker at a time, never a reason to be locked out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.channels.base import KeptInMemory, Seams
from pillarbox.channels.matrix import MatrixChannel
from pillarbox.domain.outcome import Deferred, Delivered, RateLimited, Unavailable
from pillarbox.errors import ConfigError, StoreError
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.platforms import FakeMatrix
from pillarbox.testing.receiver import Answer
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROOM = "!room:test.local"


class Lasting(KeptInMemory):
    """What is kept for several channels of a test, as a store would."""

    lasts = True

    async def text(self) -> str:
        return await self.read() or ""


@pytest.fixture
async def matrix() -> AsyncIterator[FakeMatrix]:
    async with FakeMatrix() as matrix:
        yield matrix


@pytest.fixture
def keep() -> Lasting:
    return Lasting()


async def started(matrix: FakeMatrix, keep: KeptInMemory, **given: Any) -> MatrixChannel:
    clock = given.pop("clock", None)
    channel = MatrixChannel(**given, base_url=matrix.base_url) if given else MatrixChannel.from_url(matrix.url)
    await channel.start(Seams(keep=keep) if clock is None else Seams(keep=keep, clock=clock))
    return channel


def attempt(number: int = 0) -> Any:
    return an_attempt(ROOM, token=f"{number:025}")


def asked(matrix: FakeMatrix, what: str) -> int:
    return sum(request.path.endswith(f"/{what}") for request in matrix.receiver.requests)


@pytest.mark.contract("UN5", "CH8")
async def test_a_channel_goes_on_with_the_tokens_that_were_kept(matrix: FakeMatrix, keep: Lasting) -> None:
    for number in range(3):
        channel = await started(matrix, keep)
        assert isinstance(await channel.send(attempt(number)), Delivered)
        await channel.close()
    assert (matrix.logins, asked(matrix, "whoami")) == (1, 3)
    kept = await keep.text()
    assert all(piece in kept for piece in ("syt_fake", "syr_", "PILLARBOX"))
    assert matrix.password not in kept


@pytest.mark.contract("UN5")
async def test_a_refresh_token_that_was_used_locks_nobody_out_after_a_restart(
    matrix: FakeMatrix, keep: Lasting
) -> None:
    given = matrix.tokens()
    for number in range(4):
        channel = await started(matrix, keep, access_token=given[0], refresh_token=given[1])
        assert isinstance(await channel.send(attempt(number)), Delivered), number
        matrix.expire_tokens()
        assert isinstance(await channel.send(attempt(10 + number)), Delivered), number
        await channel.close()
        matrix.expire_tokens()
    assert matrix.logins == 0


class Failing(Lasting):
    """A store that fails when new tokens are to be kept."""

    fails = True

    async def replace(self, old: str | None, new: str) -> bool:
        if self.fails and "taker" not in new:
            raise StoreError("the disk is full")
        return await super().replace(old, new)


@pytest.mark.contract("UN5", "LE4")
@pytest.mark.parametrize("same", [True, False])
async def test_new_tokens_that_cannot_be_kept_are_not_used_and_the_old_one_still_holds(
    matrix: FakeMatrix, *, same: bool
) -> None:
    access, refresh = matrix.tokens()
    keep, clock = Failing(), FakeClock()
    given = {"access_token": access, "refresh_token": refresh, "clock": clock}
    first = await started(matrix, keep, **given)
    matrix.expire_tokens()
    outcome = await first.send(attempt())
    assert isinstance(outcome, Deferred)
    assert outcome.outage
    assert asked(matrix, "refresh") == 1
    keep.fails = False
    # The same worker goes on; or it was killed there, and its turn is over.
    clock.advance(0 if same else 21)
    second = first if same else await started(matrix, keep, **given)
    assert isinstance(await second.send(attempt()), Delivered)
    assert asked(matrix, "refresh") == 2
    await first.close()
    await second.close()


@pytest.mark.contract("UN5", "LE1")
async def test_of_several_workers_one_renews_and_the_others_take_over(matrix: FakeMatrix, keep: Lasting) -> None:
    access, refresh = matrix.tokens()
    workers = [await started(matrix, keep, access_token=access, refresh_token=refresh) for _ in range(5)]
    for number in range(3):
        matrix.expire_tokens()
        waiting = list(workers)
        while waiting:
            outcomes = await asyncio.gather(*(worker.send(attempt(number)) for worker in waiting))
            assert all(isinstance(outcome, Delivered | RateLimited) for outcome in outcomes), outcomes
            pairs = zip(waiting, outcomes, strict=True)
            waiting = [worker for worker, outcome in pairs if isinstance(outcome, RateLimited)]
    assert asked(matrix, "refresh") == 3
    assert len(matrix.messages) == 3
    for worker in workers:
        await worker.close()


@pytest.mark.contract("UN5", "LE4")
async def test_the_turn_of_a_worker_that_is_gone_is_anothers_after_a_while(matrix: FakeMatrix, keep: Lasting) -> None:
    access, refresh = matrix.tokens()
    clock = FakeClock()
    given = {"access_token": access, "refresh_token": refresh, "clock": clock}
    gone = await started(matrix, keep, **given)
    matrix.expire_tokens()
    unknown = Answer(status=401, body=b'{"errcode": "M_UNKNOWN_TOKEN"}')
    matrix.script(unknown, unknown, Answer.hang())  # whoami, the message, the refresh
    dying = asyncio.create_task(gone.send(attempt()))
    await matrix.receiver.wait_for(3)
    dying.cancel()
    await asyncio.wait([dying])
    later = await started(matrix, keep, **given)
    outcome = await later.send(attempt())
    assert isinstance(outcome, RateLimited)
    assert (outcome.scope, outcome.after) == ("channel", 1.0)
    clock.advance(21)
    assert isinstance(await later.send(attempt()), Delivered)
    await gone.close()
    await later.close()


@pytest.mark.contract("UN5")
async def test_tokens_of_another_configuration_are_left_alone(matrix: FakeMatrix, keep: Lasting) -> None:
    first, second = matrix.tokens(), matrix.tokens(device="OTHER")
    one = await started(matrix, keep, access_token=first[0], refresh_token=first[1])
    matrix.expire_tokens()
    assert isinstance(await one.send(attempt()), Delivered)
    other = await started(matrix, keep, access_token=second[0], refresh_token=second[1])
    matrix.expire_tokens()
    assert isinstance(await other.send(attempt(1)), Delivered)
    assert '"device":"OTHER"' in await keep.text()
    for channel in (one, other):
        await channel.close()


@pytest.mark.contract("UN5")
@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"account": 1}', "{" * 5000, '{"account": "somebody"}'])
async def test_what_is_kept_and_unreadable_is_as_nothing(matrix: FakeMatrix, keep: Lasting, text: str) -> None:
    assert await keep.replace(None, text)
    channel = await started(matrix, keep)
    assert isinstance(await channel.send(attempt()), Delivered)
    assert "syt_fake" in await keep.text()
    await channel.close()


@pytest.mark.contract("UN5")
async def test_without_a_store_that_lasts_no_refresh_token_is_used_up(matrix: FakeMatrix, keep: Lasting) -> None:
    access, refresh = matrix.tokens()
    passing = await started(matrix, KeptInMemory(), access_token=access, refresh_token=refresh)
    assert isinstance(await passing.send(attempt()), Delivered)
    matrix.expire_tokens()
    assert isinstance(await passing.send(attempt(1)), Unavailable)
    assert asked(matrix, "refresh") == 0
    lasting = await started(matrix, keep, access_token=access, refresh_token=refresh)
    assert isinstance(await lasting.send(attempt(1)), Delivered)
    await passing.close()
    await lasting.close()


@pytest.mark.contract("CH8")
async def test_no_listing_event_or_log_shows_what_is_kept(
    matrix: FakeMatrix, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    seen: list[str] = []
    async with Outbox(tmp_path / "outbox.db", channels={"chat": matrix.url}) as box:
        box.subscribe(lambda event: seen.append(repr(event)))
        assert (await (await box.send("chat", to=ROOM, text="Hello")).wait(timeout=20)).state == "delivered"
        matrix.refuse(ROOM, error="token syt_fake_token_1 and syr_syt_fake_token_1 are bad")
        refused = await (await box.send("chat", to=ROOM, text="Hello?")).wait(timeout=20)
        seen += [repr(refused), repr(refused.view), repr(await box.history(refused.id or "")), repr(await box.list())]
    shown = "\n".join([*seen, caplog.text])
    assert "delivered" in shown
    assert not any(token in shown for token in ("syt_fake_token", "syr_", matrix.password))


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "é", "x" * 5000])
def test_a_refresh_token_that_cannot_be_one_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="refresh_token") as caught:
        MatrixChannel(access_token="abc", refresh_token=token, base_url="http://127.0.0.1:9")
    assert token not in str(caught.value)
    with pytest.raises(ConfigError, match="refresh_token"):
        MatrixChannel.from_url("matrix://bot:password@example.org?refresh_token=abc")
