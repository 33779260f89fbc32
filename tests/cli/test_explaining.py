"""`pillarbox explain`: what it prints, for people and for programs, and that it leaves no trace."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox
from pillarbox.errors import NotFound
from pillarbox.sync import Outbox as BlockingOutbox

if TYPE_CHECKING:
    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Pillarbox


@pytest.mark.contract("OP2")
async def test_explain_tells_every_reason_in_order(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    sent = await pillarbox("send", "ops", "hi", "--to", "ann", "--json", "--ttl", "1h")
    assert (await pillarbox("pause", "ops", "--reason", "new \x1b tokens")).code == 0
    told = await pillarbox("explain", "LAST", "--json")
    assert (told.code, told.err) == (0, "")
    row = told.json
    assert (row["id"], row["state"], row["earliest_at"]) == (sent.json["id"], "scheduled", None)
    assert [cause["word"] for cause in row["causes"]] == ["no_worker", "paused", "expires"]
    assert [cause["blocking"] for cause in row["causes"]] == [True, True, False]
    shown = (await pillarbox("show", "LAST", "--json")).json
    assert row["causes"][2]["until"] == shown["expires_at"]
    assert row["causes"][1]["until"] is None

    plain = await pillarbox("explain", sent.json["id"])
    assert (plain.code, plain.err) == (0, "")
    lines = plain.out.splitlines()
    assert lines[0] == f"{sent.json['id']} is scheduled"
    since = row["causes"][1]["since"][:19]
    assert lines[4] == f"2. paused  since {since}Z"
    # What a person wrote gives no orders to a terminal.
    assert lines[5].endswith("(command line): new \\x1b tokens.")
    assert lines[6] == "   → `pillarbox resume ops` lets its messages go."
    expires = shown["expires_at"][:19]
    assert lines[7].endswith(f"until {expires}Z")
    assert len(lines) == 10


@pytest.mark.contract("OP2")
async def test_explain_tells_when_it_can_go_at_the_soonest(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    async with pillarbox.running("run", "--json") as worker:
        await worker.line("started")
        await pillarbox("send", "ops", "hi", "--to", "ann", "--at", "2h")
        row = (await pillarbox("explain", "LAST", "--json")).json
        assert [cause["word"] for cause in row["causes"]] == ["later", "expires"]
        assert row["earliest_at"] == row["causes"][0]["until"]
        plain = await pillarbox("explain", "LAST")
        assert plain.out.splitlines()[0].endswith(f"is scheduled, can go at {row['earliest_at'][:19]}Z at the soonest")


@pytest.mark.contract("OP2")
async def test_what_cannot_be_explained_is_said_in_one_line(pillarbox: Pillarbox, receiver: Receiver) -> None:
    missing = await pillarbox("explain", "LAST")
    assert (missing.code, missing.out) == (5, "")
    assert missing.said.startswith(f"error: no database at {pillarbox.db}; the first `pillarbox send` makes it")
    assert list(pillarbox.home.iterdir()) == []
    pillarbox.serving(receiver.url)
    await pillarbox("send", "ops", "hi", "--to", "ann")
    unknown = await pillarbox("explain", "A" * 22)
    assert (unknown.code, unknown.out, unknown.said) == (
        3,
        "",
        f"error: no message '{'A' * 22}'; `pillarbox ls` lists what there is",
    )
    assert (await pillarbox("explain")).code == 2


@pytest.mark.contract("OP2", "SG2")
async def test_explain_changes_nothing(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    await pillarbox("send", "ops", "hi", "--to", "ann")
    before = hashlib.sha256(pillarbox.db.read_bytes()).digest()
    assert (await pillarbox("explain", "LAST")).code == 0
    assert hashlib.sha256(pillarbox.db.read_bytes()).digest() == before


@pytest.mark.contract("OP2")
async def test_the_same_is_told_from_python(pillarbox: Pillarbox) -> None:
    async with Outbox(pillarbox.db, deliver=False) as box:
        message = await box.send("ops", to="ann", text="hi")
        told = await box.explain(message.id or "")
        for unknown in ("A" * 22, "nothing"):
            with pytest.raises(NotFound, match=unknown):
                await box.explain(unknown)
    assert (told.message, told.state, told.causes[0].word) == (message.id, "scheduled", "no_worker")


@pytest.mark.contract("OP2")
def test_the_same_is_told_without_await(pillarbox: Pillarbox) -> None:
    with BlockingOutbox(pillarbox.db, deliver=False) as box:
        message = box.send("ops", to="ann", text="hi")
        assert box.explain(message.id or "").causes[0].word == "no_worker"
