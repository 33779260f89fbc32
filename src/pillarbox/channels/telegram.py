"""
The Telegram channel: each message is one ``sendMessage`` of a bot, at api.telegram.org or a server of one's own.

Text goes out with its entities beside it and not as HTML or MarkdownV2: there is no markup that could be refused.
Telegram knows no dedupe token: a request whose answer was lost may have been taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import ClassVar, Final, NamedTuple, Unpack

import msgspec

from pillarbox.channels.base import Attempt, Capabilities, Guarantee
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.chat import Exchange, HttpOptions, Request, Said, TokenChannel
from pillarbox.channels.http.rules import Rule, Spare, names, words
from pillarbox.channels.text.rich import Mark, Rich
from pillarbox.channels.text.split import length
from pillarbox.channels.verdicts import Verdict
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Content, File
from pillarbox.domain.outcome import AnyOutcome, RateLimited, Redirected
from pillarbox.domain.pace import Pace, Rate
from pillarbox.errors import ConfigError, InvalidMessage

_API: Final = "https://core.telegram.org/bots/api"
_SERVER: Final = "tdlib/telegram-bot-api@01a3679 Client.cpp"
_SAMPLES: Final = "https://github.com/TelegramBotAPI/errors"
# What the server calls by a constant it makes a 400 of, whatever it was: Client::fail_query_with_error.
_CONSTANTS: Final = f"{_SERVER}, fail_query_with_error"

_TOKEN: Final = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{10,}\Z")
_CHAT: Final = re.compile(r"-?[0-9]{1,19}\Z|@[A-Za-z0-9_]{3,64}\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,19}\Z")
_CONSTANT: Final = re.compile(r"(?:[A-Z][a-z]+(?: [A-Z][a-z]+)*: )?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\Z")


RULES: Final[tuple[Rule, ...]] = (
    Rule(verdict=Verdict.DELIVERED, statuses=("2xx",), codes=("ok",), source=f"{_API}#making-requests"),
    # Changed or deleted by an attempt whose answer was lost, or by somebody else.
    Rule(verdict=Verdict.DELIVERED, statuses=("400",), text=words("message is not modified"), source=f"{_SERVER}:103"),
    Rule(verdict=Verdict.DELIVERED, statuses=("400",), text=words("message to delete not found"), source=_SERVER),
    # The bot itself.
    Rule(
        verdict=Verdict.AUTH,
        statuses=("401", "421"),
        source=f"{_SERVER}: Unauthorized; ClientManager.cpp: invalid token specified, unallowed token",
    ),
    Rule(verdict=Verdict.UNAVAILABLE, statuses=("404",), source=f"{_SERVER}: a malformed token; or another server's"),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        statuses=("400", "406"),
        codes=("FROZEN_METHOD_INVALID", "API_ID_INVALID", "USER_DEACTIVATED_BAN"),
        source=_CONSTANTS,
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        statuses=("400",),
        text=words("logged out|the bot has already been closed|invalid api-id/api-hash"),
        source=_SERVER,
    ),
    # Too much: of one chat, until another is told the same (`TelegramChannel.outcome`).
    Rule(verdict=Verdict.RATE_LIMITED_RECIPIENT, statuses=("429",), source=f"{_API}#responseparameters"),
    Rule(
        verdict=Verdict.RATE_LIMITED_RECIPIENT,
        statuses=("5xx",),
        text=words("too many requests|flood_?wait|retry after|retry later"),
        source=f"{_SERVER}: a 429 whose number cannot be read becomes a 500 with its text",
    ),
    # The chat, by constant.
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        statuses=("400", "403"),
        codes=("TOPIC_DELETED",),
        without=Spare.THREAD,
        source=_CONSTANTS,
    ),
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        statuses=("400", "403"),
        codes=names(
            "PEER_ID_INVALID CHANNEL_PRIVATE CHANNEL_INVALID CHAT_ID_INVALID CHAT_WRITE_FORBIDDEN CHAT_SEND_*"
            " CHAT_RESTRICTED CHAT_ADMIN_REQUIRED USER_BANNED_IN_CHANNEL USER_IS_BLOCKED USER_IS_BOT"
            " USER_DEACTIVATED INPUT_USER_DEACTIVATED CHAT_FORBIDDEN TOPIC_CLOSED"
        ),
        source=_CONSTANTS,
    ),
    # The message, by constant.
    Rule(
        verdict=Verdict.REJECTED,
        statuses=("400",),
        codes=("ENTITY_*", "ENTITIES_*"),
        without=Spare.MARKUP,
        source=_CONSTANTS,
    ),
    Rule(
        verdict=Verdict.REJECTED,
        statuses=("400",),
        codes=("MESSAGE_TOO_LONG", "MESSAGE_EMPTY", "MEDIA_*", "WEBPAGE_*", "REPLY_MARKUP_*", "BUTTON_*"),
        source=_CONSTANTS,
    ),
    # The chat, by text.
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        statuses=("400",),
        text=words(
            "(?:private )?chat not found|user not found|group is deactivated|chat_id is empty"
            "|chat identifier must be a valid integer|group chat was upgraded to a supergroup chat"
        ),
        source=_SAMPLES,
    ),
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        statuses=("400",),
        text=words(
            "not enough rights(?: to send [a-z ]+)?|have no rights to send a message"
            "|need administrator rights in the channel chat"
        ),
        source=_SAMPLES,
    ),
    Rule(verdict=Verdict.REJECTED_RECIPIENT, statuses=("403",), source=f"{_SERVER}: 403 is about the chat"),
    # What it can do without.
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        statuses=("400",),
        text=words("message thread not found"),
        without=Spare.THREAD,
        source="https://github.com/tdlib/telegram-bot-api/issues/847",
    ),
    Rule(
        verdict=Verdict.REJECTED,
        statuses=("400",),
        text=words("message to be replied not found|reply message not found|replied message not found"),
        without=Spare.REPLY,
        source=_SAMPLES,
    ),
    Rule(
        verdict=Verdict.REJECTED,
        statuses=("400",),
        text=words("can't parse entities|can't parse message text|entities too long|entity_bounds_invalid"),
        without=Spare.MARKUP,
        source=_SAMPLES,
    ),
    # The message.
    Rule(
        verdict=Verdict.UNCLASSIFIED,
        statuses=("400",),
        text=words("failed to get http url content"),
        source=f"{_SAMPLES}: Telegram could not fetch a file; it may the next time",
    ),
    Rule(
        verdict=Verdict.REJECTED,
        statuses=("400",),
        text=words(
            "message (?:caption )?is too long|message text is empty|text must be (?:non-empty|encoded in utf-8)"
            "|wrong file identifier|wrong http url specified|file is too big|reply markup is too long"
            "|message to edit not found|message can't be (?:edited|deleted)[a-z ]*"
        ),
        source=_SAMPLES,
    ),
    Rule(verdict=Verdict.REJECTED, statuses=("413",), source="RFC 9110 §15.5.14"),
    # The server makes a 400 of every error that it does not know.
    Rule(verdict=Verdict.UNCLASSIFIED, statuses=("400",), source=f"{_SERVER}: unknown errors become 400"),
    Rule(verdict=Verdict.DEFERRED, statuses=("409",), source=f"{_API}#getting-updates: about getUpdates only"),
    Rule(
        verdict=Verdict.UNCERTAIN, statuses=("2xx", "5xx"), source=f"{_API}#making-requests: no answer of the Bot API"
    ),
)
"""What Telegram's answers mean, in the words of its server."""

_ENTITIES: Final = {
    Mark.BOLD: "bold", Mark.ITALIC: "italic", Mark.UNDERLINE: "underline", Mark.STRIKE: "strikethrough",
    Mark.SPOILER: "spoiler", Mark.CODE: "code", Mark.PRE: "pre", Mark.LINK: "text_link", Mark.QUOTE: "blockquote",
}  # fmt: skip
_BOTH_SECONDS: Final = 1.0  # two chats that are limited so close together, for as long, are one limit: the bot's
_NO_TEXT: Final = b"there is no text in the message to edit"
_UPLOAD_MAX: Final = 50_000_000
_PHOTO_BYTES_MAX: Final = 10 << 20
_FILES_MAX: Final = 10
# https://core.telegram.org/bots/api#sendmediagroup: what an album may hold together; all else goes alone.
_ALBUMS: Final = {"photo": "seen", "video": "seen", "audio": "heard", "document": "document"}
_KINDS: Final = {
    "image/jpeg": "photo", "image/png": "photo", "image/webp": "photo", "image/gif": "animation", "video/mp4": "video",
    "audio/ogg": "voice", "audio/mpeg": "audio", "audio/mp4": "audio",
}  # fmt: skip
_ENTITIES_MAX: Final = 100  # what is more is left out by Telegram, without a word: https://core.telegram.org/api/config


class _Limited(NamedTuple):
    """A chat that was limited: when, in seconds of the boot clock, and for how long."""

    chat: str
    at: float
    after: float | None


class _Parameters(msgspec.Struct):
    retry_after: float | None = None
    migrate_to_chat_id: int | None = None


class _Answer(msgspec.Struct):
    ok: bool = False
    description: str = ""
    parameters: _Parameters | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    message_id: int | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_MESSAGES: Final = msgspec.json.Decoder(_Message | list[_Message])


class TelegramChannel(TokenChannel):
    """
    Send each message as a bot.

    A recipient is a chat's number, or the ``@name`` of a public channel or group; a thread is a topic's number, and
    ``reply_to`` a message's. ``extra`` holds further fields of ``sendMessage``, such as ``reply_markup``.

    Args:
        token: As @BotFather gave it.
        options: See `HttpOptions`.

    Raises:
        ConfigError: Names the setting; its text does not hold the token.
    """

    kind = "telegram"
    # https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this: groups have negative numbers.
    pace = Pace(whole=(Rate(30),), each=(Rate(1),), group=(Rate(1), Rate(20, 60)), group_prefix="-")
    scheme = "tgram"
    expected = "tgram://TOKEN, and nothing behind it: each message names its chat"
    capabilities = Capabilities(  # https://core.telegram.org/bots/api#sendmessage
        text_limit=4096, unit="utf16", edits=True, deletes=True
    )
    public_url = "https://api.telegram.org"
    rules = RULES
    files_max = _FILES_MAX
    file_bytes_max = _UPLOAD_MAX  # https://core.telegram.org/bots/api#sending-files
    caption_limit = 1024
    fetches = True
    markup_fields: ClassVar = frozenset({"parse_mode", "entities", "caption_entities"})
    own: ClassVar = frozenset({"chat_id", "message_id", "message_thread_id"})

    def __init__(self, token: str, **options: Unpack[HttpOptions]) -> None:
        if not _TOKEN.match(token):
            raise ConfigError("token", "expected a bot's token such as 123456789:AAE…, as @BotFather gives it")
        super().__init__(secrets=(token, token.partition(":")[2], f"bot{token}"), **options)
        self._limited: _Limited | None = None
        self._bot = self.base_url / f"bot{token}"

    @classmethod
    def from_pieces(cls, pieces: tuple[str, ...], options: HttpOptions) -> TelegramChannel | None:
        """See `TokenChannel`."""
        return cls(pieces[0], **options) if len(pieces) == 1 and _TOKEN.match(pieces[0]) else None

    async def guarantee(self) -> Guarantee:
        """See `Channel`."""
        return Guarantee(seconds=0.0, why="Telegram's Bot API knows no token by which a second copy is recognised")

    def check_recipient(self, to: str, thread: str | None) -> str:
        """See `ChatChannel`."""
        if not _CHAT.match(to):
            raise InvalidMessage("to", "expected a chat's number, or the @name of a public channel or group")
        if thread is not None and not _NUMBER.match(thread):
            raise InvalidMessage("thread", "expected the number of a topic")
        return to

    def check_content(self, content: Content) -> None:
        """See `ChatChannel`. An empty file is refused by the server: "file must be non-empty"."""
        super().check_content(content)
        if any(file.url is None and not file.size for file in content.files):
            raise InvalidMessage("files", "expected no empty file for telegram")

    def check_receipt(self, field: str, receipt: str) -> None:
        """See `ChatChannel`. An album's has the numbers of all of it."""
        if not all(map(_NUMBER.match, receipt.split(","))):
            raise InvalidMessage(field, "expected the number of a message")

    def size(self, rich: Rich) -> int:
        """See `ChatChannel`. Telegram counts without markup, and the entities by themselves."""
        limit = self.capabilities.text_limit or 0
        return max(length(rich.text, self.capabilities.unit), -(-len(rich.spans) * limit // _ENTITIES_MAX))

    def request(self, attempt: Attempt, without: Collection[Spare]) -> Request:
        """See `ChatChannel`."""
        body: dict[str, object] = {"chat_id": int(attempt.to) if not attempt.to.startswith("@") else attempt.to}
        if attempt.op is not Op.SEND:
            numbers = [int(number) for number in (attempt.target or "0").split(",")]
            if attempt.op is Op.DELETE and len(numbers) > 1:
                return Request(url=self._bot / "deleteMessages", body=body | {"message_ids": numbers})
            body["message_id"] = numbers[0]
        if attempt.op is Op.DELETE:
            return Request(url=self._bot / "deleteMessage", body=body)
        rich = self.rich(attempt.content)
        text, entities = ("caption", "caption_entities") if attempt.files else ("text", "entities")
        if rich.text or not attempt.files:
            body[text] = rich.text
        if rich.spans and Spare.MARKUP not in without:
            body[entities] = _entities(rich)
        if attempt.op is Op.EDIT:
            method = "editMessageCaption" if attempt.files else "editMessageText"
            return Request(url=self._bot / method, body=body | self.own_fields(attempt, without))
        if attempt.content.silent:
            body["disable_notification"] = True
        if attempt.thread is not None and Spare.THREAD not in without:
            body["message_thread_id"] = int(attempt.thread)
        if attempt.content.reply_to is not None and attempt.part == 0 and Spare.REPLY not in without:
            body["reply_parameters"] = {"message_id": int(attempt.content.reply_to.partition(",")[0])}
        if attempt.files:
            return self._with_files(attempt.files, body | self.own_fields(attempt, without))
        return Request(url=self._bot / "sendMessage", body=body | self.own_fields(attempt, without))

    def _with_files(self, files: Sequence[File], body: dict[str, object]) -> Request:
        """Return the request for one file, or for an album of them, whose first one has the caption."""
        uploads = [(f"file{place}", file) for place, file in enumerate(files) if file.data is not None]
        if len(files) == 1:
            kind = _kind(files[0])
            url = self._bot / f"send{kind.capitalize()}"
            if not uploads:
                return Request(url=url, body=body | {kind: files[0].url})
            return Request(url=url, body=body, files=((kind, files[0]),))
        media: list[dict[str, object]] = [
            {"type": _kind(file), "media": f"attach://file{place}" if file.url is None else file.url}
            for place, file in enumerate(files)
        ]
        media[0] |= {name: body.pop(name) for name in ("caption", "caption_entities") if name in body}
        return Request(url=self._bot / "sendMediaGroup", body=body | {"media": media}, files=tuple(uploads))

    def groups(self, files: Sequence[File]) -> list[tuple[File, ...]]:
        """See `ChatChannel`. An album holds what is of a kind."""
        found: list[list[File]] = []
        for file in files:
            album = _ALBUMS.get(_kind(file))
            together = found and album is not None and album == _ALBUMS.get(_kind(found[-1][0]))
            if together and len(found[-1]) < _FILES_MAX and sum(one.size for one in (*found[-1], file)) <= _UPLOAD_MAX:
                found[-1].append(file)
            else:
                found.append([file])
        return [tuple(group) for group in found]

    async def ask(self, request: Request, attempt: Attempt) -> Answer | AnyOutcome:
        """See `ChatChannel`. What a message with a file says is its caption."""
        answer = await super().ask(request, attempt)
        if attempt.op is not Op.EDIT or not isinstance(answer, Answer) or _NO_TEXT not in answer.body:
            return answer
        names = {"text": "caption", "entities": "caption_entities"}
        body = {names.get(name, name): value for name, value in request.body.items()}
        return await super().ask(Request(url=self._bot / "editMessageCaption", body=body), attempt)

    def said(self, answer: Answer) -> Said:
        """See `ChatChannel`."""
        try:
            found = _ANSWER.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Said()
        if found.ok:
            return Said(code="ok", receipt=_receipt(found.result))
        constant = _CONSTANT.match(found.description)
        after = found.parameters.retry_after if found.parameters else None
        return Said(code=constant[1] if constant else "", text=found.description, after=after)

    def outcome(self, exchange: Exchange) -> AnyOutcome:
        """See `ChatChannel`. A group that became a supergroup says its new number; a limit may be the whole bot's."""
        moved = _moved_to(exchange.answer)
        if moved is not None and str(moved) != exchange.attempt.to:
            return Redirected(moved, reason="the group became a supergroup")
        outcome = super().outcome(exchange)
        # What the operator's own rules say of a chat stays with the chat.
        if (
            isinstance(outcome, RateLimited)
            and exchange.rule in RULES
            and self._is_of_all(exchange.attempt.to, outcome)
        ):
            why = f"{outcome.reason}, in several chats at once"
            return RateLimited(why, scope="channel", after=outcome.after, answer=outcome.answer)
        return outcome

    def _is_of_all(self, chat: str, limited: RateLimited) -> bool:
        """
        Whether a limit is the bot's and not a chat's, which Telegram does not say: another chat met the same just now.

        The same: it ends when that one ends, within a second, or neither says when. Two chats that wait for different
        times have limits of their own.
        """
        now = self._seams.clock.mono()
        before, self._limited = self._limited, _Limited(chat, now, limited.after)
        if before is None or before.chat == chat or now - before.at > _BOTH_SECONDS:
            return False
        if limited.after is None or before.after is None:
            return limited.after is before.after
        return abs(now + limited.after - before.at - before.after) <= _BOTH_SECONDS


def _kind(file: File) -> str:
    """Return what Telegram shows a file as."""
    kind = _KINDS.get(file.media_type, "document")
    return "document" if kind == "photo" and file.size > _PHOTO_BYTES_MAX else kind


def _receipt(result: msgspec.Raw) -> str | None:
    """Return the number of a message; of an album the numbers of all of it."""
    try:
        found = _MESSAGES.decode(result)
    except (msgspec.MsgspecError, RecursionError):
        return None
    numbers = [one.message_id for one in (found if isinstance(found, list) else [found])]
    return ",".join(str(number) for number in numbers if number is not None) or None


def _moved_to(answer: Answer) -> int | None:
    """Return the number of the supergroup that a group became: below 0, of 64 bits."""
    try:
        parameters = _ANSWER.decode(answer.body).parameters
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    moved = parameters.migrate_to_chat_id if parameters else None
    return moved if moved is not None and -(1 << 63) <= moved < 0 else None


def _entities(rich: Rich) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for span in rich.spans:
        entity: dict[str, object] = {
            "type": _ENTITIES[span.mark],
            "offset": length(rich.text[: span.start], "utf16"),
            "length": length(rich.text[span.start : span.stop], "utf16"),
        }
        if span.value:
            entity["url" if span.mark is Mark.LINK else "language"] = span.value
        found.append(entity)
    return found
