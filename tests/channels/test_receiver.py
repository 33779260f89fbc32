"""The receiver that other tests rely on: it does to a connection what it was told, no more and no less."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.receiver import Answer, Received, Receiver

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 60.0


class Line:
    """A raw connection to the receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self.port = int(receiver.url.rsplit(":", 1)[1].strip("/"))

    async def open(self) -> Line:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def post(self, body: bytes, path: str = "/hook?a=1", headers: str = "") -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: here\r\nX-One: a\r\nx-one: b\r\n{headers}"
        self.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def answer(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return head, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.close()


async def test_the_ledger_holds_each_request_as_it_came_and_whether_it_was_answered() -> None:
    async with Receiver() as receiver:
        line = await Line(receiver).open()
        line.post(b'{"a": 1}')
        head, body = await line.answer()
        [request] = receiver.requests
        line.close()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b""
    assert (request.number, request.method, request.path, request.connection) == (1, "POST", "/hook?a=1", 1)
    assert request.headers["x-one"] == "a, b"
    assert request.json == {"a": 1}
    assert request.answered


async def test_a_script_is_followed_in_order_and_then_the_default_holds_again() -> None:
    async with Receiver(Answer(status=204)) as receiver:
        receiver.script(Answer(status=503, headers={"Retry-After": "7"}, body=b"no"), echo)
        line = await Line(receiver).open()
        answers = []
        for number in range(3):
            line.post(b"%d" % number)
            answers.append(await line.answer())
        line.close()
    assert [head.split(b" ")[1] for head, _ in answers] == [b"503", b"200", b"204"]
    assert b"Retry-After: 7\r\n" in answers[0][0]
    assert [body for _, body in answers] == [b"no", b"1 /hook?a=1", b""]


def echo(request: Received) -> Answer:
    return Answer(body=request.body + b" " + request.path.encode())


async def test_requests_sent_at_once_on_one_connection_are_answered_in_order() -> None:
    async with Receiver(echo) as receiver:
        line = await Line(receiver).open()
        for number in range(3):
            line.post(b"%d" % number, path="/")
        answers = [(await line.answer())[1] for _ in range(3)]
        line.close()
    assert answers == [b"0 /", b"1 /", b"2 /"]
    assert receiver.connections == 1


async def test_a_request_that_arrives_byte_by_byte_is_one_request() -> None:
    async with Receiver() as receiver:
        line = await Line(receiver).open()
        for byte in b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc":
            line.send(bytes([byte]))
            await line.writer.drain()
        await line.answer()
        line.close()
    assert [request.body for request in receiver.requests] == [b"abc"]


async def test_held_requests_are_in_the_ledger_and_answered_only_after_release() -> None:
    async with Receiver() as receiver:
        receiver.hold()
        lines = [await Line(receiver).open() for _ in range(3)]
        for line in lines:
            line.post(b"x")
        await receiver.wait_for(3)
        assert not any(request.answered for request in receiver.requests)
        receiver.release()
        for line in lines:
            await line.answer()
            line.close()
        assert all(request.answered for request in receiver.requests)


async def test_waiting_for_requests_that_never_come_fails_loudly() -> None:
    async with Receiver() as receiver:
        with pytest.raises(TimeoutError):
            await receiver.wait_for(1, timeout=0.01)


async def test_reset_after_reading_keeps_the_request_and_breaks_the_connection() -> None:
    async with Receiver(Answer.reset()) as receiver:
        line = await Line(receiver).open()
        line.post(b"x")
        with pytest.raises(ConnectionResetError):
            await line.rest()
        line.close()
    assert [(request.body, request.answered) for request in receiver.requests] == [(b"x", False)]


async def test_reset_before_reading_leaves_no_request() -> None:
    async with Receiver() as receiver:
        receiver.script(Answer.reset_unread())
        line = await Line(receiver).open()
        line.post(b"x")
        with pytest.raises(ConnectionResetError):
            await line.rest()
        line.close()
        again = await Line(receiver).open()
        again.post(b"y")
        await again.answer()
        again.close()
    assert [request.body for request in receiver.requests] == [b"y"]


async def test_a_hanging_request_is_read_and_never_answered() -> None:
    async with Receiver(Answer.hang()) as receiver:
        line = await Line(receiver).open()
        line.post(b"x")
        await receiver.wait_for(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await line.reader.read(1)
        line.close()
    assert not receiver.requests[0].answered


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (Answer(cut=9), b"HTTP/1.1 "),
        (
            Answer(body=b"0123456789", cut=-5),
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n01234",
        ),
        (Answer(wire=b"nonsense"), b"nonsense"),
    ],
)
async def test_half_an_answer_is_exactly_that(answer: Answer, sent: bytes) -> None:
    async with Receiver(answer) as receiver:
        line = await Line(receiver).open()
        line.post(b"x")
        assert await line.rest() == sent
        line.close()


async def until_asleep(clock: FakeClock) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not clock.sleeping:  # noqa: ASYNC110 — the clock tells nobody who sleeps
            await asyncio.sleep(0)


async def test_delays_and_drips_follow_the_clock() -> None:
    clock = FakeClock()
    async with Receiver(Answer(body=b"abc", delay_seconds=5, drip_seconds=1), clock=clock) as receiver:
        line = await Line(receiver).open()
        line.post(b"x")
        await receiver.wait_for(1)
        await until_asleep(clock)
        clock.advance(5)
        assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        for byte in (b"a", b"b", b"c"):
            await until_asleep(clock)
            clock.advance(1)
            assert await line.reader.readexactly(1) == byte
        line.close()


async def test_a_gzip_bomb_is_small_on_the_wire() -> None:
    bomb = Answer.gzip_bomb(size=1_000_000)
    async with Receiver(bomb) as receiver:
        line = await Line(receiver).open()
        line.post(b"x")
        head, body = await line.answer()
        line.close()
    assert b"Content-Encoding: gzip" in head
    assert len(body) < 2000
    assert len(gzip.decompress(body)) == 1_000_000


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\n: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nA: " + b"x" * 70_000, b"431"),
    ],
)
async def test_what_is_no_request_is_refused_and_not_recorded(request_text: bytes, status: bytes) -> None:
    async with Receiver() as receiver:
        line = await Line(receiver).open()
        line.send(request_text)
        assert (await line.rest()).split(b" ")[1] == status
        line.close()
    assert receiver.requests == []


async def test_a_client_that_wants_to_close_is_closed_after_its_answer() -> None:
    async with Receiver() as receiver:
        line = await Line(receiver).open()
        line.post(b"x", headers="Connection: close\r\n")
        assert (await line.rest()).startswith(b"HTTP/1.1 200")
        line.close()
        await receiver.wait_until_quiet()


async def test_a_receiver_that_is_full_counts_on_without_remembering() -> None:
    async with Receiver(keep=1) as receiver:
        line = await Line(receiver).open()
        for _ in range(3):
            line.post(b"x")
            await line.answer()
        line.close()
    assert receiver.count == 3
    assert len(receiver.requests) == 1


async def test_closing_breaks_what_is_open_and_can_be_repeated() -> None:
    receiver = Receiver(Answer.hang())
    await receiver.start()
    line = await Line(receiver).open()
    line.post(b"x")
    await receiver.wait_for(1)
    await receiver.close()
    await receiver.close()
    assert await line.rest() == b""
    line.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_as_a_process_it_records_before_it_answers(tmp_path: Path, end: signal.Signals) -> None:
    ledger = tmp_path / "ledger.jsonl"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pillarbox.testing.receiver", "--ledger", str(ledger), "--status", "202"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        url = (await process.stdout.readline()).decode().strip()
    receiver = Receiver()
    receiver.url = url
    line = await Line(receiver).open()
    for number, body in enumerate([b'{"n": 1}', b"\xff\x00"], start=1):
        line.post(body)
        assert (await line.answer())[0].startswith(b"HTTP/1.1 202")
        # The answer is here, so the line must be, whatever happens to the process now.
        assert len(ledger.read_bytes().splitlines()) == number
    process.send_signal(end)
    async with asyncio.timeout(PATIENCE_SECONDS):
        code = await process.wait()
    line.close()
    first, second = (json.loads(entry) for entry in ledger.read_text("utf-8").splitlines())
    assert (first["number"], first["method"], first["path"], first["body"]) == (1, "POST", "/hook?a=1", '{"n": 1}')
    assert second["body_base64"] == "/wA="
    assert code == (0 if end is signal.SIGTERM else -signal.SIGKILL)


async def test_an_answer_without_an_end_goes_on_until_nobody_reads_it_any_more() -> None:
    async with Receiver(Answer.pour(status=201, body=b"{}")) as receiver:
        line = await Line(receiver).open()
        line.post(b"")
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await line.reader.readuntil(b"\r\n\r\n")
            assert await line.reader.readexactly(5_000_000) == b"{}" + b" " * 4_999_998
        line.close()
        await receiver.wait_until_quiet()
    assert head.startswith(b"HTTP/1.1 201 Created\r\n")
