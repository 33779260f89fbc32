"""
What a worker says: its log on stderr, in the format and from the level of the settings, and its outcomes.

An outcome is written once on each stream. With ``--json`` it is a row on stdout. Otherwise it is a line on stderr: on a
terminal the short line that people read, and the log's own line about the same is left out; elsewhere, and where the
log is JSON, the log's line alone.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, cast

from pillarbox.cli.line_writer import LineWriter, descriptor_of
from pillarbox.cli.output import encoded, on_terminal
from pillarbox.domain.plain_characters import visible
from pillarbox.events.log_format import LEVELS, make_formatter
from pillarbox.events.log_lines import ENQUEUED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

    from pillarbox.settings.model import Settings

log: Final = logging.getLogger("pillarbox.run")

_ROOT: Final = logging.getLogger("pillarbox")
_OF_MESSAGES: Final = "pillarbox.delivery"
_WARNINGS: Final = frozenset({"retry", "held", "dead", "expired", "lease_lost", "channel_paused"})
# What the log alone tells, in both formats.
_RECORDS: Final = frozenset({"alarm", "reloaded", "reload_failed"})
# What the log tells by itself, so that a second record would say it twice.
_LOGGED: Final = frozenset({"delivered", "retry", "held", "dead", "expired", "cancelled", "channel_paused"})


_LAST_WORDS_SECONDS: Final = 1.0


class _Written(logging.Handler):
    """Hands each record to a writer: what a log costs is never waited for by those who write it."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 — a record that cannot be formatted harms nobody
            line = f"a record of {record.name} could not be written"
        self._writer.write(f"{line}\n".encode("utf-8", "backslashreplace"))


class _Drawn(io.TextIOBase):
    """Stderr, written by a writer."""

    encoding = "utf-8"

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def write(self, text: str) -> int:
        """See `io.TextIOBase`."""
        self._writer.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def isatty(self) -> bool:
        """See `io.TextIOBase`."""
        return on_terminal(sys.stderr)

    def fileno(self) -> int:
        """See `io.TextIOBase`."""
        return sys.stderr.fileno()


class Voice:
    """
    One worker's way to speak.

    ``rows``: outcomes are rows of JSON on stdout. ``quiet``: no line of an outcome, because a progress bar is drawn, or
    because nobody reads on.
    """

    def __init__(self, settings: Settings, *, rows: bool) -> None:
        self.rows = rows
        self.quiet = False
        self._people = sys.stderr is not None and on_terminal(sys.stderr)
        self._writer = LineWriter(descriptor_of(sys.stderr), missing=self._missing)
        self._data = LineWriter(
            descriptor_of(sys.stdout),
            missing=lambda count: encoded({"event": "lines_lost", "count": count}),
            on_unread=lambda: log.warning("nobody reads stdout any more: the worker goes on, and writes nothing there"),
        )
        self._handler: logging.Handler = _Written(self._writer)
        self._handler.addFilter(self._unsaid)
        self.adopt(settings)

    def _missing(self, count: int) -> bytes:
        said = f"{count} lines of this log are missing: they could not be written, or nobody read them"
        if self._json_log:
            record = logging.makeLogRecord({"name": log.name, "levelname": "WARNING", "msg": said})
            said = make_formatter("json").format(record)
        return f"{said}\n".encode("utf-8", "backslashreplace")

    def talk(self, line: str) -> None:
        """Write a line that is not data."""
        self._writer.write(f"{visible(line)}\n".encode("utf-8", "backslashreplace"))

    def emit(self, line: str) -> None:
        """Write a line of data for people."""
        self._data.write(f"{visible(line)}\n".encode("utf-8", "backslashreplace"))

    def emit_json(self, value: object) -> None:
        """Write one value as one line of JSON."""
        self._data.write(encoded(value))

    def terminal(self) -> IO[str]:
        """Return stderr as a stream that is never waited for, to draw on."""
        return cast("IO[str]", _Drawn(self._writer))

    def close(self) -> None:
        """Write what is left to be written; a reader that stands still is not waited for."""
        for writer in (self._data, self._writer):
            writer.close(_LAST_WORDS_SECONDS)

    def adopt(self, settings: Settings) -> None:
        """Speak as *settings* say from now on."""
        self._json_log = settings.log_format == "json"
        self._level = LEVELS[settings.log_level]
        self._handler.setFormatter(make_formatter(settings.log_format))
        if self._handler in _ROOT.handlers:
            _ROOT.setLevel(self._level)

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Write the log to stderr meanwhile."""
        before = _ROOT.level
        _ROOT.addHandler(self._handler)
        _ROOT.setLevel(self._level)
        try:
            yield
        finally:
            _ROOT.removeHandler(self._handler)
            _ROOT.setLevel(before)
            self.close()

    def _unsaid(self, record: logging.LogRecord) -> bool:
        """Whether a record is to be written: not where a line for people says the same."""
        of_an_outcome = record.name == _OF_MESSAGES and hasattr(record, "entryId") and record.msg != ENQUEUED
        return self.rows or self._json_log or not self._people or not of_an_outcome

    def tell(self, event: str, row: Mapping[str, Any], sentence: str = "") -> None:
        """Write an event: as a row, as a line for people, or as a record of the log where it has none yet."""
        level = logging.WARNING if event in _WARNINGS else logging.INFO
        if self.rows:
            self.emit_json({"event": event, **row})
        elif self._json_log:
            if event not in _LOGGED | _RECORDS:
                log.log(level, sentence, extra={"event": event, **row})
        elif level >= self._level and self._tells(event):
            self.talk(sentence)

    def _tells(self, event: str) -> bool:
        """Whether an event is a short line of text: for people every one, elsewhere what the log has no line for."""
        if self._people:
            return not self.quiet and event not in _RECORDS
        return event not in _LOGGED | _RECORDS

    def say(self, sentence: str) -> None:
        """Write a sentence that is no event: always, because it answers what somebody just did."""
        if self._json_log:
            log.info(sentence)
        else:
            self.talk(sentence)
