"""
What is written beside a message so that its host can show, after the delivery, what was said in a session.

OpenClaw's messages carry such a block (``mirror``); Comis keeps the records and reads them into the next turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from pillarbox.errors import InvalidMessage

if TYPE_CHECKING:
    from pillarbox.domain.message import Content

ENTRIES_MAX: Final = 10
TEXT_MAX: Final = 4_000
_NAME_MAX: Final = 255


class Mirror(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    A record to be made when its message is delivered.

    Attributes:
        key: Unique: the second record of a key is not made. The message's id unless the block names one.
        session_key: Whose session it belongs to.
        text: At most 4 000 characters; what is longer is cut there.
        media: URLs of what went along.
    """

    key: str
    session_key: str
    text: str
    media: tuple[str, ...] = ()


class MirrorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a delivery that its host has not acknowledged yet. ``text`` may be cut to fit a caller's limit."""

    key: str
    session_key: str
    text: str
    media: tuple[str, ...]
    message: str
    delivered_ms: int


def mirror_of(content: Content, message_id: str) -> Mirror | None:
    """
    Read the ``mirror`` block of a message: ``{"sessionKey": …, "text": …, "mediaUrls": […], "idempotencyKey": …}``.

    Text and media default to the message's own. Other fields are kept in the message and mean nothing here.

    Raises:
        InvalidMessage: A field of the block is not what it should be.
    """
    block = content.mirror
    if block is None:
        return None
    session_key = _line(block, "sessionKey")
    if session_key is None:
        raise InvalidMessage("mirror.sessionKey", "expected the session's key, a line of text")
    text = block.get("text", content.text or "")
    if text is not None and not isinstance(text, str):
        raise InvalidMessage("mirror.text", f"expected text, not {type(text).__name__}")
    media = block.get("mediaUrls")
    if media is None:
        media = [file.url for file in content.files if file.url is not None]
    if not isinstance(media, list) or not all(isinstance(item, str) for item in media):
        raise InvalidMessage("mirror.mediaUrls", "expected a list of URLs")
    key = _line(block, "idempotencyKey") or message_id
    return Mirror(key=key, session_key=session_key, text=(text or "")[:TEXT_MAX], media=tuple(media))


def _line(block: dict[str, Any], field: str) -> str | None:
    value = block.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _NAME_MAX:
        raise InvalidMessage(f"mirror.{field}", f"expected a line of 1–{_NAME_MAX} characters")
    return value


def capped(entries: list[MirrorEntry], *, entries_max: int, text_max: int) -> list[MirrorEntry]:
    """Take the oldest that fit: at most so many, and so many characters in all. The first is cut rather than left."""
    taken: list[MirrorEntry] = []
    left = text_max
    for entry in entries[:entries_max]:
        if len(entry.text) > left:
            if not taken:
                taken.append(msgspec.structs.replace(entry, text=entry.text[:left]))
            break
        taken.append(entry)
        left -= len(entry.text)
    return taken
