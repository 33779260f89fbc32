"""
What the adapters of chat platforms share: a message on its way to requests, and their answers on the way to an outcome.

An adapter says how a request looks, what an answer says, and by which rules that is judged. Here text is written and
cut as the platform has it, and a message that was refused for something it can do without is sent once more without
that. Such a second request is no retry: the platform said that it did not take the first.
"""

from __future__ import annotations

import ssl
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypedDict, Unpack

import msgspec
from yarl import URL

from pillarbox.channels.base import Attempt, Channel, Cut, Seams, room_for_mark, stored_parts
from pillarbox.channels.egress import Egress
from pillarbox.channels.http.answers import Answer, judged, status_text
from pillarbox.channels.http.client import Client, Method
from pillarbox.channels.http.rules import HTTP_RULES, Rule, Spare, parse_overrides, rule_for
from pillarbox.channels.privacy.known_secrets import KnownSecrets
from pillarbox.channels.privacy.masking import place_of
from pillarbox.channels.privacy.outcomes import values_of
from pillarbox.channels.text.mark import marked_rich, sized_with
from pillarbox.channels.text.rich import Rich
from pillarbox.channels.text.subject import rich_of
from pillarbox.channels.url_parts import Options, count, parse_token_url, seconds, table, text
from pillarbox.channels.verdicts import Verdict
from pillarbox.domain.envelope import Op
from pillarbox.domain.ids import PARTS_MAX, is_message_id
from pillarbox.domain.message import Admission, Content, File, Format
from pillarbox.domain.outcome import AnyOutcome, Delivered, Rejected
from pillarbox.domain.plain_characters import CONTROL
from pillarbox.errors import ConfigError, EgressRefused, InvalidMessage, NotStarted

SPLITTER: Final = "rich 3"
"""Stored with the parts. Anything that cuts a text elsewhere than before needs a new one."""

_TIMEOUT_SECONDS: Final = 30.0
_CONCURRENCY: Final = 16


class HttpOptions(TypedDict, total=False):
    """
    What every one of these adapters takes.

    Attributes:
        base_url: Where the platform is, for a server of one's own; empty for the platform's public address.
        timeout_seconds: For a whole attempt, connecting and reading the answer included; above 0, at most an hour.
        concurrency: Requests, and so connections, at once; 1–1000.
        outcomes: Go before the adapter's rules: from ``"403"``, ``"4xx"`` or ``"403 CODE"`` to a name of `Verdict`.
        egress: The guard at the way out; the default trusts the base URL as the operator's.
        tls: Whom to trust; ``None`` for the system's certificates.
    """

    base_url: str
    timeout_seconds: float
    concurrency: int
    outcomes: Mapping[str, str]
    egress: Egress | None
    tls: ssl.SSLContext | None


OPTIONS: Final = ("base_url", "concurrency", "outcomes", "timeout")
"""Their names in a URL's query and in a configuration."""


def http_options(options: Options) -> HttpOptions:
    """Take what `HttpOptions` has out of a URL and what stands beside it. Raises ConfigError."""
    return HttpOptions(
        base_url=options.take("base_url", text, ""),
        timeout_seconds=options.take("timeout", seconds, _TIMEOUT_SECONDS),
        concurrency=options.take("concurrency", count, _CONCURRENCY),
        outcomes=options.take("outcomes", table, {}),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    One request.

    Attributes:
        body: What goes out as JSON; with files as a form, each field by itself, or all in ``json_field``.
        files: By the names of their fields.
    """

    url: URL
    body: Mapping[str, object]
    method: Method = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: tuple[tuple[str, File], ...] = ()
    json_field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """
    What an answer says.

    Attributes:
        code: The platform's own code, as in its rules; empty where it gives none.
        text: What it says about it.
        receipt: Its id of the message.
        remark: What it took otherwise than it was asked to.
        after: The least wait it asks for in its body, in seconds.
        rest: How long it takes nothing more for the same recipient, in seconds.
    """

    code: str = ""
    text: str = ""
    receipt: str | None = None
    after: float | None = None
    remark: str = ""
    rest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """
    A request of an attempt, and what became of it.

    Attributes:
        without: What was left out of the message, and why.
        rule: By which the answer is judged.
    """

    attempt: Attempt
    request: Request
    without: Mapping[Spare, str]
    answer: Answer
    said: Said
    rule: Rule


class ChatChannel(Channel):
    """
    A platform that takes chat messages over HTTP.

    Attributes:
        public_url: Where the platform is, if it is nobody's own.
        rules: What its answers mean; they go before `HTTP_RULES`.
        content_type: Of its requests.
        markup_fields: What of a message's ``extra`` is markup, and goes with it.
        own: What ``extra`` may not hold, because the message says it: whom it is for, which one it is.
        files_max: Files that one request takes; 0 where it takes none.
        file_bytes_max: The largest of them; ``request_bytes_max``: all of a request. ``None``: nobody knows.
        caption_limit: The longest text that goes with files, in the unit of `capabilities`; ``None``: as any text.
        fetches: It takes URLs of files, which go out as a line of the text elsewhere.
    """

    public_url: ClassVar[str] = ""
    rules: ClassVar[tuple[Rule, ...]] = ()
    content_type: ClassVar[str] = "application/json"
    markup_fields: ClassVar[frozenset[str]] = frozenset()
    own: ClassVar[frozenset[str]] = frozenset()
    files_max: ClassVar[int] = 0
    file_bytes_max: ClassVar[int | None] = None
    request_bytes_max: ClassVar[int | None] = None
    caption_limit: ClassVar[int | None] = None
    fetches: ClassVar[bool] = False

    def __init__(
        self, *, secrets: Iterable[str], headers: Mapping[str, str] | None = None, **options: Unpack[HttpOptions]
    ) -> None:
        egress = options.get("egress") or Egress(operator=True)
        try:
            url = egress.check_url(options.get("base_url") or self.public_url)
        except EgressRefused as refused:
            raise ConfigError("base_url", str(refused)) from None
        if url.user or url.password or url.query_string or url.fragment:
            raise ConfigError("base_url", "expected no user, password, query or fragment")
        self.base_url = url
        self.known_secrets = KnownSecrets(secrets)
        self._rules = (
            *parse_overrides(options.get("outcomes") or {}, field="outcomes", coded=True), *self.rules, *HTTP_RULES,
        )  # fmt: skip
        self._client = Client(
            egress=egress,
            headers=headers or {},
            timeout_seconds=options.get("timeout_seconds", _TIMEOUT_SECONDS),
            concurrency=options.get("concurrency", _CONCURRENCY),
            tls=options.get("tls"),
        )
        self._seams = Seams()
        self.concurrency = self._client.concurrency
        self.send_timeout_seconds = self._client.send_timeout_seconds

    # What an adapter says

    @abstractmethod
    def check_recipient(self, to: str, thread: str | None) -> str:
        """Return the recipient as it is stored. Raises InvalidMessage for what surely is none."""

    @abstractmethod
    def check_receipt(self, field: str, receipt: str) -> None:
        """Raise InvalidMessage naming *field* where *receipt* surely is none that the platform gives."""

    @abstractmethod
    def size(self, rich: Rich) -> int:
        """Return how long *rich* is as the platform has it, in the unit of `capabilities`."""

    @abstractmethod
    def request(self, attempt: Attempt, without: Collection[Spare]) -> Request:
        """Return what to ask of the platform, *without* what it would not take."""

    @abstractmethod
    def said(self, answer: Answer) -> Said:
        """Return what an answer says. Never raises, whatever it is."""

    def check_content(self, content: Content) -> None:
        """
        Refuse what this adapter cannot send; an adapter that can do more, or less, says so.

        Raises:
            InvalidMessage: Names the field.
        """
        if content.payload is not None:
            raise InvalidMessage("payload", f"expected text; {self.kind} takes fields of its own in extra")
        for file in content.files:
            if file.url is None and not self.files_max:
                raise InvalidMessage("files", f"expected URLs: this {self.kind} channel takes no files")
            if self.file_bytes_max is not None and file.size > self.file_bytes_max:
                raise InvalidMessage("files", f"expected at most {self.file_bytes_max} bytes each for {self.kind}")
        for name in sorted(self.own.intersection(content.extra)):
            raise InvalidMessage(f"extra.{name}", "expected a field that the message does not have by itself")
        if content.reply_to is not None:
            self.check_receipt("reply_to", content.reply_to)

    # What follows from it

    async def start(self, seams: Seams) -> None:
        """See `Channel`."""
        self._seams = seams
        await self._client.start(seams.clock)

    async def close(self) -> None:
        """See `Channel`. Safe to repeat."""
        await self._client.close()

    def describe(self) -> str:
        """See `Channel`."""
        return f"{place_of(str(self.base_url))}/"

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
        """See `Channel`."""
        recipient = self.check_recipient(to, thread)
        # One of our ids becomes the platform's at the send (contract CO3).
        ours = content.reply_to is not None and is_message_id(content.reply_to)
        self.check_content(msgspec.structs.replace(content, reply_to=None) if ours else content)
        return Admission(recipient=recipient, **self.split(content))

    def split(self, content: Content) -> Cut:
        """See `Channel`. Files go with the last part of the text, where that can be their caption, or behind it."""
        groups = self.groups([file for file in content.files if self.carries(file)])
        if not groups:
            found = super().split(content)
            return Cut(parts=found["parts"], splitter=SPLITTER) if found else found
        loose = tuple(file for file in content.files if not self.carries(file))
        said = msgspec.structs.replace(content, files=loose)
        parts = list(self._cut(said)) if self._unmarked(said).text.strip() else []
        limit = self.capabilities.text_limit if self.caption_limit is None else self.caption_limit
        if parts and (limit is None or self.size(self.rich(parts[-1])) <= limit):
            parts[-1] = msgspec.structs.replace(parts[-1], files=(*parts[-1].files, *groups.pop(0)))
        bare = msgspec.structs.replace(content, text=None, format=Format.PLAIN, subject=None)
        parts += [msgspec.structs.replace(bare, files=group) for group in groups]
        if len(parts) == 1:
            return Cut()
        if len(parts) > PARTS_MAX:
            raise InvalidMessage("text", f"expected at most {PARTS_MAX} parts, not {len(parts)}")
        first, *others = parts
        others = [msgspec.structs.replace(part, mirror=None) for part in others]
        return Cut(parts=stored_parts((first, *others)), splitter=SPLITTER)

    def carries(self, file: File) -> bool:
        """Whether the platform is given a file itself, and not its URL in the text."""
        return file.url is None or self.fetches

    def groups(self, files: Sequence[File]) -> list[tuple[File, ...]]:
        """Return files as requests take them, in order."""
        found: list[list[File]] = []
        size = 0
        for file in files:
            size += file.size
            too_large = self.request_bytes_max is not None and size > self.request_bytes_max
            if not found or len(found[-1]) == self.files_max or too_large:
                found.append([])
                size = file.size
            found[-1].append(file)
        return [tuple(group) for group in found]

    def marked(self, content: Content, mark: str) -> Content:
        """See `Channel`. It is written with the rest (`rich`), whatever the platform's language is."""
        return msgspec.structs.replace(content, mark=mark)

    def rich(self, content: Content) -> Rich:
        """
        Return what *content* says, the URLs of its files as lines of it where the platform does not fetch them.

        A copy begins with its mark; it ends with it where ``extra`` counts from the text's beginning, or says how that
        is written.
        """
        said = self._unmarked(content)
        if content.mark is None:
            return said
        return marked_rich(said, content.mark, behind=not self.markup_fields.isdisjoint(content.extra))

    def _unmarked(self, content: Content) -> Rich:
        links = [file.url for file in content.files if file.url is not None and not self.carries(file)]
        said = rich_of(content)
        return Rich("\n".join([said.text, *links] if said.text else links), said.spans) if links else said

    def _cut(self, content: Content) -> tuple[Content, ...]:
        limit, unit = self.capabilities.text_limit, self.capabilities.unit
        rich, size = self._unmarked(content), sized_with(content.mark, self.size)
        if not rich.text.strip():
            if content.extra or content.files:
                return (content,)
            raise InvalidMessage("text", "expected some: of this one nothing would be seen")
        if limit is not None and content.mark is not None:
            room_for_mark(self.size(Rich(f"{content.mark}\n")), limit)
        # A code point is at least one unit: what is far too long is not written down to be measured.
        if limit is None or (len(rich.text) <= limit and size(rich) <= limit):
            return (content,)
        # Nothing that fits needs this.
        from pillarbox.channels.text.cut import cut
        from pillarbox.channels.text.markup import to_html

        try:
            pieces = cut(rich, limit=limit, unit=unit, mode=self.split_mode, size=size)
        except ValueError as exc:
            raise InvalidMessage("text", f"expected text that can be cut: {exc}") from None
        return tuple(
            msgspec.structs.replace(
                content,
                text=to_html(piece) if piece.spans else piece.text,
                format=Format.HTML if piece.spans else Format.PLAIN,
                subject=None,
                files=(),
                bare=bare,
            )
            for piece, bare in pieces
        )

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        if not self._client.is_started:
            raise NotStarted("the channel was not started")
        attempt.progress.written = False
        if attempt.op is Op.EDIT and attempt.part_count > 1:
            return Rejected("an edit is one message, and this text is longer")
        try:
            if attempt.target is not None:
                self.check_receipt("target", attempt.target)
        except InvalidMessage as exc:
            return Rejected(str(exc))
        if attempt.op is not Op.SEND:  # what it is about has its answer
            attempt = msgspec.structs.replace(attempt, content=msgspec.structs.replace(attempt.content, reply_to=None))
        content, without = attempt.content, self.unable(attempt)
        if content.reply_to is not None and is_message_id(content.reply_to):
            attempt = msgspec.structs.replace(attempt, content=msgspec.structs.replace(content, reply_to=None))
            without[Spare.REPLY] = "what it answers is not delivered"
        if attempt.content.bare:
            without[Spare.MARKUP] = "it would not have fitted into a part"
        while True:
            request = self.request(attempt, without)
            answer = await self.ask(request, attempt)
            if not isinstance(answer, Answer):
                return answer
            said = self.said(answer)
            rule = rule_for(self._rules, answer.status, code=said.code, text=said.text)
            if rule.without is None or rule.without in without or not self.has(attempt, rule.without):
                return self.outcome(
                    Exchange(attempt=attempt, request=request, without=without, answer=answer, said=said, rule=rule)
                )
            without[rule.without] = said.text or said.code

    async def ask(self, request: Request, attempt: Attempt) -> Answer | AnyOutcome:
        """Make a request of an attempt; return its answer, or the outcome of there being none."""
        body, content_type = self._written(request, attempt.token)
        return await self._client.post(
            request.url,
            body,
            content_type=content_type,
            headers=request.headers,
            attempt=attempt,
            covered=self.covered,
            method=request.method,
        )

    def _written(self, request: Request, token: str) -> tuple[bytes, str]:
        if not request.files:
            return msgspec.json.encode(request.body), self.content_type
        from pillarbox.channels.http.form import form

        fields = {request.json_field: request.body} if request.json_field else request.body
        texts = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in fields.items()
        }
        return form(texts, request.files, token=token)

    def unable(self, attempt: Attempt) -> dict[Spare, str]:  # noqa: ARG002 — for those that are
        """Return what of a message the platform never takes, and why."""
        return {}

    def has(self, attempt: Attempt, spare: Spare) -> bool:
        """Return whether a message has something that it could do without."""
        content = attempt.content
        match spare:
            case Spare.MARKUP:
                return content.format is not Format.PLAIN or not self.markup_fields.isdisjoint(content.extra)
            case Spare.REPLY:
                return content.reply_to is not None
            case Spare.THREAD:
                return attempt.thread is not None

    def outcome(self, exchange: Exchange) -> AnyOutcome:
        """Return what the rule makes of an answer."""
        answer, said = exchange.answer, exchange.said
        if exchange.rule.verdict is Verdict.DELIVERED:
            degraded = [f"sent without its {spare}: {why}" for spare, why in exchange.without.items()]
            degraded += [said.remark] if said.remark else []
            return Delivered(said.receipt, degraded="; ".join(degraded), rest=said.rest, answer=answer.body or None)
        return judged(
            answer,
            exchange.rule,
            now_ms=self._seams.clock.wall_ms(),
            reason=f"{said.code} (HTTP {answer.status})" if said.code else status_text(answer.status),
            after=said.after,
            hide=values_of(exchange.attempt),
            known=self.known_secrets,
            covered=self.covered,
        )

    def own_fields(self, attempt: Attempt, without: Collection[Spare]) -> dict[str, object]:
        """Return the fields that go to the platform as they are."""
        extra = attempt.content.extra
        if Spare.MARKUP not in without:
            return dict(extra)
        return {name: value for name, value in extra.items() if name not in self.markup_fields}


class TokenChannel(ChatChannel):
    """
    A platform whose channels have a URL such as ``tgram://TOKEN``: the scheme, and what one was given by the platform.

    Attributes:
        scheme: Of its URL.
        expected: What a URL looks like, for whoever wrote another.
    """

    scheme: ClassVar[str] = ""
    expected: ClassVar[str] = ""

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        base_url: str | None = None,
        timeout: float | str | None = None,
        concurrency: int | str | None = None,
        outcomes: Mapping[str, str] | None = None,
    ) -> ChatChannel:
        """
        Make the channel of a URL; every option but ``outcomes`` may stand in its query too.

        Raises:
            ConfigError: Names the option; its text holds no token.
        """
        given = {key: value for key, value in locals().items() if key in OPTIONS and value is not None}
        parsed, pieces = parse_token_url(url, scheme=cls.scheme)
        found = cls.from_pieces(pieces, http_options(Options(parsed, given, known=OPTIONS)))
        if found is None:
            raise ConfigError("url", f"expected {cls.expected}")
        return found

    @classmethod
    @abstractmethod
    def from_pieces(cls, pieces: tuple[str, ...], options: HttpOptions) -> ChatChannel | None:
        """Make the channel of what stands between the slashes of a URL; return ``None`` where that names none."""


def check_name(to: str) -> str:
    """Return the recipient of a channel with one place, where it only orders messages. Raises InvalidMessage."""
    if not to.strip() or CONTROL.search(to):
        raise InvalidMessage("to", "expected a name for whom it is for, without control characters")
    return to
