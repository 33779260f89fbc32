"""Commands that only look: what they show, and that they leave no trace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox

if TYPE_CHECKING:
    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Pillarbox


async def filled(pillarbox: Pillarbox, url: str) -> list[str]:
    """Send one message that is delivered and two that wait; give their ids."""
    async with Outbox(pillarbox.db, channels={"ops": url}) as box:
        first = await (await box.send("ops", to="ann", text="hi")).wait(10)
    async with Outbox(pillarbox.db, channels={"ops": url}, deliver=False) as box:
        others = [await box.send("ops", to="bob", text="hi", tenant=tenant) for tenant in ("", "acme")]
    return [message.id or "" for message in (first, *others)]


@pytest.mark.contract("OP1")
async def test_ls_shows_the_newest_first_and_filters(pillarbox: Pillarbox, receiver: Receiver) -> None:
    first, second, third = await filled(pillarbox, receiver.url)
    for arguments, expected in {
        (): [third, second, first],
        ("--limit", "1"): [third],
        ("--before", second): [first],
        ("--state", "scheduled"): [third, second],
        ("--state", "scheduled", "--state", "delivered", "--tenant", ""): [second, first],
        ("--to", "bob", "--tenant", "acme"): [third],
        ("--channel", "nosuch"): [],
    }.items():
        listed = await pillarbox("ls", "--json", *arguments)
        assert ([row["id"] for row in listed.json], listed.err) == (expected, ""), arguments
    assert all(row["content"] is None for row in (await pillarbox("ls", "--json")).json)
    plain = (await pillarbox("ls")).out.splitlines()
    assert [line.split()[0] for line in plain] == ["ID", third, second, first]


@pytest.mark.contract("OP1")
async def test_a_message_is_found_by_either_end_of_its_id(pillarbox: Pillarbox, receiver: Receiver) -> None:
    first, second, _ = await filled(pillarbox, receiver.url)
    assert (await pillarbox("show", "--json", "--", first[-6:])).json["id"] == first
    assert (await pillarbox("show", second[:16], "--json")).json["id"] == second
    several = await pillarbox("show", first[:2])
    assert (several.code, several.said) == (2, f"error: id: '{first[:2]}' could be 3 messages; give more of it")
    none = await pillarbox("show", "nosuchmessage")
    assert (none.code, none.out, none.said) == (
        3,
        "",
        "error: no message 'nosuchmessage'; `pillarbox ls` lists what there is",
    )


@pytest.mark.contract("OP1", "ST10")
async def test_show_and_history_tell_the_whole_story(pillarbox: Pillarbox, receiver: Receiver) -> None:
    first, *_ = await filled(pillarbox, receiver.url)
    shown = await pillarbox("show", first)
    assert "text: hi" in shown.out.splitlines()
    assert ["state", "delivered"] in [line.split() for line in shown.out.splitlines()]
    story = (await pillarbox("history", first, "--json")).json
    assert [(row["act"], row["from"], row["to"], row["attempt"]) for row in story] == [
        ("enqueue", None, "scheduled", None),
        ("claim", "scheduled", "leased", 1),
        ("settle", "leased", "delivered", 1),
    ]
    assert len((await pillarbox("history", first)).out.splitlines()) == 4
    assert (await pillarbox("history", "A" * 22)).code == 3


@pytest.mark.contract("OP1")
async def test_stats_count_by_channel_and_state(pillarbox: Pillarbox, receiver: Receiver) -> None:
    await filled(pillarbox, receiver.url)
    counted = (await pillarbox("stats", "--json")).json
    assert (counted["messages"], counted["states"]["delivered"], counted["states"]["scheduled"]) == (3, 1, 2)
    assert [(queue["channel"], queue["tenant"], queue["messages"]) for queue in counted["queues"]] == [
        ("ops", "", 2),
        ("ops", "acme", 1),
    ]
    assert len((await pillarbox("stats")).out.splitlines()) == 3


@pytest.mark.contract("OP1", "LE8")
async def test_workers_lists_who_lives_and_who_was_killed(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    async with pillarbox.running("run", "--json") as worker:
        started = await worker.line("started")
        (row,) = (await pillarbox("workers", "--json")).json
        assert (row["pid"], row["channels"], row["alive"]) == (started["pid"], ["ops"], True)
        assert len((await pillarbox("workers")).out.splitlines()) == 2
        worker.process.kill()
        await worker.process.wait()
        (row,) = (await pillarbox("workers", "--json")).json
        assert row["alive"] is False


@pytest.mark.contract("SG2")
async def test_no_command_but_send_run_and_migrate_makes_a_database(pillarbox: Pillarbox) -> None:
    commands = (
        "ls", "show LAST", "history LAST", "stats", "workers", "cancel x", "retry x", "resolve x --resend",
        "replay x", "purge x", "replay --all", "pause ops", "resume ops",
        "db check", "db status",
    )  # fmt: skip
    for refused in await asyncio.gather(*(pillarbox(*command.split()) for command in commands)):
        assert (refused.code, refused.out) == (5, "")
        assert refused.said.startswith(f"error: no database at {pillarbox.db}; the first `pillarbox send` makes it")
    assert list(pillarbox.home.iterdir()) == []


@pytest.mark.contract("OP1", "FL2")
async def test_channels_shows_what_goes_through_each_and_what_keeps_messages_back(pillarbox: Pillarbox) -> None:
    async with Outbox(pillarbox.db, deliver=False) as box:
        await box.send("mail", to="ann", text="hi")
        await box.send("ops", to="ann", text="hi")
        await box.pause("ops", reason="upkeep", actor="ann")
    mail, ops = (await pillarbox("channels", "--json")).json
    assert (mail["channel"], mail["is"], mail["resting"], mail["suppressed"]) == ("mail", "open", 0, 0)
    assert (ops["is"], ops["paused_by"], ops["pause_reason"]) == ("paused", "ann", "upkeep")
    (counted,) = (await pillarbox("stats", "ops", "--json")).json["queues"]
    assert ops.items() <= counted.items()
    (line,) = (await pillarbox("channels", "ops")).out.splitlines()[1:]
    assert line.split() == ["ops", "-", "paused", "resumed", "0", "0", "upkeep"]
