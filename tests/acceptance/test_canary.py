"""
A canary in everything a message says and in every secret: it must turn up in no log, event, error or counter (EV3).

Receivers answer with what they were sent, adapters fail with it, callers get it wrong, the store goes away.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import pytest

from pillarbox import Outbox
from pillarbox.domain.outcome import Rejected
from pillarbox.errors import PillarboxError, StoreUnavailable
from pillarbox.events import ChannelPaused, HookCancelled, MessageEvent
from pillarbox.outbox.outbox import inside
from pillarbox.testing.receiver import Answer, Receiver
from pillarbox.testing.scripted import ScriptedChannel
from tests.channels.smtp_servers import rude
from tests.cli.commands import Pillarbox
from tests.engine.stand import until
from tests.kept_port import kept_port
from tests.warm import WarmPython

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pillarbox.channels.base import Attempt
    from pillarbox.domain.message import State
    from pillarbox.domain.outcome import Deferred
    from pillarbox.testing.receiver import Received

CANARY = "opensesame"
SECRET = "whsec_b3BlbnNlc2FtZW9wZW5zZXNhbWVvcGVuc2VzYW1l"
SECONDS = 60.0
SAID: dict[str, Any] = {
    "to": f"{CANARY}-recipient",
    "text": f"{CANARY}-text",
    "subject": f"{CANARY}-subject",
    "thread": f"{CANARY}-thread",
    "extra": {"button": f"{CANARY}-extra"},
    "metadata": {"note": f"{CANARY}-metadata"},
    "reply_to": f"{CANARY}-reply",
}


def echo(request: Received, status: int) -> Answer:
    """Answer with everything that was received, as some receivers do."""
    words = " ".join([request.path, *request.headers.values(), request.body.decode()])
    return Answer(status=status, body=words.encode())


def _without_recipient(event: object) -> object:
    """Give an event without the one field in which a subscriber may read who is meant."""
    return msgspec.structs.replace(event, to="") if isinstance(event, MessageEvent | HookCancelled) else event


class Everything:
    """Whatever anybody could read of what happened."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.events: list[object] = []
        self.errors: list[BaseException] = []
        self.rows: list[str] = []

    def texts(self) -> Iterator[tuple[str, str]]:
        formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")
        for record in self._caplog.records:
            yield "log", formatter.format(record)
            yield "log", repr(vars(record))
        for event in self.events:
            yield "event", repr(_without_recipient(event))
        for error in self.errors:
            yield "error", f"{error!r} {error} {error.args!r}"
        for row in self.rows:
            yield "row", row

    def hits(self) -> list[tuple[str, str]]:
        """Where the canary or the secret turned up."""
        return [(where, text) for where, text in self.texts() if CANARY in text or SECRET[6:] in text]


async def watched(outbox: Outbox, everything: Everything) -> None:
    """Let everything that can fail about a message fail, and note what is said about it."""
    outbox.subscribe(everything.events.append)

    def broken(event: object) -> None:
        raise RuntimeError("a broken subscriber")

    outbox.subscribe(broken)


async def settle(outbox: Outbox, everything: Everything, channel: str, **said: Any) -> State:
    message = await outbox.send(channel, **(SAID | said))
    async with asyncio.timeout(SECONDS):
        await message.wait()
    everything.rows.append(f"{message!r} {message.reason} {message.error}")
    for event in await outbox.history(message.id or ""):
        everything.rows.append(f"{event.reason} {event.outcome}")
    return message.state


@pytest.mark.contract("EV3")
@pytest.mark.parametrize(
    "answer",
    [200, 302, 400, 401, 404, 410, 429, 500, 503, 599, "hang", "reset", "reset_unread", "garbage", "half"],
)
async def test_no_answer_of_a_receiver_brings_a_messages_words_into_the_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: int | str
) -> None:
    caplog.set_level(logging.DEBUG)
    plans: dict[int | str, Any] = {
        "hang": Answer.hang(),
        "reset": Answer.reset(),
        "reset_unread": Answer.reset_unread(),
        "garbage": Answer(wire=f"{CANARY} is no HTTP\r\n\r\n".encode()),
        "half": Answer(body=CANARY.encode() * 10, cut=-5),
    }
    plan = plans.get(answer, lambda request: echo(request, int(answer)))
    everything = Everything(caplog)
    async with Receiver(plan) as receiver:
        url = receiver.url.replace("http://", f"http://user:{CANARY}@") + f"hook/{CANARY}?token={CANARY}"
        outbox = Outbox(tmp_path / "outbox.db")
        timeout = "2s" if answer == "hang" else "30s"
        outbox.channel("hooks", url, secret=SECRET, timeout=timeout, max_attempts=1, uncertain="hold")
        async with outbox:
            await watched(outbox, everything)
            sending = asyncio.create_task(settle(outbox, everything, "hooks"))
            await receiver.wait_for(0 if answer == "reset_unread" else 1)
            if answer in {200, 302, 400, 404, 410, 500, 599, "hang", "reset", "reset_unread", "garbage", "half"}:
                async with asyncio.timeout(SECONDS):
                    await sending
            else:
                await until(lambda: len(everything.events) > 1)
                sending.cancel()
            everything.rows += [repr(outbox.counts), repr(await outbox.queues()), repr(await outbox.workers())]
            everything.rows.append(repr(outbox))
        assert receiver.count >= (answer != "reset_unread")
    assert everything.events
    assert everything.hits() == []


@pytest.mark.contract("EV3")
@pytest.mark.parametrize("raised", [False, True])
async def test_no_failure_of_a_channel_brings_a_messages_words_into_the_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, raised: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    everything = Everything(caplog)

    async def repeats(attempt: Attempt) -> str:
        words = f"cannot send {attempt.text!r} ({attempt.content.subject}) to {attempt.to}"
        if raised:
            raise RuntimeError(words)
        raise ValueError(words) from KeyError(attempt.text)

    def object_fails(attempt: Attempt) -> Deferred:
        raise ExceptionGroup(attempt.text, [RuntimeError(attempt.to)])

    scripted = ScriptedChannel(object_fails)
    outbox = Outbox(tmp_path / "outbox.db", channels={"function": repeats, "object": scripted})
    async with outbox:
        await watched(outbox, everything)
        for channel in ("function", "object"):
            await settle(outbox, everything, channel, max_attempts=1)
    assert any(where == "log" for where, _ in everything.texts())
    assert everything.hits() == []


@pytest.mark.contract("EV3", "EN13")
async def test_no_refusal_brings_a_messages_words_into_the_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    everything = Everything(caplog)
    wrong: list[dict[str, Any]] = [
        {"text": f"{CANARY}\ud800"},
        {"to": f"{CANARY}\r\n"},
        {"subject": f"{CANARY}\n"},
        {"thread": f"{CANARY}\x00"},
        {"text": CANARY * 500_000},
        {"extra": {CANARY: object()}},
        {"metadata": {"a": {CANARY}}},
        {"text": 5},
        {"reply_to": f"{CANARY}\u2028"},
        {"files": [f"ftp://{CANARY}"]},
    ]
    async with Outbox(tmp_path / "outbox.db", deliver=False) as outbox:
        await watched(outbox, everything)
        for one in wrong:
            with pytest.raises(PillarboxError) as caught:
                await outbox.send("hooks", **(SAID | one))
            everything.errors.append(caught.value)
        await outbox.send("hooks", **SAID, key="k")
        with pytest.raises(PillarboxError) as caught:
            await outbox.send("hooks", **(SAID | {"text": f"{CANARY} another"}), key="k")
        everything.errors.append(caught.value)
    assert len(everything.errors) == len(wrong) + 1
    assert everything.hits() == []


@pytest.mark.contract("EV3", "EV4")
async def test_no_failure_of_the_store_brings_a_messages_words_into_the_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    everything = Everything(caplog)
    outbox = Outbox(tmp_path / "outbox.db", channels={"object": ScriptedChannel()})
    async with outbox:
        await watched(outbox, everything)
        await settle(outbox, everything, "object")
        runtime = inside(outbox).lifetime.live()
        # The file goes away beneath it: the next write finds no table.
        connection = runtime.store._session.connection  # type: ignore[attr-defined]
        await runtime.store._writer.run(lambda: connection.execute("ALTER TABLE message RENAME TO gone"))  # type: ignore[attr-defined]
        with pytest.raises(PillarboxError) as caught:
            await outbox.send("object", **SAID)
        everything.errors.append(caught.value)
        assert isinstance(caught.value, StoreUnavailable | PillarboxError)
        await runtime.store._writer.run(lambda: connection.execute("ALTER TABLE gone RENAME TO message"))  # type: ignore[attr-defined]
        await settle(outbox, everything, "object")
    assert everything.hits() == []


@pytest.mark.contract("EV3")
async def test_the_canary_would_have_been_found(caplog: pytest.LogCaptureFixture) -> None:
    everything = Everything(caplog)
    logging.getLogger("pillarbox").warning("message %s", SAID["text"])
    everything.events.append(SAID)
    everything.errors.append(ValueError(CANARY))
    everything.rows.append(SECRET)
    assert [where for where, _ in everything.hits()] == ["log", "log", "event", "error", "row"]


class FailsToClose(ScriptedChannel):
    """An adapter whose end quotes what it holds."""

    async def close(self) -> None:
        raise RuntimeError(f"cannot close https://me:{CANARY}@example.org/")


@pytest.mark.contract("EV3", "CH8")
async def test_no_end_of_a_channel_brings_its_secrets_into_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Outbox(tmp_path / "outbox.db", channels={"object": FailsToClose()}):
        pass
    said = [logging.Formatter().format(record) for record in caplog.records]
    assert any("failed to close" in line for line in said)
    assert not any(CANARY in line for line in said)


# --- The secrets of every channel ------------------------------------------------------------------------------------

SECRETS = {
    "user": "canaryuser",
    "password": "canarypass-4711",
    "segment": "canarysegment",
    "query": "canaryquery",
    "header": "canaryheader",
    "signing": "canarysigningcanarysigning",
    "function": "canaryfunction",
}
SIGNING = "whsec_" + base64.b64encode(SECRETS["signing"].encode()).decode()
LOOKS = (
    ("ls",), ("ls", "--json"), ("show", "ID"), ("history", "ID", "--json"), ("explain", "ID"), ("stats",),
    ("workers",), ("config", "show"), ("config", "check"),
)  # fmt: skip


def forms(secret: str) -> set[bytes]:
    """A secret as it is, percent-encoded, and what is the same of it in base64 wherever it stands."""
    raw = secret.encode()
    shifted = [base64.b64encode(bytes(shift) + raw)[4:-4] for shift in range(3)]
    urlsafe = [form.translate(bytes.maketrans(b"+/", b"-_")) for form in shifted]
    return {raw, raw.upper(), quote(secret, safe="").encode(), raw.hex().encode(), *shifted, *urlsafe}


def leaks(said: bytes) -> list[str]:
    return [name for name, secret in SECRETS.items() if any(form in said for form in forms(secret))]


def echoed(request: Received) -> Answer:
    """Say back all that a request holds, plainly, encoded, and as an id; with one status after the other."""
    words = " ".join([request.path, *(f"{name}: {value}" for name, value in request.headers.items())])
    status = int(request.body[-5:-2]) if request.body[-5:-2].isdigit() else 400
    plain = " ".join(secret for name, secret in SECRETS.items() if name != "function")
    coded = base64.b64encode(f"\0{SECRETS['user']}\0{SECRETS['password']}".encode()).decode()
    said = f"{plain} {quote(plain)} {coded} {words} {base64.b64encode(plain.encode()).decode()}"
    receipt = msgspec.json.encode({"id": f"{SECRETS['password']}-{SECRETS['segment']}", "said": said[:900]})
    return Answer(status=status, body=receipt if status == 200 else said.encode())


def raising(attempt: Attempt) -> str:
    """Fail, or succeed, with a secret in it that only looks can tell."""
    token = SECRETS["function"]
    match attempt.text:
        case "text":
            raise RuntimeError(f"POST https://hooks.slack.com/services/T0AA/B0BB/{token} failed: token={token}")
        case "outcome":
            raise Rejected(f"no: https://x/?sig={token} pwd={token}", answer=f"jwt={token}")
        case "bug":
            raise KeyError(f"https://me:{token}@x/, 'secret': '{token}'")
        case _:
            return f"https://{token}@x/id"


@pytest.fixture
def refusing_port() -> Iterator[int]:
    with kept_port() as port:
        yield port


@pytest.mark.contract("CH8", "EV3", "ST10")
@pytest.mark.parametrize("history", ["outcomes", "full"])
async def test_no_secret_of_a_channel_is_anywhere_but_where_it_must_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, warm_python: WarmPython, refusing_port: int, history: str
) -> None:
    caplog.set_level(logging.DEBUG)
    pillarbox = Pillarbox(tmp_path, warm_python)
    user, password = SECRETS["user"], SECRETS["password"]
    coded = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    replies = {
        "EHLO": b"250-here\r\n250 AUTH PLAIN",
        "AUTH": f"535 5.7.8 {user} {password} {coded}".encode(),
    }
    said: list[str] = []
    async with Receiver(echoed) as receiver, rude(**replies) as server:
        url = receiver.url.replace("http://", f"http://{user}:{password}@")
        url += f"hook/{SECRETS['segment']}?key={SECRETS['query']}"
        mail = f"smtp://{user}:{password}@127.0.0.1:{server.port}/?sender=me@example.org&timeout=20s"
        gone = f"http://{user}:{password}@127.0.0.1:{refusing_port}/{SECRETS['segment']}"
        outbox = Outbox(pillarbox.db)
        common: dict[str, Any] = {"history": history, "max_attempts": 1}
        headers = {"X-Api-Key": SECRETS["header"], "Authorization-2": f"Bearer {SECRETS['header']}"}
        outbox.channel("hook", url, secret=SIGNING, headers=headers, **common)
        outbox.channel("gone", gone, **common)
        outbox.channel("mail", mail, **common)
        outbox.channel("function", raising, **common)
        events: list[object] = []
        outbox.subscribe(events.append)
        paused: set[str] = set()
        outbox.subscribe(lambda event: paused.add(event.channel), ChannelPaused)
        async with outbox:
            sent = [await outbox.send("hook", to="ann", payload=f'{{"status": {code}}}'.encode() + b" ")
                    for code in (200, 302, 400, 404, 410, 500)]  # fmt: skip
            sent += [await outbox.send("function", to="ann", text=text) for text in ("text", "outcome", "bug", "ok")]
            sent += [await outbox.send("gone", to="ann", text="x"), await outbox.send("mail", to="ann@x.org", text="x")]
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*(message.wait() for message in sent[:3] + sent[6:10]))
                await until(lambda: paused >= {"gone", "mail"})
            for message in sent:
                seen = await outbox.get(message.id or "")
                said += [
                    repr(seen),
                    repr(await outbox.history(message.id or "")),
                    repr(await outbox.explain(message.id or "")),
                ]
            said += [repr(outbox), repr(outbox.counts), repr(await outbox.health()), repr(await outbox.queues())]
            said += [repr(outbox.settings), *map(repr, events)]
        ids = [message.id or "" for message in sent]
    said += [logging.Formatter().format(record) for record in caplog.records]
    pillarbox.variables["PILLARBOX_CHANNELS__HOOK__URL"] = url
    pillarbox.variables["PILLARBOX_CHANNELS__HOOK__OPTIONS__SECRET"] = SIGNING
    pillarbox.variables["PILLARBOX_CHANNELS__MAIL__URL"] = mail
    # What the commands say comes from the same rows, whichever history is kept.
    for look in LOOKS if history == "full" else ():
        for identity in (ids[2], ids[7], ids[-1]) if "ID" in look else ("",):
            # Behind "--": an id may begin with a hyphen.
            named = [word for word in look if word != "ID"] + (["--", identity] if identity else [])
            ended = await pillarbox(*named)
            said.append(f"{look} {ended.out} {ended.err}")
    assert receiver.count >= 5
    assert [(found, text[:300]) for text in said if (found := leaks(text.encode()))] == []
    for file in sorted(tmp_path.glob("outbox.db*")):
        assert leaks(file.read_bytes()) == []
