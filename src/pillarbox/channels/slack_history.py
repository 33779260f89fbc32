"""
Looks in a Slack conversation whether a message stands there: by the token in its metadata.

https://docs.slack.dev/messaging/message-metadata: what an app posts may carry metadata that people do not see, and
``conversations.history`` gives it back. An app needs the scope to read that sort of conversation: ``channels:history``,
``groups:history``, ``im:history`` or ``mpim:history`` (https://docs.slack.dev/reference/methods/conversations.history);
and ``im:write`` where a user's id has to become a conversation. ``metadata.message:read`` is for events and no method's
(https://docs.slack.dev/reference/scopes/metadata.message.read). It may ask some 50 times a minute; one that is sold
outside of Slack's marketplace once a minute, for 15 messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.hints import retry_after_seconds
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Uncertain

Ask = Callable[[str, Mapping[str, str]], Awaitable[Answer | AnyOutcome]]
"""Calls a method that sends nothing."""

ASKING: Final = (
    "Slack says whether it has a message, by the token in its metadata, to an app that has the scope channels:history"
    " (groups:history, im:history, mpim:history; im:write too for a user's id); of a message with files a person has to"
    " look"
)
"""What a channel says of itself (contract UN5)."""

_EVENT: Final = "pillarbox_message"
_TOKEN: Final = "pillarbox_token"  # noqa: S105 — the name of a field
_MARGIN_SECONDS: Final = 300  # by which Slack's clock may differ from ours
_PAGES_MAX: Final = 10
_PAGE: Final = 200


class _Metadata(msgspec.Struct):
    event_payload: dict[str, Any] = {}


class Identity(msgspec.Struct, frozen=True):
    """Who asks (https://docs.slack.dev/reference/methods/auth.test): the token of a user names no bot."""

    user_id: str | None = None
    bot_id: str | None = None


class _Message(msgspec.Struct):
    ts: str = ""
    user: str | None = None
    bot_id: str | None = None
    metadata: _Metadata | None = None


class _Next(msgspec.Struct):
    next_cursor: str = ""


class _Place(msgspec.Struct):
    id: str = ""


class _Answer(msgspec.Struct):
    ok: bool = False
    error: str = ""
    needed: str = ""
    user_id: str | None = None
    bot_id: str | None = None
    messages: list[_Message] = []
    response_metadata: _Next | None = None
    channel: _Place | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)


def with_token(metadata: object, token: str) -> dict[str, object]:
    """Return what a message carries to be found again by; an application's own metadata stay."""
    own = metadata if isinstance(metadata, dict) else {}
    payload = own.get("event_payload")
    given = payload if isinstance(payload, dict) else {}
    return {"event_type": _EVENT, **own, "event_payload": {**given, _TOKEN: token}}


async def identity(ask: Ask) -> Identity | AnyOutcome:
    """Return who asks, or why that cannot be said."""
    found = _read(await ask("auth.test", {}))
    return Identity(user_id=found.user_id, bot_id=found.bot_id) if isinstance(found, _Answer) else found


async def look_up(
    ask: Ask, *, me: Identity, to: str, thread: str | None, token: str, since_ms: int
) -> AnyOutcome | None:
    """
    Return the delivery of the message with *token*; ``None`` where it is not there; else why that cannot be said.

    Args:
        me: Whose message it is. Other apps read the token too, and could write the one of the next part.
        to: A conversation, or a user, whose direct messages are meant.
        thread: The message that it was to answer. One that Slack sent without its thread is looked for beside it.
        since_ms: When it may have arrived at the earliest.
    """
    if to.startswith(("U", "W")):
        opened = _read(await ask("conversations.open", {"users": to}))
        if not isinstance(opened, _Answer):
            return opened
        to = opened.channel.id if opened.channel is not None else ""
    oldest = f"{since_ms / 1000 - _MARGIN_SECONDS:.6f}"
    common = {"channel": to, "oldest": oldest, "include_all_metadata": "true", "limit": str(_PAGE)}
    places = [("conversations.replies", {"ts": thread, **common})] if thread is not None else []
    for method, fields in [*places, ("conversations.history", common)]:
        found = await _in(ask, method, fields, token, me)
        if found is not None:
            return found
    return None


async def _in(ask: Ask, method: str, fields: Mapping[str, str], token: str, me: Identity) -> AnyOutcome | None:
    cursor = ""
    somebodys = False
    for _ in range(_PAGES_MAX):
        page = _read(await ask(method, {**fields, "cursor": cursor} if cursor else fields))
        if not isinstance(page, _Answer):
            return page
        for message in page.messages:
            if message.metadata is None or message.metadata.event_payload.get(_TOKEN) != token:
                continue
            whose = _is_of(message, me)
            if whose:
                return Delivered(message.ts)
            somebodys = somebodys or whose is None
        cursor = page.response_metadata.next_cursor if page.response_metadata is not None else ""
        if not cursor:
            return Uncertain("Slack does not say whose message it is that has the token") if somebodys else None
    return Uncertain(f"more than {_PAGES_MAX * _PAGE} messages came since, which is as far as is looked back")


def _is_of(message: _Message, me: Identity) -> bool | None:
    """Whether it is ours; ``None`` where Slack does not say. What a bot says under another name has no user."""
    if me.bot_id and message.bot_id:
        return message.bot_id == me.bot_id
    return message.user == me.user_id if me.user_id and message.user else None


def _read(answer: Answer | AnyOutcome) -> _Answer | AnyOutcome:
    if not isinstance(answer, Answer):
        return answer
    after = retry_after_seconds(answer.headers.get("Retry-After"), now_ms=0)
    if answer.status == 429:
        return RateLimited("Slack takes no more questions about its conversations now", after=after)
    try:
        found = _ANSWER.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Deferred(f"Slack could not be asked: HTTP {answer.status}")
    if found.ok:
        return found
    if found.error in {"ratelimited", "rate_limited"}:
        return RateLimited("Slack takes no more questions about its conversations now", after=after)
    if found.error == "missing_scope":
        return Uncertain(f"the app may not look: it lacks the scope {found.needed or 'channels:history'}")
    if found.error in {"internal_error", "fatal_error", "service_unavailable", "request_timeout"}:
        return Deferred(f"Slack could not be asked: {found.error}")
    return Uncertain(f"Slack does not say: {found.error}")
