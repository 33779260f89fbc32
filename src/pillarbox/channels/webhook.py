"""
The webhook channel: each message is one signed HTTP POST to the channel's URL.

The URL is the operator's; the recipient only stands in the body, so data can never choose where a request goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import ssl
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from pillarbox.channels.base import Attempt, Capabilities, Channel, Guarantee, Seams
from pillarbox.channels.egress import Egress, networks
from pillarbox.channels.http.answers import Answer, judged
from pillarbox.channels.http.client import OURS, Client
from pillarbox.channels.http.rules import HTTP_RULES, parse_overrides, rule_for
from pillarbox.channels.http.signing import parse_secret, signature_headers
from pillarbox.channels.option_checks import HEADER_VALUE, basic_authorization, checked_headers, flag, listed, table
from pillarbox.channels.privacy.known_secrets import KnownSecrets, in_headers, in_signing_secret, in_url
from pillarbox.channels.privacy.masking import place_of
from pillarbox.channels.privacy.outcomes import values_of
from pillarbox.channels.url_parts import seconds
from pillarbox.channels.verdicts import Verdict
from pillarbox.domain.envelope import TRACEPARENT, Op
from pillarbox.domain.ids import ID_LENGTH, dedupe_token
from pillarbox.domain.message import Admission, Content, File, Format
from pillarbox.domain.outcome import AnyOutcome, Delivered, Rejected
from pillarbox.domain.plain_characters import CONTROL
from pillarbox.domain.retry import WEBHOOK, parse_span
from pillarbox.errors import ConfigError, EgressRefused, InvalidMessage, NotStarted

RECEIPT_LENGTH_MAX: Final = 128

_JSON = "application/json"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_FIRST = dedupe_token("", 0, 0)  # how the token of a message's first part ends, until a person orders a copy
_OURS: Final = OURS | {
    "idempotency-key", "pillarbox-attempt", "pillarbox-possible-copy", "traceparent", "webhook-id", "webhook-signature",
    "webhook-timestamp",
}  # fmt: skip


class _Receipt(msgspec.Struct):
    id: str | int | None = None


class _File(msgspec.Struct, omit_defaults=True):
    """A file by its address, or its bytes in base64."""

    url: str | None = None
    name: str = ""
    media_type: str = ""
    data: bytes | None = None


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
        dedupe: The receiver drops a second request with the same ``Idempotency-Key``: true, for as long as we try; or a
            span such as ``24h``, so long after the first.
        outcomes: Go before `HTTP_RULES`: from ``"404"`` or ``"4xx"`` to a name of `Verdict`.
        allow_networks: Networks that file URLs in messages may point into, beyond public addresses.
        egress: The guard for this channel's own URL; the default trusts it as the operator's. What it resolves names
            with, files' names are resolved with too.
        tls: Whom to trust; ``None`` for the system's certificates.

    Raises:
        ConfigError: Names the setting; its text holds no secret and not the URL.
    """

    kind = "webhook"
    capabilities = Capabilities(edits=True, deletes=True)
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
        dedupe: bool | float | str = False,
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
        self._secrets = tuple(parse_secret(secret, field="secret") for secret in secrets)
        rules = (*parse_overrides(outcomes or {}, field="outcomes"), *HTTP_RULES)
        self._rule_for = functools.cache(functools.partial(rule_for, rules))  # there are at most 999 statuses
        self._client = Client(
            egress=self._egress,
            headers=_with_basic_authorization(given, parsed.user, parsed.password),
            timeout_seconds=timeout_seconds,
            concurrency=concurrency,
            tls=tls,
        )
        self._window_seconds = _window(dedupe)
        self.covered = self._window_seconds > 0
        self._seams = Seams()
        self.concurrency = self._client.concurrency
        self.send_timeout_seconds = self._client.send_timeout_seconds

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        secret: str | Sequence[str] = (),
        headers: str | Mapping[str, str] = _NOTHING,
        timeout: float | str = 30.0,
        concurrency: int = 100,
        dedupe: bool | float | str = False,
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
            dedupe=dedupe,
            outcomes=table("outcomes", outcomes),
            allow_networks=listed("allow_networks", allow_networks),
        )

    async def start(self, seams: Seams) -> None:
        """See `Channel`."""
        self._seams = seams
        await self._client.start(seams.clock)

    async def close(self) -> None:
        """See `Channel`. Safe to repeat."""
        await self._client.close()

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:  # noqa: ARG002
        """See `Channel`. A thread is passed on as it is."""
        if not to or CONTROL.search(to):
            raise InvalidMessage("to", "expected a recipient without control characters")
        if content.content_type is not None and not HEADER_VALUE.match(content.content_type):
            raise InvalidMessage("content_type", "expected a media type of printable ASCII, without control characters")
        for file in content.files:
            self._admit_file(file)
        return Admission(recipient=to, **self.split(content))

    def _admit_file(self, file: File) -> None:
        if file.url is None:
            return
        try:
            self._media.check_url(file.url)
        except EgressRefused as refused:
            raise InvalidMessage("files", str(refused)) from None

    async def _vetted(self, file: File) -> _File:
        """Return a file with its URL as it was read, so that no other URL is read out of the same text."""
        url = None if file.url is None else str(await self._media.vet_url(file.url))
        return _File(url, file.name, file.media_type, file.data)

    @property
    def recognised_seconds(self) -> float:
        """See `Channel`. ``dedupe`` says so of the receiver."""
        return self._window_seconds

    async def guarantee(self) -> Guarantee:
        """See `Channel`."""
        same = "every copy has the same webhook-id"
        if not self.covered:
            return Guarantee(seconds=0.0, why=f"{same}: whether it is dropped, its receiver says")
        says = f"{same}, and the setting dedupe says that its receiver drops the second"
        if math.isinf(self._window_seconds):
            return Guarantee(seconds=None, why=f"{says}; for how long is not configured, so as long as is tried")
        return Guarantee(seconds=self._window_seconds, why=f"{says} for so long")

    def marked(self, content: Content, mark: str) -> Content:
        """See `Channel`. Programs read it: its body stays as it is, and a header has the mark."""
        return msgspec.structs.replace(content, mark=mark)

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        if not self._client.is_started:
            raise NotStarted("the channel was not started")
        attempt.progress.written = False
        files: list[_File] = []
        if attempt.files:
            try:
                files = await asyncio.gather(*(self._vetted(file) for file in attempt.files))
            except EgressRefused as refused:
                return Rejected(f"files: {refused}")
        body, content_type = _rendered(attempt, files)
        answer = await self._client.post(
            self._url,
            body,
            content_type=content_type,
            headers=self._headers_for(attempt, body),
            attempt=attempt,
            covered=self.covered,
        )
        return self._outcome(answer, attempt) if isinstance(answer, Answer) else answer

    def _headers_for(self, attempt: Attempt, body: bytes) -> dict[str, str]:
        seconds = self._seams.clock.wall_ms() // 1000
        headers = signature_headers(_webhook_id(attempt.token), body, self._secrets, timestamp_seconds=seconds)
        headers["Idempotency-Key"] = attempt.token
        # The claim that allowed this copy: a receiver that gets two can look both up in the message's history.
        headers["Pillarbox-Attempt"] = str(attempt.number)
        if attempt.content.mark is not None:
            headers["Pillarbox-Possible-Copy"] = "true"
        if attempt.traceparent is not None and TRACEPARENT.match(attempt.traceparent):
            headers["traceparent"] = attempt.traceparent
        return headers

    def _outcome(self, answer: Answer, attempt: Attempt) -> AnyOutcome:
        rule = self._rule_for(answer.status)
        if rule.verdict is Verdict.DELIVERED:
            # What of the answer may be shown is looked for where it is kept, which is seldom.
            return Delivered(_receipt(answer.body), answer=answer.body or None)
        return judged(
            answer,
            rule,
            now_ms=self._seams.clock.wall_ms(),
            hide=values_of(attempt),
            known=self.known_secrets,
            covered=self.covered,
        )

    def describe(self) -> str:
        """See `Channel`."""
        return f"{place_of(str(self._url))}/"


def _rendered(attempt: Attempt, files: list[_File]) -> tuple[bytes, str]:
    """Return body and content type: a raw payload as it is, else JSON of the fields that are present."""
    content = attempt.content
    if content.payload is not None:
        return content.payload, content.content_type or "application/octet-stream"
    split = attempt.part_count > 1
    text = _Text(
        attempt.id,
        attempt.to,
        content.text or "",
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
    Return the id by which a receiver recognises a second copy: the message's, or the whole token where that says more.

    The token is id, part and resend epoch. A later part, and a copy that a person ordered, are not second copies; a
    replay that inherits the token is one.
    """
    return token[:ID_LENGTH] if token.endswith(_FIRST) else token


def _window(dedupe: object) -> float:
    """Return for how long the receiver drops a second copy, in seconds: without end where that is not said."""
    with contextlib.suppress(ConfigError):
        return math.inf if flag("dedupe", dedupe) else 0.0
    try:
        return seconds("dedupe", dedupe)
    except ConfigError:
        raise ConfigError("dedupe", "expected true, false, or a span above 0 such as 24h") from None


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


def _with_basic_authorization(headers: dict[str, str], user: str | None, password: str | None) -> dict[str, str]:
    if user is None and password is None:
        return headers
    if "authorization" in {name.lower() for name in headers}:
        raise ConfigError("headers.Authorization", "the URL's user and password already set it")
    return {**headers, "Authorization": basic_authorization(user, password)}
