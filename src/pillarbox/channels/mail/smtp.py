"""
The mail channel: each message is one mail to one recipient, handed to one SMTP server, usually a provider's.

Connections are kept for the next mail. What a refusal means stands in `mail.replies`, what goes out in `mail.compose`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from typing import Final

import msgspec

from pillarbox.channels.base import Attempt, Capabilities, Channel, Seams
from pillarbox.channels.egress import Egress, guard
from pillarbox.channels.mail.addresses import Address, parse_address, parse_domain
from pillarbox.channels.mail.compose import Mail, compose, subject_of
from pillarbox.channels.mail.fields import as_message_id, check_content
from pillarbox.channels.mail.replies import Stage, parse_overrides
from pillarbox.channels.mail.session import Route, Server, SmtpSession, StartTls, Stopped, Timeouts
from pillarbox.channels.privacy.known_secrets import KnownSecrets
from pillarbox.channels.privacy.outcomes import values_of
from pillarbox.channels.url_parts import ChannelUrl, Options, count, parse_url, seconds, table, text
from pillarbox.clock import Clock, SystemClock
from pillarbox.deadline import Within
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Admission, Content
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Rejected
from pillarbox.domain.retry import SMTP
from pillarbox.errors import ConfigError, EgressRefused, InvalidMessage

SUBMISSION_PORT: Final = 587  # RFC 6409 §3.1
SUBMISSIONS_PORT: Final = 465  # RFC 8314 §3.3
# Half an hour: the 10 minutes of RFC 5321 §4.5.3.2.6 after the final dot, and 20 for all that goes before it.
SEND_SECONDS: Final = 1800.0
IDLE_SECONDS: Final = 30.0
# Our own deadline comes before the executor's: here one still knows whether the final dot was written.
_DEADLINE_SHARE: Final = 0.95

_OPTIONS: Final = (
    "cafile", "command_timeout", "concurrency", "connect_timeout", "data_timeout", "block_timeout", "final_timeout",
    "helo", "idle", "outcomes", "sender", "sender_name", "starttls", "timeout",
)  # fmt: skip


class SmtpChannel(Channel):
    """
    Mail through one server.

    Args:
        server: Where to, as whom.
        sender: The address mails come from, in their header and their envelope.
        sender_name: Shown beside it.
        concurrency: Mails, and so connections, at once; 1 or more.
        idle_seconds: How long an unused connection is worth trying again.
        timeout_seconds: For a whole attempt. At most half of it is kept for the answer to the final dot.
        cafile: PEM file with certificates to trust beside the system's.
        egress: The guard at the way out; the default trusts the server's name as the operator's.
    """

    kind = "smtp"
    # The platform's table: nothing but the server's word, and no second copy is ever dropped for us.
    capabilities = Capabilities(receipts="accepted")
    policy = SMTP
    ordered = False

    def __init__(
        self,
        server: Server,
        *,
        sender: Address,
        sender_name: str = "",
        concurrency: int = 8,
        idle_seconds: float = IDLE_SECONDS,
        timeout_seconds: float = SEND_SECONDS,
        cafile: str = "",
        egress: Egress | None = None,
    ) -> None:
        self._server = server
        self._egress = egress or Egress(operator=True)
        self.known_secrets = server.known
        self._sender = sender
        self._sender_name = sender_name
        self._idle_seconds = idle_seconds
        self._cafile = cafile
        self._clock: Clock = SystemClock()
        self._tls: ssl.SSLContext | None = None
        self._idle: list[tuple[float, SmtpSession]] = []
        self.concurrency = concurrency
        self.send_timeout_seconds = timeout_seconds

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        sender: str | None = None,
        sender_name: str | None = None,
        starttls: str | None = None,
        helo: str | None = None,
        cafile: str | None = None,
        concurrency: int | None = None,
        timeout: float | str | None = None,
        connect_timeout: float | str | None = None,
        command_timeout: float | str | None = None,
        data_timeout: float | str | None = None,
        block_timeout: float | str | None = None,
        final_timeout: float | str | None = None,
        idle: float | str | None = None,
        outcomes: Mapping[str, str] | None = None,
    ) -> SmtpChannel:
        """
        Make the channel of ``smtp://user:password@host:587?sender=me@example.org``; ``smtps://`` is TLS from the start.

        Every option may stand in the URL's query too, ``outcomes`` aside; beside the URL it wins.

        Args:
            sender: Default: the user if it is an address, else ``user@host``.
            starttls: ``auto`` (default; whenever it is offered), ``required`` or ``never``. Whichever it is, a
                password goes to other machines over encrypted connections only.
            helo: This machine's name for the server; default: its address.
            timeout: For a whole attempt, default 30 minutes; as every span in seconds, or as ``30s``, ``5m``.
            outcomes: Rules that go before `mail.replies.RULES`, such as ``{"550 5.7.1 rcpt": "rejected_recipient"}``.

        Raises:
            ConfigError: Names the option; its text holds no user, no password and not the URL.
        """
        given = {key: value for key, value in locals().items() if key in _OPTIONS and value is not None}
        parsed = parse_url(url, schemes=("smtp", "smtps"))
        options = Options(parsed, given, known=_OPTIONS)
        server = _server(parsed, options)
        chosen = options.take("sender", text, "")
        return cls(
            server,
            sender=_sender(chosen, server),
            sender_name=options.take("sender_name", text, ""),
            concurrency=options.take("concurrency", count, 8),
            idle_seconds=options.take("idle", seconds, IDLE_SECONDS),
            timeout_seconds=options.take("timeout", seconds, SEND_SECONDS),
            cafile=options.take("cafile", text, ""),
        )

    def __repr__(self) -> str:
        """Show where mails go, without a secret."""
        return f"<SmtpChannel {self.describe()}>"

    def describe(self) -> str:
        """See `Channel`."""
        server = self._server
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"{'smtps' if server.implicit_tls else 'smtp'}://{host}:{server.port}"

    async def start(self, seams: Seams) -> None:
        """See `Channel`. Raises ConfigError if the certificates to trust cannot be read."""
        self._clock = seams.clock
        self._tls = await asyncio.to_thread(_tls_context, self._cafile)

    async def close(self) -> None:
        """See `Channel`. Safe to repeat."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(session.quit() for _, session in idle))

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
        """See `Channel`. The recipient's domain becomes ASCII and lower case."""
        recipient = parse_address(to, field="to")
        check_content(content, thread=thread)
        return Admission(recipient=str(recipient), **self.split(content))

    def marked(self, content: Content, mark: str) -> Content:
        """See `Channel`. The subject stays: without one of its own, a mail would have the mark for it."""
        if content.payload is None and content.subject is None:
            content = msgspec.structs.replace(content, subject=subject_of(content) or None)
        return super().marked(content, mark)

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        if attempt.op is not Op.SEND:
            return Rejected("a mail that was sent cannot be edited or deleted")
        try:
            check_content(attempt.content, thread=attempt.thread)
            to = parse_address(attempt.to, field="to")
        except InvalidMessage as refused:
            return Rejected(str(refused), about="recipient" if refused.field == "to" else "message")
        mail = compose(
            attempt.content,
            sender=self._sender,
            sender_name=self._sender_name,
            to=to,
            token=attempt.token,
            created_ms=attempt.created_ms,
            thread=attempt.thread,
        )
        attempt.progress.written = False
        total_seconds = min(self.send_timeout_seconds, attempt.deadline_seconds)
        outcome = await self._deliver(mail, to, total_seconds, attempt)
        return _without(outcome, attempt) if isinstance(outcome, Delivered) else outcome

    async def _deliver(self, mail: Mail, to: Address, total_seconds: float, attempt: Attempt) -> AnyOutcome:
        """Send before the dot's time is up; what is left of *total_seconds* is for the answer to the dot."""
        final_seconds = min(self._server.timeouts.final, total_seconds / 2)
        session: SmtpSession | None = None
        opened: list[SmtpSession] = []
        try:
            async with Within(total_seconds * _DEADLINE_SHARE - final_seconds, clock=self._clock) as until_dot:
                route = Route(
                    sender=self._sender,
                    to=to,
                    until_dot=until_dot,
                    final_seconds=final_seconds,
                    progress=attempt.progress,
                    hide=values_of(attempt),
                )
                session = await self._session(opened)
                try:
                    return await session.transact(mail, route)
                except Stopped as stopped:
                    if not _went_stale(session):
                        return stopped.outcome
                # The server hung up on an idle connection, before it heard of this mail: that is no failure.
                session.close()
                session = await self._open(opened)
                return await session.transact(mail, route)
        except Stopped as stopped:
            return stopped.outcome
        except TimeoutError:
            last = opened[-1] if opened else session
            return Deferred(f"{last.phase if last else 'connect'}: out of time before the mail was sent")
        finally:
            if session is not None:
                self._give_back(session)

    async def _session(self, opened: list[SmtpSession]) -> SmtpSession:
        """Take the connection used last, if it still answers, or open one."""
        while self._idle:
            since, session = self._idle.pop()
            if self._clock.mono() - since <= self._idle_seconds:
                try:
                    if await session.refresh():
                        return session
                except asyncio.CancelledError:
                    session.close()
                    raise
            session.close()
        return await self._open(opened)

    async def _open(self, opened: list[SmtpSession]) -> SmtpSession:
        """Open a connection; *opened* has it from its first step on, so that it is known how far it came."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(_tls_context, self._cafile)
        session = SmtpSession(self._server, self._tls, self._egress, clock=self._clock)
        opened.append(session)
        await session.open()
        return session

    def _give_back(self, session: SmtpSession) -> None:
        if session.usable and len(self._idle) < self.concurrency:
            self._idle.append((self._clock.mono(), session))
        else:
            session.close()


def _without(outcome: Delivered, attempt: Attempt) -> Delivered:
    """Return a delivery that says what the mail went without: an id that means nothing in one."""
    named = {"reply_to": attempt.content.reply_to, "thread": attempt.thread}
    left_out = [name for name, said in named.items() if said is not None and as_message_id(said) is None]
    if not left_out or attempt.content.payload is not None:
        return outcome
    why = "; ".join(f"sent without its {name}: it is no Message-ID" for name in left_out)
    return Delivered(outcome.receipt, degraded=why, answer=outcome.answer)


def _went_stale(session: SmtpSession) -> bool:
    return session.reused and session.stage is Stage.MAIL and not session.usable


def _tls_context(cafile: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if cafile:
        try:
            context.load_verify_locations(cafile=cafile)
        except OSError as exc:  # ssl.SSLError is one
            raise ConfigError(
                "cafile", f"expected a readable PEM file of certificates: {exc.strerror or exc}"
            ) from None
    return context


def _server(url: ChannelUrl, options: Options) -> Server:
    host = url.host if _is_ip_address(url.host) else parse_domain(url.host)
    if not host or url.path not in {"", "/"}:
        # A path is most often the rest of a password with a slash in it.
        raise ConfigError("url", "expected smtp://[user:password@]host[:port], special characters percent-encoded")
    _check_address(host)
    if bool(url.user) != bool(url.password):
        raise ConfigError("url", "expected both a user and a password, or neither")
    implicit_tls = url.scheme == "smtps"
    starttls = options.take("starttls", _starttls, StartTls.NEVER if implicit_tls else StartTls.AUTO)
    if implicit_tls and starttls is not StartTls.NEVER:
        raise ConfigError("starttls", "expected no STARTTLS: smtps:// is encrypted from its first octet")
    if starttls is StartTls.NEVER and not implicit_tls and url.password and not _is_local(host):
        raise ConfigError("starttls", "expected auto or required: a password is never sent in clear text")
    helo = options.take("helo", text, "")
    if helo and parse_domain(helo) is None:
        raise ConfigError("helo", "expected this machine's domain name")
    default = Timeouts()
    return Server(
        host=host,
        port=url.port or (SUBMISSIONS_PORT if implicit_tls else SUBMISSION_PORT),
        implicit_tls=implicit_tls,
        starttls=starttls,
        user=url.user,
        password=url.password,
        known=KnownSecrets(pairs=[(url.user, url.password)]),
        helo=parse_domain(helo) or "",
        timeouts=Timeouts(
            connect=options.take("connect_timeout", seconds, default.connect),
            command=options.take("command_timeout", seconds, default.command),
            data=options.take("data_timeout", seconds, default.data),
            block=options.take("block_timeout", seconds, default.block),
            final=options.take("final_timeout", seconds, default.final),
        ),
        overrides=parse_overrides(options.take("outcomes", table, {}), field="outcomes"),
    )


def _sender(chosen: str, server: Server) -> Address:
    """Return the sender as chosen, else the user as an address."""
    user = server.user if "@" in server.user else f"{server.user}@{server.host}"
    if not chosen and (not server.user or _is_local(server.host)) and "@" not in server.user:
        raise ConfigError("sender", "expected the address that mails come from, such as ?sender=me@example.org")
    try:
        return parse_address(chosen or user, field="sender")
    except InvalidMessage as refused:
        raise ConfigError("sender", refused.expected) from None


def _starttls(field: str, value: object) -> StartTls:
    if value not in tuple(StartTls):
        raise ConfigError(field, f"expected one of {', '.join(StartTls)}")
    return StartTls(str(value))


def _check_address(host: str) -> None:
    """Refuse an address that would never be dialled; a name is judged by its addresses, before each connection."""
    if _is_ip_address(host):
        try:
            guard(host, operator=True)
        except EgressRefused as refused:
            raise ConfigError("url", str(refused)) from None


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    return host == "localhost" or (_is_ip_address(host) and ipaddress.ip_address(host).is_loopback)
