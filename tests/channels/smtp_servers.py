"""
SMTP servers for tests: aiosmtpd with scripted replies, a server of our own that breaks rules, and Postfix's smtp-sink.

All of them listen on free ports of 127.0.0.1, and end with the block they were started for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.kept_port import kept_port

if TYPE_CHECKING:
    import ssl

PATIENCE_SECONDS = 30  # only a failing test waits for so long
HOST = "127.0.0.1"


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


class Scripted:
    """
    aiosmtpd's handler. What it was told to answer it answers, else it accepts.

    Attributes:
        replies: By command, or by recipient for RCPT; a list is used up from its front.
        mails: What was accepted, or refused at the final dot.
        commands: How often each command came.
        logins: User and password of each attempt to log in.
    """

    def __init__(self, **replies: str | list[str]) -> None:
        self.replies: dict[str, str | list[str]] = dict(replies)
        self.mails: list[Envelope] = []
        self.commands: Counter[str] = Counter()
        self.logins: list[tuple[str, str]] = []
        self.password = "hunter22"
        self.port = 0

    @property
    def contents(self) -> list[bytes]:
        return [mail.original_content or b"" for mail in self.mails]

    def _next(self, key: str) -> str | None:
        reply = self.replies.get(key)
        if isinstance(reply, list):
            return reply.pop(0) if reply else None
        return reply

    async def handle_EHLO(  # noqa: N802 — aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.commands["EHLO"] += 1
        session.host_name = hostname
        hidden = self.replies.get("hide") or []
        return [line for line in responses if not any(word in line for word in hidden)]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.commands["MAIL"] += 1
        reply = self._next("MAIL")
        if reply is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply or "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.commands["RCPT"] += 1
        reply = self._next(address) or self._next("RCPT")
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 2.1.5 OK"

    async def handle_RSET(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.commands["RSET"] += 1
        return self._next("RSET") or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.commands["DATA"] += 1
        self.mails.append(envelope)
        return self._next("DATA") or f"250 2.0.0 Ok: queued as Q{len(self.mails)}"

    def log_in(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        # Not handled: aiosmtpd answers 535 itself.
        return AuthResult(success=data.password.decode() == self.password, handled=False)


@contextlib.asynccontextmanager
async def aiosmtpd(
    *,
    size: int = 1_000_000,
    starttls: ssl.SSLContext | None = None,
    implicit: ssl.SSLContext | None = None,
    auth: bool = False,
    smtputf8: bool = False,
    **replies: Any,
) -> AsyncIterator[Scripted]:
    """Serve on the loop of the test; ``replies`` as in `Scripted`."""
    handler = Scripted(**replies)
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        handler.commands["connections"] += 1
        return SMTP(
            handler,
            data_size_limit=size,
            hostname="mx.example.org",
            tls_context=starttls,
            enable_SMTPUTF8=smtputf8,
            auth_require_tls=False,
            authenticator=handler.log_in if auth else None,
            loop=loop,
        )

    server = await loop.create_server(protocol, HOST, 0, ssl=implicit)
    handler.port = _port(server)
    try:
        yield handler
    finally:
        server.close()


Step = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


class Hangup(Exception):
    """Close the connection without a word."""


class Rude:
    """
    A server of few lines that does as it is told, whatever the RFC says.

    Attributes:
        replies: By command; ``banner`` and ``.`` are the greeting and the answer to the final dot. ``None`` is silence,
            ``b""`` hangs up.
        received: The commands, in order, with ``.`` for a mail that ended; ``lines`` are the same as they came.
    """

    def __init__(self, replies: dict[str, bytes | None]) -> None:
        usual: dict[str, bytes | None] = {
            "banner": b"220 hi",
            "EHLO": b"250 SIZE 0",
            "DATA": b"354 go",
            "QUIT": b"221 bye",
        }
        self.replies: dict[str, bytes | None] = usual | replies
        self.received: list[str] = []
        self.lines: list[bytes] = []
        self.bodies: list[bytes] = []
        self.hung_up: list[asyncio.Event] = []
        self.silent = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.Event()
        self.hung_up.append(gone)
        try:
            await self._talk(reader, writer)
        except (Hangup, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            gone.set()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say("banner", writer)
        while line := await reader.readline():
            verb = line.split()[0].decode().upper() if line.split() else ""
            self.lines.append(line)
            self.received.append(verb)
            await self._say(verb, writer)
            if verb == "DATA" and (self.replies["DATA"] or b"").startswith(b"354"):
                early = self.replies.get("body")
                if early is not None:
                    await reader.read(1)
                    await self._write(early, writer)
                self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                self.received.append(".")
                await self._say(".", writer)

    async def _say(self, key: str, writer: asyncio.StreamWriter) -> None:
        reply = self.replies.get(key, b"250 OK")
        if reply is None:
            self.silent.set()
        else:
            await self._write(reply, writer)

    async def _write(self, reply: bytes, writer: asyncio.StreamWriter) -> None:
        if not reply:
            raise Hangup
        writer.write(reply + b"\r\n")
        await writer.drain()
        if reply.startswith(b"421"):
            raise Hangup


@contextlib.asynccontextmanager
async def rude(**replies: bytes | None) -> AsyncIterator[Rude]:
    """Serve as `Rude` does; ``dot`` is the answer to the final dot."""
    named = {"." if key == "dot" else key: reply for key, reply in replies.items()}
    handler = Rude(named)
    server = await asyncio.start_server(handler.serve, HOST, 0, limit=2**24)
    handler.port = _port(server)
    try:
        yield handler
    finally:
        server.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            for gone in handler.hung_up:
                await gone.wait()


class SmtpSink:
    """Starts Postfix's smtp-sink in one of its modes, and ends all that it started."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._running: list[subprocess.Popen[bytes]] = []
        self._ports = contextlib.ExitStack()

    async def start(self, *mode: str) -> int:
        """Give the port of a new smtp-sink once it accepts connections."""
        port = self._ports.enter_context(kept_port())
        # It refuses to stay root, and needs no other user where it is not.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = [self._program, *mode, *user, f"{HOST}:{port}", "100"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
        self._running.append(process)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                assert process.poll() is None, f"smtp-sink ended with {process.returncode}: {command}"
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except ConnectionRefusedError:
                    continue
                writer.close()
                return port

    def stop(self) -> None:
        with self._ports:
            for process in self._running:
                process.terminate()
                process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def installed_smtp_sink() -> Any:
    """Skip, and say how to get it, where there is none."""
    program = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip(
            "!!! smtp-sink is NOT installed, so SMTP faults are NOT tested against Postfix's own server. "
            "Get it: apt-get install -y --no-install-recommends postfix (no daemon is started)"
        )
    sink = SmtpSink(program)
    try:
        yield sink
    finally:
        sink.stop()
