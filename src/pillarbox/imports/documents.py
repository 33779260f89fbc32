"""
Reads foreign JSON, strictly and within bounds, out of files that may be traps.

Nothing is opened through a symbolic link, outside of the directory that was named, or before it is known to be a
regular file of this user's; nothing is parsed before its size and its depth are known.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pillarbox.errors import InvalidMessage, NotFound

DEPTH_MAX: Final = 32
DOCUMENT_BYTES_MAX: Final = 1 << 20
_INTEGER_MAX: Final = (1 << 63) - 1
_INTEGER_DIGITS_MAX: Final = 20
_PLAIN_MAX: Final = 1e21  # from here on JavaScript writes an exponent
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# A string in one piece, so that brackets inside of it do not count; or one bracket. A string that does not end is one
# piece too: looking for its end again from every quote in it would take for ever.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|[\[\]{}]', re.DOTALL)
# Half of a surrogate pair can only come in as an escape: the raw bytes are checked as UTF-8.
_SURROGATE_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


class Unreadable(ValueError):
    """An entry cannot be read; ``reason`` is the word for the report. Never leaves this package."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse(raw: bytes) -> Json:
    """
    Read one JSON text.

    Raises:
        Unreadable: ``not_json`` where it is not strict JSON in UTF-8 (NaN, Infinity, a key twice, half of a surrogate
            pair, anything behind the end), ``too_deep``.
    """
    try:
        text = raw.decode("utf-8")
        _check_depth(raw)
        value: Json = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer)
        if _SURROGATE_ESCAPE.search(raw):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except Unreadable:
        raise
    except (ValueError, RecursionError) as exc:
        raise Unreadable("not_json") from exc
    return value


def parse_object(raw: bytes) -> dict[str, Json]:
    """Read one JSON text that must be an object. Raises Unreadable, as `parse`, and ``not_an_object``."""
    value = parse(raw)
    if not isinstance(value, dict):
        raise Unreadable("not_an_object")
    return value


def _check_depth(raw: bytes) -> None:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise Unreadable("too_deep")
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("not_json")
    return found


def _constant(name: str) -> Json:
    raise Unreadable("not_json") from ValueError(name)


def _integer(digits: str) -> int | float:
    """Read a whole number; one too large for it as the programs that wrote it would, without its last digits."""
    if len(digits) > _INTEGER_DIGITS_MAX or not -_INTEGER_MAX <= (value := int(digits)) <= _INTEGER_MAX:
        return float(digits)
    return value


def label(entry: dict[str, Json], field: str) -> str | None:
    """
    Read a text that names something; ``None`` where it is missing, null or blank.

    Raises:
        Unreadable: ``invalid_field:<field>``: it is no text.
    """
    value = entry.get(field)
    if value is None or isinstance(value, str):
        return value if value and value.strip() else None
    raise Unreadable(f"invalid_field:{field}")


def token(entry: dict[str, Json], field: str) -> str | None:
    """
    Read an id that a platform may write as text or as a number: to it, it is text.

    Raises:
        Unreadable: ``invalid_field:<field>``: it is neither.
    """
    value = entry.get(field)
    if isinstance(value, float) and math.isfinite(value):
        # As JavaScript writes it: no fraction where there is none.
        return str(int(value)) if value.is_integer() and abs(value) < _PLAIN_MAX else repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return label(entry, field)


@contextmanager
def directory(path: Path) -> Iterator[int]:
    """
    Hold a directory open by its descriptor: what is reached through it stays inside, whatever is renamed meanwhile.

    Raises:
        NotFound: There is none.
        InvalidMessage: ``path`` is a symbolic link, no directory, another user's, or may not be read.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS | os.O_DIRECTORY)
    except FileNotFoundError as exc:
        raise NotFound("directory", str(path)) from exc
    except OSError as exc:
        raise InvalidMessage("path", f"expected a directory, not a link ({exc.strerror}: {path})") from exc
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise InvalidMessage("path", f"expected a directory of this user's own ({path})")
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def subdirectory(parent: int, name: str) -> Iterator[int]:
    """Hold a directory inside another one open. Raises Unreadable, or FileNotFoundError where there is none."""
    descriptor = _open(parent, name, os.O_DIRECTORY, "not_a_directory")
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise Unreadable("another_users_file")
        yield descriptor
    finally:
        os.close(descriptor)


def _open(parent: int, name: str, flags: int, otherwise: str) -> int:
    try:
        return os.open(name, _OPEN_FLAGS | flags, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise Unreadable(otherwise) from exc


def read_document(parent: int, name: str, *, bytes_max: int) -> dict[str, Json]:
    """
    Read one JSON object from a file of the directory *parent*.

    Raises:
        Unreadable: ``symlink``, ``not_regular_file``, ``another_users_file``, ``too_large``, ``may_not_be_read``, or
            what `parse_object` says of its text.
        FileNotFoundError: It is gone.
    """
    # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
    descriptor = _open(parent, name, os.O_NONBLOCK, "may_not_be_read")
    try:
        check_regular(os.fstat(descriptor), bytes_max=bytes_max)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(bytes_max + 1)
    finally:
        os.close(descriptor)
    if len(raw) > bytes_max:
        raise Unreadable("too_large")
    return parse_object(raw)


def check_regular(info: os.stat_result, *, bytes_max: int) -> None:
    """Raise Unreadable unless it is a regular file of this user's own, of at most so many bytes."""
    if stat.S_ISLNK(info.st_mode):
        raise Unreadable("symlink")
    if not stat.S_ISREG(info.st_mode):
        raise Unreadable("not_regular_file")
    if info.st_uid != os.geteuid():
        raise Unreadable("another_users_file")
    if info.st_size > bytes_max:
        raise Unreadable("too_large")
