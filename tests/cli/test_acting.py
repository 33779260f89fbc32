"""Commands by which a person steps in, and what they leave in the history."""

from __future__ import annotations

import getpass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Outbox
from pillarbox.testing.receiver import Answer, Receiver

if TYPE_CHECKING:
    from tests.cli.commands import Pillarbox


async def queued(pillarbox: Pillarbox, url: str, **options: Any) -> str:
    """Accept a message for the channel that the commands that follow have."""
    pillarbox.serving(url)
    async with Outbox(pillarbox.db, channels={"ops": url}, deliver=False) as box:
        return (await box.send("ops", to="x", text="hi", **options)).id or ""


@pytest.mark.contract("OP1", "OP3")
async def test_cancelled_messages_are_never_sent(pillarbox: Pillarbox, receiver: Receiver) -> None:
    first = await queued(pillarbox, receiver.url)
    second = (await pillarbox("send", "ops", "hi", "--to", "x")).out.strip()
    done = await pillarbox("cancel", first, "LAST", "--reason", "a mistake", "--json")
    assert (done.code, done.json) == (
        0,
        [
            {
                "id": identity,
                "applied": True,
                "state": "cancelled",
                "cancel_requested": False,
                "refused": None,
                "replayed_as": None,
            }
            for identity in (first, second)
        ],
    )
    assert (await pillarbox("run", "--drain")).code == 0
    assert receiver.count == 0
    last = (await pillarbox("history", first, "--json")).json[-1]
    assert (last["act"], last["actor"], last["reason"]) == (
        "cancel",
        f"{getpass.getuser()} (command line)",
        "a mistake",
    )


@pytest.mark.contract("ST2", "OP1")
async def test_what_has_ended_is_not_changed_and_the_others_are(pillarbox: Pillarbox, receiver: Receiver) -> None:
    delivered = await queued(pillarbox, receiver.url)
    assert (await pillarbox("run", "--drain")).code == 0
    waiting = await queued(pillarbox, receiver.url)
    done = await pillarbox("cancel", delivered, "nosuchmessage", waiting, "--json")
    assert done.code == 3
    assert [(row["applied"], row["state"]) for row in done.json] == [
        (False, "delivered"),
        (False, None),
        (True, "cancelled"),
    ]
    refused = await pillarbox("retry", delivered)
    assert (refused.code, refused.said) == (
        1,
        f"{delivered}: nothing was changed: it is delivered, and retry is for what is scheduled or held",
    )


@pytest.mark.contract("ST11")
async def test_retry_makes_a_message_due_now(pillarbox: Pillarbox, receiver: Receiver) -> None:
    later = await queued(pillarbox, receiver.url, at=timedelta(hours=1))
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["deferred_backoff"] == 1
    assert (await pillarbox("retry", later, "--reason", "now")).code == 0
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1


@pytest.mark.contract("ST11")
async def test_retry_sends_what_was_held(pillarbox: Pillarbox) -> None:
    async with Receiver(Answer(status=500)) as receiver:
        pillarbox.serving(receiver.url, uncertain="hold")
        held = await pillarbox("send", "ops", "hi", "--to", "x", "--wait")
        assert held.code == 6
        receiver.answer = Answer()
        assert (await pillarbox("retry", "LAST")).code == 0
        assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1


@pytest.mark.contract("FL3")
async def test_a_paused_channel_sends_nothing_until_it_is_resumed(pillarbox: Pillarbox, receiver: Receiver) -> None:
    await queued(pillarbox, receiver.url)
    paused = await pillarbox("pause", "ops", "--reason", "they move house", "--json")
    assert paused.json == {"channel": "ops", "tenant": None, "paused": True, "paused_until": None}
    assert (await pillarbox("run", "--drain", "--budget", "300ms", "--json")).row("drained")["delivered"] == 0
    (queue,) = (await pillarbox("stats", "--json")).json["queues"]
    assert (queue["paused"], queue["pause_reason"]) == (True, "they move house")
    resumed = await pillarbox("resume", "ops", "--json")
    assert resumed.json == {"channel": "ops", "tenant": None, "paused": False, "paused_until": None}
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1


@pytest.mark.contract("FL3")
async def test_a_channel_is_paused_for_every_tenant_unless_one_is_named(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    async with Outbox(pillarbox.db, channels={"ops": receiver.url}, deliver=False) as box:
        for tenant in ("", "acme", "other"):
            await box.send("ops", to="ann", text="hi", tenant=tenant)
    pillarbox.serving(receiver.url)
    assert (await pillarbox("pause", "ops")).code == 0
    assert (await pillarbox("run", "--drain", "--budget", "300ms", "--json")).row("drained")["delivered"] == 0
    resumed = await pillarbox("resume", "ops", "--tenant", "acme", "--json")
    assert resumed.json == {"channel": "ops", "tenant": "acme", "paused": False, "paused_until": None}
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1
    (acme,) = (await pillarbox("stats", "ops", "--tenant", "acme", "--json")).json["queues"]
    assert (acme["paused"], acme["states"]["delivered"]) == (False, 1)
    everybody = (await pillarbox("stats", "--json")).json
    assert (everybody["messages"], [queue["paused"] for queue in everybody["queues"]]) == (3, [True, False, True])
    assert (await pillarbox("stats", "nosuch")).code == 3
    assert (await pillarbox("resume", "ops")).code == 0
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 2


@pytest.mark.contract("FL3")
async def test_a_pause_can_end_by_itself(pillarbox: Pillarbox, receiver: Receiver) -> None:
    await queued(pillarbox, receiver.url)
    assert (await pillarbox("pause", "ops", "--for", "1h", "--json")).json["paused_until"] is not None
    refused = await pillarbox("pause", "ops", "--for", "0s")
    assert (refused.code, "expected a span above 0" in refused.said) == (2, True)


async def test_a_channel_that_nobody_knows_is_not_paused(pillarbox: Pillarbox, receiver: Receiver) -> None:
    await queued(pillarbox, receiver.url)
    refused = await pillarbox("pause", "opps")
    assert (refused.code, refused.said) == (
        4,
        "error: channel: no channel 'opps' is configured (configured: ops)",
    )
    refused = await pillarbox("resume", "opps")
    assert (refused.code, refused.said) == (3, "error: nothing was ever sent through channel 'opps'")
    refused = await pillarbox("resume", "ops", "--tenant", "acme")
    assert (refused.code, refused.said) == (3, "error: nothing was ever sent through channel 'ops' for tenant 'acme'")
