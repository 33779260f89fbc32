"""
The Slack channel: each message is one ``chat.postMessage`` of an app, or one POST to an incoming webhook.

Text with markup goes out as a block of rich text, which has no signs to escape and none that could be torn; what stands
beside it as ``text`` is for notifications. Slack knows no dedupe token: a request whose answer was lost may have been
taken. Its own client libraries send such a request twice, so they are not used.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import ClassVar, Final, Unpack
from urllib.parse import quote, urlencode

import msgspec
from yarl import URL

from pillarbox.channels import slack_history
from pillarbox.channels.base import Attempt, Capabilities, Guarantee, Progress
from pillarbox.channels.egress import Egress
from pillarbox.channels.http.answers import Answer, status_text
from pillarbox.channels.http.chat import (
    ChatChannel,
    Exchange,
    HttpOptions,
    Request,
    Said,
    TokenChannel,
    check_name,
)
from pillarbox.channels.http.rules import Spare
from pillarbox.channels.slack_blocks import blocks
from pillarbox.channels.slack_rules import HOOK_RULES, RULES
from pillarbox.channels.text.rich import Rich
from pillarbox.channels.text.split import length
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Admission, Content, File
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.pace import Pace, Rate
from pillarbox.errors import ConfigError, EgressRefused, InvalidMessage

_TOKEN: Final = re.compile(r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{8,}\Z")
_HOOK_PIECE: Final = re.compile(r"[A-Za-z0-9]{6,}\Z")
_CONVERSATION: Final = re.compile(r"[CDGUW][A-Z0-9]{2,30}\Z")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}\Z")
_CODE: Final = re.compile(rb"\s*([a-z0-9_]{2,60})\s*\Z")

_WORKSPACE_SECONDS: Final = 60.0  # a whole workspace sends too much: a second would be of no use

# All blocks of a message may be some 13 000 characters: three times what the text may be.
_BLOCKS_SHARE: Final = 3
_FORM: Final = "application/x-www-form-urlencoded"
_TEXT_MAX: Final = 4000  # what is longer Slack itself cuts, and gives the id of one piece


class _Metadata(msgspec.Struct):
    warnings: list[str] = []


class _Answer(msgspec.Struct):
    ok: bool = False
    error: str = ""
    ts: str | None = None
    response_metadata: _Metadata | None = None


class _Upload(msgspec.Struct):
    ok: bool = False
    upload_url: str = ""
    file_id: str = ""


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_UPLOAD: Final = msgspec.json.Decoder(_Upload)


class _Slack(ChatChannel):
    """What an app and a webhook share."""

    kind = "slack"
    capabilities = Capabilities(text_limit=_TEXT_MAX, unit="utf16")
    markup_fields: ClassVar = frozenset({"blocks", "mrkdwn"})
    own: ClassVar = frozenset({"channel", "thread_ts", "ts"})

    def check_receipt(self, field: str, receipt: str) -> None:
        """See `ChatChannel`."""
        _check_timestamp(field, receipt)

    async def guarantee(self) -> Guarantee:
        """See `Channel`."""
        return Guarantee(seconds=0.0, why="Slack documents no token by which a second copy is recognised")

    def size(self, rich: Rich) -> int:
        """See `ChatChannel`."""
        text = length(_escaped(rich.text), self.capabilities.unit)
        if not rich.spans:
            return text
        form = length(msgspec.json.encode(blocks(rich)).decode(), self.capabilities.unit)
        return max(text, -(-form // _BLOCKS_SHARE))

    def has(self, attempt: Attempt, spare: Spare) -> bool:
        """See `ChatChannel`. An answer to a message is one in its thread."""
        if spare is Spare.THREAD:
            return attempt.thread is not None or attempt.content.reply_to is not None
        return super().has(attempt, spare)


class SlackChannel(_Slack, TokenChannel):
    """
    Send each message as an app, by its token.

    A recipient is a conversation's id (``C…``, ``D…``, ``G…``) or a user's (``U…``), not a name; a thread, and
    ``reply_to``, is the timestamp of a message. ``extra`` holds further fields of ``chat.postMessage``.

    Args:
        token: The app's, ``xoxb-…``. It needs the scope ``chat:write`` (https://docs.slack.dev/reference/scopes/chat.write),
            and for files ``files:write`` (https://docs.slack.dev/messaging/working-with-files).
        options: See `HttpOptions`.

    Raises:
        ConfigError: Names the setting; its text does not hold the token.
    """

    pace = Pace(each=(Rate(1),))  # https://docs.slack.dev/apis/web-api/rate-limits: "1 message per second per channel"
    capabilities = Capabilities(text_limit=_TEXT_MAX, unit="utf16", edits=True, deletes=True, looks_up=True)
    public_url = "https://slack.com"
    scheme = "slack"
    expected = "slack://xoxb-TOKEN, or slack://T…/B…/SECRET for an incoming webhook"
    rules = RULES
    files_max = 10
    file_bytes_max = 1_000_000_000  # https://docs.slack.dev/messaging/working-with-files
    content_type = "application/json; charset=utf-8"  # without the charset, every answer has a warning

    def __init__(self, token: str, **options: Unpack[HttpOptions]) -> None:
        if not _TOKEN.match(token):
            raise ConfigError("token", "expected a token such as xoxb-…")
        super().__init__(secrets=(token, token.partition("-")[2]), **options)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._me: slack_history.Identity | None = None

    @classmethod
    def from_pieces(cls, pieces: tuple[str, ...], options: HttpOptions) -> ChatChannel | None:
        """See `TokenChannel`."""
        if len(pieces) == 3 and all(map(_HOOK_PIECE.match, pieces)):
            return SlackWebhookChannel("/".join(pieces), **options)
        return cls(pieces[0], **options) if len(pieces) == 1 and _TOKEN.match(pieces[0]) else None

    def check_recipient(self, to: str, thread: str | None) -> str:
        """See `ChatChannel`."""
        if not _CONVERSATION.match(to):
            raise InvalidMessage("to", "expected the id of a conversation or user, such as C024BE91L, and not its name")
        _check_timestamp("thread", thread)
        return to

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
        """See `Channel`. Files are shared in conversations: https://github.com/slackapi/bolt-js/issues/2115."""
        if to.startswith(("U", "W")) and any(map(self.carries, content.files)):
            raise InvalidMessage("to", "expected the id of a conversation (C…, D…, G…), and not of a user, for files")
        return super().admit(to=to, content=content, thread=thread)

    def request(self, attempt: Attempt, without: Collection[Spare]) -> Request:
        """See `ChatChannel`."""
        body: dict[str, object] = {"channel": attempt.to}
        if attempt.op is not Op.SEND:
            body["ts"] = attempt.target
        if attempt.op is Op.DELETE:
            return self._call("chat.delete", body)
        rich = self.rich(attempt.content)
        if attempt.files and attempt.op is Op.SEND and any(map(self.carries, attempt.files)):
            return self._shared(attempt, rich, without)
        body |= _said_in_blocks(rich, without)
        own = self.own_fields(attempt, without)
        if attempt.op is Op.SEND:
            body |= _in_thread(attempt, without)
            if attempt.reconciles:
                own["metadata"] = slack_history.with_token(own.get("metadata"), attempt.token)
        method = "chat.postMessage" if attempt.op is Op.SEND else "chat.update"
        return self._call(method, body | own)

    async def guarantee(self) -> Guarantee:
        """See `Channel`."""
        return dataclasses.replace(await super().guarantee(), asking=slack_history.ASKING)

    async def look_up(self, attempt: Attempt, *, since_ms: int) -> AnyOutcome | None:
        """See `Channel`. By the token in the message's metadata, which files do not have."""
        if any(map(self.carries, attempt.files)):
            return Uncertain("Slack keeps nothing with files by which they could be found again")

        async def ask(method: str, fields: Mapping[str, str]) -> Answer | AnyOutcome:
            url = self.base_url / "api" / method
            return await self._before(
                attempt, url, urlencode(fields).encode(), content_type=_FORM, headers=self._headers
            )

        me = self._me or await slack_history.identity(ask)
        if not isinstance(me, slack_history.Identity):
            return me
        self._me = me
        thread = attempt.thread or attempt.content.reply_to
        return await slack_history.look_up(
            ask, me=me, to=attempt.to, thread=thread, token=attempt.token, since_ms=since_ms
        )

    def _shared(self, attempt: Attempt, rich: Rich, without: Collection[Spare]) -> Request:
        """Return the last of the calls that share files; `ask` makes those before it."""
        said = _said_in_blocks(rich, without)
        body: dict[str, object] = {"channel_id": attempt.to, **_in_thread(attempt, without)}
        if "blocks" in said:
            body["blocks"] = said["blocks"]
        elif said:
            body["initial_comment"] = said["text"]
        request = self._call("files.completeUploadExternal", body)
        uploads = tuple((file.name, file) for file in attempt.files if file.data is not None)
        return dataclasses.replace(request, files=uploads)

    async def ask(self, request: Request, attempt: Attempt) -> Answer | AnyOutcome:
        """See `ChatChannel`. Files are uploaded first: until the last call nobody sees them."""
        if not request.files:
            return await super().ask(request, attempt)
        shared: list[dict[str, str]] = []
        for _, file in request.files:
            found = await self._uploaded(file, attempt)
            if not isinstance(found, str):
                return found
            shared.append({"id": found, "title": file.name})
        whole = dataclasses.replace(request, body={**request.body, "files": shared}, files=())
        return await super().ask(whole, attempt)

    async def _uploaded(self, file: File, attempt: Attempt) -> str | Answer | AnyOutcome:
        """Upload a file and return its id, or the answer, or the outcome, of that which did not work."""
        asked = await self._before(
            attempt,
            self.base_url / "api" / "files.getUploadURLExternal",
            f"filename={quote(file.name)}&length={file.size}".encode(),
            content_type=_FORM,
            headers=self._headers,
        )
        if not isinstance(asked, Answer):
            return asked
        if asked.status >= 500:
            return Deferred(f"uploading a file: {status_text(asked.status)}")
        try:
            place = _UPLOAD.decode(asked.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Deferred("unintelligible answer before a file was uploaded")
        if not place.ok:
            return asked
        try:
            url = self._upload_url(place.upload_url)
        except EgressRefused as refused:
            return Deferred(f"Slack named a place to upload to that leads elsewhere: {refused}")
        put = await self._before(attempt, url, file.data or b"", content_type=file.media_type, headers={})
        if not isinstance(put, Answer):
            return put
        if put.status != 200:
            return Deferred(f"uploading a file: {status_text(put.status)}")
        return place.file_id

    def _upload_url(self, text: str) -> URL:
        """Return where to upload to: Slack's own, or the server of one's own. Raises EgressRefused."""
        url = Egress(operator=True).check_url(text)
        if url.origin() != self.base_url.origin() and not (
            url.scheme == "https" and f".{url.host}".endswith(".slack.com")
        ):
            raise EgressRefused(f"{url.host} is not Slack")
        return url

    async def _before(
        self, attempt: Attempt, url: URL, body: bytes, *, content_type: str, headers: Mapping[str, str]
    ) -> Answer | AnyOutcome:
        """Ask something that sends nothing of the message yet."""
        apart = msgspec.structs.replace(attempt, progress=Progress())
        answer = await self._client.post(url, body, content_type=content_type, headers=headers, attempt=apart)
        if isinstance(answer, Uncertain):
            return Deferred(f"{answer.reason}; nothing of the message was in it")
        return answer

    def _call(self, method: str, body: Mapping[str, object]) -> Request:
        return Request(url=self.base_url.joinpath("api", method), body=body, headers=self._headers)

    def said(self, answer: Answer) -> Said:
        """See `ChatChannel`."""
        try:
            found = _ANSWER.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Said()
        if not found.ok:
            after = _WORKSPACE_SECONDS if found.error == "message_limit_exceeded" else None
            return Said(code=found.error, text=found.error, after=after)
        warnings = found.response_metadata.warnings if found.response_metadata else []
        return Said(code="ok", receipt=found.ts, remark="Slack cut the text" * ("message_truncated" in warnings))

    def outcome(self, exchange: Exchange) -> AnyOutcome:
        """See `ChatChannel`. What is gone need not be deleted."""
        if exchange.attempt.op is Op.DELETE and exchange.said.code == "message_not_found":
            return Delivered(answer=exchange.answer.body)
        return super().outcome(exchange)


class SlackWebhookChannel(_Slack):
    """
    Send each message to an incoming webhook, which has one conversation: the recipient only orders messages.

    Args:
        hook: What stands behind ``/services/`` in the webhook's URL.
        options: See `HttpOptions`.

    Raises:
        ConfigError: Names the setting; its text does not hold the hook.
    """

    pace = Pace(whole=(Rate(1),))  # https://docs.slack.dev/apis/web-api/rate-limits: "1 per second"
    public_url = "https://hooks.slack.com"
    rules = HOOK_RULES

    def __init__(self, hook: str, **options: Unpack[HttpOptions]) -> None:
        found = hook.split("/")
        if len(found) != 3 or not all(map(_HOOK_PIECE.match, found)):
            raise ConfigError("hook", "expected T…/B…/SECRET, what stands behind /services/ in the webhook's URL")
        super().__init__(secrets=(hook, *found), **options)
        self._url = self.base_url / "services" / found[0] / found[1] / found[2]

    def check_recipient(self, to: str, thread: str | None) -> str:
        """See `ChatChannel`."""
        _check_timestamp("thread", thread)
        return check_name(to)

    def request(self, attempt: Attempt, without: Collection[Spare]) -> Request:
        """See `ChatChannel`."""
        said = _said_in_blocks(self.rich(attempt.content), without)
        body = said | _in_thread(attempt, without) | self.own_fields(attempt, without)
        return Request(url=self._url, body=body)

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        if attempt.op is not Op.SEND:
            return Rejected("a webhook can neither edit nor delete")
        return await super().send(attempt)

    def said(self, answer: Answer) -> Said:
        """See `ChatChannel`."""
        found = _CODE.match(answer.body)
        code = found[1].decode() if found else ""
        return Said(code=code, text=code)


def _check_timestamp(field: str, text: str | None) -> None:
    if text is not None and not _TIMESTAMP.match(text):
        raise InvalidMessage(field, "expected the timestamp of a message, such as 1503435956.000247")


def _said_in_blocks(rich: Rich, without: Collection[Spare]) -> dict[str, object]:
    """Return the text as plain text, or, where it has markup, as a block beside it."""
    if not rich.text:
        return {}
    if not rich.spans or Spare.MARKUP in without:
        return {"text": _escaped(rich.text), "mrkdwn": False}
    return {"text": _escaped(rich.text), "blocks": blocks(rich)}


def _in_thread(attempt: Attempt, without: Collection[Spare]) -> dict[str, object]:
    thread = attempt.thread or attempt.content.reply_to
    return {} if thread is None or Spare.THREAD in without else {"thread_ts": thread}


def _escaped(text: str) -> str:
    """Return *text* so that nothing in it calls a channel or makes a link: docs.slack.dev, "Escaping text"."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
