"""Orders to one message and to many: resolve, replay, purge, filters, dry runs, questions."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.domain.outcome import Uncertain
from pillarbox.domain.retry import Policy, UncertainAction
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.receiver import Answer, Receiver
from pillarbox.testing.scripted import ScriptedChannel
from tests.cli.commands import COMMAND, PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.cli.commands import Ended, Pillarbox

ROW = {"applied": True, "cancel_requested": False, "refused": None, "replayed_as": None}


async def queued(pillarbox: Pillarbox, count: int = 1, **options: Any) -> list[str]:
    """Accept messages for the channel that the commands that follow have."""
    values = {"channel": "ops", "to": "ann", "text": "hi"} | options
    async with Outbox(pillarbox.db, deliver=False) as box:
        return [message.id or "" for message in await box.send_many([values] * count)]


async def stopped(pillarbox: Pillarbox, receiver: Receiver, status: int, count: int = 1, **settings: str) -> list[str]:
    """Bring messages to where the answer *status* leaves them; from then on the receiver takes everything."""
    pillarbox.serving(receiver.url, **settings)
    ids = []
    for _ in range(count):
        receiver.answer = Answer(status=status)
        sent = await pillarbox("send", "ops", "hi", "--to", "ann", "--wait", "--json")
        assert sent.code == 6, sent.err
        ids.append(sent.json["id"])
    receiver.answer = Answer()
    return ids


async def states(pillarbox: Pillarbox) -> dict[str, str]:
    return {row["id"]: row["state"] for row in (await pillarbox("ls", "--json")).json}


def refused(ended: Ended, code: int, said: str) -> None:
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.said


# resolve


@pytest.mark.contract("UN3", "OP1")
async def test_a_held_message_is_settled_by_what_a_person_knows(pillarbox: Pillarbox, receiver: Receiver) -> None:
    (held,) = await stopped(pillarbox, receiver, 500, uncertain="hold")
    done = await pillarbox("resolve", "LAST", "--delivered", "--receipt", "r-7", "--reason", "seen there", "--json")
    assert (done.code, done.json) == (0, [{"id": held, "state": "delivered"} | ROW])
    shown = (await pillarbox("show", held, "--json")).json
    assert (shown["state"], shown["receipt"]) == ("delivered", "r-7")
    assert (await pillarbox("run", "--drain")).code == 0
    assert receiver.count == 1
    again = await pillarbox("resolve", held, "--resend")
    assert (again.code, again.said) == (
        1,
        f"{held}: nothing was changed: it is delivered, and resolve is for what is held",
    )


@pytest.mark.contract("UN3", "UN2")
@pytest.mark.parametrize("verdict", ["--not-delivered", "--resend"])
async def test_a_held_message_is_sent_again_if_a_person_wants_it(
    pillarbox: Pillarbox, receiver: Receiver, verdict: str
) -> None:
    await stopped(pillarbox, receiver, 500, uncertain="hold")
    done = await pillarbox("resolve", "LAST", verdict)
    assert (done.code, done.said.endswith("due now, at the tail of its lane")) == (0, True)
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1


@pytest.mark.contract("UN3")
async def test_a_held_message_past_its_time_says_what_it_needs(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    # Held long ago, by a clock that stands still in the past.
    channel = ScriptedChannel(Uncertain("no answer"), policy=Policy(uncertain=UncertainAction.HOLD))
    async with Outbox(pillarbox.db, channels={"ops": channel}, clock=FakeClock()) as box:
        identity = (await (await box.send("ops", to="x", text="hi", ttl=60)).wait(10)).id or ""
    for verb in (("retry",), ("resolve", "--resend")):
        told = await pillarbox(*verb, identity, "--json")
        assert told.code == 1
        (row,) = told.json
        assert (row["applied"], row["state"]) == (False, "held")
        assert "its time is over" in row["refused"]
    assert (await pillarbox("resolve", "--resend", "--ttl", "1h", identity)).code == 0
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1


@pytest.mark.contract("UN3", "OP1")
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("resolve LAST", "expected one of --delivered, --not-delivered and --resend"),
        ("resolve LAST --delivered --resend", "expected one of --delivered, --not-delivered and --resend"),
        ("resolve LAST --not-delivered --force-copy", "force_copy: goes with the verdict resend"),
        ("resolve LAST --resend --receipt r", "receipt: goes with the verdict delivered"),
        ("resolve --state held --delivered --receipt r", "--receipt is one message's"),
        ("resolve LAST --resend --ttl 0s", "expected a span above 0"),
        ("cancel", "expected ids, a filter such as --where state=dead, or --all"),
        ("cancel --where ", "expected ids, a filter such as --where state=dead, or --all"),
        ("cancel LAST --all", "ids, a filter and --all exclude each other"),
        ("cancel LAST --state held", "ids, a filter and --all exclude each other"),
        ("purge --all --to x", "ids, a filter and --all exclude each other"),
        ("replay --where staet=dead", "where: there is no field 'staet'; did you mean 'state'?"),
        ("replay --where state=ded", "where: state: expected one of"),
        ("retry --older soon", "Invalid value for '--older': expected a span such as"),
        ("ls --where older=soon", "where: older: expected a span such as"),
        ("ls --state ded", "Invalid value for '--state'"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(pillarbox: Pillarbox, typed: str, said: str) -> None:
    pillarbox.serving("http://127.0.0.1:9/")
    await pillarbox("send", "ops", "hi", "--to", "x")
    refused(await pillarbox(*typed.split(" ")), 2, said)
    assert list((await states(pillarbox)).values()) == ["scheduled"]


# replay


@pytest.mark.contract("ST2", "OP1")
async def test_a_dead_message_is_replayed_as_a_new_one(pillarbox: Pillarbox, receiver: Receiver) -> None:
    (old,) = await stopped(pillarbox, receiver, 400)
    done = await pillarbox("replay", "LAST", "--reason", "they fixed it", "--json")
    (row,) = done.json
    new = row["replayed_as"]
    assert (done.code, row) == (0, {"id": old, "state": "dead"} | ROW | {"replayed_as": new})
    assert done.said == f"{old}: replayed as {new}"
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1
    assert await states(pillarbox) == {old: "dead", new: "delivered"}
    assert (await pillarbox("show", new, "--json")).json["replay_of"] == old
    assert (await pillarbox("history", old, "--json")).json[-1]["reason"] == f"as {new}: they fixed it"
    again = await pillarbox("replay", old)
    assert (again.code, f"replayed already, as {new}" in again.said) == (1, True)
    assert (await pillarbox("replay", old, "--fresh")).code == 0


@pytest.mark.contract("ST2", "EN5")
async def test_a_full_queue_ends_a_replay_of_many_with_its_own_code(pillarbox: Pillarbox) -> None:
    ids = await queued(pillarbox, 3)
    assert (await pillarbox("cancel", "--all")).code == 0
    limited: dict[str, Any] = {"PILLARBOX_LIMITS__MESSAGES": "2"}
    done = await pillarbox("replay", "--all", "--json", **limited)
    assert (done.code, [row["applied"] for row in done.json]) == (75, [True, True, False])
    assert done.json[2]["refused"] == "queue full: the store holds its limit of 2 messages"
    assert done.said == (
        "replayed: 2 of 3 messages (3 cancelled); queue full: the store holds its limit of 2 messages,"
        " so the rest was not tried"
    )
    one = await pillarbox("replay", ids[2], **limited)
    assert (one.code, "queue full" in one.said) == (75, True)


# purge


@pytest.mark.contract("OP1")
async def test_what_has_ended_is_deleted_and_nothing_else(pillarbox: Pillarbox) -> None:
    ids = await queued(pillarbox, 3)
    assert (await pillarbox("cancel", *ids[:2])).code == 0
    done = await pillarbox("purge", *ids, "nosuchmessage", "--reason", "asked to forget", "--json")
    assert [(row["applied"], row["state"]) for row in done.json] == [
        (True, None), (True, None), (False, "scheduled"), (False, None),
    ]  # fmt: skip
    assert done.code == 3
    purged = "and purge is for what is delivered, dead, expired or cancelled"
    assert done.err.splitlines() == [
        f"{ids[0]}: deleted",
        f"{ids[1]}: deleted",
        f"{ids[2]}: nothing was changed: it is scheduled, {purged}",
        "nosuchmessage: no such message",
    ]
    assert await states(pillarbox) == {ids[2]: "scheduled"}
    (last,) = (await pillarbox("history", ids[0], "--json")).json[-1:]
    assert (last["act"], last["reason"]) == ("purge", "asked to forget")


# Many


@pytest.mark.contract("OP1", "OP3")
async def test_a_filter_picks_what_it_says_in_every_form(pillarbox: Pillarbox) -> None:
    mine = await queued(pillarbox, 2, to="bob smith", correlation_id="turn-1", tenant="acme")
    await queued(pillarbox, 2, to="ann", correlation_id="turn-2")
    for arguments in (
        ("--where", 'to="bob smith"'),
        ("--where", "correlation=turn-1"),
        ("--where", "channel=ops", "--where", "tenant=acme newer=1h"),
        ("--to", "bob smith"),
        ("--tenant", "acme", "--state", "scheduled", "--channel", "ops", "--newer", "1h"),
    ):
        listed = await pillarbox("ls", "--json", *arguments)
        assert ({row["id"] for row in listed.json}, listed.code) == (set(mine), 0), arguments
        shown = await pillarbox("cancel", "--dry-run", "--json", *arguments)
        assert [row["id"] for row in shown.json] == mine
        assert shown.said == "2 messages would be asked to cancel (2 scheduled); nothing was changed"
    assert set((await states(pillarbox)).values()) == {"scheduled"}
    nothing = await pillarbox("cancel", "--older", "1h", "--json")
    assert (nothing.code, nothing.json, nothing.said) == (0, [], "no message fits")
    done = await pillarbox("cancel", "--where", "correlation=turn-1", "--json")
    assert (done.code, done.json) == (0, [{"id": one, "state": "cancelled"} | ROW for one in mine])


@pytest.mark.contract("OP1")
async def test_all_is_said_and_many_are_summed_up(pillarbox: Pillarbox, receiver: Receiver) -> None:
    ids = await queued(pillarbox, 30, at=timedelta(hours=1))
    done = await pillarbox("retry", "--all")
    lines = done.err.splitlines()
    assert (done.code, done.out, len(lines)) == (0, "", 22)
    assert lines[0] == f"{ids[0]}: due now"
    assert lines[-2:] == ["… (--json lists all of them)", "due now: 30 of 30 messages (30 scheduled)"]
    pillarbox.serving(receiver.url)
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 30


@pytest.mark.contract("OP1", "ST2")
async def test_what_some_refuse_the_others_do(pillarbox: Pillarbox) -> None:
    ids = await queued(pillarbox, 2)
    await pillarbox("cancel", "--all")
    assert (await pillarbox("replay", ids[0])).code == 0
    done = await pillarbox("replay", "--where", f"id={ids[0]},{ids[1]}", "--json")
    assert (done.code, [row["applied"] for row in done.json]) == (1, [False, True])


@pytest.mark.contract("OP1")
@pytest.mark.parametrize(("answer", "yes", "code"), [("y", False, 0), ("n", False, 1), ("", True, 0)])
async def test_on_a_terminal_many_are_asked_for(pillarbox: Pillarbox, answer: str, yes: bool, code: int) -> None:
    await queued(pillarbox, 3)
    ended, screen = await on_terminal(pillarbox, ["cancel", "--all", *(["--yes"] if yes else [])], answer)
    assert ended == code
    assert ("cancel 3 messages? [y/N]" in screen) is not yes
    assert ("nothing was changed" in screen) is (code == 1)
    expected = {"scheduled"} if code else {"cancelled"}
    assert set((await states(pillarbox)).values()) == expected


@pytest.mark.contract("OP1")
async def test_on_a_terminal_one_is_not_asked_for(pillarbox: Pillarbox) -> None:
    (identity,) = await queued(pillarbox)
    ended, screen = await on_terminal(pillarbox, ["cancel", "--all"], "")
    assert (ended, "?" in screen) == (0, False)
    assert await states(pillarbox) == {identity: "cancelled"}


async def on_terminal(pillarbox: Pillarbox, arguments: list[str], answer: str) -> tuple[int, str]:
    """Run a command at a terminal, answer its question, and give its exit code and what was on the screen."""

    def run() -> tuple[int, str]:
        child, screen = pty.fork()
        if child == 0:
            os.chdir(pillarbox.home)
            os.execve(COMMAND, [COMMAND, *arguments], {**pillarbox.variables, "TERM": "dumb"})  # noqa: S606 — that is the test
        shown = b""
        ends = time.monotonic() + PATIENCE_SECONDS
        try:
            while time.monotonic() < ends:
                if not select.select([screen], [], [], 1)[0]:
                    continue
                try:
                    read = os.read(screen, 4096)
                except OSError:  # the other end is closed
                    break
                shown += read
                if answer and shown.rstrip().endswith(b"[y/N]:"):
                    os.write(screen, f"{answer}\n".encode())
        finally:
            os.close(screen)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), shown.decode()

    return await asyncio.to_thread(run)
