"""
A message's content as a mail: bytes that are the same for every attempt (contract UN2). Pure.

* ``Message-ID`` is made of the dedupe token, ``Date`` of when the message was accepted, and MIME boundaries of the
  token: a receiver that drops second copies can do so.
* Without a subject, the first line of the text is it, cut at 78 characters.
* Markdown goes as plain text: mail knows no markdown. HTML goes with a plain copy of itself (multipart/alternative).
* Bodies are encoded so that no line is longer than 78 characters; RFC 5321 §4.5.3.1.6 allows 998.
* A mail that is already composed (``message/rfc822``) goes out as it was given, but for its line ends and without
  ``Bcc`` and ``Resent-Bcc``: those recipients must not be shown to the others (RFC 5322 §3.6.3). They get no copy
  either: a message has one recipient.
* Files are attachments, each in base64; those that are URLs are lines of the text.
* ``silent`` means nothing in a mail. ``reply_to`` and ``thread`` count where they are Message-IDs in angle brackets,
  as receipts of this channel are; elsewhere the mail goes without.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.header import Header
from email.utils import format_datetime, formataddr
from html import escape
from typing import Final
from urllib.parse import quote

import msgspec

from pillarbox.channels.mail.addresses import Address
from pillarbox.channels.mail.fields import MESSAGE_RFC822, as_message_id, extra_headers, has_control
from pillarbox.channels.text.html import html_to_text
from pillarbox.domain.message import Content, File, Format
from pillarbox.domain.moments import to_datetime

SUBJECT_DEFAULT_LENGTH_MAX: Final = 78
_LINE_LENGTH_MAX: Final = 78  # RFC 5322 §2.1.1: should, where 998 is must
_NAME_PIECE_MAX: Final = 55
_MEDIA_TYPE: Final = re.compile(
    r"(?!multipart/|message/)[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*\Z", re.IGNORECASE
)
_ENCODED_LENGTH_MAX: Final = 76  # RFC 2047 §2, RFC 2045 §6.7 and §6.8

_LINE_END = re.compile(rb"\r\n|\r|\n")
# The empty line, which may be the first: then there is no header.
_HEADER_END = re.compile(rb"(?:\A|\r\n)(?=\r\n)")
_SENT_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:\s*(<[^<>\s]+>)", re.IGNORECASE | re.MULTILINE)
# With its folded lines. Blanks before the colon are obsolete and still understood (RFC 5322 §4.5.3), and editors that
# put a byte order mark before a file's first line are no reason to name anybody.
_BLIND_COPIES = re.compile(
    rb"(?:\A(?:\xef\xbb\xbf)?|(?<=\r\n))(?:resent-)?bcc[ \t\v\f]*:[^\r]*\r\n(?:[ \t][^\r]*\r\n)*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """
    A mail as it goes over the wire, but for dot-stuffing (RFC 5321 §4.5.2).

    Attributes:
        content: Lines end in CRLF, the last one too.
        message_id: In angle brackets; ``None`` where a raw mail has none.
        needs_smtputf8: A header or address is not ASCII (RFC 6531).
        needs_8bit: A raw mail's body is not ASCII (RFC 6152).
    """

    content: bytes
    message_id: str | None
    needs_smtputf8: bool = False
    needs_8bit: bool = False


def compose(
    content: Content,
    *,
    sender: Address,
    sender_name: str = "",
    to: Address,
    token: str,
    created_ms: int,
    thread: str | None = None,
) -> Mail:
    """
    Write the mail.

    Args:
        content: Passed `mail.fields.check_content`.
        token: Letters, digits, ``-`` and ``_``; the same for every attempt.
        created_ms: Milliseconds since 1970; the mail's date.
    """
    if content.payload is not None and _kind(content) == MESSAGE_RFC822:
        return _as_it_is(content.payload)
    content = _with_links(content)
    message_id = f"<{token}@{sender.domain}>"
    headers = [
        ("From", _mailbox(sender, sender_name)),
        ("To", str(to)),
        *_subject(content),
        ("Date", format_datetime(to_datetime(created_ms))),
        ("Message-ID", message_id),
        *_references(content, thread),
        # RFC 3834 §5: so that no out-of-office note answers.
        ("Auto-Submitted", "auto-generated"),
        *((name, _value(name, value)) for name, value in extra_headers(content).items()),
        ("MIME-Version", "1.0"),
    ]
    files = [file for file in content.files if file.data is not None]
    part = _body(content, boundary=f"=_{token}", encode=bool(files))
    if files:
        part = _joined("mixed", [part, *map(_attached, files)], boundary=f"=_m_{token}")
    return Mail(
        content=_lines([*headers, *part.headers]).encode() + b"\r\n" + part.body,
        message_id=message_id,
        needs_smtputf8=sender.needs_smtputf8 or to.needs_smtputf8,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A MIME entity; ``body`` ends in CRLF."""

    headers: list[tuple[str, str]]
    body: bytes


def _lines(headers: list[tuple[str, str]]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


def _kind(content: Content) -> str:
    return (content.content_type or "").partition(";")[0].strip().lower()


def _as_it_is(payload: bytes) -> Mail:
    """
    Return a composed mail, byte for byte but for its line ends and its blind copies.

    RFC 5321 §2.3.8: a lone CR or LF must not be sent. Its header ends at the first empty line *as it is sent*; what is
    no field in front of that line ends nothing, because not every reader takes it for the end.
    """
    wire = _LINE_END.sub(b"\r\n", payload)
    if not wire.endswith(b"\r\n"):
        wire += b"\r\n"
    end = _HEADER_END.search(wire)
    given, body = (wire[: end.end()], wire[end.end() :]) if end else (wire, b"")
    header = _BLIND_COPIES.sub(b"", given)
    found = _SENT_MESSAGE_ID.search(header)
    return Mail(
        content=header + body,
        message_id=found[1].decode("ascii", "replace") if found else None,
        needs_smtputf8=not header.isascii(),
        needs_8bit=not body.isascii(),
    )


def _mailbox(address: Address, name: str) -> str:
    if not name:
        return str(address)
    if name.isascii():
        return formataddr((name, "x@x")).removesuffix("<x@x>") + f"<{address}>"
    return f"{_encoded('From', name)}\r\n <{address}>"


def _subject(content: Content) -> list[tuple[str, str]]:
    subject = subject_of(content)
    if not subject and content.subject is None:
        return []
    is_plain = subject.isascii() and subject == subject.strip() and "=?" not in subject
    if is_plain and len("Subject: ") + len(subject) <= _LINE_LENGTH_MAX:
        return [("Subject", subject)]
    return [("Subject", _encoded("Subject", subject))]


def subject_of(content: Content) -> str:
    """Return a mail's subject: its own, or what its text begins with."""
    if content.subject is not None:
        return content.subject
    text = content.text or ""
    return default_subject(html_to_text(text) if content.format is Format.HTML else text)


def default_subject(text: str) -> str:
    """Return the first line that has one visible character, its control characters as blanks, cut at 78."""
    for line in text.splitlines():
        seen = "".join(" " if has_control(character) else character for character in line).split()
        if seen:
            subject = " ".join(seen)
            if len(subject) <= SUBJECT_DEFAULT_LENGTH_MAX:
                return subject
            return f"{subject[: SUBJECT_DEFAULT_LENGTH_MAX - 1].rstrip()}…"
    return ""


def _value(name: str, value: str) -> str:
    # Folding would be allowed, encoding would not: the value may be a URL, and what it means is not ours to know.
    return value.strip() if value.isascii() else _encoded(name, value)


def _encoded(name: str, value: str) -> str:
    """Encode by RFC 2047: words of at most 75 characters, each character whole; blanks between them are not shown."""
    header = Header(value, charset="utf-8", header_name=name, maxlinelen=_ENCODED_LENGTH_MAX)
    return header.encode(linesep="\r\n")


def _references(content: Content, thread: str | None) -> list[tuple[str, str]]:
    """Return the headers of RFC 5322 §3.6.4; a thread is the Message-ID of its first mail."""
    parent = as_message_id(content.reply_to)
    known = [root for root in dict.fromkeys((as_message_id(thread), parent)) if root is not None]
    headers = [("In-Reply-To", parent)] if parent else []
    return [*headers, ("References", "\r\n ".join(known))] if known else headers


def _with_links(content: Content) -> Content:
    """Return *content* with the URLs of its files in its text."""
    links = [file.url for file in content.files if file.url is not None]
    if not links:
        return content
    if content.format is Format.HTML:
        written = [f'<p><a href="{escape(link)}">{escape(link)}</a></p>' for link in links]
    else:
        written = [f"\n{link}" for link in links]
    return msgspec.structs.replace(content, text="".join([content.text or "", *written]).lstrip("\n"))


def _attached(file: File) -> _Part:
    # What is composed of parts, and what is a mail, must not be in base64 (RFC 2046 §5.2.1).
    kind = file.media_type if _MEDIA_TYPE.match(file.media_type) else "application/octet-stream"
    headers = [
        ("Content-Type", kind),
        ("Content-Disposition", f"attachment;\r\n {_filename(file.name or 'file')}"),
        ("Content-Transfer-Encoding", "base64"),
    ]
    return _Part(headers=headers, body=base64.encodebytes(file.data or b"").replace(b"\n", b"\r\n"))


def _filename(name: str) -> str:
    """Return a file's name as a parameter: of ASCII in quotation marks, else by RFC 2231, in pieces."""
    if name.isascii() and len(name) <= _NAME_PIECE_MAX:
        return 'filename="{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))
    pieces = [""]
    for character in name:
        coded = quote(character, safe="")
        if len(pieces[-1]) + len(coded) > _NAME_PIECE_MAX:
            pieces.append("")
        pieces[-1] += coded
    charset = "utf-8''"
    return ";\r\n ".join(f"filename*{place}*={'' if place else charset}{piece}" for place, piece in enumerate(pieces))


def _joined(subtype: str, parts: Sequence[_Part], *, boundary: str) -> _Part:
    """Return several entities as one. "=_" never occurs in an encoded one, so the boundary cannot."""
    body = b"".join(f"--{boundary}\r\n{_lines(part.headers)}\r\n".encode() + part.body for part in parts)
    return _Part(
        headers=[("Content-Type", f'multipart/{subtype}; boundary="{boundary}"')],
        body=body + f"--{boundary}--\r\n".encode(),
    )


def _body(content: Content, *, boundary: str, encode: bool) -> _Part:
    if content.payload is not None:
        return _Part(
            headers=[("Content-Type", content.content_type or ""), ("Content-Transfer-Encoding", "base64")],
            body=base64.encodebytes(content.payload).replace(b"\n", b"\r\n"),
        )
    text = content.text or ""
    if content.format is not Format.HTML:
        return _text("plain", text, encode=encode)
    # Least wanted first (RFC 2046 §5.1.4).
    parts = [_text("plain", html_to_text(text), encode=True), _text("html", text, encode=True)]
    return _joined("alternative", parts, boundary=boundary)


def _text(subtype: str, text: str, *, encode: bool = False) -> _Part:
    """Return text as it is where that is safe, else in the shorter of the two encodings."""
    raw = _LINE_END.sub(b"\r\n", text.encode())
    encoding, body = "7bit", raw
    if encode or not _is_safe(raw):
        # Its own soft line breaks are bare newlines.
        quoted = _LINE_END.sub(b"\r\n", binascii.b2a_qp(raw, istext=True))
        wrapped = base64.encodebytes(raw).replace(b"\n", b"\r\n")
        encoding, body = min(("quoted-printable", quoted), ("base64", wrapped), key=lambda pair: len(pair[1]))
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    return _Part(
        headers=[("Content-Type", f"text/{subtype}; charset=utf-8"), ("Content-Transfer-Encoding", encoding)], body=body
    )


def _is_safe(raw: bytes) -> bool:
    """Whether relays keep it: printable ASCII, short lines, no blanks at their ends (RFC 5321 §4.5.3.1.6)."""
    return raw.isascii() and all(
        len(line) <= _LINE_LENGTH_MAX and line.decode("ascii").isprintable() and not line.endswith(b" ")
        for line in raw.split(b"\r\n")
    )
