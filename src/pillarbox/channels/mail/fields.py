"""
What of a message's content may stand in a mail's header. Pure checks; `mail.compose` writes what passed them.

A line break that reaches a header is a second header, and after an empty line it is the body: so every control
character is refused, not cleaned (contract EN13).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from pillarbox.channels.mail.addresses import parse_address
from pillarbox.domain.message import Content
from pillarbox.errors import InvalidMessage

SUBJECT_LENGTH_MAX: Final = 1000
# RFC 5322 §2.1.1: a line has at most 998 characters, and the field's name takes some of them.
HEADER_VALUE_LENGTH_MAX: Final = 900
HEADERS_MAX: Final = 50

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,59}")
# RFC 5322 §3.6.4 ``msg-id``, without the obsolete forms.
_MESSAGE_ID = re.compile(r"<[^<>@\s\"\\]{1,200}@[^<>@\s\"\\]{1,255}>", re.ASCII)
# RFC 2045 §5.1: a type, a subtype, parameters.
_MEDIA_TYPE = re.compile(
    r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;\s*[\w!#$&^.+-]+=(?:[\w!#$&^.+*'-]+|\"[^\"\\]*\"))*", re.ASCII
)

MESSAGE_RFC822: Final = "message/rfc822"

# Written by us, by the servers on the way, or the business of one recipient more than this message has.
_RESERVED: Final = frozenset(
    {
        "auto-submitted", "bcc", "cc", "date", "delivered-to", "dkim-signature", "from", "in-reply-to", "message-id",
        "mime-version", "received", "references", "return-path", "sender", "subject", "to",
    }
)  # fmt: skip
_RESERVED_PREFIXES: Final = ("arc-", "content-", "resent-")


def has_control(text: str) -> bool:
    """Whether *text* has a control character, a line or paragraph separator, or half a surrogate pair."""
    return not text.isprintable() and any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text
    )


def check_content(content: Content, *, thread: str | None) -> None:
    """
    Check everything but the recipient.

    Raises:
        InvalidMessage: Names the field: ``subject``, ``reply_to``, ``thread``, ``extra.headers``, ``content_type``,
            ``payload`` or ``text``.
    """
    _check_line(content.subject, "subject", SUBJECT_LENGTH_MAX)
    _check_line(content.reply_to, "reply_to", HEADER_VALUE_LENGTH_MAX)
    _check_line(thread, "thread", HEADER_VALUE_LENGTH_MAX)
    for key in content.extra:
        if key != "headers":
            raise InvalidMessage(f"extra.{key}", "expected only 'headers' for mail")
    extra_headers(content)
    if content.payload is not None:
        _check_payload(content.payload, content.content_type or "")
    elif content.text is not None and not _is_encodable(content.text):
        raise InvalidMessage("text", "expected text that UTF-8 can encode: no half of a surrogate pair")


def extra_headers(content: Content) -> dict[str, str]:
    """
    Return the headers a message brings along, in its order.

    Raises:
        InvalidMessage: Names ``extra.headers``, and the header unless its name is what is wrong.
    """
    headers = content.extra.get("headers") or {}
    if not isinstance(headers, dict) or len(headers) > HEADERS_MAX:
        raise InvalidMessage("extra.headers", f"expected an object of at most {HEADERS_MAX} names and texts")
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidMessage("extra.headers", "expected names of letters, digits and hyphens")
        field = f"extra.headers.{name}"
        if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIXES):
            raise InvalidMessage(field, "expected another name: this header is not for messages to set")
        if not isinstance(value, str):
            raise InvalidMessage(field, "expected a text")
        _check_line(value, field, HEADER_VALUE_LENGTH_MAX)
        if name.lower() == "reply-to" and parse_address(value, field=field).needs_smtputf8:
            raise InvalidMessage(field, "expected an address in ASCII")
    return headers


def as_message_id(text: str | None) -> str | None:
    """Return *text* if it is a Message-ID in angle brackets, as our receipts are; other ids mean nothing in a mail."""
    return text if text is not None and _MESSAGE_ID.fullmatch(text) else None


def _check_line(text: str | None, field: str, length_max: int) -> None:
    if text is None:
        return
    if has_control(text):
        raise InvalidMessage(field, "expected one line without control characters")
    if len(text) > length_max:
        raise InvalidMessage(field, f"expected at most {length_max} characters")


def _check_payload(payload: bytes, content_type: str) -> None:
    if not _MEDIA_TYPE.fullmatch(content_type) or len(content_type) > HEADER_VALUE_LENGTH_MAX:
        raise InvalidMessage("content_type", "expected a media type, such as text/calendar; method=REQUEST")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == MESSAGE_RFC822:
        if b"\0" in payload:
            raise InvalidMessage("payload", "expected a mail without NUL (RFC 5322 §2.2)")
        # RFC 5321 §4.5.3.1.6: a line has at most 1000 octets, its end included.
        if any(len(line) > 998 for line in payload.splitlines()):
            raise InvalidMessage("payload", "expected a mail without lines of more than 998 octets")
    elif kind.startswith(("multipart/", "message/")):
        # RFC 2045 §6.4 forbids to encode these, so lines of any length could not be carried.
        raise InvalidMessage("content_type", f"expected {MESSAGE_RFC822} for a mail that is already composed")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
