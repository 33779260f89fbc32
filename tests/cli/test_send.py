"""`pillarbox send`: what is accepted, how it is waited for, and who delivers it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.receiver import Answer, Receiver
from tests.cli.commands import Pillarbox
from tests.cli.test_reference import MESSAGE
from tests.warm import WarmPython

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_url_is_enough(pillarbox: Pillarbox, receiver: Receiver) -> None:
    del pillarbox.variables["PILLARBOX_DB"]
    sent = await pillarbox("send", receiver.url, "hi", "--to", "x", "--wait", "--json")
    assert (sent.code, sent.json["state"], sent.json["created"], sent.json["durability"]) == (
        0, "delivered", True, "power",
    )  # fmt: skip
    (request,) = receiver.requests
    assert request.json == {"id": sent.json["id"], "to": "x", "text": "hi"}


async def test_the_id_is_the_only_data(pillarbox: Pillarbox, receiver: Receiver) -> None:
    sent = await pillarbox("send", receiver.url, "hi", "--to", "-100123", "--wait")
    assert len(sent.out.strip()) == 22
    assert sent.said == f"accepted by {receiver.url}"


@pytest.mark.contract("EN10")
async def test_every_option_reaches_the_message(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    sent = await pillarbox(
        "send", "ops", "*hi*", "--to", "ann", "--subject", "s", "--format", "markdown", "--thread", "t", "--key", "k",
        "--at", "1h", "--ttl", "2h", "--lane", "l", "--priority", "urgent", "--max-attempts", "7", "--tenant", "acme",
        "--account", "bot", "--metadata", '{"a": [1]}', "--correlation-id", "c", "--json",
    )  # fmt: skip
    message = sent.json
    assert message["content"] == {"text": "*hi*", "format": "markdown", "subject": "s"}
    assert message["metadata"] == {"a": [1]}
    expected = {"to": "ann", "thread": "t", "key": "k", "priority": 3, "max_attempts": 7, "tenant": "acme"}
    assert {name: message[name] for name in expected} == expected
    assert message["account"] == "bot"
    assert message["correlation_id"] == "c"
    assert message["lane"] == "acme/=l"
    assert message["not_before"] == message["due_at"]
    assert message["expires_at"] > message["not_before"] > message["created_at"]


async def test_none_means_no_limit_and_no_order(pillarbox: Pillarbox, tmp_path: Path) -> None:
    pillarbox.serving(f"file:{tmp_path}/sent.jsonl")
    ordered = (await pillarbox("send", "ops", "hi", "--to", "ann", "--json")).json
    free = (await pillarbox("send", "ops", "hi", "--to", "ann", "--ttl", "none", "--lane", "none", "--json")).json
    assert (ordered["lane"], free["lane"], free["expires_at"]) == ("ops/ann", None, None)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [(("-",), b"caf\xc3\xa9\n"), ((), b"caf\xc3\xa9\n"), (("café",), None)],
    ids=["dash", "piped", "argument"],
)
async def test_text_comes_as_an_argument_or_from_stdin(
    pillarbox: Pillarbox, receiver: Receiver, arguments: tuple[str, ...], stdin: bytes | None
) -> None:
    sent = await pillarbox("send", receiver.url, *arguments, "--to", "x", "--json", stdin=stdin)
    assert sent.json["content"] == {"text": "café"}


async def test_a_payload_goes_out_as_it_is(pillarbox: Pillarbox, receiver: Receiver) -> None:
    (pillarbox.home / "picture").write_bytes(b"\x00\xff\r\n")
    send = ("send", receiver.url, "--to", "x", "--wait", "--json")
    await pillarbox(*send, "--payload", '{"b":1,  "a":2}')
    await pillarbox(*send, "--payload-file", "picture", "--content-type", "image/x-test")
    await pillarbox(*send, "--payload-file", "-", stdin=b"piped")
    assert [(request.body, request.headers["content-type"]) for request in receiver.requests] == [
        (b'{"b":1,  "a":2}', "application/json"),
        (b"\x00\xff\r\n", "image/x-test"),
        (b"piped", "application/octet-stream"),
    ]


@pytest.mark.contract("EN7")
async def test_a_key_makes_it_safe_to_repeat(pillarbox: Pillarbox, receiver: Receiver) -> None:
    send = ("send", receiver.url, "--to", "x", "--key", "k", "--wait", "--json")
    first, again = await pillarbox(*send, "hi"), await pillarbox(*send, "hi")
    other = await pillarbox(*send, "other")
    assert (first.json["id"], first.json["created"]) == (again.json["id"], True)
    assert (again.code, again.json["created"], again.json["state"]) == (0, False, "delivered")
    assert "key" in again.err
    assert (other.code, other.out) == (2, "")
    assert receiver.count == 1


@pytest.mark.contract("EN14")
async def test_nothing_to_say_is_no_error_and_no_message(pillarbox: Pillarbox, receiver: Receiver) -> None:
    sent = await pillarbox("send", receiver.url, "  ", "--to", "x", "--wait", "--json")
    assert (sent.code, sent.json["id"], sent.json["skipped"]) == (0, None, "empty")
    assert (await pillarbox("ls", "--json")).json == []


@pytest.mark.contract("CL7")
async def test_waiting_delivers_only_its_own_message(pillarbox: Pillarbox, receiver: Receiver) -> None:
    other = await pillarbox("send", receiver.url, "other", "--to", "y")
    assert "nobody else knows this URL" in other.said
    mine = await pillarbox("send", receiver.url, "mine", "--to", "x", "--wait", "--json")
    assert [request.json["id"] for request in receiver.requests] == [mine.json["id"]]
    assert (await pillarbox("show", other.out.strip(), "--json")).json["claims"] == 0
    assert (await pillarbox("workers", "--json")).json == []


@pytest.mark.contract("CL7")
async def test_waiting_leaves_the_message_to_a_worker_that_runs(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    async with pillarbox.running("run", "--json") as worker:
        await worker.line("started")
        sent = await pillarbox("send", "ops", "hi", "--to", "x", "--wait", "--json")
        assert (sent.code, sent.json["state"]) == (0, "delivered")
        delivered = await worker.line("delivered")
        assert delivered["id"] == sent.json["id"]
    assert receiver.count == 1


@pytest.mark.contract("CL7")
async def test_two_that_wait_do_not_wait_for_each_other(pillarbox: Pillarbox) -> None:
    """Somebody who delivers one message alone serves no channel."""
    pillarbox.serving("http://127.0.0.1:1/")
    async with Receiver() as receiver:
        first = await pillarbox.start("send", "ops", "hi", "--to", "x", "--wait")
        assert first.stderr is not None
        await first.stderr.readline()  # its first attempt has failed, and it goes on waiting
        pillarbox.serving(receiver.url)
        second = await pillarbox("send", "ops", "hi", "--to", "y", "--wait")
        assert second.code == 0
    first.terminate()
    await first.communicate()


async def test_without_a_worker_it_says_what_the_message_waits_for(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    assert "`pillarbox run`" in (await pillarbox("send", "ops", "hi", "--to", "x")).said
    async with pillarbox.running("run", "--json") as worker:
        await worker.line("started")
        assert (await pillarbox("send", "ops", "hi", "--to", "x")).err == ""


@pytest.mark.parametrize(
    ("status", "options", "ending"),
    [
        (400, {}, ("dead", "rejected")),
        (409, {"max_attempts": "1"}, ("dead", "retries_exhausted")),
        (500, {"uncertain": "hold"}, ("held", "uncertain")),
    ],
    ids=["rejected", "exhausted", "held"],
)
async def test_what_is_not_delivered_is_exit_6(
    pillarbox: Pillarbox, receiver: Receiver, status: int, options: dict[str, str], ending: tuple[str, str]
) -> None:
    receiver.answer = Answer(status=status)
    pillarbox.serving(receiver.url, **options)
    sent = await pillarbox("send", "ops", "hi", "--to", "x", "--wait", "--json")
    assert (sent.code, (sent.json["state"], sent.json["reason"])) == (6, ending)
    assert "not delivered: {}, reason {}: HTTP {}".format(*ending, status) in sent.err


async def test_a_message_that_expires_while_waited_for_is_exit_6(pillarbox: Pillarbox) -> None:
    sent = await pillarbox("send", "http://127.0.0.1:1/", "hi", "--to", "x", "--ttl", "500ms", "--wait", "--json")
    assert (sent.code, sent.json["state"]) == (6, "expired")


@pytest.mark.contract("CL6")
async def test_a_port_nobody_listens_on_is_refused_and_the_message_stays_queued(pillarbox: Pillarbox) -> None:
    sent = await pillarbox("send", "http://127.0.0.1:1/", "hi", "--to", "x", "--wait", "--timeout", "3s", "--json")
    assert (sent.code, sent.json["state"], sent.json["charged"]) == (7, "scheduled", 1)
    assert "Connection refused" in sent.err
    assert "stays queued" in sent.err


async def test_a_timeout_leaves_the_message_to_whoever_comes_next(pillarbox: Pillarbox, receiver: Receiver) -> None:
    receiver.answer = Answer.hang()
    pillarbox.serving(receiver.url, schedule="1ms")
    sent = await pillarbox("send", "ops", "hi", "--to", "x", "--wait", "--timeout", "3s", "--json")
    assert (sent.code, sent.json["state"], sent.json["error_class"]) == (7, "scheduled", "uncertain")
    receiver.answer = Answer()
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1
    numbers = [int(request.headers["pillarbox-attempt"]) for request in receiver.requests]
    assert numbers == [1, 2]
    tokens = {request.headers["idempotency-key"] for request in receiver.requests}
    assert len(tokens) == 1


async def test_ctrl_c_ends_the_waiting_and_leaves_the_message_queued(pillarbox: Pillarbox, receiver: Receiver) -> None:
    receiver.answer = Answer.hang()
    process = await pillarbox.start("send", receiver.url, "hi", "--to", "x", "--wait")
    await receiver.wait_for(1)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    message = (await pillarbox("show", "LAST", "--json")).json
    assert (message["state"], message["claims"]) == ("scheduled", 1)
    assert process.returncode == 130
    assert err.decode().split("\n")[-4:] == [f"message {message['id']} stays queued", "", "interrupted", ""]


@pytest.mark.contract("EV3")
async def test_a_url_on_the_command_line_leaves_no_secret_behind(pillarbox: Pillarbox) -> None:
    secret = "CANARYc0ffee123456789abcdef"
    async with Receiver() as receiver:
        url = receiver.url.replace("//", f"//user:{secret}@") + f"hooks/{secret}?token={secret}"
        sent = await pillarbox("send", url, "hi", "--to", "x", "--wait", "--json")
        assert sent.code == 0
        assert secret not in sent.out + sent.err
        other = await pillarbox("send", url.replace(f"user:{secret}", "user:changed"), "hi", "--to", "x", "--json")
    assert other.json["channel"] == sent.json["channel"]
    assert all(secret.encode() not in file.read_bytes() for file in pillarbox.home.rglob("*") if file.is_file())


async def test_a_url_that_waits_can_be_served_by_its_name(pillarbox: Pillarbox, receiver: Receiver) -> None:
    sent = await pillarbox("send", receiver.url, "hi", "--to", "x", "--json")
    pillarbox.serving(receiver.url, name=sent.json["channel"])
    assert (await pillarbox("run", "--drain", "--json")).row("drained")["delivered"] == 1


async def test_last_is_what_this_user_sent_last_to_this_database(
    pillarbox: Pillarbox, receiver: Receiver, warm_python: WarmPython
) -> None:
    send = ("send", receiver.url, "hi", "--to", "x", "--json")
    nothing = await pillarbox("show", "LAST", "--db", (await pillarbox(*send)).json["id"] and str(pillarbox.db))
    assert nothing.code == 0
    mine = (await pillarbox(*send)).json["id"]
    await pillarbox(*send, "--db", "another.db")
    somebody_else = Pillarbox(pillarbox.home, warm_python)
    somebody_else.variables["XDG_STATE_HOME"] = str(pillarbox.home / "theirs")
    theirs = (await somebody_else(*send)).json["id"]
    assert (await pillarbox("show", "LAST", "--json")).json["id"] == mine
    assert (await pillarbox("show", "LAST", "--json", "--db", "outbox.db")).json["id"] == mine
    assert (await somebody_else("show", "LAST", "--json")).json["id"] == theirs
    nobody = await pillarbox("cancel", "LAST", XDG_STATE_HOME=str(pillarbox.home / "nobody"))
    assert (nobody.code, nobody.said) == (
        3,
        "error: LAST: you have sent, replayed or imported nothing in this database from here",
    )


async def test_json_is_the_same_with_and_without_waiting(pillarbox: Pillarbox, receiver: Receiver) -> None:
    now = (await pillarbox("send", receiver.url, "hi", "--to", "x", "--wait", "--json")).json
    later = (await pillarbox("send", receiver.url, "hi", "--to", "x", "--json")).json
    shown = (await pillarbox("show", now["id"], "--json")).json
    assert list(now) == list(later)
    assert list(now) == [*MESSAGE, "created", "durability", "skipped"]
    assert list(shown) == MESSAGE
    assert json.dumps(shown["content"]) == '{"text": "hi"}'
