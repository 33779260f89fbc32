"""
The webhook channel: each message is one signed HTTP POST to the channel's URL.

The URL is the operator's; the recipient only stands in the body, so data can never choose where a request goes.
"""

from __future__ import annotations

import asyncio
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
from aiohttp.payload import Payload

from pillarbox.__about__ import __version__
from pillarbox.channels.base import Attempt, Channel, Progress, Seams
from pillarbox.channels.egress import Egress, networks
from pillarbox.channels.http.answers import (
    STATUSES,
    Verdict,
    failure,
    hint_seconds,
    outcome_of,
    status_table,
    status_text,
)
from pillarbox.channels.http.connection import KeptConnection, keep_apart
from pillarbox.channels.http.signing import parse_secret, signature_headers
from pillarbox.channels.options import (
    HEADER_VALUE,
    basic_authorization,
    bounded_count,
    bounded_seconds,
    checked_headers,
    flag,
    listed,
    table,
)
from pillarbox.channels.privacy.foreign_text import excerpt
from pillarbox.channels.privacy.known_secrets import KnownSecrets, in_headers, in_signing_secret, in_url
from pillarbox.channels.privacy.masking import place_of
from pillarbox.channels.privacy.outcomes import values_of
from pillarbox.deadline import Within
from pillarbox.domain.ids import ID_LENGTH, dedupe_token
from pillarbox.domain.message import Admission, Content, FileRef, Format, Op
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Rejected
from pillarbox.domain.retry import WEBHOOK, parse_span
from pillarbox.errors import ConfigError, EgressRefused, InvalidMessage, NotStarted

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from aiohttp.abc import AbstractStreamWriter

ANSWER_BYTES_MAX: Final = 64 * 1024
RECEIPT_LENGTH_MAX: Final = 128
CONNECT_SECONDS_MAX: Final = 10.0
TIMEOUT_SECONDS_MAX: Final = 3600.0
CONCURRENCY_MAX: Final = 1000
# Where a kept connection turns out to be of no use, the attempt goes on with another one; not for ever.
CONNECTIONS_MAX: Final = 3
# Our deadline comes before the executor's: here one still knows whether the request was written.
_DEADLINE_SHARE = 0.95
_EXECUTOR_GRACE_SECONDS = 2.0
# One clock of ours runs over all of an attempt, from the look-up of the name to the answer's last byte: aiohttp's own
# would throw away an answer that has come while the loop stood still. Its only moves on from a dead address to the
# name's next one; without a threshold it would be rounded up to whole seconds.
_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, sock_connect=CONNECT_SECONDS_MAX, ceil_threshold=2 * TIMEOUT_SECONDS_MAX
)

_JSON = "application/json"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_FIRST = dedupe_token("", 0, 0)  # how the token of a message's first part ends, until a person orders a copy
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")  # W3C Trace Context §3.2
_OURS = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "idempotency-key", "keep-alive", "pillarbox-attempt", "te", "traceparent", "trailer", "transfer-encoding",
        "upgrade", "webhook-id", "webhook-signature", "webhook-timestamp",
    }
)  # fmt: skip


class _Receipt(msgspec.Struct):
    id: str | int | None = None


class _File(msgspec.Struct, omit_defaults=True):
    url: str | None
    name: str = ""
    media_type: str = ""


class _Text(msgspec.Struct, omit_defaults=True):
    """The body of a text message. What is not set is left out; parts count from 0 and stand only in split messages."""

    id: str
    to: str
    text: str
    format: Format = Format.PLAIN
    subject: str | None = None
    thread: str | None = None
    reply_to: str | None = None
    silent: bool = False
    files: list[_File] = []
    extra: dict[str, Any] = {}
    op: Op = Op.SEND
    target: str | None = None
    correlation_id: str | None = None
    part: int | None = None
    part_count: int | None = None


_RECEIPT = msgspec.json.Decoder(_Receipt)
_ENCODER = msgspec.json.Encoder()


class WebhookChannel(Channel):
    """
    POST each message to one URL.

    A text message goes out as JSON, a raw payload as it is with its content type. Every request carries ``webhook-id``
    and ``Idempotency-Key``, the same for all attempts. Redirects, proxies from the environment, cookies and
    compression are not used. Of an answer at most 64 KiB are read; its status alone decides.

    Args:
        url: ``http://`` or ``https://``; user and password become Basic authentication.
        secrets: ``whsec_…``, the newest first; each signs every request (Standard Webhooks 1.0).
        headers: Sent with every request. The ones this channel sets itself are refused.
        timeout_seconds: For a whole attempt, connecting and reading the answer included; above 0, at most an hour.
        concurrency: Requests, and so connections, at once; 1–1000.
        dedupe: The receiver drops a second request with the same ``Idempotency-Key`` for as long as we try.
        outcomes: Verdicts laid over `STATUSES`: from ``"404"`` or ``"4xx"`` to a name of `Verdict`.
        allow_networks: Networks that file URLs in messages may point into, beyond public addresses.
        egress: The guard for this channel's own URL; the default trusts it as the operator's. What it resolves names
            with, files' names are resolved with too.
        tls: Whom to trust; ``None`` for the system's certificates.

    Raises:
        ConfigError: Names the setting; its text holds no secret and not the URL.
    """

    kind = "webhook"
    policy = WEBHOOK
    ordered = False

    def __init__(
        self,
        url: str,
        *,
        secrets: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 30.0,
        concurrency: int = 100,
        dedupe: bool = False,
        outcomes: Mapping[str, str] | None = None,
        allow_networks: Sequence[str] = (),
        egress: Egress | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._egress = egress or Egress(operator=True)
        # Files come with messages: they are data, whoever wrote the channel's URL.
        self._media = Egress(
            operator=False,
            allowed_networks=networks(allow_networks, field="allow_networks"),
            resolve=self._egress.resolve,
        )
        try:
            parsed = self._egress.check_url(url)
        except EgressRefused as refused:
            raise ConfigError("url", str(refused)) from None
        self._url = parsed.with_user(None).with_fragment(None)
        given = checked_headers(headers or {}, ours=_OURS)
        self.known_secrets = KnownSecrets(
            [*in_url(url), *in_headers(given), *(form for secret in secrets for form in in_signing_secret(secret))],
            pairs=[(parsed.user or "", parsed.password or "")],
        )
        self._headers = _static_headers(given, parsed.user, parsed.password)
        self._secrets = tuple(parse_secret(secret, field="secret") for secret in secrets)
        self._statuses = status_table(STATUSES, outcomes or {}, field="outcomes")
        self._timeout_seconds = bounded_seconds("timeout", timeout_seconds, most=TIMEOUT_SECONDS_MAX)
        self._covered = flag("dedupe", dedupe)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._seams = Seams()
        self.concurrency = bounded_count("concurrency", concurrency, most=CONCURRENCY_MAX)
        self.send_timeout_seconds = self._timeout_seconds + _EXECUTOR_GRACE_SECONDS

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        secret: str | Sequence[str] = (),
        headers: str | Mapping[str, str] = _NOTHING,
        timeout: float | str = 30.0,
        concurrency: int = 100,
        dedupe: bool | str = False,
        outcomes: str | Mapping[str, str] = _NOTHING,
        allow_networks: str | Sequence[str] = (),
    ) -> WebhookChannel:
        """
        Make the channel out of a configuration.

        Args:
            secret: One ``whsec_…`` or several, as a list or separated by blanks or commas; ``allow_networks`` likewise.
            headers: A table, or a JSON object as text; ``outcomes`` likewise.
            timeout: Seconds, or a span such as ``20s``.
        """
        return cls(
            url,
            secrets=listed("secret", secret),
            headers=table("headers", headers),
            timeout_seconds=parse_span(timeout, field="timeout") if isinstance(timeout, str) else timeout,
            concurrency=concurrency,
            dedupe=flag("dedupe", dedupe),
            outcomes=table("outcomes", outcomes),
            allow_networks=listed("allow_networks", allow_networks),
        )

    async def start(self, seams: Seams) -> None:
        """See `Channel`."""
        self._seams = seams
        connector = self._egress.connector(limit=self.concurrency, tls=self._tls)
        keep_apart(connector, asyncio.get_running_loop())
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """See `Channel`. Safe to repeat."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:  # noqa: ARG002
        """See `Channel`. A thread is passed on as it is."""
        if not to or _CONTROL.search(to):
            raise InvalidMessage("to", "expected a recipient without control characters")
        if content.content_type is not None and not HEADER_VALUE.match(content.content_type):
            raise InvalidMessage("content_type", "expected a media type of printable ASCII, without control characters")
        for file in content.files:
            self._admit_file(file)
        return Admission(recipient=to, **self.split(content))

    def _admit_file(self, file: FileRef) -> None:
        if file.url is None:
            raise InvalidMessage("files", "expected URLs: a webhook passes files on by their address")
        try:
            self._media.check_url(file.url)
        except EgressRefused as refused:
            raise InvalidMessage("files", str(refused)) from None

    async def _vetted(self, file: FileRef) -> _File:
        """Give a file with its URL as it was read, so that nobody reads another one out of the same text."""
        url = None if file.url is None else str(await self._media.vet_url(file.url))
        return _File(url, file.name, file.media_type)

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        session = self._session
        if session is None:
            raise NotStarted("the channel was not started")
        attempt.progress.written = False
        try:
            rendered = _rendered(attempt, await asyncio.gather(*(self._vetted(file) for file in attempt.files)))
        except EgressRefused as refused:
            return Rejected(f"files: {refused}")
        headers = signature_headers(
            _webhook_id(attempt.token),
            rendered[0],
            self._secrets,
            timestamp_seconds=self._seams.clock.wall_ms() // 1000,
        )
        headers["Idempotency-Key"] = attempt.token
        # The claim that allowed this copy: a receiver that gets two can look both up in the message's history.
        headers["Pillarbox-Attempt"] = str(attempt.number)
        if attempt.traceparent is not None and _TRACEPARENT.match(attempt.traceparent):
            headers["traceparent"] = attempt.traceparent
        outcome: AnyOutcome | None = None
        for _ in range(CONNECTIONS_MAX):
            outcome = await self._exchange(session, attempt, _Body(*rendered), headers)
            if outcome is not None:
                return outcome
        return Deferred(f"{CONNECTIONS_MAX} connections were lost in a row before the request was written")

    async def _exchange(
        self, session: aiohttp.ClientSession, attempt: Attempt, body: _Body, headers: dict[str, str]
    ) -> AnyOutcome | None:
        """Ask, and say what the answer means; ``None`` if the connection was lost before anything was written."""
        attempt.progress.written = False
        response: aiohttp.ClientResponse | None = None
        answer = bytearray()
        try:
            async with Within(self._seconds_for(attempt)) as within:
                body.within, body.progress = within, attempt.progress
                response = await session.post(
                    self._url, data=body, headers=headers, allow_redirects=False, timeout=_TIMEOUT
                )
                await _read(response, answer)
        except (aiohttp.ClientError, OSError, EgressRefused) as exc:
            # With a status in hand, a reset or a slow drip after it changes nothing: the status settled it.
            if response is None:
                if not body.written and _was_connected(exc):
                    return None
                return failure(exc, written=body.written, covered=self._covered)
        finally:
            attempt.progress.written = body.written
            if response is not None:
                response.close()  # does nothing to a connection whose answer was read to its end
        return self._classify(response, bytes(answer), attempt)

    def _seconds_for(self, attempt: Attempt) -> float:
        return min(self._timeout_seconds, attempt.deadline_seconds * _DEADLINE_SHARE)

    def _classify(self, response: aiohttp.ClientResponse, answer: bytes, attempt: Attempt) -> AnyOutcome:
        verdict = self._statuses.get(response.status, Verdict.UNCLASSIFIED)
        # Against what we asked for; nothing of it is unpacked or shown.
        said = b"" if "Content-Encoding" in response.headers else answer.replace(b"\0", b"")
        if verdict is Verdict.DELIVERED:
            # What of the answer may be shown is looked for where it is kept, which is seldom.
            return Delivered(_receipt(said), answer=said or None)
        return outcome_of(
            verdict,
            status_text(response.status),
            after=hint_seconds(response.headers, now_ms=self._seams.clock.wall_ms(), body=answer),
            covered=self._covered,
            answer=excerpt(said, *values_of(attempt), known=self.known_secrets),
        )

    def describe(self) -> str:
        """See `Channel`."""
        return f"{place_of(str(self._url))}/"


class _Body(Payload):
    """
    A request's body that knows whether its first byte may have left.

    aiohttp keeps the headers back until the body is written, so ``written`` turns true before anything reaches the
    socket and stays false for a connection that was closed while it waited in the pool.
    """

    _autoclose = True

    def __init__(self, value: bytes, content_type: str) -> None:
        super().__init__(value, content_type=content_type)
        self._size = len(value)
        self.bytes = value
        self.written = False
        self.within: Within | None = None
        self.progress: Progress | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.bytes.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        if self.within is not None and self.within.overdue():
            # The connection came too late. Written now, the request could only be cut off again.
            raise TimeoutError
        transport = writer.transport
        connection = getattr(writer, "protocol", None)
        if isinstance(connection, KeptConnection) and not connection.begin():
            raise ConnectionResetError
        self.written = transport is not None and not transport.is_closing()
        if self.progress is not None:
            # At once: who looks while the answer is waited for is to know that the receiver may have it.
            self.progress.written = self.written
        await writer.write(self.bytes)


def _was_connected(error: BaseException) -> bool:
    """Whether there was a connection, and it was found to be useless before it was used."""
    lost = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return lost and not isinstance(error, aiohttp.ClientConnectorError)


async def _read(response: aiohttp.ClientResponse, answer: bytearray) -> None:
    """Read into *answer*, so that what came before a failure is kept; never more than the cap."""
    while len(answer) < ANSWER_BYTES_MAX:
        piece = await response.content.read(ANSWER_BYTES_MAX - len(answer))
        if not piece:
            return
        answer += piece


def _rendered(attempt: Attempt, files: list[_File]) -> tuple[bytes, str]:
    """Give body and content type: a raw payload as it is, else JSON of the fields that are present."""
    content = attempt.content
    if content.payload is not None:
        return content.payload, content.content_type or "application/octet-stream"
    split = attempt.part_count > 1
    text = _Text(
        attempt.id,
        attempt.to,
        attempt.text,
        content.format,
        content.subject,
        attempt.thread,
        content.reply_to,
        content.silent,
        files,
        content.extra,
        attempt.op,
        attempt.target,
        attempt.correlation_id,
        attempt.part if split else None,
        attempt.part_count if split else None,
    )
    return _ENCODER.encode(text), _JSON


def _webhook_id(token: str) -> str:
    """
    Give the id by which a receiver recognises a second copy: the message's, or the whole token where that says more.

    The token is id, part and resend epoch. A later part, and a copy that a person ordered, are not second copies; a
    replay that inherits the token is one.
    """
    return token[:ID_LENGTH] if token.endswith(_FIRST) else token


def _receipt(answer: bytes) -> str | None:
    """Take the ``id`` of a JSON object as the receiver's own id of the message."""
    if not answer.startswith(b"{"):
        return None
    try:
        found = _RECEIPT.decode(answer).id
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    text = "" if found is None else str(found)
    return text if text.isprintable() and 0 < len(text) <= RECEIPT_LENGTH_MAX else None


def _static_headers(headers: dict[str, str], user: str | None, password: str | None) -> dict[str, str]:
    """Add to the configured headers what is the same for every request."""
    names = {name.lower() for name in headers}
    headers["Accept-Encoding"] = "identity"
    if "user-agent" not in names:
        headers["User-Agent"] = f"pillarbox/{__version__}"
    if user is not None or password is not None:
        if "authorization" in names:
            raise ConfigError("headers.Authorization", "the URL's user and password already set it")
        headers["Authorization"] = basic_authorization(user, password)
    return headers
