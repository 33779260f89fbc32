"""Files at the chat platforms: one photo, a document, an album, a voice message, and their captions (contract CO4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import File, Message, Outbox, State
from pillarbox.channels.http.form import form
from pillarbox.channels.registry import build
from pillarbox.domain.message import Content, decode_content
from pillarbox.domain.outcome import Deferred
from pillarbox.errors import InvalidMessage
from pillarbox.testing.platforms import FakeDiscord, FakeMatrix, FakeSlack, FakeTelegram
from pillarbox.testing.receiver import Answer
from tests.channels.attempts import an_attempt, started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.contract("CO4")
PNG = b"\x89PNG\r\n\x1a\n--\r\n\r\n\0"
OGG = b"OggS voice"
ROOM = "!room:test.local"


async def delivered(path: Path, url: str, **fields: Any) -> Message:
    async with Outbox(path / "outbox.db", {"chat": url}) as box:
        message = await box.send("chat", **fields)
        await message.wait(timeout=30)
        assert message.state is State.DELIVERED, message.error
        return message


async def test_telegram_shows_each_file_as_what_it_is(tmp_path: Path) -> None:
    pdf = File(name='q"1.pdf', data=b"%PDF-1.7")
    files = [PNG, "https://example.org/a.jpg", pdf, OGG, b"plain"]
    async with FakeTelegram() as fake:
        message = await delivered(tmp_path, fake.url, to="42", text="<b>See</b>", format="html", files=files)
        assert fake.files(42) == [
            ("photo", "file.png", len(PNG)),
            ("photo", "https://example.org/a.jpg", 0),
            ("document", "q%221.pdf", 8),
            ("voice", "file.ogg", len(OGG)),
            ("document", "file", 5),
        ]
        assert fake.texts(42) == ["See", "", "", "", ""]
        assert fake.messages[0]["caption_entities"] == [{"type": "bold", "offset": 0, "length": 3}]
        assert [part.receipt for part in message.parts] == ["1,2", "3", "4", "5"]


async def test_telegrams_caption_is_edited_and_an_album_deleted_whole(tmp_path: Path) -> None:
    async with (
        FakeTelegram() as fake,
        Outbox(tmp_path / "outbox.db", {"chat": fake.url}) as box,
    ):
        album = await box.send("chat", to="42", text="two", files=[PNG, PNG + b"2"])
        await album.wait(timeout=30)
        assert album.receipt == "1,2"
        for change in (
            await box.edit(album, text="three"),
            await box.send("chat", to="42", text="yes", reply_to=album.id),
        ):
            await change.wait(timeout=30)
            assert change.state is State.DELIVERED, change.error
        assert fake.texts(42) == ["three", "", "yes"]
        await (await box.delete(album)).wait(timeout=30)
        assert fake.texts(42) == ["yes"]


@pytest.mark.contract("CO5")
async def test_an_edit_leaves_links_and_answers_as_they_are(tmp_path: Path) -> None:
    link = "https://example.org/a.jpg"
    async with (
        FakeTelegram() as telegram,
        FakeSlack() as slack,
        Outbox(tmp_path / "outbox.db", {"tg": telegram.url, "slack": slack.url}) as box,
    ):
        for channel, to in (("tg", "42"), ("slack", "C024BE91L")):
            message = await box.send(channel, to=to, text="one", files=[link])
            await message.wait(timeout=30)
            edit = await box.edit(message, text="two")
            await edit.wait(timeout=30)
            assert edit.state is State.DELIVERED, edit.error
        assert telegram.receiver.requests[-1].path.endswith("/editMessageCaption")
        assert (telegram.texts(42), slack.texts("C024BE91L")) == (["two"], [f"two\n{link}"])


def parts_of(url: str, to: str, text: str | None, files: Sequence[File]) -> list[tuple[str | None, list[str]]]:
    content = Content(text=text, files=tuple(files))
    parts = build(url).admit(to=to, content=content).parts
    found = [decode_content(part) for part in parts] or [content]
    return [(part.text, [file.name or file.url or "" for file in part.files]) for part in found]


def stored(name: str, media_type: str = "application/pdf", size: int = 1) -> File:
    return File(name=name, media_type=media_type, size=size, digest="ab")


def test_files_go_with_the_last_of_the_text_or_behind_it() -> None:
    url = "tgram://123456789:AAFakeFakeFakeFakeFakeFakeFakeFake12"
    image, gif, song = stored("i", "image/png"), stored("g", "image/gif"), stored("s", "audio/mpeg")
    pdf = stored("p")
    assert parts_of(url, "42", "x" * 1024, [pdf]) == [("x" * 1024, ["p"])]
    assert parts_of(url, "42", "x" * 1025, [pdf]) == [("x" * 1025, []), (None, ["p"])]
    assert parts_of(url, "42", None, [pdf]) == [(None, ["p"])]
    assert parts_of(url, "42", None, [image, image, gif, gif, song, song, pdf]) == [
        (None, ["i", "i"]), (None, ["g"]), (None, ["g"]), (None, ["s", "s"]), (None, ["p"]),
    ]  # fmt: skip
    assert [len(files) for _, files in parts_of(url, "42", "x", [pdf] * 12)] == [10, 2]
    long = parts_of(url, "42", f"{'x' * 4096}\n\nend", [pdf])
    assert [(len(text or ""), files) for text, files in long] == [(4096, []), (3, ["p"])]


def test_what_does_not_fit_into_one_request_goes_in_several() -> None:
    url = "discord://MTIzNDU2Nzg5MDEyMzQ1Njc4.FakeFk.FakeFakeFakeFakeFakeFakeFake"
    large = stored("l", size=10 << 20)
    link = File(url="https://example.org/a")
    assert parts_of(url, "42", "x", [large] * 5) == [("x", ["l", "l"]), (None, ["l", "l"]), (None, ["l"])]
    assert parts_of(url, "42", "x", [link]) == [("x", ["https://example.org/a"])]
    with pytest.raises(InvalidMessage, match="files: expected at most"):
        parts_of(url, "42", "x", [stored("l", size=(10 << 20) + 1)])
    with pytest.raises(InvalidMessage, match="takes no files"):
        parts_of("slack://T00000000/B00000000/FakeFakeFakeFake", "x", "x", [large])


def test_what_a_platform_would_refuse_is_refused_before() -> None:
    for url, to, file, field in (
        ("slack://xoxb-1-2-FakeFakeFake", "U024BE91L", stored("x"), "to"),
        ("tgram://123456789:AAFakeFakeFakeFakeFakeFakeFakeFake12", "42", stored("x", size=0), "files"),
    ):
        with pytest.raises(InvalidMessage, match="expected") as caught:
            parts_of(url, to, "x", [file])
        assert caught.value.field == field
    link = File(url="https://example.org/a")
    assert parts_of("slack://xoxb-1-2-FakeFakeFake", "U024BE91L", "x", [link]) == [("x", ["https://example.org/a"])]


async def test_discord_is_given_them_with_the_text(tmp_path: Path) -> None:
    async with FakeDiscord() as fake:
        for url in (fake.url, fake.hook_url):
            await delivered(tmp_path, url, to="0", text="see", files=[PNG, OGG, "https://example.org/a"])
        assert fake.texts() == ["see\nhttps://example.org/a"] * 2
        shown = [[(one["filename"], one["size"]) for one in message["attachments"]] for message in fake.messages]
        assert shown == [[("file.png", len(PNG)), ("file.ogg", len(OGG))]] * 2
        assert fake.messages[0]["nonce"]


async def test_slack_is_given_them_by_three_calls(tmp_path: Path) -> None:
    async with FakeSlack() as fake:
        said = {"text": "<b>see</b>", "format": "html", "thread": "1.2"}
        await delivered(tmp_path, fake.url, to="C024BE91L", files=[PNG, OGG], **said)
        assert fake.texts("C024BE91L") == ["see"]
        assert fake.messages[0]["thread_ts"] == "1.2"
        assert [one["name"] for one in fake.messages[0]["files"]] == ["file.png", "file.ogg"]
        assert list(fake.uploads.values()) == [("file.png", PNG), ("file.ogg", OGG)]


@pytest.mark.parametrize(
    "place", ["http://169.254.169.254/x", "http://127.0.0.1:1/x", "https://slack.com.evil.example/"]
)
async def test_slack_cannot_send_a_file_elsewhere(place: str) -> None:
    content = Content(files=(File(name="a", data=b"a", size=1, digest="ab"),))
    async with FakeSlack() as fake, started(fake.url) as channel:
        fake.script(Answer(body=f'{{"ok": true, "upload_url": "{place}", "file_id": "F1"}}'.encode()))
        outcome = await channel.send(an_attempt("C024BE91L", content=content))
        assert isinstance(outcome, Deferred)
        assert len(fake.receiver.requests) == 1


async def test_matrix_has_an_event_for_each_file(tmp_path: Path) -> None:
    async with FakeMatrix() as fake:
        await delivered(tmp_path, fake.url, to=ROOM, text="see", files=[PNG, OGG])
        assert [(one["content"]["msgtype"], one["content"]["body"]) for one in fake.messages] == [
            ("m.image", "see"), ("m.audio", "file.ogg"),
        ]  # fmt: skip
        assert [fake.uploads[one["content"]["url"]] for one in fake.messages] == [
            ("file.png", "image/png", PNG), ("file.ogg", "audio/ogg", OGG),
        ]  # fmt: skip


async def test_a_matrix_token_that_is_over_is_renewed_for_an_upload() -> None:
    content = Content(text="see", files=(File(name="a", data=PNG, size=len(PNG), digest="ab"),))
    async with FakeMatrix() as fake, started(fake.url) as channel:
        await channel.send(an_attempt(ROOM))
        fake.expire_tokens()
        await channel.send(an_attempt(ROOM, content=content, token="AZq0fV9xcRKaW3bQ0pYl2A001"))
        assert fake.texts(ROOM) == ["Hello", "see"]


def test_a_boundary_is_nowhere_in_the_data() -> None:
    body, content_type = form({"a": "b"}, [("f", File(name="n", data=b"--pillarbox-t--\r\n"))], token="t")
    assert content_type.endswith("boundary=pillarbox-tx")
    assert body.count(b"--pillarbox-tx\r\n") == 2
