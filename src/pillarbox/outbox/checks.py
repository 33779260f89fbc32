"""
Turns what a caller asks for into a checked `Draft`, or refuses it with the field named (contract EN13, EN14, EN16).

Nothing here does I/O. What needs the channel is asked of it where it is at hand; otherwise the first claim admits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

import msgspec

from pillarbox.abort import AbortSignal
from pillarbox.channels.base import admitted
from pillarbox.domain.clock_steps import moved
from pillarbox.domain.envelope import TRACEPARENT, Kind, Op, Priority
from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import Content, Draft, File, Format, MessageView, encode_content
from pillarbox.domain.mirror import mirror_of
from pillarbox.domain.moments import MS_MAX, in_seconds, moment_ms, read, shown
from pillarbox.domain.outgoing import DEFAULT, Default, Outgoing, Payload
from pillarbox.domain.plain_characters import CONTROL
from pillarbox.domain.plain_json import plain, plain_object, plain_text
from pillarbox.domain.plain_values import choice_of, flag_of
from pillarbox.domain.retry import ExpireAction, Policy, UncertainAction, parse_schedule
from pillarbox.errors import ConfigError, InvalidMessage
from pillarbox.outbox.routes import Route

if TYPE_CHECKING:
    from pillarbox.outbox.read_files import Attachable

_NAME_MAX: Final = 255
_RECIPIENT_MAX: Final = 2048
_METADATA_BYTES_MAX: Final = 16 << 10
_ATTEMPTS_MAX: Final = 10_000
_NORMAL: Final = int(Priority.NORMAL)
_DIGEST_ENCODER: Final = msgspec.msgpack.Encoder()
_JSON: Final = msgspec.json.Encoder()
Skipped = Literal["empty", "hook", "aborted"]
"""Why a message is not stored."""


class Options(TypedDict, total=False):
    """
    What `Outbox.send` takes beside channel and recipient. Each may be left out; ``text`` or ``payload`` is needed.

    Attributes:
        text: What to say.
        payload: Instead of text: bytes, text or a JSON value that goes out as it is, with *content_type*.
        content_type: Of the payload.
        subject: A mail's; chats put it above the text.
        format: How the text is written: ``plain``, ``markdown`` or ``html``.
        reply_to: What it answers: the platform's id of that, or one of ours.
        thread: The topic or thread that it belongs to, as the platform writes it.
        silent: Notify nobody, where the platform can.
        files: What goes with the text: paths and bytes, which are copied into the store, and URLs, which are passed on;
            `File` gives one of these a name and a media type. A ``data:`` URL holds bytes; text that is no URL
            is a path.
        extra: A JSON object that the channel's adapter knows what to do with.
        key: Makes it safe to call again: the same key and content find the first message (``created`` is false); the
            same key with other content is refused. Scope: the tenant; kept 7 days beyond the message.
        at: Not before this time, or this long from now: ``"10m"``, ``"2030-01-31T09:00+01:00"``.
        ttl: Seconds, a timedelta or text such as ``"2h"``, counted from *at*; past it the message expires. ``None`` or
            ``"none"``: never.
        expires_at: The same as a time.
        lane: What must stay in order; messages of one lane go one at a time. Default: by recipient and thread, where
            the channel is ordered; ``None``: no order.
        priority: 0 bulk, 1 normal, 2 high, 3 urgent; between lanes, never inside one.
        max_attempts: 1–10000 charged attempts.
        schedule: Waits between attempts, such as ``"5s, 25s, 2m"``.
        uncertain: ``resend``, ``resend_marked``, ``hold``, ``reconcile`` or ``drop``: what to do when the platform may
            have it.
        kind: ``final``, or ``block`` or ``tool`` for what another process must never send.
        collapse: A newer message of the same name, to the same recipient (account and thread too), takes the place of
            an unsent one, which ends as ``superseded``. One that is being sent stays, and the newer one goes behind it.
        correlation_id: What belongs together: a turn, a request.
        origin: Who asked for it.
        tenant: On whose behalf; keys, limits and orders are kept apart by it.
        account: Which of the channel's accounts; ``""`` for its own.
        metadata: A JSON object of the caller's own, at most 16 KiB.
        traceparent: W3C trace context, handed to the channel.
        mirror: What its session is to record after the delivery: see `pillarbox.domain.mirror.mirror_of`.
        abort: Withdraws the message once it is called, between parts too.
    """

    text: str | None
    payload: Payload | None
    content_type: str | None
    subject: str | None
    format: str
    reply_to: str | None
    thread: str | None
    silent: bool
    files: Sequence[Attachable]
    extra: Mapping[str, Any] | None
    mirror: Mapping[str, Any] | None
    key: str | None
    at: datetime | timedelta | str | None
    ttl: float | timedelta | str | Default | None
    expires_at: datetime | str | None
    lane: str | Default | None
    priority: int
    max_attempts: int | None
    schedule: str | None
    uncertain: str | None
    kind: str
    collapse: str | None
    correlation_id: str | None
    origin: str | None
    tenant: str
    account: str
    metadata: Mapping[str, Any] | None
    traceparent: str | None
    abort: AbortSignal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    What is done to what stands at the platform.

    Attributes:
        target: As in `Envelope`.
        lane: That of the target; ``None`` where nobody knows it.
    """

    op: Op = Op.SEND
    target: str | None = None
    lane: str | None = None


_NEW: Final = Change()


def checked(
    outgoing: Outgoing,
    route: Route,
    *,
    message_id: MessageId,
    now_ms: int,
    content_bytes_max: int,
    ahead_ms: int = 0,
    change: Change = _NEW,
) -> Draft:
    """
    Check one message and make its draft.

    Args:
        route: Where it goes. Its channel admits it right away; where that is ``None``, the first claim will.
        content_bytes_max: Of the stored content.
        ahead_ms: How far the caller's clock is ahead of the queue's, which *now_ms* is from.
        change: What it changes, where it is no message of its own.

    Raises:
        InvalidMessage: Names the argument and what was expected.
    """
    # What was not said needs no check: most messages say little, and this runs for each of them.
    o = outgoing
    to = line_of("to", o.to, longest=_RECIPIENT_MAX)
    thread = None if o.thread is None else line_of("thread", o.thread, longest=_NAME_MAX)
    tenant = "" if o.tenant == "" else _optional_line("tenant", o.tenant) or ""
    account = "" if o.account == "" else _optional_line("account", o.account) or ""
    kind = o.kind if type(o.kind) is Kind else choice_of("kind", Kind, o.kind)
    content = Content() if change.op is Op.DELETE else content_of(o)
    stored = _stored(content, content_bytes_max)
    not_before_ms = None if o.at is None else _moment("at", o.at, now_ms, ahead_ms)
    starts_ms = now_ms if not_before_ms is None else max(now_ms, not_before_ms)
    policy = _policy(route.policy, o)
    key = None if o.key is None else line_of("key", o.key, longest=_NAME_MAX)  # empty: a variable nobody filled
    if o.abort is not None and not isinstance(o.abort, AbortSignal):
        raise InvalidMessage("abort", f"expected an AbortSignal, not {type(o.abort).__name__}")
    return Draft(
        id=message_id,
        tenant=tenant,
        channel=o.channel if type(o.channel) is str else plain_text(o.channel),
        recipient=to,
        content=stored,
        policy=policy,
        created_ms=now_ms,
        account=account,
        thread=thread,
        kind=kind,
        op=change.op,
        target=change.target,
        group_id=o.group_id,
        priority=_NORMAL if o.priority is Priority.NORMAL else _priority(o.priority),
        not_before_ms=not_before_ms,
        due_ms=starts_ms,
        expires_ms=_expiry(o, policy, starts_ms, ahead_ms),
        lane=change.lane or _lane(o, tenant, account, to, thread, ordered=route.ordered),
        max_attempts=policy.max_attempts,
        key=key,
        digest=None if key is None else _digest(o.channel, to, thread, kind, stored),
        collapse_key=None if o.collapse is None else _optional_line("collapse", o.collapse),
        origin=None if o.origin is None else _optional_line("origin", o.origin),
        correlation_id=None if o.correlation_id is None else _optional_line("correlation_id", o.correlation_id),
        traceparent=None if o.traceparent is None else _traceparent(o.traceparent),
        metadata=None if o.metadata is None else _metadata(o.metadata),
        admission=None
        if route.channel is None or change.op is Op.DELETE
        else admitted(route.channel, to=to, content=content, thread=thread, policy=policy, op=change.op),
        mirror=None if content.mirror is None else mirror_of(content, message_id),
        files=tuple(file for file in o.files if file.data is not None) if o.files else (),
    )


def content_of(o: Outgoing) -> Content:
    """Check what is to be said. Raises InvalidMessage."""
    if o.payload is not None:
        return _raw_content(o)
    if o.text is None and not o.files:
        raise InvalidMessage("text", "expected text or a payload")
    if o.content_type is not None:
        raise InvalidMessage("content_type", "goes with payload; text has its format")
    if o.text is not None and not isinstance(o.text, str):
        raise InvalidMessage("text", f"expected text, not {type(o.text).__name__}")
    return Content(
        text=None if o.text is None else _encodable("text", o.text),
        format=o.format if type(o.format) is Format else choice_of("format", Format, o.format),
        subject=None if o.subject is None else _optional_line("subject", o.subject, longest=998),
        reply_to=None if o.reply_to is None else _optional_line("reply_to", o.reply_to, longest=998),
        silent=o.silent is not False and flag_of("silent", o.silent),
        files=_files(o.files) if o.files else (),
        mirror=None if o.mirror is None else plain_object("mirror", o.mirror),
        extra={} if o.extra is None else plain_object("extra", o.extra),
    )


def _stored(content: Content, bytes_max: int) -> bytes:
    stored = encode_content(content)
    if len(stored) > bytes_max:
        what = "payload" if content.payload is not None else "text"
        raise InvalidMessage(what, f"expected at most {bytes_max} bytes of content, not {len(stored)}")
    return stored


def _raw_content(o: Outgoing) -> Content:
    for field in ("text", "subject", "reply_to", "files", "extra", "mirror", "silent"):
        if getattr(o, field):
            raise InvalidMessage(field, "cannot go with payload, which is sent as it is")
    content_type = _optional_line("content_type", o.content_type)
    if isinstance(o.payload, bytes | bytearray | memoryview):
        return Content(payload=bytes(o.payload), content_type=content_type or "application/octet-stream")
    if isinstance(o.payload, str):
        raw = _encodable("payload", o.payload).encode()
        return Content(payload=raw, content_type=content_type or "text/plain; charset=utf-8")
    if isinstance(o.payload, Mapping | list | tuple):
        raw = _JSON.encode(plain("payload", o.payload))
        return Content(payload=raw, content_type=content_type or "application/json")
    raise InvalidMessage("payload", f"expected bytes, text, or a JSON object or list, not {type(o.payload).__name__}")


def line_of(field: str, value: object, *, longest: int) -> str:
    """Check one line of text that may reach a header, an envelope or a path: no control characters, not empty."""
    if (
        type(value) is str
        and value.isascii()
        and value.isprintable()
        and 0 < len(value) <= longest
        and not value.isspace()
    ):
        return value  # what nearly always comes
    if not isinstance(value, str):
        raise InvalidMessage(field, f"expected text, not {type(value).__name__}")
    text = plain_text(value)
    if not text.strip():
        raise InvalidMessage(field, "expected something, not an empty text")
    if len(text) > longest:
        raise InvalidMessage(field, f"expected at most {longest} characters, not {len(text)}")
    if CONTROL.search(text):
        raise InvalidMessage(field, "expected one line without control characters (CR, LF, NUL, …)")
    return _encodable(field, text)


def _optional_line(field: str, value: object, *, longest: int = _NAME_MAX) -> str | None:
    return None if value is None or value == "" else line_of(field, value, longest=longest)


def _encodable(field: str, value: str) -> str:
    value = value if type(value) is str else plain_text(value)
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidMessage(field, "expected valid Unicode, not half of a surrogate pair") from None
    return value


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= Priority.URGENT:
        raise InvalidMessage("priority", f"expected a whole number 0–3, not {shown(value)}")
    return int(value)


def _moment(field: str, value: object, now_ms: int, ahead_ms: int) -> int:
    """Return a moment as the queue knows it: a time that a caller gives is on the caller's clock, a span is not."""
    value = read(field, value)
    ms = moment_ms(field, value, now_ms)
    return moved(ms, -ahead_ms) if ahead_ms and isinstance(value, datetime) else ms


def _expiry(o: Outgoing, policy: Policy, starts_ms: int, ahead_ms: int) -> int | None:
    """Return the expiry: a TTL counts from ``not_before``, so that a message never expires before it may go (EN13)."""
    if o.expires_at is not None:
        expires_ms = _moment("expires_at", o.expires_at, starts_ms, ahead_ms)
        if expires_ms <= starts_ms:
            raise InvalidMessage("expires_at", "expected a time after now, and after `at`")
        return None if policy.expire_action is ExpireAction.DELIVER else expires_ms
    if policy.ttl_seconds is None or policy.expire_action is ExpireAction.DELIVER:
        return None
    return min(starts_ms + math.ceil(policy.ttl_seconds * 1000), MS_MAX)


def _policy(policy: Policy, o: Outgoing) -> Policy:
    """Return the policy; explicit values win over the channel's (contract EN6)."""
    changes: dict[str, Any] = {}
    if o.max_attempts is not None:
        if (
            isinstance(o.max_attempts, bool)
            or not isinstance(o.max_attempts, int)
            or not 1 <= o.max_attempts <= _ATTEMPTS_MAX
        ):
            raise InvalidMessage(
                "max_attempts", f"expected a whole number 1–{_ATTEMPTS_MAX}, not {shown(o.max_attempts)}"
            )
        changes["max_attempts"] = int(o.max_attempts)
    if o.ttl is not DEFAULT:
        changes["ttl_seconds"] = _ttl_seconds(o.ttl)
    if o.schedule is not None:
        changes["schedule"] = _schedule(o.schedule)
    if o.uncertain is not None:
        changes["uncertain"] = choice_of("uncertain", UncertainAction, o.uncertain)
    return msgspec.structs.replace(policy, **changes) if changes else policy


def _schedule(value: object) -> tuple[float, ...]:
    if not isinstance(value, str):
        raise InvalidMessage("schedule", f"expected text such as '5s, 25s, 2m', not {type(value).__name__}")
    try:
        return parse_schedule(value)
    except ConfigError as exc:
        raise InvalidMessage("schedule", exc.expected) from None


def _ttl_seconds(ttl: object) -> float | None:
    if ttl is None or ttl == "none":
        return None
    seconds = in_seconds(ttl)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidMessage(
            "ttl", f"expected seconds, a timedelta, text such as '10m', or None, not {type(ttl).__name__}"
        )
    # NaN fails the comparison, as do the infinities, which end one way or the other.
    if not 0 < seconds < math.inf:
        raise InvalidMessage("ttl", f"expected a span above 0, not {seconds}")
    return float(min(seconds, MS_MAX / 1000))


def order_of(view: MessageView) -> str:
    """Return the lane of what changes a stored message: its own, or where it has none, one for its changes."""
    return view.lane or "\x1f".join(
        (view.tenant, view.channel, view.account, view.recipient, view.thread or "", view.id)
    )


def _lane(o: Outgoing, tenant: str, account: str, to: str, thread: str | None, *, ordered: bool) -> str | None:
    if o.lane is None or (o.lane is DEFAULT and not ordered):
        # A newer message must not overtake the one that is being sent: the recipient would see the older one last.
        return None if o.collapse is None else "\x1f".join((tenant, o.channel, account, to, thread or "", o.collapse))
    if o.lane is DEFAULT:
        # A joint that no piece can hold, so that two different routes never share a lane.
        return "\x1f".join((tenant, o.channel, account, to, thread or ""))
    return f"{tenant}\x1f={line_of('lane', o.lane, longest=_NAME_MAX)}"


def _digest(channel: str, to: str, thread: str | None, kind: Kind, content: bytes) -> bytes:
    """Return the digest of what an idempotency key stands for; not times, priority or metadata (contract EN7)."""
    return hashlib.sha256(_DIGEST_ENCODER.encode([channel, to, thread, str(kind), content])).digest()


def _traceparent(value: object) -> str:
    if not isinstance(value, str) or TRACEPARENT.match(value) is None:
        raise InvalidMessage("traceparent", "expected a W3C traceparent: 00-<32 hex>-<16 hex>-<2 hex>")
    return value


def _metadata(value: object) -> bytes:
    encoded = _JSON.encode(plain_object("metadata", value))
    if len(encoded) > _METADATA_BYTES_MAX:
        raise InvalidMessage("metadata", f"expected at most {_METADATA_BYTES_MAX} bytes as JSON, not {len(encoded)}")
    return encoded


def _files(files: object) -> tuple[File, ...]:
    """Return what is stored of files in the content: their bytes are stored apart."""
    if not isinstance(files, list | tuple) or not all(isinstance(item, File) for item in files):
        raise InvalidMessage("files", "expected a list of files")
    return tuple(_file(item) for item in files)


def _file(file: File) -> File:
    if (file.url is None) == (file.data is None) or (file.digest is None) != (file.data is None):
        raise InvalidMessage("files", "expected the bytes or the URL of each file")
    return msgspec.structs.replace(
        file,
        name=_optional_line("files", file.name) or "",
        media_type=line_of("files", file.media_type, longest=_NAME_MAX),
        url=None if file.url is None else _url(file.url),
        data=None,
    )


def _url(text: object) -> str:
    if not isinstance(text, str) or not text.startswith(("https://", "http://")):
        raise InvalidMessage("files", "expected URLs that begin with https:// or http://")
    return line_of("files", text, longest=_RECIPIENT_MAX)
