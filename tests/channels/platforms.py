"""The other side of each of our channels, for the suite that every channel must pass."""

from __future__ import annotations

import asyncio
import email
import errno
import fcntl
import io
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

import msgspec

from pillarbox.channels.console import ConsoleChannel
from pillarbox.channels.discord import DiscordChannel
from pillarbox.channels.file import FileChannel
from pillarbox.channels.function import FunctionChannel
from pillarbox.channels.mail.smtp import SmtpChannel
from pillarbox.channels.matrix import MatrixChannel
from pillarbox.channels.slack import SlackChannel
from pillarbox.channels.telegram import TelegramChannel
from pillarbox.channels.webhook import WebhookChannel
from pillarbox.domain.outcome import Outcome, RateLimited, Rejected, Unavailable
from pillarbox.testing.channel_suite import HttpPlatform, Limit, Platform
from pillarbox.testing.receiver import Answer, Received
from tests.channels.smtp_servers import HOST, PATIENCE_SECONDS, Rude

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from pillarbox.channels.base import Attempt, Channel
    from pillarbox.domain.outcome import Scope

CANARY = "CANARY-7f3a9-xyz"
OTHER_CANARY = "CANARY-b81c2-uvw"


def headers_limit(after: float, **headers: str) -> tuple[Limit, Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Limit(name=str(named), after=after, scope="channel"), Answer(status=429, headers=named)


class WebhookPlatform(HttpPlatform):
    """A receiver of webhooks, with the verdicts of its operator for what Standard Webhooks leaves open."""

    secrets = (CANARY, OTHER_CANARY)
    accepts = Answer(body=b'{"id": "r1"}')
    rejects_message = Answer(status=422)
    rejects_recipient = Answer(status=404)
    refuses_credentials = Answer(status=401)

    @property
    def rates(self) -> dict[Limit, Answer]:  # type: ignore[override]
        now_s = self.clock.wall_ms() // 1000
        body = Answer(status=429, body=b'{"retry_after": 2.5}')
        telegram = Answer(status=429, body=b'{"ok": false, "parameters": {"retry_after": 35}}')
        return dict(
            [
                headers_limit(30.0, Retry_After="30"),
                headers_limit(10.0, Retry_After="Tue, 14 Nov 2023 22:13:30 GMT"),  # the clock begins at 22:13:20
                headers_limit(7.0, RateLimit_Reset="7"),
                headers_limit(90.0, X_RateLimit_Reset=str(now_s + 90)),
                (Limit(name="retry_after", after=2.5, scope="channel"), body),
                (Limit(name="parameters.retry_after", after=35.0, scope="channel"), telegram),
                (Limit(name="no hint", after=None, scope="channel"), Answer(status=429)),
            ]
        )

    def make_channel(self) -> Channel:
        url = self.receiver.url.replace("://", f"://me:{CANARY}@") + f"hooks/{OTHER_CANARY}"
        outcomes = {"404": "rejected_recipient", "401": "unavailable"}
        return WebhookChannel(url, outcomes=outcomes)

    def text_of(self, request: Received) -> str:
        text: str = request.json["text"]
        return text

    def receipt(self, token: str) -> str | None:
        return "r1"


class TelegramPlatform(HttpPlatform):
    """A Bot API server."""

    recipient = "42"
    secrets = (f"123456:{CANARY}", CANARY)
    accepts = Answer(body=b'{"ok": true, "result": {"message_id": 7, "chat": {"id": 42}, "date": 1}}')
    rejects_message = Answer(
        status=400, body=b'{"ok": false, "error_code": 400, "description": "Bad Request: message is too long"}'
    )
    rejects_recipient = Answer(
        status=403,
        body=b'{"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"}',
    )
    refuses_credentials = Answer(status=401, body=b'{"ok": false, "error_code": 401, "description": "Unauthorized"}')
    rates: Mapping[Limit, Answer] = {
        Limit(name="parameters", after=35.0, scope="recipient"): Answer(
            status=429,
            headers={"Retry-After": "36"},
            body=b'{"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 35",'
            b' "parameters": {"retry_after": 35}}',
        ),
        Limit(name="header", after=36.0, scope="recipient"): Answer(status=429, headers={"Retry-After": "36"}),
        Limit(name="no hint", after=None, scope="recipient"): Answer(status=429),
        Limit(name="a 500 by its text", after=None, scope="recipient"): Answer(
            status=500, body=b'{"ok": false, "error_code": 500, "description": "Too Many Requests: retry later"}'
        ),
    }

    def make_channel(self) -> Channel:
        return TelegramChannel.from_url(f"tgram://123456:{CANARY}?base_url={self.receiver.url}")

    def text_of(self, request: Received) -> str:
        text: str = request.json["text"]
        return text

    def receipt(self, token: str) -> str | None:
        return "7"


class SlackPlatform(HttpPlatform):
    """The Web API."""

    recipient = "C024BE91L"
    secrets: tuple[str, ...] = (f"xoxb-{CANARY}", CANARY)
    accepts = Answer(body=b'{"ok": true, "channel": "C024BE91L", "ts": "1503435956.000247"}')
    rejects_message = Answer(body=b'{"ok": false, "error": "msg_too_long"}')
    rejects_recipient = Answer(body=b'{"ok": false, "error": "channel_not_found"}')
    refuses_credentials = Answer(body=b'{"ok": false, "error": "invalid_auth"}')
    rates: Mapping[Limit, Answer] = {
        Limit(name="429", after=30.0, scope="recipient"): Answer(status=429, headers={"Retry-After": "30"}),
        Limit(name="200", after=None, scope="recipient"): Answer(body=b'{"ok": false, "error": "rate_limited"}'),
        Limit(name="workspace", after=60.0, scope="channel"): Answer(
            body=b'{"ok": false, "error": "message_limit_exceeded"}'
        ),
    }

    def make_channel(self) -> Channel:
        return SlackChannel.from_url(f"slack://xoxb-{CANARY}?base_url={self.receiver.url}")

    def text_of(self, request: Received) -> str:
        text: str = request.json["text"]
        return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")

    def receipt(self, token: str) -> str | None:
        return "1503435956.000247"


class SlackWebhookPlatform(SlackPlatform):
    """An incoming webhook."""

    recipient = "ann"
    secrets = ("CANARY7f3a9",)
    accepts = Answer(body=b"ok")
    rejects_message = Answer(status=400, body=b"invalid_payload")
    refuses_credentials = Answer(status=404, body=b"no_service")
    rates: Mapping[Limit, Answer] = {
        Limit(name="429", after=30.0, scope="channel"): Answer(status=429, headers={"Retry-After": "30"}),
    }

    def make_channel(self) -> Channel:
        return SlackChannel.from_url(f"slack://T00000/B00000/{self.secrets[0]}?base_url={self.receiver.url}")

    def receipt(self, token: str) -> str | None:
        return None


class DiscordPlatform(HttpPlatform):
    """Discord's API, for a bot."""

    recipient = "42"
    secrets: tuple[str, ...] = (f"{CANARY}.CANARY.{OTHER_CANARY}-{OTHER_CANARY}",)
    accepts = Answer(body=b'{"id": "9", "channel_id": "42"}')
    rejects_message = Answer(status=400, body=b'{"code": 50035, "message": "Invalid Form Body"}')
    rejects_recipient = Answer(status=404, body=b'{"code": 10003, "message": "Unknown Channel"}')
    refuses_credentials = Answer(status=401, body=b'{"code": 0, "message": "401: Unauthorized"}')
    rates: Mapping[Limit, Answer] = {
        Limit(name="route", after=0.64, scope="recipient"): Answer(
            status=429,
            headers={"Retry-After": "1"},
            body=b'{"message": "You are being rate limited.", "retry_after": 0.64, "global": false}',
        ),
        Limit(name="global", after=2.5, scope="channel"): Answer(
            status=429, body=b'{"message": "You are being rate limited.", "retry_after": 2.5, "global": true}'
        ),
        Limit(name="Cloudflare", after=3600.0, scope="channel"): Answer(
            status=429, headers={"Retry-After": "3600"}, body=b"<html>"
        ),
    }

    def make_channel(self) -> Channel:
        return DiscordChannel.from_url(f"discord://{self.secrets[0]}?base_url={self.receiver.url}")

    def text_of(self, request: Received) -> str:
        return re.sub(r"\\([^0-9A-Za-z\s])", r"\1", request.json["content"])

    def receipt(self, token: str) -> str | None:
        return "9"


class DiscordWebhookPlatform(DiscordPlatform):
    """Discord's API, for a webhook."""

    recipient = "ann"
    secrets = (OTHER_CANARY,)
    rejects_recipient = Answer(status=400, body=b'{"code": 220001, "message": "Webhooks posted to forum channels ..."}')
    refuses_credentials = Answer(status=404, body=b'{"code": 10015, "message": "Unknown Webhook"}')
    rates: Mapping[Limit, Answer] = {
        Limit(name="webhook", after=0.64, scope="channel"): Answer(
            status=429, body=b'{"message": "You are being rate limited.", "retry_after": 0.64, "global": false}'
        ),
    }

    def make_channel(self) -> Channel:
        return DiscordChannel.from_url(f"discord://123/{self.secrets[0]}?base_url={self.receiver.url}")


class MatrixPlatform(HttpPlatform):
    """A homeserver, which gives a token with a device to whoever asks."""

    recipient = "!room"
    secrets = (CANARY,)
    covered = True
    accepts = Answer(body=b'{"event_id": "$e"}')
    rejects_message = Answer(status=413, body=b'{"errcode": "M_TOO_LARGE", "error": "event too large"}')
    rejects_recipient = Answer(status=403, body=b'{"errcode": "M_FORBIDDEN", "error": "User not in room"}')
    refuses_credentials = Answer(status=401, body=b'{"errcode": "M_USER_LOCKED", "error": "locked"}')
    rates: Mapping[Limit, Answer] = {
        Limit(name="retry_after_ms", after=0.22, scope="channel"): Answer(
            status=429,
            headers={"Retry-After": "1"},
            body=b'{"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": 220}',
        ),
        Limit(name="Retry-After", after=7.0, scope="channel"): Answer(
            status=429, headers={"Retry-After": "7"}, body=b'{"errcode": "M_LIMIT_EXCEEDED"}'
        ),
    }

    def _answer(self, request: Received) -> Answer:
        if request.path.endswith("/whoami"):
            return Answer(body=b'{"user_id": "@me:test.local", "device_id": "PILLARBOX"}')
        return super()._answer(request)

    def make_channel(self) -> Channel:
        return MatrixChannel.from_url(f"matrix://{CANARY}@test.local?base_url={self.receiver.url}")

    async def reached(self) -> None:
        """See `HttpPlatform`. Whose token it is was asked before."""
        await self.receiver.wait_for(2)

    def text_of(self, request: Received) -> str:
        text: str = request.json["body"]
        return text

    def receipt(self, token: str) -> str | None:
        return "$e"


class MailServer(Rude):
    """`Rude`, which may also talk on and on."""

    def __init__(self) -> None:
        super().__init__({"EHLO": b"250-hi\r\n250-8BITMIME\r\n250 AUTH PLAIN", "AUTH": b"235 in", "RSET": b"250 OK"})
        self.usual = dict(self.replies)
        self.talks: str | None = None  # "fast" or "slowly", without an end
        self.repeats = False
        self.secrets: tuple[str, ...] = ()

    async def _say(self, key: str, writer: asyncio.StreamWriter) -> None:
        if key == "." and self.talks is not None:
            await self._talk_on(writer, slowly=self.talks == "slowly")
        elif key == "." and self.repeats:
            said = b" ".join([*(secret.encode() for secret in self.secrets), *self.lines, *self.bodies])
            await self._write(b"554 5.6.0 " + b" ".join(said.split())[:400], writer)
        else:
            await super()._say(key, writer)

    async def _talk_on(self, writer: asyncio.StreamWriter, *, slowly: bool) -> None:
        self.silent.set()
        tick = asyncio.Event()
        while True:
            await self._write(b"250-and" if slowly else b"\r\n".join([b"250-" + b"x" * 500] * 50), writer)
            if not slowly:
                await asyncio.sleep(0)
                continue
            asyncio.get_running_loop().call_later(0.02, tick.set)
            await tick.wait()
            tick.clear()


class MailPlatform(Platform):
    """A server that takes mail from one user."""

    recipient = "ann@example.net"
    secrets = (CANARY,)

    def __init__(self) -> None:
        super().__init__()
        self.server = MailServer()
        self._listening: asyncio.Server | None = None
        self._wants_tls = False
        self._taken: list[bytes] = []

    async def __aenter__(self) -> Self:
        await self._listen(None)
        return self

    async def _listen(self, tls: ssl.SSLContext | None) -> None:
        self._listening = await asyncio.start_server(self.server.serve, HOST, 0, limit=2**24, ssl=tls)
        self.server.port = self._listening.sockets[0].getsockname()[1]

    async def serve_tls(self, tls: ssl.SSLContext | None) -> None:
        """It has TLS from the first octet."""
        await self.vanish()
        await self._listen(tls)
        self._wants_tls = True

    async def __aexit__(self, *_: object) -> None:
        await self.vanish()
        await self.quiet()

    def make_channel(self) -> Channel:
        scheme = "smtps" if self._wants_tls else "smtp"
        url = f"{scheme}://me:{CANARY}@{HOST}:{self.server.port}?sender=me@example.org&starttls=never"
        return SmtpChannel.from_url(url)

    def _will(self, **replies: bytes | None) -> None:
        self.server.replies = self.server.usual | {{"dot": "."}.get(key, key): one for key, one in replies.items()}
        self.server.talks, self.server.repeats = None, False
        self.server.silent.clear()

    def accept(self) -> None:
        self._will()

    def received(self) -> list[str]:
        accepted = (self.server.replies.get(".") or b"250").startswith(b"250")
        mails = self.server.bodies if accepted else self.server.bodies[:-1]
        return [self._text(mail) for mail in mails]

    def _text(self, mail: bytes) -> str:
        unstuffed = mail.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
        payload = email.message_from_bytes(unstuffed).get_payload(decode=True)
        assert isinstance(payload, bytes)
        return payload.decode().removesuffix("\r\n").replace("\r\n", "\n")

    def receipt(self, token: str) -> str | None:
        return f"<{token}@example.org>"

    def reject_message(self) -> None:
        self._will(dot=b"554 5.6.0 not like this")

    def reject_recipient(self) -> None:
        self._will(RCPT=b"550 5.1.1 no such user")

    def limits(self) -> tuple[Limit, ...]:
        known: tuple[tuple[str, float | None, Scope], ...] = (
            ("MAIL: 421 4.7.28 our system has detected an unusual rate", None, "channel"),
            ("RCPT: 450 4.2.1 The user you are trying to contact is receiving mail", None, "recipient"),
            ("RCPT: 550 5.4.5 Daily user sending limit exceeded", 3600.0, "channel"),
        )
        return tuple(Limit(name=name, after=after, scope=scope) for name, after, scope in known)

    def limit(self, limit: Limit) -> None:
        verb, _, reply = limit.name.partition(": ")
        self._will(**{verb: reply.encode()})

    def refuse_credentials(self) -> None:
        self._will(AUTH=b"535 5.7.8 wrong")

    async def vanish(self) -> None:
        if self._listening is not None:
            self._listening.close()

    def cut(self) -> None:
        self._will(dot=b"")

    def answer_at_length(self) -> None:
        self._will()
        self.server.talks = "fast"

    def answer_endlessly(self) -> None:
        self._will()
        self.server.talks = "slowly"

    def hang(self) -> None:
        self._will(dot=None)

    async def reached(self) -> None:
        await self.server.silent.wait()

    def repeat(self) -> None:
        self._will()
        self.server.repeats, self.server.secrets = True, self.secrets

    async def quiet(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for gone in self.server.hung_up:
                await gone.wait()


class FilePlatform(Platform):
    """A file; who holds its lock keeps others from writing."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._held: int | None = None

    def make_channel(self) -> Channel:
        return FileChannel(str(self._path), fsync=False)

    def accept(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def received(self) -> list[str]:
        return [self._line(line)["text"] for line in self._path.read_bytes().splitlines()] if self._is_file() else []

    def _is_file(self) -> bool:
        return self._path.is_file() and not self._path.is_symlink()

    def _line(self, line: bytes) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.json.decode(line)
        return fields

    def receipt(self, token: str) -> str | None:
        return str(len(b"".join(self._path.read_bytes().splitlines(keepends=True)[:-1])))

    def refuse_credentials(self) -> None:
        self._path.symlink_to("elsewhere")

    def hang(self) -> None:
        self._held = os.open(self._path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    async def reached(self) -> None:
        """The write is a thread's, which begins with the send."""
        await asyncio.sleep(0)

    def repeat(self) -> None:
        self.refuse_credentials()


class Screen(io.TextIOBase):
    """What is printed to, in the ways in which that can go wrong."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.printing = threading.Event()

    def write(self, line: str) -> int:
        self.printing.set()
        assert self.free.wait(PATIENCE_SECONDS)
        if self.error is not None:
            raise self.error
        self.lines.append(line)
        return len(line)

    def flush(self) -> None:
        """Nothing is kept back."""


class ConsolePlatform(Platform):
    """A screen in the place of standard output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.screen = Screen()
        self._monkeypatch = monkeypatch

    def make_channel(self) -> Channel:
        return ConsoleChannel()

    def _will(self, error: Exception | None = None) -> None:
        # Not sooner: pytest has its own in this place until a test runs.
        self._monkeypatch.setattr(sys, "stdout", self.screen)
        self.screen.error = error
        self.screen.free.set()

    def accept(self) -> None:
        self._will()

    def received(self) -> list[str]:
        return [line.partition("→ ann: ")[2].partition(" (")[0].removesuffix("\n") for line in self.screen.lines]

    def receipt(self, token: str) -> str | None:
        return None

    def refuse_credentials(self) -> None:
        self._will(BrokenPipeError(errno.EPIPE, "gone"))

    def cut(self) -> None:
        self._will(OSError(errno.EIO, "half of it"))

    def hang(self) -> None:
        self._will()
        self.screen.printing.clear()
        self.screen.free.clear()

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.screen.printing.wait, PATIENCE_SECONDS)

    def repeat(self) -> None:
        self._will(OSError(f"cannot print {self.recipient}"))


class FunctionPlatform(Platform):
    """What somebody's function does, which is async or not."""

    def __init__(self, *, is_async: bool) -> None:
        super().__init__()
        self._is_async = is_async
        self._raises: Exception | None = None
        self._repeats = False
        self._taken: list[str] = []
        self._free = threading.Event()
        self._free.set()
        self._called = threading.Event()

    def make_channel(self) -> Channel:
        return FunctionChannel(self._async if self._is_async else self._call, text_limit=100, unit="utf16")

    def _call(self, attempt: Attempt) -> str:
        self._called.set()
        assert self._free.wait(PATIENCE_SECONDS)
        return self._end(attempt)

    async def _async(self, attempt: Attempt) -> str:
        self._called.set()
        if not self._free.is_set():
            await asyncio.Event().wait()
        return self._end(attempt)

    def _end(self, attempt: Attempt) -> str:
        if self._repeats:
            raise RuntimeError(f"cannot send {attempt.text!r} to {attempt.to}")
        if self._raises is not None:
            raise self._raises
        self._taken.append(attempt.text)
        return f"r{len(self._taken)}"

    def _will(self, error: Exception | None = None, *, repeat: bool = False) -> None:
        self._raises, self._repeats = error, repeat
        self._free.set()

    def accept(self) -> None:
        self._will()

    def received(self) -> list[str]:
        return list(self._taken)

    def receipt(self, token: str) -> str | None:
        return f"r{len(self._taken)}"

    def reject_message(self) -> None:
        self._will(Rejected("not like this"))

    def reject_recipient(self) -> None:
        self._will(RuntimeError("Bad Request: chat not found"))

    def limits(self) -> tuple[Limit, ...]:
        return (
            Limit(name="outcome", after=30.0, scope="recipient"),
            Limit(name="text", after=12.0, scope="recipient"),
        )

    def limit(self, limit: Limit) -> None:
        outcome: Outcome = RateLimited("slow down", after=30)
        self._will(outcome if limit.name == "outcome" else RuntimeError("Too Many Requests: retry after 12"))

    def refuse_credentials(self) -> None:
        self._will(Unavailable("bad token"))

    async def vanish(self) -> None:
        self._will(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))

    def cut(self) -> None:
        self._will(ConnectionResetError(errno.ECONNRESET, "reset"))

    def hang(self) -> None:
        self._called.clear()
        self._free.clear()

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._called.wait, PATIENCE_SECONDS)

    def repeat(self) -> None:
        self._will(repeat=True)
