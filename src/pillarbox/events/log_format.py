"""
Formatters for what pillarbox logs: a line for people, or an object of JSON for programs, always one line a record.

What a record carries beside its message (``extra=…``) is shown whole. Of an exception its type and where it was raised
are shown, never its text, and no value of any frame: either may quote what was sent (contract EV3).
"""

from __future__ import annotations

import logging
import re
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import msgspec

from pillarbox.domain.moments import to_datetime
from pillarbox.domain.plain_characters import escaped, visible

__all__ = ["LEVELS", "JsonFormatter", "TextFormatter", "make_formatter"]

LEVELS: Final[dict[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
"""The values of the setting ``log_level``, as logging knows them."""

# What every record has; whatever else it carries came with ``extra``. "message" and "asctime" are other formatters'.
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_OURS: Final = frozenset({"timestamp", "level", "logger", "message", "exception", "frames"})
_PLAIN: Final = re.compile(r"[\w.:/@#+*,-]+")
_FRAMES_MAX: Final = 50
_SECOND_MS: Final = 1000


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record has from ``extra``, in that order."""
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def _exception_type(record: logging.LogRecord) -> str | None:
    """Name the type of the exception that a record carries, if there is one."""
    kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
    return None if kind is None else kind.__name__


def _frames_of(record: logging.LogRecord) -> list[str]:
    """
    Return where a record's exception was raised: ``engine/executor.py:132 in _run``, the outermost first, at most 50.

    Neither source lines nor values are shown.
    """
    trace: TracebackType | None = record.exc_info[2] if isinstance(record.exc_info, tuple) else None
    # Kept from the end: the innermost frames tell what happened.
    frames = list(traceback.walk_tb(trace))[-_FRAMES_MAX:]
    return [
        f"{'/'.join(Path(frame.f_code.co_filename).parts[-2:])}:{line} in {frame.f_code.co_name}"
        for frame, line in frames
    ]


def make_formatter(style: Literal["text", "json"]) -> logging.Formatter:
    """Return the formatter that the setting ``log_format`` means."""
    return JsonFormatter() if style == "json" else TextFormatter()


class TextFormatter(logging.Formatter):
    """
    ``2030-01-31T09:00:00.000Z info Message delivered and acked entryId=… duration=12ms``.

    A duration has its unit, a time is written as RFC 3339.

    A value with a space or a quotation mark stands in quotation marks. An exception follows in parentheses: its type,
    and its frames where the record is an error.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        pieces = [_stamp(record), record.levelname.lower(), visible(record.getMessage())]
        fields = (_readable(name, value) for name, value in _fields_of(record).items())
        pieces += [f"{visible(name)}={_word(value)}" for name, value in fields]
        kind = _exception_type(record)
        if kind is not None:
            frames = _frames_of(record)
            pieces.append(f"({kind}{' at ' if frames else ''}{' > '.join(map(visible, frames))})")
        return " ".join(pieces)


class JsonFormatter(logging.Formatter):
    """
    One object a line: ``timestamp`` (RFC 3339 in UTC), ``level``, ``logger``, ``message``, and every ``extra`` field.

    An ``extra`` field of one of these names, or of ``exception`` and ``frames``, is given an underscore at its end. A
    value that JSON cannot hold becomes the name of its type.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        row: dict[str, Any] = {
            "timestamp": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        row |= {f"{name}_" if name in _OURS else name: value for name, value in _fields_of(record).items()}
        kind = _exception_type(record)
        if kind is not None:
            row |= {"exception": kind, "frames": _frames_of(record)}
        return _encoded(row)


def _stamp(record: logging.LogRecord) -> str:
    return _iso(datetime.fromtimestamp(record.created, UTC))


def _readable(name: str, value: object) -> tuple[str, object]:
    """Return a field for people: a duration has its unit, and milliseconds since 1970 are a time."""
    if not isinstance(value, int) or isinstance(value, bool):
        return name, value
    if name.endswith("Ms"):
        return name.removesuffix("Ms"), f"{value}ms" if value < _SECOND_MS else f"{value / _SECOND_MS:.1f}s"
    return name, _iso(to_datetime(value)) if name.endswith("At") else value


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(value: object) -> str:
    if not isinstance(value, str):
        value = _encoded(value)
        return visible(value)
    return value if _PLAIN.fullmatch(value) else f'"{visible(value).replace(chr(34), chr(92) + chr(34))}"'


def _encoded(value: object) -> str:
    try:
        return escaped(msgspec.json.encode(value, enc_hook=_type_name)).decode()
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        # Half of a surrogate pair, or an object whose keys are no text: written once more, with nothing but text.
        if isinstance(value, dict):
            plain = {visible(str(name)): _simple(item) for name, item in value.items()}
            return escaped(msgspec.json.encode(plain)).decode()
        return str(_simple(value))


def _simple(value: object) -> str | float | None:
    match value:
        case str():
            return visible(value)
        case None | bool() | int() | float():
            return value
        case _:
            return type(value).__name__


def _type_name(value: object) -> str:
    return type(value).__name__
