"""
The Matrix channel: each message is one PUT into a room, under a transaction id that is the same for every attempt.

A homeserver keeps that id with the device that sent it, and answers a second copy with the first event: see
`matrix_session`. Messages are not encrypted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, Unpack
from urllib.parse import quote

import msgspec
from yarl import URL

from pillarbox.channels import matrix_history
from pillarbox.channels.base import Attempt, Capabilities, Guarantee, Progress, Seams
from pillarbox.channels.http.answers import Answer, judged
from pillarbox.channels.http.chat import OPTIONS, ChatChannel, HttpOptions, Request, Said, http_options
from pillarbox.channels.http.client import Method
from pillarbox.channels.http.rules import Rule, Spare, names, rule_for, words
from pillarbox.channels.matrix_html import formatted
from pillarbox.channels.matrix_session import MatrixSession, read
from pillarbox.channels.privacy.known_secrets import KnownSecrets
from pillarbox.channels.text.rich import Rich
from pillarbox.channels.text.split import length
from pillarbox.channels.url_parts import Options, parse_url, text
from pillarbox.channels.verdicts import Verdict
from pillarbox.domain.envelope import Op
from pillarbox.domain.message import Content, File
from pillarbox.domain.outcome import AnyOutcome, Deferred, Uncertain
from pillarbox.errors import ConfigError, InvalidMessage

_SPEC: Final = "https://spec.matrix.org/v1.18/client-server-api"
_SYNAPSE: Final = "Synapse 1.163.2"

_ROOM: Final = re.compile(r"![^\s\x00-\x20\x7f]{1,254}\Z")
_ALIAS: Final = re.compile(r"#[^\s:\x00-\x20\x7f]{1,200}:[^\s\x00-\x20\x7f]{1,200}\Z")
_EVENT: Final = re.compile(r"\$[^\s\x00-\x20\x7f]{1,254}\Z")
_KEPT_SECONDS: Final = 86_400.0  # Synapse 1.163.2 events_worker.py: cleaned up after 24 hours
_OPTIONS: Final = (*OPTIONS, "device_id", "refresh_token")

RULES: Final[tuple[Rule, ...]] = (
    Rule(verdict=Verdict.DELIVERED, statuses=("2xx",), codes=("ok",), source=f"{_SPEC}/#put_matrixclientv3roomsroomid"),
    # Limits are a user's, so this channel's.
    Rule(verdict=Verdict.RATE_LIMITED, codes=("M_LIMIT_EXCEEDED",), source=f"{_SPEC}/#rate-limiting"),
    Rule(verdict=Verdict.RATE_LIMITED, statuses=("429",), source=f"{_SPEC}/#rate-limiting"),
    # The account, its token, or the server.
    Rule(
        verdict=Verdict.AUTH,
        codes=names("M_UNKNOWN_TOKEN M_MISSING_TOKEN M_USER_DEACTIVATED"),
        source=f"{_SPEC}/#common-error-codes",
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=names(
            "M_USER_LOCKED M_USER_SUSPENDED M_CONSENT_NOT_GIVEN M_EXCLUSIVE M_UNKNOWN_DEVICE M_UNRECOGNIZED"
            " M_RESOURCE_LIMIT_EXCEEDED M_USER_LIMIT_EXCEEDED"
        ),
        source=f"{_SPEC}/#common-error-codes",
    ),
    Rule(verdict=Verdict.AUTH, statuses=("401",), source=f"{_SPEC}/#client-authentication"),
    # What it can do without.
    Rule(
        verdict=Verdict.REJECTED,
        statuses=("400",),
        text=words("cannot start threads from an event with a relation"),
        without=Spare.THREAD,
        source=f"{_SYNAPSE} handlers/message.py",
    ),
    # The room.
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        codes=names("M_FORBIDDEN M_NOT_FOUND M_UNKNOWN_ROOM M_GUEST_ACCESS_FORBIDDEN M_INCOMPATIBLE_ROOM_VERSION"),
        source=f"{_SPEC}/#common-error-codes",
    ),
    # The message.
    Rule(
        verdict=Verdict.REJECTED,
        codes=names("M_TOO_LARGE M_BAD_JSON M_NOT_JSON M_INVALID_PARAM M_MISSING_PARAM M_DUPLICATE_ANNOTATION"),
        source=f"{_SPEC}/#common-error-codes",
    ),
    Rule(verdict=Verdict.REJECTED, statuses=("413",), source=f"{_SPEC}/#size-limits"),
    Rule(verdict=Verdict.UNCERTAIN, statuses=("2xx", "5xx"), source=f"{_SPEC}/#transaction-identifiers"),
    Rule(verdict=Verdict.UNCLASSIFIED, statuses=("4xx",), source="a code that no row knows"),
)
"""What a homeserver's answers mean, by its own codes."""

_TO_LOG_IN: Final[tuple[Rule, ...]] = (
    Rule(verdict=Verdict.DELIVERED, statuses=("2xx",), source=f"{_SPEC}/#login"),
    Rule(verdict=Verdict.RATE_LIMITED, statuses=("429",), source=f"{_SPEC}/#login"),
    Rule(verdict=Verdict.AUTH, statuses=("401", "403"), source=f"{_SPEC}/#login: the password is wrong"),
    Rule(verdict=Verdict.UNAVAILABLE, statuses=("4xx",), source=f"{_SPEC}/#login: it cannot log in"),
    Rule(verdict=Verdict.DEFERRED, source="nothing of the message was sent"),
)


_MEDIA: Final = {"image": "m.image", "audio": "m.audio", "video": "m.video"}


class MatrixChannel(ChatChannel):
    """
    Send each message as a user of a homeserver.

    A recipient is a room's id (``!…``) or alias (``#…:…``); a thread, and ``reply_to``, is the id of an event.
    ``extra`` holds further fields of the event.

    Args:
        user: Its name, or whole id; with *password* the channel logs in by itself.
        access_token: Instead of both: a token that was made elsewhere.
        refresh_token: What came with that token. Both are used once; what follows them is kept in the store.
        device_id: As which device to log in. Two programs that use one account have two.
        options: See `HttpOptions`; ``base_url`` is the homeserver's.

    Raises:
        ConfigError: Names the setting; its text holds no secret.
    """

    kind = "matrix"
    # A whole event may have 65 536 bytes of canonical JSON: spec.matrix.org, "Size limits".
    capabilities = Capabilities(text_limit=60_000, unit="bytes", edits=True, deletes=True, looks_up=True)
    rules = RULES
    files_max = 1
    markup_fields = frozenset({"format", "formatted_body"})

    def __init__(
        self,
        *,
        user: str = "",
        password: str = "",
        access_token: str = "",
        refresh_token: str = "",
        device_id: str = "PILLARBOX",
        **options: Unpack[HttpOptions],
    ) -> None:
        super().__init__(secrets=(), **options)
        self._session = MatrixSession(
            self._beside,
            self._to_log_in,
            self._hide,
            server=str(self.base_url),
            user=user,
            password=password,
            access_token=access_token,
            refresh_token=refresh_token,
            device_id=device_id,
        )
        self._rooms: dict[str, str] = {}

    def _hide(self, secrets: KnownSecrets) -> None:
        self.known_secrets = secrets

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        base_url: str | None = None,
        device_id: str | None = None,
        refresh_token: str | None = None,
        timeout: float | str | None = None,
        concurrency: int | str | None = None,
        outcomes: Mapping[str, str] | None = None,
    ) -> MatrixChannel:
        """
        Make the channel of ``matrix://user:password@homeserver``, or of ``matrix://ACCESS_TOKEN@homeserver``.

        The homeserver is asked over HTTPS; ``base_url`` says otherwise. Every option but ``outcomes`` may stand in the
        URL's query too.

        Raises:
            ConfigError: Names the option; its text holds no secret.
        """
        given = {key: value for key, value in locals().items() if key in _OPTIONS and value is not None}
        parsed = parse_url(url, schemes=("matrix",))
        if not parsed.host or not parsed.user or parsed.path.strip("/"):
            raise ConfigError("url", "expected matrix://user:password@homeserver or matrix://ACCESS_TOKEN@homeserver")
        options = Options(parsed, given, known=_OPTIONS)
        http = http_options(options)
        host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
        http["base_url"] = http["base_url"] or f"https://{host}{f':{parsed.port}' if parsed.port else ''}"
        device = options.take("device_id", text, "PILLARBOX")
        refresh = options.take("refresh_token", text, "")
        if not parsed.password:
            return cls(access_token=parsed.user, refresh_token=refresh, device_id=device, **http)
        return cls(user=parsed.user, password=parsed.password, refresh_token=refresh, device_id=device, **http)

    async def start(self, seams: Seams) -> None:
        """See `Channel`."""
        self._session.start(seams)
        await super().start(seams)

    # What a message is

    def check_recipient(self, to: str, thread: str | None) -> str:
        """See `ChatChannel`."""
        if not _ROOM.match(to) and not _ALIAS.match(to):
            raise InvalidMessage("to", "expected a room's id (!…) or alias (#…:…)")
        _check_event("thread", thread)
        return to

    def check_receipt(self, field: str, receipt: str) -> None:
        """See `ChatChannel`."""
        _check_event(field, receipt)

    def size(self, rich: Rich) -> int:
        """See `ChatChannel`. Both forms of the text count, as JSON has them."""
        forms = (rich.text, formatted(rich)) if rich.spans else (rich.text,)
        return sum(length(msgspec.json.encode(form)[1:-1].decode(), self.capabilities.unit) for form in forms)

    def request(self, attempt: Attempt, without: Collection[Spare]) -> Request:
        """See `ChatChannel`."""
        room = self._rooms.get(attempt.to, attempt.to)
        if attempt.op is Op.DELETE:
            return self._put(f"rooms/{_part(room)}/redact/{_part(attempt.target or '')}/{attempt.token}", {})
        body = self._said(attempt, without)
        files = tuple(("url", file) for file in attempt.files if file.data is not None)
        if attempt.op is Op.EDIT:
            replaced = {"rel_type": "m.replace", "event_id": attempt.target}
            body = {**body, "body": f"* {body['body']}", "m.new_content": dict(body), "m.relates_to": replaced}
        return self._put(f"rooms/{_part(room)}/send/m.room.message/{attempt.token}", body, files)

    def _said(self, attempt: Attempt, without: Collection[Spare]) -> dict[str, object]:
        content, rich = attempt.content, self.rich(attempt.content)
        # Nobody is called by a word of the text: spec.matrix.org, "User and room mentions".
        body: dict[str, object] = {"msgtype": "m.notice" if content.silent else "m.text", "body": rich.text}
        body["m.mentions"] = {}
        stored = [file for file in attempt.files if file.data is not None] if attempt.op is Op.SEND else []
        for file in stored:
            # One at most; its URL follows when it is uploaded. spec.matrix.org, "Media captions".
            body |= {
                "msgtype": _MEDIA.get(file.media_type.partition("/")[0], "m.file"),
                "body": rich.text or file.name,
                "filename": file.name,
                "info": {"mimetype": file.media_type, "size": file.size},
            }
            if file.media_type == "audio/ogg":
                body["org.matrix.msc3245.voice"] = {}
        if rich.spans and Spare.MARKUP not in without:
            body |= {"format": "org.matrix.custom.html", "formatted_body": formatted(rich)}
        thread = None if Spare.THREAD in without else attempt.thread
        reply = content.reply_to if attempt.part == 0 and Spare.REPLY not in without else None
        if attempt.op is Op.SEND and (thread or reply):
            related: dict[str, object] = {"m.in_reply_to": {"event_id": reply or thread}}
            if thread:
                related |= {"rel_type": "m.thread", "event_id": thread, "is_falling_back": reply is None}
            body["m.relates_to"] = related
        if attempt.reconciles and attempt.op is Op.SEND:
            body[matrix_history.TOKEN] = attempt.token
        return body | self.own_fields(attempt, without)

    def _put(self, path: str, body: dict[str, object], files: tuple[tuple[str, File], ...] = ()) -> Request:
        return Request(url=self._url(path), body=body, method="PUT", files=files)

    def _url(self, path: str) -> URL:
        base = str(self.base_url).rstrip("/")
        return URL(f"{base}/_matrix/client/v3/{path}", encoded=True)

    def said(self, answer: Answer) -> Said:
        """See `ChatChannel`."""
        found = read(answer)
        if found is None:
            return Said()
        if answer.status < 300:
            return Said(code="ok" if found.event_id else "", receipt=found.event_id)
        after = None if found.retry_after_ms is None else found.retry_after_ms / 1000
        return Said(code=found.errcode, text=found.error, after=after)

    # Who sends it

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`. An alias is looked up once."""
        unknown = await self._resolve(attempt)
        return unknown if unknown is not None else await super().send(attempt)

    async def _resolve(self, attempt: Attempt) -> AnyOutcome | None:
        if not attempt.to.startswith("#") or attempt.to in self._rooms:
            return None
        attempt.progress.written = False
        asked = await self._beside(attempt, "GET", f"directory/room/{_part(attempt.to)}", {})
        if not isinstance(asked, Answer):
            return asked
        found = read(asked)
        if asked.status != 200:
            said = self.said(asked)
            return self._judged(asked, rule_for(self._rules, asked.status, code=said.code, text=said.text))
        if found is None or not _ROOM.match(found.room_id or ""):
            return Deferred("unintelligible answer to the look-up of an alias")
        self._rooms[attempt.to] = found.room_id or ""
        return None

    @property
    def recognised_seconds(self) -> float:
        """See `Channel`. What the homeserver keeps with the device."""
        return _KEPT_SECONDS if self.covered else 0.0

    async def look_up(self, attempt: Attempt, *, since_ms: int) -> AnyOutcome | None:
        """See `Channel`. By a field of the event's content, or its transaction id."""
        refused = await self._resolve(attempt) or await self._authorise(attempt, stale=None)
        if refused is not None:
            return refused

        async def ask(path: str) -> Answer | AnyOutcome:
            where = f"rooms/{_part(self._rooms.get(attempt.to, attempt.to))}/{path}"
            answer = await self._beside(attempt, "GET", where, {}, token=self._session.token)
            if (
                not isinstance(answer, Answer)
                or self.said(answer).code != "M_UNKNOWN_TOKEN"
                or not self._session.can_renew
            ):
                return answer
            refused = await self._authorise(attempt, stale=self._session.token)
            return refused or await self._beside(attempt, "GET", where, {}, token=self._session.token)

        return await matrix_history.look_up(ask, sender=self._session.user_id, token=attempt.token, since_ms=since_ms)

    async def ask(self, request: Request, attempt: Attempt) -> Answer | AnyOutcome:
        """See `ChatChannel`. A token that is over is renewed, once."""
        refused = await self._authorise(attempt, stale=None)
        if refused is not None:
            return refused
        token = self._session.token
        if request.files:
            uploaded = await self._uploaded(request.files[0][1], attempt)
            if (
                isinstance(uploaded, Answer)
                and self.said(uploaded).code == "M_UNKNOWN_TOKEN"
                and self._session.can_renew
            ):
                refused = await self._authorise(attempt, stale=token)
                uploaded = refused or await self._uploaded(request.files[0][1], attempt)
                token = self._session.token
            if not isinstance(uploaded, str):
                return uploaded
            request = Request(url=request.url, body={**request.body, "url": uploaded}, method=request.method)
        answer = await super().ask(self._signed(request), attempt)
        if not self._is_over(answer):
            return answer
        refused = await self._authorise(attempt, stale=token)
        return refused if refused is not None else await super().ask(self._signed(request), attempt)

    def _is_over(self, answer: object) -> bool:
        """Return whether an answer says that the token is over, and another one can be had."""
        return isinstance(answer, Answer) and self.said(answer).code == "M_UNKNOWN_TOKEN" and self._session.can_renew

    async def _uploaded(self, file: File, attempt: Attempt) -> str | Answer | AnyOutcome:
        """Upload a file and return its URL, or the answer, or the outcome, of there being none."""
        base = str(self.base_url).rstrip("/")
        answer = await self._client.post(
            URL(f"{base}/_matrix/media/v3/upload?filename={_part(file.name)}", encoded=True),
            file.data or b"",
            content_type=file.media_type,
            headers={"Authorization": f"Bearer {self._session.token}"},
            attempt=msgspec.structs.replace(attempt, progress=Progress()),
        )
        if isinstance(answer, Uncertain):
            return Deferred(f"{answer.reason}; nothing of the message was in it")
        if not isinstance(answer, Answer) or answer.status != 200:
            return answer
        found = read(answer)
        if found is None or not found.content_uri.startswith("mxc://"):
            return Deferred("unintelligible answer to the upload of a file")
        return found.content_uri

    def _signed(self, request: Request) -> Request:
        return Request(
            url=request.url,
            body=request.body,
            method=request.method,
            headers={"Authorization": f"Bearer {self._session.token}"},
        )

    async def guarantee(self) -> Guarantee:
        """See `Channel`. Whose token it is the homeserver says."""
        if await self._authorise(_nobodys_attempt(), stale=None) is not None:
            seconds, why = 0.0, "the homeserver does not say now whether the token has a device"
        elif not self.covered:
            seconds, why = 0.0, "the token has no device, with which a homeserver keeps what it has taken"
        else:
            seconds, why = _KEPT_SECONDS, "the homeserver keeps what it has taken with the device, for a day at least"
        return Guarantee(seconds=seconds, why=why, asking=matrix_history.ASKING)

    async def _authorise(self, attempt: Attempt, *, stale: str | None) -> AnyOutcome | None:
        refused = await self._session.authorise(attempt, stale=stale)
        self.covered = bool(self._session.device)
        return refused

    def _to_log_in(self, answer: Answer) -> AnyOutcome:
        if 200 <= answer.status < 300:
            return Deferred("unintelligible answer before the message was sent")
        return self._judged(answer, rule_for(_TO_LOG_IN, answer.status))

    def _judged(self, answer: Answer, rule: Rule) -> AnyOutcome:
        said = self.said(answer)
        found = judged(
            answer,
            rule,
            now_ms=self._seams.clock.wall_ms(),
            reason=f"{said.code or 'no code'} (HTTP {answer.status}) before the message was sent",
            after=said.after,
            known=self.known_secrets,
        )
        return Deferred(found.reason, answer=found.answer) if isinstance(found, Uncertain) else found

    async def _beside(
        self, attempt: Attempt, method: Method, path: str, body: Mapping[str, Any], *, token: str | None = None
    ) -> Answer | AnyOutcome:
        """Ask something of the homeserver that sends nothing of the message."""
        apart = msgspec.structs.replace(attempt, progress=Progress())
        answer = await self._client.post(
            self._url(path),
            msgspec.json.encode(body),
            content_type=self.content_type,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            attempt=apart,
            method=method,
        )
        if isinstance(answer, Uncertain):
            return Deferred(f"{answer.reason}; nothing of the message was in it")
        return answer


def _nobodys_attempt() -> Attempt:
    """Return the attempt of a question that is about no message."""
    return Attempt(id="", channel="", to="", content=Content(), number=0, token="")


def _part(text: str) -> str:
    """Return *text* as one piece of a path."""
    return quote(text, safe="")


def _check_event(field: str, text: str | None) -> None:
    if text is not None and not _EVENT.match(text):
        raise InvalidMessage(field, "expected the id of an event ($…)")
