from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.channels.base import Seams
from pillarbox.channels.console import ConsoleChannel, readable
from pillarbox.channels.file import FileChannel
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Content, File, Format
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Unavailable, Uncertain
from pillarbox.errors import ConfigError
from pillarbox.testing.fakes import FakeClock
from tests.channels.attempts import TOKEN, an_attempt
from tests.run_to_end import run_to_end

if TYPE_CHECKING:
    from pathlib import Path


async def sent(path: Path, *, query: str = "", **fields: Any) -> AnyOutcome:
    channel = FileChannel.from_url(f"file://{path}{query}")
    await channel.start(Seams(clock=FakeClock(wall_ms=1_767_323_045_678)))
    return await channel.send(an_attempt(**fields))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.contract("EN2", "CO1")
async def test_every_field_of_a_message_is_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    content = Content(
        text="Zażółć\n<b>x</b>",
        format=Format.HTML,
        subject="S",
        reply_to="<a@b>",
        silent=True,
        files=(File(name="a.txt", url="https://example.org/a.txt"),),
        extra={"buttons": [1, {"a": None}]},
    )
    fields: dict[str, Any] = {"part": 1, "part_count": 2, "thread": "t", "account": "acc", "metadata": {"k": "v"}}
    assert await sent(path, content=content, number=3, **fields) == Delivered("0")
    assert lines(path) == [
        {
            "id": TOKEN[:22],
            "time": "2026-01-02T03:04:05.678000+00:00",
            "channel": "ops",
            "to": "ann@example.net",
            "text": "Zażółć\n<b>x</b>",
            "format": "html",
            "subject": "S",
            "reply_to": "<a@b>",
            "silent": True,
            "files": [{"name": "a.txt", "url": "https://example.org/a.txt"}],
            "extra": {"buttons": [1, {"a": None}]},
            "part": 1,
            "part_count": 2,
            "attempt": 3,
            "token": TOKEN,
            "op": "send",
            "thread": "t",
            "account": "acc",
            "metadata": {"k": "v"},
        }
    ]


@pytest.mark.contract("EN2")
async def test_a_raw_payload_comes_back_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    raw = bytes(range(256))
    assert isinstance(await sent(path, content=Content(payload=raw, content_type="image/png")), Delivered)
    (line,) = lines(path)
    assert base64.b64decode(line["payload"]) == raw
    assert line["content_type"] == "image/png"


async def test_a_receipt_is_where_the_line_begins(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    receipts = []
    for text in ("one", "two", "three"):
        outcome = await sent(path, text=text)
        assert isinstance(outcome, Delivered)
        receipts.append(int(outcome.receipt or ""))
    stored = path.read_bytes()
    assert [json.loads(stored[at:].partition(b"\n")[0])["text"] for at in receipts] == ["one", "two", "three"]


@pytest.mark.contract("SG4")
async def test_a_new_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    await sent(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_lines_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    channels = [FileChannel(str(path), fsync=False) for _ in range(4)]
    texts = [f"{n}:" + "x" * 20_000 for n in range(40)]
    await asyncio.gather(*(channels[n % 4].send(an_attempt(text=text)) for n, text in enumerate(texts)))
    assert sorted(line["text"] for line in lines(path)) == sorted(texts)


async def test_a_line_waits_for_another_writers_to_end(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with path.open("ab", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b'{"text": "one')
        waiting = asyncio.ensure_future(sent(path, text="two"))
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        other.write(b'"}\n')
    assert isinstance(await waiting, Delivered)
    assert [line["text"] for line in lines(path)] == ["one", "two"]


async def test_a_line_torn_by_a_crash_stays_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"id": "torn')
    outcome = await sent(path)
    assert outcome == Delivered("13")
    torn, whole = path.read_bytes().splitlines()
    assert torn == b'{"id": "torn'
    assert json.loads(whole)["text"] == "Hello"


@pytest.mark.contract("SG4", "CL1")
async def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "dangling", "directory", "fifo", "missing/out", "target/out"):
        outcome = await sent(tmp_path / name)
        assert isinstance(outcome, Unavailable), name
        assert str(tmp_path) not in outcome.reason
    assert target.read_text() == "kept"
    assert not (tmp_path / "nowhere").exists()


LIMITED = """
import json, resource, signal, sys
from pillarbox.channels.file import append
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
print(repr(append(sys.argv[1], b"x" * 99 + b"\\n", fsync=True)))
"""


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(
    ("limit", "said", "left"),
    [(50, "Deferred", 50), (80, "Uncertain", 80), (200, "Delivered(None, None, '50', None)", 150)],
)
def test_a_full_disk_is_certain_only_while_nothing_was_written(
    tmp_path: Path, limit: int, said: str, left: int
) -> None:
    # A real limit of the system on the file's size: nothing, a part, or all of the line fits.
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"y" * 49 + b"\n")
    ran = run_to_end([sys.executable, "-c", LIMITED, path, str(limit)], seconds=60)
    assert ran.stdout.startswith(said), ran.stderr
    assert path.stat().st_size == left


@pytest.mark.contract("CL6")
@pytest.mark.parametrize(("step", "kind"), [("write", Deferred), ("fsync", Uncertain)])
async def test_an_error_of_the_disk_counts_by_when_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, kind: type
) -> None:
    # No local disk fails on request, so the system's call is the part that is passed in differently here.
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, step, fail)
    outcome = await sent(tmp_path / "out.jsonl")
    assert type(outcome) is kind
    assert "Input/output error" in repr(outcome)


async def test_fsync_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    await sent(tmp_path / "a", query="?fsync=false")
    assert synced == []
    await sent(tmp_path / "b")
    assert len(synced) == 2  # the file, and the directory that now has its name
    await sent(tmp_path / "b", query="?fsync=true")
    assert len(synced) == 3


@pytest.mark.contract("CF2")
@pytest.mark.parametrize(
    ("url", "options", "field"),
    [
        ("file://out.jsonl", {}, "url"),
        ("file:out.jsonl", {}, "url"),
        ("file:///tmp/", {}, "url"),
        ("file:///tmp/a%00b", {}, "url"),
        ("file:///tmp/a b", {}, "url"),
        ("file:///tmp/a%zz", {}, "url"),
        ("http:///tmp/a", {}, "url"),
        ("file:///tmp/a?fsync=perhaps", {}, "fsync"),
        ("file:///tmp/a?fsync=true&fsync=false", {}, "fsync"),
        ("file:///tmp/a", {"fsync": "no way"}, "fsync"),
        ("file:///tmp/a?fsnyc=false", {}, "fsnyc"),
    ],
)
def test_a_wrong_url_or_option_is_named(url: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        FileChannel.from_url(url, **options)
    assert refused.value.field == field


def test_the_nearest_known_option_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'fsync'"):
        FileChannel.from_url("file:///tmp/a?fsnyc=false")


def test_a_path_is_percent_decoded() -> None:
    assert FileChannel.from_url("file:///tmp/a%20b%3F.jsonl").describe() == "file:///tmp/a b?.jsonl"


@pytest.mark.parametrize(
    ("url", "stream"), [("console:", "out"), ("console://stdout", "out"), ("console://stderr", "err")]
)
async def test_the_console_prints_one_line(url: str, stream: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await ConsoleChannel.from_url(url).send(an_attempt(text="Deploy done")) == Delivered()
    captured = capsys.readouterr()
    assert getattr(captured, stream) == "ops → ann@example.net: Deploy done\n"
    assert captured.out + captured.err == "ops → ann@example.net: Deploy done\n"


@pytest.mark.contract("EN13")
def test_no_message_gives_orders_to_a_terminal() -> None:
    line = readable(an_attempt("a\x1b]0;x\x07", text="one\r\ntwo\x1b[2J\u202e\u2028\x9b"))
    assert line == "ops → a\\x1b]0;x\\x07: one\\r\\ntwo\\x1b[2J\\u202e\\u2028\\x9b"


def test_a_console_line_says_what_is_special() -> None:
    assert readable(an_attempt(part=1, part_count=3)) == "ops → ann@example.net (2/3): Hello"
    assert readable(an_attempt(content=Content(text="b", subject="S"))) == "ops → ann@example.net: S: b"
    raw = Content(payload=b"123", content_type="image/png")
    assert readable(an_attempt(content=raw)) == "ops → ann@example.net: 3 bytes of image/png"
    assert readable(an_attempt(op=Op.EDIT, target="7")) == "ops → ann@example.net edit 7: Hello"


def test_a_console_that_nobody_reads_is_unavailable() -> None:
    program = """
import asyncio
from pillarbox.channels.console import ConsoleChannel
from pillarbox.testing.fakes import FakeClock
from tests.channels.attempts import an_attempt
import os, sys
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
print(type(asyncio.run(ConsoleChannel().send(an_attempt()))).__name__, file=sys.stderr)
sys.stdout = None
print(type(asyncio.run(ConsoleChannel().send(an_attempt()))).__name__, file=sys.stderr)
os._exit(0)
"""
    ran = run_to_end([sys.executable, "-c", program], seconds=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.split() == ["Uncertain", "Unavailable"]


@pytest.mark.contract("CF2")
@pytest.mark.parametrize("url", ["console://stdin", "console://stderr/x", "console://u@stderr", "console:x", "consul:"])
def test_a_wrong_console_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        ConsoleChannel.from_url(url)
