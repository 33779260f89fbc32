"""Files go from the caller to the channel through the store (contract CO4)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import File, Outbox
from pillarbox.errors import InvalidMessage, KeyConflict, QueueFull
from pillarbox.testing.scripted import ScriptedChannel
from tests.engine.stand import Stand

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt

pytestmark = pytest.mark.contract("CO4")
PNG = b"\x89PNG\r\n\x1a\nand so on"


def given(attempt: Attempt) -> list[tuple[str, str, int, bytes | None, str | None]]:
    return [(file.name, file.media_type, file.size, file.data, file.url) for file in attempt.files]


async def test_the_caller_may_delete_its_file_when_send_returns(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7")
    async with Outbox(tmp_path / "outbox.db", deliver=False) as box:
        await box.send("chat", to="ann", text="see", files=[path, PNG, "https://example.org/a.png"])
        # Text that is no URL is a path; a file without a text is a message.
        await box.send("chat", to="ann", files=[str(path), File(name="b.txt", media_type="text/x-b", data=b"")])
    path.unlink()
    channel = ScriptedChannel()
    async with Outbox(tmp_path / "outbox.db", {"chat": channel}) as box:
        await box.drained()
        assert await box.check() == []
    assert [given(attempt) for attempt in channel.attempts] == [
        [
            ("report.pdf", "application/pdf", 8, b"%PDF-1.7", None),
            ("file.png", "image/png", len(PNG), PNG, None),
            ("", "image/png", 0, None, "https://example.org/a.png"),
        ],
        [("report.pdf", "application/pdf", 8, b"%PDF-1.7", None), ("b.txt", "text/x-b", 0, b"", None)],
    ]


@pytest.mark.contract("EN15", "CO2")
async def test_the_files_of_a_fan_out_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one")

    def grow(_: object) -> None:
        path.write_bytes(path.read_bytes() + b", more")

    channel = ScriptedChannel()
    async with Outbox(tmp_path / "outbox.db", {"chat": channel}) as box:
        box.hooks.before_delivery(grow)
        await box.send_many([{"channel": "chat", "to": ["ann", "bob", "eve"], "text": "see", "files": [path]}])
        await box.drained()
    assert [[file.data for file in attempt.files] for attempt in channel.attempts] == [[b"one, more"]] * 3


async def test_a_replay_has_the_files(stand: Stand) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    first = await box.send(text="see", files=[PNG])
    await box.settled(first)
    replay = await box.outbox.replay(first.id or "")
    await box.settled(replay)
    assert [[file.data for file in attempt.files] for attempt in channel.attempts] == [[PNG]] * 2


async def test_a_key_stands_for_the_bytes_of_the_files_too(stand: Stand) -> None:
    box = await stand.open(ScriptedChannel())
    first = await box.send(text="see", files=[PNG], key="k")
    assert (await box.send(text="see", files=[PNG], key="k")).id == first.id
    with pytest.raises(KeyConflict):
        await box.send(text="see", files=[PNG + b"!"], key="k")


async def test_a_disabled_queue_passes_them_on() -> None:
    channel = ScriptedChannel()
    async with Outbox(":memory:", {"chat": channel}, enabled=False) as box:
        await box.send("chat", to="ann", text="see", files=[PNG])
    assert [file.data for file in channel.attempts[0].files] == [PNG]


async def test_what_cannot_be_sent_is_refused_before_it_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 1001)
    os.mkfifo(tmp_path / "pipe")
    refusals: list[tuple[Any, str]] = [
        (["no list"], "No such file"),
        ("no list", "expected a list"),
        ([tmp_path / "gone"], "No such file"),
        ([tmp_path], "is a directory"),
        ([tmp_path / "pipe"], "no regular file"),
        ([tmp_path / "large"], "at most 1000 bytes"),
        ([b"x" * 501, b"x" * 500], "at most 1000 bytes"),
        ([b""] * 101, "at most 100"),
        (["a\0b"], "NUL"),
        ([""], "empty text"),
        ([5], "not int"),
        ([File()], "expected a path"),
        ([File(data=b"x", name="a\r\nb")], "control characters"),
        (["ftp://example.org/a"], "http"),
        (["file:///etc/passwd"], "http"),
        (["http://127.0.0.1/a"], "not a public address"),
        (["http://169.254.169.254/latest"], "metadata"),
        (["http://2130706433/"], "127.0.0.1"),
    ]
    async with Outbox(tmp_path / "outbox.db", deliver=False, files_bytes_max=1000) as box:
        for files, expected in refusals:
            with pytest.raises(InvalidMessage, match=expected) as caught:
                await box.send("chat", to="ann", text="x", files=files)
            assert caught.value.field == "files"
        assert await box.list() == []
    async with Outbox(tmp_path / "other.db", deliver=False, limits={"bytes": 900}) as box:
        with pytest.raises(QueueFull, match="bytes"):
            await box.send("chat", to="ann", files=[b"x" * 1000])


@pytest.mark.contract("CO4")
@pytest.mark.parametrize(
    ("url", "name", "media_type", "data"),
    [
        ("data:text/plain;base64,aGk=", "file.txt", "text/plain", b"hi"),
        ("DATA:text/plain;charset=utf-8,h%20i", "file.txt", "text/plain", b"h i"),
        ("data:,hi", "file", "application/octet-stream", b"hi"),
        ("data:;base64,iVBORw0KGgo=", "file.png", "image/png", b"\x89PNG\r\n\x1a\n"),
    ],
)
async def test_a_url_may_hold_the_file_itself(stand: Stand, url: str, name: str, media_type: str, data: bytes) -> None:
    channel = ScriptedChannel()
    box = await stand.open(channel)
    await box.settled(await box.send(files=[url]))
    assert given(channel.attempts[0]) == [(name, media_type, len(data), data, None)]


@pytest.mark.contract("CO4", "EN13")
@pytest.mark.parametrize("url", ["data:", "data:text/plain", "data:text/plain;base64,a", "data:;base64,%%%"])
async def test_a_url_that_holds_nothing_readable_is_no_path(stand: Stand, url: str) -> None:
    box = await stand.open(ScriptedChannel())
    with pytest.raises(InvalidMessage, match=r"files: expected data:TYPE;base64"):
        await box.send(files=[url])
