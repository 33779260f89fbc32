"""The command line where the queue is disabled: `send` delivers by itself, and there is nothing to run (EN12)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.receiver import Answer, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.commands import Pillarbox

pytestmark = pytest.mark.contract("EN12")


@pytest.fixture
def disabled(pillarbox: Pillarbox) -> Pillarbox:
    pillarbox.variables["PILLARBOX_ENABLED"] = "false"
    return pillarbox


def _left_behind(home: Path) -> list[str]:
    return [name for _, _, names in os.walk(home) for name in names if not name.endswith((".pyc", "app.py"))]


@pytest.mark.parametrize("wait", [(), ("--wait",)], ids=["plain", "wait"])
async def test_send_delivers_at_once_and_leaves_no_file(
    disabled: Pillarbox, receiver: Receiver, wait: tuple[str, ...]
) -> None:
    disabled.serving(receiver.url)
    sent = await disabled("send", "ops", "hi", "--to", "x", "--json", *wait)
    assert (sent.code, sent.json["state"], sent.json["durability"]) == (0, "delivered", "memory")
    assert [request.json["text"] for request in receiver.requests] == ["hi"]
    assert _left_behind(disabled.home) == []


async def test_send_delivers_to_a_url_at_once(disabled: Pillarbox, receiver: Receiver) -> None:
    sent = await disabled("send", receiver.url, "hi", "--to", "x")
    assert (sent.code, len(sent.out.strip())) == (0, 22)
    assert sent.said == f"accepted by {receiver.url}"
    assert len(receiver.requests) == 1


async def test_the_exit_code_tells_what_became_of_it(disabled: Pillarbox, receiver: Receiver) -> None:
    receiver.script(Answer(status=400))
    sent = await disabled("send", receiver.url, "hi", "--to", "x")
    assert (sent.code, "not delivered: dead" in sent.err) == (6, True)


async def test_a_wait_bounds_the_send(disabled: Pillarbox, receiver: Receiver) -> None:
    receiver.hold()
    sent = await disabled("send", receiver.url, "hi", "--to", "x", "--wait", "--timeout", "200ms")
    assert (sent.code, sent.out) == (6, "")
    assert "nothing is queued" in sent.said


@pytest.mark.parametrize("option", [("--key", "k"), ("--at", "1h"), ("--lane", "l")], ids=["key", "at", "lane"])
async def test_what_only_a_queue_keeps_is_refused_by_name(
    disabled: Pillarbox, receiver: Receiver, option: tuple[str, str]
) -> None:
    sent = await disabled("send", receiver.url, "hi", "--to", "x", *option)
    assert (sent.code, receiver.requests) == (2, [])
    assert option[0].strip("-") in sent.said
    assert "enabled = false" in sent.said


async def test_an_unknown_channel_is_no_reason_to_make_a_file(disabled: Pillarbox) -> None:
    sent = await disabled("send", "nobody", "hi", "--to", "x")
    assert (sent.code, "nobody" in sent.said) == (4, True)
    assert _left_behind(disabled.home) == []


async def test_ephemeral_needs_no_wait_where_every_send_is_waited_for(disabled: Pillarbox, receiver: Receiver) -> None:
    assert (await disabled("send", receiver.url, "hi", "--to", "x", "--ephemeral")).code == 0


async def test_blank_text_sends_nothing(disabled: Pillarbox, receiver: Receiver) -> None:
    assert (await disabled("send", receiver.url, " ", "--to", "x")).code == 0
    assert receiver.requests == []


@pytest.mark.parametrize("drain", [(), ("--drain",)], ids=["run", "drain"])
@pytest.mark.parametrize("configured", [True, False], ids=["channels", "no-channels"])
async def test_run_says_that_there_is_nothing_to_run(
    disabled: Pillarbox, receiver: Receiver, drain: tuple[str, ...], *, configured: bool
) -> None:
    if configured:
        disabled.serving(receiver.url)
    ran = await disabled("run", *drain)
    assert (ran.code, ran.out) == (0, "")
    assert ran.said.startswith("nothing to run: the queue is disabled (enabled = false)")
    assert _left_behind(disabled.home) == []


async def test_a_drain_in_json_is_an_empty_report(disabled: Pillarbox, receiver: Receiver) -> None:
    disabled.serving(receiver.url)
    ran = await disabled("run", "--drain", "--json")
    assert ran.code == 0
    drained = ran.row("drained")
    assert set(drained.values()) == {"drained", 0}
    assert "enabled = false" in ran.row("disabled")["reason"]


async def test_an_outbox_of_ones_own_that_is_disabled_has_nothing_to_run_either(pillarbox: Pillarbox) -> None:
    (pillarbox.home / "app.py").write_text(
        "from pillarbox import Outbox\nbox = Outbox('x.db', enabled=False)\nbox.channel('f', lambda attempt: None)\n"
    )
    ran = await pillarbox("run", "--app", "app:box", "--drain")
    assert (ran.code, "nothing to run" in ran.said) == (0, True)
