"""
Takes the files of a message: reads paths, and judges URLs by what they say (contract CO4).

All of it before anything is stored: what is refused here has left no trace.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from pillarbox.channels.egress import Egress
from pillarbox.domain.message import File
from pillarbox.errors import EgressRefused, InvalidMessage

Attachable = str | os.PathLike[str] | bytes | File

FILES_MAX: Final = 100
_BESIDE_BYTES: Final = 1 << 20  # what is hashed quicker than a thread is asked
_UNKNOWN: Final = "application/octet-stream"
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,80}/[a-z0-9!#$&^_.+-]{1,80}\Z")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# What bytes without a name begin with. https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern and below it.
_BEGINNINGS: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png", ".png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg", ".jpg"),
    (re.compile(rb"GIF8[79]a"), "image/gif", ".gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp", ".webp"),
    (re.compile(rb"%PDF-"), "application/pdf", ".pdf"),
    (re.compile(rb"OggS"), "audio/ogg", ".ogg"),
    (re.compile(rb"ID3|\xff[\xfb\xf3\xf2]"), "audio/mpeg", ".mp3"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "video/mp4", ".mp4"),
)
# Not the machine's own table: a file has the same type wherever it is sent from.
_TYPES: Final = mimetypes.MimeTypes()


async def taken(files: object, *, bytes_max: int, egress: Egress) -> tuple[File, ...]:
    """
    Return the files of a message, each with its bytes and their digest, or with its URL as it was given.

    Args:
        bytes_max: Of all files together.
        egress: Judges the URLs, which are data.

    Raises:
        InvalidMessage: Names ``files``: no list; no such file, a directory, no permission, too large; a URL that leads
            inside.
    """
    if not isinstance(files, list | tuple) or len(files) > FILES_MAX:
        raise InvalidMessage("files", f"expected a list of at most {FILES_MAX} paths, bytes or URLs")
    said = [_said(item, egress) for item in files]
    known = sum(len(one.data or b"") for one in said if isinstance(one, File))
    if known <= _BESIDE_BYTES and all(isinstance(one, File) for one in said):
        return _whole(said, bytes_max)
    return await asyncio.to_thread(_whole, said, bytes_max)


def _said(item: object, egress: Egress) -> File | Path:
    """Return a file as far as that can be told without reading it."""
    if isinstance(item, str) and not item.strip():
        raise InvalidMessage("files", "expected a path or a URL, not an empty text")
    if isinstance(item, str) and item[:5].lower() == "data:":
        item = _data_file(item)
    elif isinstance(item, str) and _URL.match(item):
        item = File(url=item)
    elif isinstance(item, bytes | bytearray | memoryview):
        item = File(data=bytes(item))
    elif isinstance(item, str | os.PathLike):
        try:
            return Path(item)
        except TypeError:  # a path of bytes
            raise InvalidMessage("files", "expected a path of text") from None
    if not isinstance(item, File) or (item.data is None) == (item.url is None):
        raise InvalidMessage("files", f"expected a path, bytes or a URL, not {type(item).__name__}")
    for field, kind in (("data", bytes), ("url", str), ("name", str), ("media_type", str)):
        if not isinstance(getattr(item, field), kind | None if field in {"data", "url"} else kind):
            raise InvalidMessage("files", f"expected a File whose {field} is {kind.__name__}")
    if item.url is None:
        return item
    try:
        egress.check_url(item.url)
    except EgressRefused as refused:
        raise InvalidMessage("files", str(refused)) from None
    return File(name=item.name, media_type=_type_of(item, item.url, _UNKNOWN), url=item.url)


def _data_file(text: str) -> File:
    """Return what is written in a URL itself: RFC 2397."""
    head, comma, written = text[5:].partition(",")
    kind, _, coding = head.rpartition(";") if head.lower().endswith(";base64") else (head, "", "")
    expected = InvalidMessage("files", "expected data:TYPE;base64,… for bytes in a URL")
    if not comma:
        raise expected
    try:
        plain = unquote_to_bytes(written)
        data = base64.b64decode(plain, validate=True) if coding else plain
    except ValueError:
        raise expected from None
    media_type = kind.partition(";")[0].strip().lower()
    return File(data=data, media_type=media_type if _MEDIA_TYPE.match(media_type) else _UNKNOWN)


def _whole(said: Sequence[File | Path], bytes_max: int) -> tuple[File, ...]:
    left, found = bytes_max, []
    for one in said:
        file = one if isinstance(one, File) else File(name=one.name, data=_read(one, left, bytes_max))
        if file.data is not None:
            left -= len(file.data)
            if left < 0:
                raise _too_large(bytes_max)
            file = _described(file, file.data)
        found.append(file)
    return tuple(found)


def _read(path: Path, left: int, bytes_max: int) -> bytes:
    try:
        # O_NONBLOCK: a FIFO must not hang the caller; files ignore it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                what = "a directory" if stat.S_ISDIR(about.st_mode) else "no regular file"
                raise InvalidMessage("files", f"expected a file; {path} is {what}")
            if about.st_size > left:
                raise _too_large(bytes_max)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(left + 1)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise InvalidMessage("files", f"cannot read {path}: {exc.strerror}") from None
    except ValueError:  # a NUL in it
        raise InvalidMessage("files", "expected a path without NUL characters") from None


def _too_large(bytes_max: int) -> InvalidMessage:
    return InvalidMessage("files", f"expected at most {bytes_max} bytes together (files_bytes_max)")


def _type_of(file: File, place: str, otherwise: str) -> str:
    """Return the type that was said, or the one of a name's or URL's ending."""
    return file.media_type if file.media_type != _UNKNOWN else _TYPES.guess_type(place)[0] or otherwise


def _described(file: File, data: bytes) -> File:
    """Return a file with what follows from its bytes and its name."""
    kind, ending = next(((kind, ending) for begins, kind, ending in _BEGINNINGS if begins.match(data)), (_UNKNOWN, ""))
    media_type = _type_of(file, file.name, kind)
    name = file.name or f"file{_TYPES.guess_extension(media_type) or '' if media_type != kind else ending}"
    digest = hashlib.sha256(data).hexdigest()
    return msgspec.structs.replace(file, name=name, media_type=media_type, size=len(data), digest=digest)
