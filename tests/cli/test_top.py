"""`pillarbox top`: what it shows, that looking writes nothing, and that it asks before it changes anything."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from textual.widgets import DataTable, Label, Static

from pillarbox import Attempt, Outbox, Rejected
from pillarbox.cli.top_screen import Top
from pillarbox.cli.top_view import Look, Rates, channel_rows
from pillarbox.domain.message import State
from pillarbox.outbox.outbox import inside
from pillarbox.store.base import Flow, Tally
from tests.store.postgres_server import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from textual.pilot import Pilot

    from tests.cli.commands import Pillarbox
    from tests.cli.typed import Typed

NEVER_SECONDS = 86_400.0


async def chat(attempt: Attempt) -> str:
    if attempt.to == "nobody":
        raise Rejected("[red]no\x1b[31m such chat[/]", about="recipient")
    return "1"


@pytest.fixture(params=["sqlite", "postgres"])
async def box(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outbox]:
    """An outbox with one message of each kind that the screen shows."""

    async def filled(db: str) -> AsyncIterator[Outbox]:
        async with Outbox(db, channels={"chat": chat}) as box:
            for to in ("ann", "nobody"):
                await (await box.send("chat", to=to, text="hi")).wait(30)
            await box.send("chat", to="busy", text="hi", at="1h")
            yield box

    if request.param == "sqlite":
        async for box in filled(str(tmp_path / "outbox.db")):
            yield box
    else:
        with fresh_database() as url:
            async for box in filled(url):
                yield box


def rows(screen: Top, name: str) -> list[list[str]]:
    table = screen.query_one(f"#{name}", DataTable)
    return [[str(cell) for cell in table.get_row_at(number)] for number in range(table.row_count)]


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Press keys, and wait for what they began."""
    for key in keys:
        await pilot.press(key)
        await pilot.pause()
    await pilot.app.workers.wait_for_complete()


@pytest.mark.contract("OP1")
async def test_it_shows_channels_workers_and_dead_letters_and_acts_when_it_is_told_yes(box: Outbox) -> None:
    screen = Top(box, seconds=NEVER_SECONDS)
    async with screen.run_test(size=(160, 40)) as pilot:
        (channel,) = rows(screen, "channels")
        assert channel[:7] == ["chat", "–", "open", "1", "0", "0", "1"]
        assert channel[9:] == ["–", "1", "1 recipient suppressed"]
        (worker,) = rows(screen, "workers")
        assert (worker[0], worker[5:]) == ("1", ["yes", "chat"])
        (letter,) = rows(screen, "letters")
        assert (letter[1:4], letter[6]) == (["dead", "chat", "nobody"], "[red]no [31m such chat[/]")
        said = str(screen.query_one("#heading", Static).render())
        assert "1 scheduled, 1 delivered, 1 dead" in said
        assert "1 worker" in said

        await press(pilot, "p", "n")
        assert not (await box.queues())[0].paused
        await press(pilot, "p", "y")
        assert (await box.queues())[0].paused
        assert rows(screen, "channels")[0][2] == "paused"
        assert rows(screen, "channels")[0][11] == "pillarbox top"

        await press(pilot, "tab", "tab")
        await press(pilot, "c")  # nothing is left of it
        await press(pilot, "r", "y")
        replayed = [one for one in await box.list() if one.view is not None and one.view.replay_of == letter[0]]
        assert len(replayed) == 1
        await press(pilot, "s", "s")
        assert str(screen.query_one("#shown", Label).render()) == "Newest waiting"
        again, waiting = rows(screen, "letters")
        assert (again[0], again[3], waiting[1], waiting[3]) == (replayed[0].id, "nobody", "scheduled", "busy")
        await press(pilot, "down", "r", "escape")
        await press(pilot, "r", "y")
        assert [event.act for event in await box.history(waiting[0])].count("retry") == 1
        await press(pilot, "c", "y")
        found = await box.get(waiting[0])
        assert found is not None
        assert found.state is State.CANCELLED
        assert [row[0] for row in rows(screen, "letters")] == [again[0]]

        await press(pilot, "tab", "p", "y")
        assert not (await box.queues())[0].paused


async def test_looking_writes_nothing_and_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    async with Outbox(tmp_path / "outbox.db", deliver=False) as box:
        await box.send("chat", to="ann", text="hi")
        screen = Top(box, seconds=NEVER_SECONDS)
        before = {
            path.name: path.read_bytes() for path in tmp_path.glob("outbox.db*") if not path.name.endswith("-shm")
        }
        async with screen.run_test() as pilot:
            for _ in range(3):
                await screen.look()
            after = {
                path.name: path.read_bytes() for path in tmp_path.glob("outbox.db*") if not path.name.endswith("-shm")
            }
            assert before == after
            assert not screen.query_one("#trouble").display
            await box.close()
            await screen.look()
            await pilot.pause()
            assert screen.query_one("#trouble").display
            assert rows(screen, "channels")[0][0] == "chat"  # what was seen before stays


async def test_a_shard_that_does_not_answer_is_named_beside_what_the_others_say(tmp_path: Path) -> None:
    files = [tmp_path / "a.db", tmp_path / "b.db"]
    async with Outbox(shards=[str(file) for file in files], deliver=False) as box:
        for number in range(8):
            await box.send("chat", to="ann", text="hi", tenant=f"t{number}")
    files[1].rename(tmp_path / "away")
    files[1].mkdir()
    box = Outbox(shards=[str(file) for file in files], deliver=False)
    shards = inside(box).shards
    assert shards is not None
    shards.lenient = True
    async with box:
        screen = Top(box, seconds=NEVER_SECONDS)
        async with screen.run_test() as pilot:
            await pilot.pause()
            trouble, shown = screen.query_one("#trouble", Static), screen.query_one("#heading", Static)
            assert trouble.display
            assert "shard 2 of 2" in str(trouble.render())
            assert all(str(file) in str(shown.render()).replace("\n", "") for file in files)
            assert rows(screen, "channels")


def look(at_ms: int, *, delivered: int, waiting: int = 0, **flow: int | None) -> Look:
    tallies = [
        Tally(tenant="", channel="chat", state=State.DELIVERED, messages=delivered, bytes=0),
        Tally(tenant="", channel="chat", state=State.SCHEDULED, messages=waiting, bytes=0),
    ]
    values = {"paused_until_ms": None, "paused_ms": None, "reopened_ms": None, "full_until_ms": None, "due_ms": None}
    chat = Flow(
        id=1, tenant="", channel="chat", paused=False, pause_reason=None, strikes=0, paused_by=None, resting=0,
        suppressed=0, **(values | flow),
    )  # fmt: skip
    return Look(at_ms=at_ms, tallies=tallies, flow=[chat], workers=[], letters=[])


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    rates = Rates()
    rates.add(look(0, delivered=0))
    assert rates.of() == (None, None)
    rates.add(look(2_000, delivered=10, waiting=20))
    assert rates.of() == (15.0, 5.0)
    for second in range(3, 30):
        rates.add(look(second * 1000, delivered=10 + second, waiting=20))
    assert rates.of(("chat", "")) == (1.0, 1.0)
    # What pruning takes away tells nothing of what was sent.
    rates.add(look(30_000, delivered=0, waiting=20))
    assert rates.of() == (None, None)


def test_a_channel_tells_how_long_its_oldest_message_is_due_and_until_when_it_rests() -> None:
    late = look(700_000, delivered=0, waiting=1, due_ms=100_000, full_until_ms=705_000)
    (row,) = channel_rows(late, Rates()).values()
    assert (row[2], row[9]) == ("full 5s", "10m")
    (row,) = channel_rows(look(700_000, delivered=0, waiting=1, due_ms=800_000), Rates()).values()
    assert (row[2], row[9]) == ("open", "–")


async def test_without_a_terminal_it_names_what_there_is_instead(pillarbox: Pillarbox) -> None:
    for words, said in {
        ("top",): "error: top needs a terminal: `pillarbox status` and `stats` write the same anywhere",
        ("top", "--every", "0s"): "expected a span above 0",
        ("top", "--json"): "`pillarbox status --json` and `stats --json` have the same",
    }.items():
        refused = await pillarbox(*words)
        assert (refused.code, refused.out) == (2, "")
        assert said in refused.said


def test_without_its_extra_it_says_which_one_is_missing(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    done = typed("top")
    assert done.code == 4
    assert done.err == (
        "error: top needs textual: pip install 'pillarbox[tui]'; `pillarbox status` and `ls --watch` do without\n"
    )
