"""Asking a platform whether it has a message of which no answer came (`uncertain = "reconcile"`, contract UN1)."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from pillarbox.channels.base import Attempt, Seams
from pillarbox.channels.registry import build
from pillarbox.domain.message import Content, File
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Uncertain
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.platforms import FakeDiscord, FakeMatrix, FakeSlack
from pillarbox.testing.receiver import Answer
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pillarbox.channels.base import Channel

pytestmark = pytest.mark.contract("UN1", "CH1")

ROOM: Final = "!room:test.local"
OTHER: Final = "BZq0fV9xcRKaW3bQ0pYl2A000"
Opened = tuple["Channel", Any, FakeClock]


@contextlib.asynccontextmanager
async def opened(kind: Callable[..., Any]) -> AsyncIterator[Opened]:
    clock = FakeClock()
    async with kind(clock=clock) as fake:
        channel = build(fake.url)
        await channel.start(Seams(clock=clock))
        try:
            yield channel, fake, clock
        finally:
            await channel.close()


def attempt(to: str, text: str = "Hello", **fields: Any) -> Attempt:
    return an_attempt(to, text=text, reconciles=True, **fields)


async def asked(channel: Channel, clock: FakeClock, sent: Attempt) -> AnyOutcome | None:
    return await channel.look_up(sent, since_ms=clock.wall_ms())


KNOWING: Final[list[tuple[Any, str]]] = [(FakeSlack, "C024BE91L"), (FakeSlack, "U024BE91L"), (FakeMatrix, ROOM)]


@pytest.mark.parametrize(("kind", "to"), KNOWING)
async def test_what_stands_there_is_found_by_its_token_among_others_that_say_the_same(kind: Any, to: str) -> None:
    async with opened(kind) as (channel, _, clock):
        assert channel.capabilities.looks_up
        others = [msgspec.structs.replace(attempt(to), token=f"{n:022}000") for n in range(3)]
        for other in others:
            assert isinstance(await channel.send(other), Delivered)
        assert await asked(channel, clock, attempt(to)) is None
        sent = await channel.send(attempt(to))
        assert isinstance(sent, Delivered)
        found = await asked(channel, clock, attempt(to))
        assert isinstance(found, Delivered)
        assert found.receipt == sent.receipt
        assert await asked(channel, clock, msgspec.structs.replace(attempt(to), token=OTHER)) is None


@pytest.mark.parametrize(("kind", "to", "page"), [(FakeSlack, "C024BE91L", 200), (FakeMatrix, ROOM, 100)])
async def test_it_is_looked_for_beyond_a_page_and_not_for_ever(kind: Any, to: str, page: int) -> None:
    async with opened(kind) as (channel, fake, clock):
        await channel.send(attempt(to))
        first = fake.messages[0]
        for count, expected in ((page, Delivered), (10 * page, Uncertain)):
            for n in range(count):
                fake.messages.append({**first, "ts": f"{clock.wall_ms() // 1000}.{n + 2:06}", "metadata": None})
                fake.messages[-1].update(
                    {"content": {"body": "x"}, "event_id": f"$more{n}"} if kind is FakeMatrix else {}
                )
                if kind is FakeMatrix:
                    fake._sent[f"$more{n}"] = (None, "", clock.wall_ms())
            assert isinstance(await asked(channel, clock, attempt(to)), expected)


async def test_an_application_s_own_metadata_stay_beside_the_token() -> None:
    async with opened(FakeSlack) as (channel, fake, clock):
        own = {"event_type": "task", "event_payload": {"id": 7}}
        sent = an_attempt("C1A", content=Content(text="x", extra={"metadata": own}), reconciles=True)
        await channel.send(sent)
        assert fake.messages[0]["metadata"]["event_type"] == "task"
        assert fake.messages[0]["metadata"]["event_payload"] == {"id": 7, "pillarbox_token": sent.token}
        assert isinstance(await asked(channel, clock, sent), Delivered)
        await channel.send(an_attempt("C1A"))
        assert "metadata" not in fake.messages[1]  # only what may be asked about carries it


async def test_an_answer_in_a_thread_is_found_there_and_beside_it() -> None:
    async with opened(FakeSlack) as (channel, fake, clock):
        there = attempt("C1A", thread="1503435956.000247")
        assert await asked(channel, clock, there) is None
        await channel.send(there)
        assert isinstance(await asked(channel, clock, there), Delivered)
        fake.messages[0].pop("thread_ts")  # Slack took it without its thread
        assert isinstance(await asked(channel, clock, there), Delivered)


async def test_what_is_older_than_the_doubt_is_not_read() -> None:
    async with opened(FakeSlack) as (channel, _, clock):
        await channel.send(attempt("C1A"))
        clock.advance(3600)
        assert await asked(channel, clock, attempt("C1A")) is None


async def test_a_later_device_still_finds_it_on_matrix() -> None:
    async with opened(FakeMatrix) as (channel, fake, clock):
        await channel.send(attempt(ROOM))
        later = build(fake.url + "&device_id=ANOTHER")
        await later.start(Seams(clock=clock))
        assert isinstance(await asked(later, clock, attempt(ROOM)), Delivered)
        assert "to whatever device asks" in (await later.guarantee()).asking
        await later.close()


async def test_slack_says_which_scope_is_missing_and_when_it_may_be_asked_again() -> None:
    async with opened(FakeSlack) as (channel, fake, clock):
        fake.script(Answer(status=429, headers={"Retry-After": "60"}))
        limited = await asked(channel, clock, attempt("C1A"))
        assert isinstance(limited, RateLimited)
        assert (limited.after, limited.scope) == (60, "recipient")
        fake.scopes.clear()
        found = await asked(channel, clock, attempt("C1A"))
        assert isinstance(found, Uncertain)
        assert "channels:history" in found.reason
        assert "channels:history" in (await channel.guarantee()).asking
        found = await asked(channel, clock, attempt("U1A"))
        assert isinstance(found, Uncertain)
        assert "im:write" in found.reason
        fake.script(Answer(body=b'{"ok": false, "error": "not_in_channel"}'))
        fake.scopes.add("channels:history")
        assert isinstance(await asked(channel, clock, attempt("C1A")), Uncertain)


async def test_what_another_app_said_on_slack_is_not_the_message() -> None:
    """Whoever reads a conversation reads its metadata, and the token of the next part follows from the last one's."""
    async with opened(FakeSlack) as (channel, fake, clock):
        sent = await channel.send(attempt("C1A"))
        assert isinstance(sent, Delivered)
        ours = fake.messages[0]
        theirs = {**ours, "ts": f"{clock.wall_ms() // 1000}.999999", "bot_id": "B0EVE", "user": "U0EVE"}
        fake.messages.append(theirs)
        found = await asked(channel, clock, attempt("C1A"))
        assert isinstance(found, Delivered)
        assert found.receipt == sent.receipt
        fake.messages.remove(ours)
        assert await asked(channel, clock, attempt("C1A")) is None
        del theirs["bot_id"], theirs["user"]
        assert isinstance(await asked(channel, clock, attempt("C1A")), Uncertain)
        # Who we are is asked once.
        assert sum(request.path == "/api/auth.test" for request in fake.receiver.requests) == 1


@pytest.mark.parametrize(
    ("us", "them", "kind"),
    [
        ({"user_id": "U1"}, {"user": "U1", "bot_id": "B1"}, Delivered),  # a user's token has no bot of its own
        ({"user_id": "U1"}, {"user": "U2", "bot_id": "B1"}, type(None)),
        ({"user_id": "U1", "bot_id": "B1"}, {"bot_id": "B1"}, Delivered),  # sent under another name: no user
        ({"user_id": "U1", "bot_id": "B1"}, {"user": "U1", "bot_id": "B2"}, type(None)),
        ({"user_id": "U1", "bot_id": None}, {"bot_id": "B1"}, Uncertain),
        ({}, {"user": "U1", "bot_id": "B1"}, Uncertain),
    ],
)
async def test_whose_message_it_is_slack_says_by_bot_or_user(us: Any, them: Any, kind: type) -> None:
    async with opened(FakeSlack) as (channel, fake, clock):
        there = {"ts": "1503435956.000247", "metadata": {"event_payload": {"pillarbox_token": an_attempt("C1A").token}}}
        fake.script(
            Answer(body=msgspec.json.encode({"ok": True, **us})),
            Answer(body=msgspec.json.encode({"ok": True, "messages": [{**there, **them}]})),
        )
        assert isinstance(await asked(channel, clock, attempt("C1A")), kind)


@pytest.mark.parametrize("kind", [FakeSlack, FakeMatrix])
async def test_a_message_that_is_found_without_its_id_has_none(kind: Any) -> None:
    """An empty text would be taken for one by the edits that come later."""
    to = "C1A" if kind is FakeSlack else ROOM
    async with opened(kind) as (channel, fake, clock):
        await channel.send(attempt(to))
        await asked(channel, clock, attempt(to))
        token, me = an_attempt(to).token, f"@{getattr(fake, 'user', '')}:test.local"
        nameless: dict[str, Any] = {"sender": me, "content": {"org.pillarbox.token": token}}
        if kind is FakeSlack:
            nameless = {"bot_id": "B00000000", "metadata": {"event_payload": {"pillarbox_token": token}}}
        fake.script(Answer(body=msgspec.json.encode({"ok": True, "messages": [nameless], "chunk": [nameless]})))
        found = await asked(channel, clock, attempt(to))
        assert isinstance(found, Delivered)
        assert found.receipt is None


async def test_files_on_slack_are_a_person_s_to_look_for() -> None:
    async with opened(FakeSlack) as (channel, _, clock):
        with_file = an_attempt("C1A", content=Content(files=(File(name="a", data=b"x", size=1),)), reconciles=True)
        assert isinstance(await asked(channel, clock, with_file), Uncertain)
        assert "of a message with files a person has to look" in (await channel.guarantee()).asking


async def test_what_others_said_in_a_matrix_room_neither_is_the_message_nor_ends_the_look_up() -> None:
    """Also where the server does not heed whose events are asked for, and where their fields hold anything."""
    async with opened(FakeMatrix) as (channel, fake, clock):
        await channel.send(attempt(ROOM))
        me = f"@{fake.user}:test.local"
        said: list[dict[str, Any]] = [
            {"sender": "@eve:test.local", "content": {"org.pillarbox.token": an_attempt(ROOM).token}},
            {"sender": "@eve:test.local", "content": {"org.pillarbox.token": []}},
            {"sender": me, "content": {"org.pillarbox.token": {"a": []}}},
            {"sender": me, "content": {"org.pillarbox.token": None}, "unsigned": {}},
        ]
        events = [{"event_id": f"$e{n}", "origin_server_ts": clock.wall_ms(), **one} for n, one in enumerate(said)]
        events[0]["origin_server_ts"] = 0  # her server's clock is wrong
        for end, outcome in (("0", Delivered), (None, type(None))):
            fake.script(Answer(body=msgspec.json.encode({"chunk": events, "end": end})))
            found = await asked(channel, clock, attempt(ROOM))
            assert isinstance(found, outcome), found
            assert not isinstance(found, Delivered) or not str(found.receipt).startswith("$e")


@pytest.mark.parametrize("kind", [FakeSlack, FakeMatrix, FakeDiscord])
@pytest.mark.parametrize("body", [b"", b"[]x", b"<html>", b'{"ok": 7}'])
async def test_a_server_that_cannot_be_asked_now_is_asked_later(kind: Any, body: bytes) -> None:
    to = {FakeSlack: "C1A", FakeMatrix: ROOM, FakeDiscord: "123"}[kind]
    async with opened(kind) as (channel, fake, clock):
        await channel.send(attempt(to, "first"))  # so that it is logged in
        fake.script(Answer(status=502, body=body))
        assert isinstance(await asked(channel, clock, attempt(to)), Deferred)


async def test_discord_can_only_say_that_nobody_said_it() -> None:
    async with opened(FakeDiscord) as (channel, fake, clock):
        found = await asked(channel, clock, attempt("123"))
        assert isinstance(found, Uncertain)  # an empty channel, or one that the bot may not read
        assert "READ_MESSAGE_HISTORY" in found.reason
        assert "READ_MESSAGE_HISTORY" in (await channel.guarantee()).asking
        await channel.send(msgspec.structs.replace(attempt("123", "another"), token=OTHER))
        assert await asked(channel, clock, attempt("123")) is None
        sent = await channel.send(attempt("123"))
        assert isinstance(sent, Delivered)
        found = await asked(channel, clock, attempt("123"))
        assert isinstance(found, Uncertain)
        assert str(sent.receipt) in found.reason
        clock.advance(3600)
        assert await asked(channel, clock, attempt("123")) is None
        fake.shows_history = False
        assert isinstance(await asked(channel, clock, attempt("123")), Uncertain)


async def test_a_file_that_discord_gave_another_name_is_still_the_one_that_was_sent() -> None:
    async with opened(FakeDiscord) as (channel, _, clock):
        content = Content(text="Hello", files=(File(name="a plan.txt", data=b"x", size=1),))
        with_file = msgspec.structs.replace(attempt("123"), content=content)
        sent = await channel.send(with_file)
        assert isinstance(sent, Delivered)
        found = await asked(channel, clock, with_file)
        assert isinstance(found, Uncertain)
        assert str(sent.receipt) in found.reason
        assert await asked(channel, clock, attempt("123")) is None, "the same words without a file"


async def test_within_its_minutes_discord_recognises_a_copy_by_itself() -> None:
    assert build("discord://MTIzNDU2Nzg5MDEyMzQ1Njc4.G0FAKE.FakeFakeFakeFakeFakeFakeFake").recognised_seconds == 120
    assert build("https://example.org/hook").recognised_seconds == 0
    assert build("https://example.org/hook", dedupe=True).recognised_seconds == math.inf
    assert build("https://example.org/hook", dedupe="24h").recognised_seconds == 86_400
    async with opened(FakeMatrix) as (channel, _, _clock):
        assert channel.recognised_seconds == 0  # whose token it is, is not known yet
        await channel.send(attempt(ROOM))
        assert channel.recognised_seconds == 86_400
