"""
The Discord channel: each message is one POST of a bot into a channel, or one to a webhook.

A bot's message carries a nonce, by which Discord recognises a second copy for a few minutes. Nobody says how many, so
an attempt without an answer stays uncertain. Of a webhook it ignores the nonce.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar, Final, Unpack

import msgspec
from yarl import URL

from pillarbox.__about__ import __version__
from pillarbox.channels import discord_history
from pillarbox.channels.base import Attempt, Capabilities, Guarantee, Progress
from pillarbox.channels.discord_markdown import escaped, written
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.chat import (
    ChatChannel,
    Exchange,
    HttpOptions,
    Request,
    Said,
    TokenChannel,
    check_name,
)
from pillarbox.channels.http.hints import retry_after_seconds
from pillarbox.channels.http.rules import Rule, Spare, names, words
from pillarbox.channels.text.rich import Rich
from pillarbox.channels.text.split import length
from pillarbox.channels.verdicts import Verdict
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import File
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Uncertain
from pillarbox.domain.pace import Pace, Rate
from pillarbox.errors import ConfigError, InvalidMessage

_DOCS: Final = "discord-api-docs@c98d64bc"
_CODES: Final = f"{_DOCS} topics/opcodes-and-status-codes.mdx"
_RATES: Final = "https://docs.discord.com/developers/topics/rate-limits"
_API: Final = "api/v10"
_AGENT: Final = f"DiscordBot (pillarbox, {__version__})"  # "DiscordBot ($url, $versionNumber)": reference.mdx

_BOT_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]{3,}){2}\Z")
_ID: Final = re.compile(r"[0-9]{1,20}\Z")
_HOOK_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{10,}\Z")

_SUPPRESS_NOTIFICATIONS: Final = 1 << 12
_UNKNOWN_MESSAGE: Final = "10008"
_NONCE_SECONDS: Final = 120.0  # "in the past few minutes": resources/message.mdx
_REPLIES: Final = words("message_reference")

_COMMON: Final[tuple[Rule, ...]] = (
    Rule(verdict=Verdict.DELIVERED, statuses=("2xx",), codes=("ok",), source=f"{_DOCS} resources/message.mdx"),
    # The bot, or this machine.
    Rule(verdict=Verdict.AUTH, codes=names("40001 50014 50025"), source=_CODES),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=names("50026 40002 40012 20001 20002 50041 40333"),
        source=_CODES,
    ),
    # What it can do without.
    Rule(
        verdict=Verdict.REJECTED,
        codes=("50035",),
        text=_REPLIES,
        without=Spare.REPLY,
        source=f"{_DOCS} resources/message.mdx: fail_if_not_exists",
    ),
    Rule(verdict=Verdict.REJECTED, codes=(_UNKNOWN_MESSAGE, "160002"), without=Spare.REPLY, source=_CODES),
    Rule(verdict=Verdict.REJECTED, codes=("50083", "160005"), without=Spare.THREAD, source=_CODES),
    # The message.
    Rule(
        verdict=Verdict.REJECTED,
        codes=names(
            "50006 50035 50109 40005 50045 50046 30015 200000 200001 240000 50081 520004 20009 400001 50159 50160"
            " 50161 50173 50600 520002 160014 50005 520003 50162"
        ),
        source=_CODES,
    ),
    Rule(verdict=Verdict.REJECTED, statuses=("413",), source=f"{_CODES}: 40005 without its code"),
    # The channel.
    Rule(verdict=Verdict.REJECTED_RECIPIENT, codes=("10003",), without=Spare.THREAD, source=_CODES),
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        codes=names(
            "10004 10013 50001 50007 50008 50009 50013 50024 50033 50278 40007 40058 40066 40067 220001 220002"
            " 220003 220004"
        ),
        source=_CODES,
    ),
    # Too much of something that only concerns this channel or message.
    Rule(
        verdict=Verdict.RATE_LIMITED_RECIPIENT,
        codes=names("20016 20022 20028 20029 30046 40003 40062 160006"),
        source=_CODES,
    ),
    # Later.
    Rule(verdict=Verdict.DEFERRED, codes=names("40004 40006 110000 110001 130000"), source=_CODES),
    Rule(verdict=Verdict.AUTH, statuses=("401",), source=f"{_CODES}: 40001 without its code"),
)

# The last rows of both tables.
_NOT_KNOWN: Final[tuple[Rule, ...]] = (
    Rule(verdict=Verdict.UNCLASSIFIED, statuses=("4xx",), source="a code that no row knows"),
    Rule(verdict=Verdict.UNCERTAIN, statuses=("2xx", "5xx"), source="no answer of Discord's API"),
)

RULES: Final[tuple[Rule, ...]] = (
    *_COMMON,
    Rule(verdict=Verdict.RATE_LIMITED, statuses=("429",), codes=("global", "cloudflare"), source=_RATES),
    Rule(verdict=Verdict.RATE_LIMITED_RECIPIENT, statuses=("429",), source=_RATES),
    *_NOT_KNOWN,
)
"""What Discord's answers to a bot mean."""

HOOK_RULES: Final[tuple[Rule, ...]] = (
    Rule(
        verdict=Verdict.AUTH,
        codes=("10015", "50027"),
        source=f"{_DOCS} topics/rate-limits.mdx: after a 404, a webhook should not be used again",
    ),
    *_COMMON,
    Rule(verdict=Verdict.RATE_LIMITED, statuses=("429",), source=f"{_RATES}: a webhook is one bucket"),
    Rule(verdict=Verdict.UNAVAILABLE, statuses=("404",), source=f"{_CODES}: 10015 without its code"),
    *_NOT_KNOWN,
)
"""What Discord's answers to a webhook mean."""


class _Answer(msgspec.Struct):
    id: str | None = None
    code: int = 0
    message: str = ""
    retry_after: float | None = None
    is_global: bool = msgspec.field(default=False, name="global")
    errors: msgspec.Raw = msgspec.Raw(b"")


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class _Discord(ChatChannel):
    """What a bot and a webhook share."""

    kind = "discord"
    capabilities = Capabilities(text_limit=2000, unit="codepoints", edits=True, deletes=True)
    public_url = "https://discord.com"
    files_max = 10
    file_bytes_max = 10 << 20  # https://docs.discord.com/developers/reference#uploading-files
    request_bytes_max = 24 << 20  # of 25 MiB, the text and its options included
    own: ClassVar = frozenset({"enforce_nonce", "nonce"})

    def size(self, rich: Rich) -> int:
        """See `ChatChannel`."""
        return length(written(rich), self.capabilities.unit)

    def check_receipt(self, field: str, receipt: str) -> None:
        """See `ChatChannel`."""
        _check_number(field, receipt)

    def body(self, attempt: Attempt, without: Collection[Spare]) -> dict[str, object]:
        """Return what a message says; it calls nobody unless ``extra`` says so."""
        rich = self.rich(attempt.content)
        text = escaped(rich.text) if Spare.MARKUP in without else written(rich)
        found: dict[str, object] = {"content": text} if text else {}
        found["allowed_mentions"] = {"parse": []}
        if attempt.files and attempt.op is Op.SEND:
            found["attachments"] = [{"id": number, "filename": file.name} for number, file in _uploads(attempt)]
        if attempt.content.silent and attempt.op is Op.SEND:
            found["flags"] = _SUPPRESS_NOTIFICATIONS
        return found | self.own_fields(attempt, without)

    def said(self, answer: Answer) -> Said:
        """See `ChatChannel`."""
        try:
            found = _ANSWER.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # Cloudflare, before Discord, answers with a page; and to a deletion there is nothing to say.
            return Said(code={204: "ok", 429: "cloudflare"}.get(answer.status, ""))
        if answer.status < 300:
            return Said(code="ok" if found.id else "", receipt=found.id)
        is_global = found.is_global or answer.headers.get("X-RateLimit-Scope") == "global"
        code = str(found.code) if found.code else "global" * (answer.status == 429 and is_global)
        return Said(code=code, text=f"{found.message} {bytes(found.errors).decode()}".strip(), after=found.retry_after)

    def outcome(self, exchange: Exchange) -> AnyOutcome:
        """See `ChatChannel`. What is gone need not be deleted, and was there where a nonce says so."""
        attempt, body = exchange.attempt, exchange.request.body
        was_there = "nonce" in body and attempt.number > 1 and "message_reference" not in body
        if exchange.said.code == _UNKNOWN_MESSAGE and (attempt.op is Op.DELETE or was_there):
            return Delivered(answer=exchange.answer.body)
        return super().outcome(exchange)


class DiscordChannel(_Discord, TokenChannel):
    """
    Send each message as a bot.

    A recipient, and a thread, is a channel's number; ``reply_to`` is a message's. ``extra`` holds further fields of the
    message, such as ``embeds``.

    Args:
        token: The bot's.
        options: See `HttpOptions`.

    Raises:
        ConfigError: Names the setting; its text does not hold the token.
    """

    rules = RULES
    capabilities = replace(_Discord.capabilities, looks_up=True)
    scheme = "discord"
    expected = "discord://BOT_TOKEN, or discord://ID/TOKEN for a webhook"
    pace = Pace(whole=(Rate(50),))  # https://docs.discord.com/developers/topics/rate-limits#global-rate-limit

    def __init__(self, token: str, **options: Unpack[HttpOptions]) -> None:
        if not _BOT_TOKEN.match(token):
            raise ConfigError("token", "expected a bot's token, three pieces with dots between them")
        super().__init__(secrets=(token, *token.split(".")[1:]), headers={"User-Agent": _AGENT}, **options)
        self._headers = {"Authorization": f"Bot {token}"}

    def said(self, answer: Answer) -> Said:
        """See `ChatChannel`. A bucket that is empty is a channel's: nothing more goes there until it is full again."""
        found = super().said(answer)
        if answer.status >= 300 or answer.headers.get("X-RateLimit-Remaining") != "0":
            return found
        return replace(found, rest=retry_after_seconds(answer.headers.get("X-RateLimit-Reset-After"), now_ms=0))

    @classmethod
    def from_pieces(cls, pieces: tuple[str, ...], options: HttpOptions) -> ChatChannel | None:
        """See `TokenChannel`."""
        if len(pieces) == 2 and _ID.match(pieces[0]) and _HOOK_TOKEN.match(pieces[1]):
            return DiscordWebhookChannel(pieces[0], pieces[1], **options)
        return cls(pieces[0], **options) if len(pieces) == 1 and _BOT_TOKEN.match(pieces[0]) else None

    async def guarantee(self) -> Guarantee:
        """See `Channel`."""
        return Guarantee(
            seconds=_NONCE_SECONDS,
            why="Discord recognises a nonce for a few minutes; it does not say for how many",
            asking=discord_history.ASKING,
        )

    def check_recipient(self, to: str, thread: str | None) -> str:
        """See `ChatChannel`."""
        if not _ID.match(to):
            raise InvalidMessage("to", "expected the number of a channel")
        _check_number("thread", thread)
        return to

    @property
    def recognised_seconds(self) -> float:
        """See `Channel`. So long the same nonce gets the first message for an answer."""
        return _NONCE_SECONDS

    async def look_up(self, attempt: Attempt, *, since_ms: int) -> AnyOutcome | None:
        """See `Channel`. A channel's history has no nonces: it can only say that nobody said such a thing."""

        async def ask(path: str, query: Mapping[str, str]) -> Answer | AnyOutcome:
            apart = msgspec.structs.replace(attempt, progress=Progress())
            url = (self.base_url / _API / path).with_query(query)
            answer = await self._client.post(
                url, b"", content_type=self.content_type, headers=self._headers, attempt=apart, method="GET"
            )
            return Deferred(f"{answer.reason}; nothing of it was sent") if isinstance(answer, Uncertain) else answer

        body, files = self.body(attempt, ()), sum(1 for _ in _uploads(attempt))
        for place in dict.fromkeys((attempt.thread or attempt.to, attempt.to)):
            found = await discord_history.look_up(
                ask, channel=place, content=str(body.get("content", "")), files=files, since_ms=since_ms
            )
            if found is not None:
                return found
        return None

    def request(self, attempt: Attempt, without: Collection[Spare]) -> Request:
        """See `ChatChannel`. A thread is a channel."""
        place = attempt.to if attempt.thread is None or Spare.THREAD in without else attempt.thread
        url = self.base_url.joinpath(_API, "channels", place, "messages")  # half of what slashes between them cost
        if attempt.op is not Op.SEND:
            return _changed(url, attempt, self.body(attempt, without), headers=self._headers)
        body: dict[str, object] = {"nonce": attempt.token, "enforce_nonce": True}
        if attempt.content.reply_to is not None and attempt.part == 0 and Spare.REPLY not in without:
            body["message_reference"] = {"message_id": attempt.content.reply_to}
        body |= self.body(attempt, without)
        return Request(url=url, body=body, headers=self._headers, files=_form_files(attempt), json_field="payload_json")


class DiscordWebhookChannel(_Discord):
    """
    Send each message to a webhook, which has one channel: the recipient only orders messages.

    Args:
        identity: The webhook's number.
        token: What stands behind it in the webhook's URL.
        options: See `HttpOptions`.

    Raises:
        ConfigError: Names the setting; its text does not hold the token.
    """

    rules = HOOK_RULES

    def __init__(self, identity: str, token: str, **options: Unpack[HttpOptions]) -> None:
        if not _ID.match(identity) or not _HOOK_TOKEN.match(token):
            raise ConfigError("token", "expected the number and the token of a webhook")
        super().__init__(secrets=(token,), headers={"User-Agent": _AGENT}, **options)
        self._url = self.base_url / _API / "webhooks" / identity / token

    async def guarantee(self) -> Guarantee:
        """See `Channel`."""
        return Guarantee(seconds=0.0, why="Discord ignores the nonce of a webhook")

    def check_recipient(self, to: str, thread: str | None) -> str:
        """See `ChatChannel`."""
        _check_number("thread", thread)
        return check_name(to)

    def unable(self, attempt: Attempt) -> dict[Spare, str]:
        """See `ChatChannel`."""
        return {Spare.REPLY: "a webhook cannot answer"} if attempt.content.reply_to is not None else {}

    def request(self, attempt: Attempt, without: Collection[Spare]) -> Request:
        """See `ChatChannel`."""
        thread = {} if attempt.thread is None or Spare.THREAD in without else {"thread_id": attempt.thread}
        body = self.body(attempt, without)
        if attempt.op is not Op.SEND:
            return _changed((self._url / "messages").with_query(thread), attempt, body)
        url = self._url.with_query(wait="true", **thread)
        return Request(url=url, body=body, files=_form_files(attempt), json_field="payload_json")


def _uploads(attempt: Attempt) -> list[tuple[int, File]]:
    return list(enumerate(file for file in attempt.files if file.data is not None))


def _form_files(attempt: Attempt) -> tuple[tuple[str, File], ...]:
    return tuple((f"files[{number}]", file) for number, file in _uploads(attempt))


def _check_number(field: str, text: str | None) -> None:
    if text is not None and not _ID.match(text):
        raise InvalidMessage(field, f"expected the number of a {'thread' if field == 'thread' else 'message'}")


def _changed(
    messages: URL, attempt: Attempt, body: Mapping[str, object], *, headers: Mapping[str, str] | None = None
) -> Request:
    """Return the request that edits or deletes the attempt's target among *messages*."""
    url = (messages / (attempt.target or "0")).with_query(messages.query)
    if attempt.op is Op.DELETE:
        return Request(url=url, body={}, method="DELETE", headers=headers or {})
    return Request(url=url, body=body, method="PATCH", headers=headers or {})
