"""
One connection to an SMTP server, step by step, so that it is always known whether the final dot was written.

Before the dot nothing was sent, whatever happens; after it the server may have the mail without saying so (RFC 1047).
Hence no single call for the whole transaction, which would hide where it broke.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import socket
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import aiosmtplib

from pillarbox.channels.base import Progress
from pillarbox.channels.egress import Egress
from pillarbox.channels.mail.addresses import Address
from pillarbox.channels.mail.replies import Reply, Rule, Stage, classify
from pillarbox.channels.privacy.foreign_text import masked
from pillarbox.channels.privacy.known_secrets import NOTHING_KNOWN, KnownSecrets
from pillarbox.deadline import Within
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Rejected, Unavailable, Uncertain
from pillarbox.errors import EgressRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.channels.mail.compose import Mail
    from pillarbox.clock import Clock

_BLOCK_BYTES: Final = 64 * 1024
_LINE_DOT = re.compile(rb"^\.", re.MULTILINE)
# An idle connection is asked whether it still lives; one that does not answer soon is not worth waiting for.
_SIZE_DIGITS_MAX: Final = 20  # a limit beyond that is none, and Python refuses to read what is far longer
_REFRESH_SECONDS: Final = 10.0
_QUIT_SECONDS: Final = 1.0
# For the library's waits that cannot be without an end. Ours come first.
_LIBRARY_SECONDS: Final = 24 * 3600.0
IPV6: Final = 6


class StartTls(StrEnum):
    """When a plain connection becomes an encrypted one (RFC 3207)."""

    AUTO = "auto"  # whenever the server offers it
    REQUIRED = "required"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait for one step; the defaults are the minimums of RFC 5321 §4.5.3.2."""

    connect: float = 300.0  # §4.5.3.2.1, and again for the greeting
    command: float = 300.0  # §4.5.3.2.2 MAIL, §4.5.3.2.3 RCPT; the others, which have no number, too
    data: float = 120.0  # §4.5.3.2.4
    block: float = 180.0  # §4.5.3.2.5
    final: float = 600.0  # §4.5.3.2.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to, as whom, and how carefully."""

    host: str
    port: int
    implicit_tls: bool = False
    starttls: StartTls = StartTls.AUTO
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    helo: str = ""
    timeouts: Timeouts = Timeouts()
    overrides: tuple[Rule, ...] = ()
    known: KnownSecrets = field(default=NOTHING_KNOWN, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    From whom to whom, and how long it may take.

    Attributes:
        until_dot: Bounds everything before the final dot; lifted once it is written.
        final_seconds: How long to wait for the answer to it.
        progress: Noted there when the dot is written.
        hide: What an answer must not repeat of the message.
    """

    sender: Address
    to: Address
    until_dot: Within
    final_seconds: float
    progress: Progress
    hide: tuple[str, ...] = field(default=(), repr=False)


class Stopped(Exception):
    """The attempt is over; ``outcome`` says how."""

    def __init__(self, outcome: AnyOutcome) -> None:
        super().__init__()
        self.outcome = outcome


class SmtpSession:
    """
    A connection, greeted, encrypted and logged in. One transaction at a time.

    Attributes:
        stage: The command under way, or the last one.
        reused: Has carried a transaction before.
        in_sync: The last command was answered in full, so another one may follow.
    """

    def __init__(self, server: Server, tls: ssl.SSLContext, egress: Egress | None = None, *, clock: Clock) -> None:
        self.stage = Stage.BANNER
        self._connected = False
        self._egress = egress or Egress(operator=True)
        self.reused = False
        self.in_sync = False
        self._server = server
        self._clock = clock
        self._hide: tuple[str, ...] = ()
        self._smtp = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.implicit_tls,
            # Ours to do: the library would log in right after it, without asking whether that is safe.
            start_tls=False,
            tls_context=tls,
            local_hostname=server.helo or "localhost",
            # The waits are ours as well: its own would throw away an answer that came while the loop stood still.
            timeout=None,
        )

    @property
    def phase(self) -> str:
        """Return how far it has come, for people: a server that was never reached has said no banner."""
        return str(self.stage) if self._connected else "connect"

    @property
    def usable(self) -> bool:
        """Whether another transaction can follow."""
        return self.in_sync and self._smtp.is_connected

    async def open(self) -> None:
        """
        Connect, greet, encrypt, log in.

        Raises:
            Stopped: With an outcome other than Delivered or Uncertain; the connection is closed.
        """
        server = self._server
        try:
            with self._translated():
                async with Within(server.timeouts.connect, clock=self._clock):
                    sock = await self._dialled()
                    self._connected = True
                    # The name goes along: the certificate is held against it, whichever address was dialled.
                    await self._smtp.connect(hostname=server.host, port=None, sock=sock, timeout=_LIBRARY_SECONDS)
                if not server.helo:
                    self._smtp.local_hostname = self._own_literal()
                await self._greet()
                encrypted = server.implicit_tls or await self._start_tls()
                if server.user:
                    await self._log_in(encrypted=encrypted)
        except BaseException:
            self.close()
            raise
        self.in_sync = True

    async def refresh(self) -> bool:
        """Forget a transaction before; ``False`` where the connection turns out to be gone, which is no error."""
        self.reused = True
        if not self.usable:
            return False
        try:
            reply = await self._command(self.stage, b"RSET", seconds=_REFRESH_SECONDS)
        except (aiosmtplib.SMTPException, OSError):
            return False
        return reply.is_positive

    async def transact(self, mail: Mail, route: Route) -> Delivered:
        """
        Transfer one mail to one recipient.

        Raises:
            Stopped: With what became of the mail, where it is not Delivered.
        """
        self._hide = (str(route.to), route.to.local, *route.hide)
        with self._translated():
            await self._envelope(mail, route)
            reply = await self._command(Stage.DATA, b"DATA", seconds=self._server.timeouts.data)
            if reply.code != 354:
                raise self._refused(reply)
        self.stage = Stage.FINAL
        self.in_sync = False
        response = await self._content(_LINE_DOT.sub(b"..", mail.content), route)
        reply = self._reply(response)
        self.in_sync = reply.code > 0 and reply.code != 421
        if not reply.is_positive:
            raise self._refused(reply)
        return Delivered(mail.message_id, answer=reply.excerpt())

    def close(self) -> None:
        """Close the connection. Safe to repeat."""
        self.in_sync = False
        self._smtp.close()

    async def quit(self) -> None:
        """Send QUIT, wait a second at most for the answer, and close the connection."""
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            if self.usable:
                async with Within(_QUIT_SECONDS, clock=self._clock):
                    await self._smtp.quit()
        self.close()

    # --- opening ----------------------------------------------------------------------------------------------------

    async def _dialled(self) -> socket.socket:
        """
        Look the server up once, and connect to the first of its judged addresses that answers.

        Raises:
            EgressRefused: It leads where no channel may connect: to a metadata service or a link-local address.
            OSError: It has no address, or none that answers; TimeoutError is one.
        """
        server = self._server
        failed: OSError | None = None
        for address in await self._egress.addresses(server.host, server.port):
            family = socket.AF_INET6 if address.version == IPV6 else socket.AF_INET
            where = (str(address), server.port)
            sock = self._egress.dial((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where))
            try:
                sock.settimeout(0)
                await asyncio.get_running_loop().sock_connect(sock, where)
            except OSError as exc:
                sock.close()
                failed = failed or exc
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failed or OSError(f"{server.host} has no address")

    def _own_literal(self) -> str:
        """RFC 5321 §4.1.4: without a name that resolves, the client's address literal. Asks no name server."""
        address = ipaddress.ip_address(self._smtp.get_transport_info("sockname")[0].partition("%")[0])
        return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"

    async def _greet(self) -> None:
        self.stage = Stage.EHLO
        try:
            async with self._in_time():
                await self._smtp.ehlo()
        except aiosmtplib.SMTPHeloError as refused:
            # RFC 5321 §3.2: HELO, for a server that does not know EHLO.
            if refused.code not in {500, 502, 504}:
                raise
            async with self._in_time():
                await self._smtp.helo()

    async def _start_tls(self) -> bool:
        offered = self._smtp.supports_extension("starttls")
        wanted = self._server.starttls
        if wanted is StartTls.NEVER or (wanted is StartTls.AUTO and not offered):
            return False
        self.stage = Stage.STARTTLS
        if not offered:
            raise Stopped(Unavailable("starttls: the server does not offer it, and this channel requires it"))
        async with self._in_time():
            await self._smtp.starttls(timeout=_LIBRARY_SECONDS)
        # RFC 3207 §4.2: what was said before does not count.
        await self._greet()
        return True

    async def _log_in(self, *, encrypted: bool) -> None:
        self.stage = Stage.AUTH
        if not encrypted and not self._is_loopback():
            raise Stopped(
                Unavailable("auth: the connection is not encrypted, and a password is never sent in clear text")
            )
        user, password = self._server.user, self._server.password
        methods = {"plain": self._smtp.auth_plain, "login": self._smtp.auth_login, "cram-md5": self._smtp.auth_crammd5}
        offered = [method for name, method in methods.items() if name in self._smtp.server_auth_methods]
        if not offered:
            raise Stopped(Unavailable("auth: the server offers no way to log in that this channel knows"))
        for log_in in offered:
            try:
                async with self._in_time():
                    await log_in(user, password)
            except aiosmtplib.SMTPAuthenticationError as refused:
                # RFC 4954 §6: only these are about the mechanism. A wrong password stays wrong, and tries are counted.
                if refused.code not in {504, 534} or log_in is offered[-1]:
                    raise
            else:
                return

    def _in_time(self) -> Within:
        return Within(self._server.timeouts.command, clock=self._clock)

    def _is_loopback(self) -> bool:
        peer = ipaddress.ip_address(self._smtp.get_transport_info("peername")[0].partition("%")[0])
        mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
        return (mapped or peer).is_loopback

    # --- a transaction ----------------------------------------------------------------------------------------------

    async def _envelope(self, mail: Mail, route: Route) -> None:
        options = self._mail_options(mail, route.to)
        reply = await self._command(Stage.MAIL, b"MAIL", f"FROM:<{route.sender}>".encode(), *options)
        if not reply.is_positive:
            raise self._refused(reply)
        reply = await self._command(Stage.RCPT, b"RCPT", f"TO:<{route.to}>".encode())
        if not reply.is_positive:
            raise self._refused(reply)

    def _mail_options(self, mail: Mail, to: Address) -> list[bytes]:
        """Ask for the extensions that *mail* needs; without them it is refused here, before anything is sent."""
        extensions = self._smtp.esmtp_extensions
        options = []
        if "size" in extensions:
            limit = extensions["size"].strip()
            # RFC 1870 §4: 0, or nothing, is no limit.
            is_number = limit.isascii() and limit.isdigit() and len(limit) < _SIZE_DIGITS_MAX
            if is_number and 0 < int(limit) < len(mail.content):
                reason = f"mail: {len(mail.content)} octets, and the server takes {limit} (RFC 1870)"
                raise Stopped(Rejected(reason))
            options.append(f"SIZE={len(mail.content)}".encode())
        if mail.needs_8bit:
            if "8bitmime" not in extensions:
                raise Stopped(Rejected("mail: an 8-bit body, and the server does not offer 8BITMIME (RFC 6152)"))
            options.append(b"BODY=8BITMIME")
        if mail.needs_smtputf8:
            if "smtputf8" not in extensions:
                reason = "mail: not all ASCII, and the server does not offer SMTPUTF8 (RFC 6531)"
                raise Stopped(Rejected(reason, about="recipient" if to.needs_smtputf8 else "message"))
            options.append(b"SMTPUTF8")
        return options

    async def _content(self, wire: bytes, route: Route) -> aiosmtplib.SMTPResponse:
        """Write *wire*, then the dot; return the server's last answer."""
        protocol = self._smtp.protocol
        if protocol is None:
            raise Stopped(Deferred("data: the connection was lost before the mail was sent"))
        # Listening while writing: a server may refuse in mid-mail, and aiosmtplib drops what nobody waits for.
        last_word = asyncio.ensure_future(protocol.read_response())
        try:
            with self._translated():
                for start in range(0, len(wire), _BLOCK_BYTES):
                    if last_word.done():
                        break
                    protocol.write(wire[start : start + _BLOCK_BYTES])
                    async with Within(self._server.timeouts.block, clock=self._clock):
                        await protocol._drain_helper()  # noqa: SLF001 — the library has no public way to wait
                if last_word.done():
                    raise self._interrupted(self._reply(last_word.result()))
                _still_wanted(route.until_dot)
                route.progress.written = True
                protocol.write(b".\r\n")
            route.until_dot.lift()
            async with Within(route.final_seconds, clock=self._clock):
                return await last_word
        except TimeoutError:
            raise Stopped(Uncertain(".: no answer after the final dot (RFC 1047)")) from None
        except (aiosmtplib.SMTPException, OSError):
            raise Stopped(
                Uncertain(
                    ".: the final dot was not answered: the connection broke, or what came is not SMTP (RFC 1047)"
                )
            ) from None
        finally:
            if not last_word.cancel() and not last_word.cancelled():
                last_word.exception()  # looked at, so that asyncio does not complain

    def _interrupted(self, reply: Reply) -> Stopped:
        """Return what it means that the server spoke before the dot: whatever it said, it does not have the mail."""
        if reply.code >= 400:
            return self._refused(reply)
        return Stopped(Deferred(f".: {reply.shown()}, before the mail was sent", unclassified=True))

    # --- replies and errors -----------------------------------------------------------------------------------------

    async def _command(self, stage: Stage, *words: bytes, seconds: float | None = None) -> Reply:
        self.stage = stage
        self.in_sync = False
        async with Within(seconds or self._server.timeouts.command, clock=self._clock):
            response = await self._smtp.execute_command(*words)
        self.in_sync = response.code > 0
        return self._reply(response)

    def _reply(self, response: aiosmtplib.SMTPResponse) -> Reply:
        text = response.message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return Reply(code=response.code, text=text, hide=self._hide, known=self._server.known)

    def _refused(self, reply: Reply) -> Stopped:
        return Stopped(classify(self.stage, reply, self._server.overrides))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Everything that goes wrong in here does so before the final dot: surely not sent (contract CL6)."""
        try:
            yield
        except aiosmtplib.SMTPResponseException as exc:
            response = aiosmtplib.SMTPResponse(exc.code, str(exc.message))
            raise self._refused(self._reply(response)) from None
        except EgressRefused as refused:
            # Nothing about one mail: the address is wrong until a person changes something.
            raise Stopped(Unavailable(f"{self.phase}: {refused}")) from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as exc:
            raise Stopped(self._failure(exc)) from None

    def _failure(self, exc: Exception) -> AnyOutcome:
        cause = exc if isinstance(exc, ssl.SSLError) else exc.__cause__
        # With smtps:// the encryption comes before the server's first word.
        phase = "tls" if isinstance(cause, ssl.SSLError) and self.stage is Stage.BANNER else self.phase
        if isinstance(cause, ssl.SSLCertVerificationError):
            # RFC 8314 §4: a certificate that does not fit is nothing that sending again would mend.
            return Unavailable(f"{phase}: certificate refused: {cause.verify_message}")
        if isinstance(exc, TimeoutError):
            return Deferred(f"{phase}: no answer in time", outage=not self._connected)
        if isinstance(exc, OSError) and not self._connected and (exc.errno or 0) > 0:
            # The error's own text is about a system call.
            return Deferred(f"{phase}: {os.strerror(exc.errno or 0).lower()}", outage=True)
        detail = masked(str(cause or exc) or type(exc).__name__, *self._hide, known=self._server.known)
        return Deferred(f"{phase}: {detail}", outage=not self._connected)


def _still_wanted(until_dot: Within) -> None:
    """
    Stop if the time before the dot is over.

    Until Python 3.12 ``asyncio.wait_for``, which aiosmtplib uses, swallows a cancellation that arrives together with
    the answer it waits for (CPython issue 86296).
    """
    task = asyncio.current_task()
    if until_dot.expired() or until_dot.overdue() or (task is not None and task.cancelling()):
        raise Stopped(Deferred("data: out of time before the mail was sent"))
