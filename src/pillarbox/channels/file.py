"""
The file channel: one JSON line per part, appended to a file that a person or another program reads.

Each line is written in one call under ``O_APPEND`` and a lock, so several processes may share the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import os
import stat
from typing import Final

import msgspec

from pillarbox.channels.base import Attempt, Capabilities, Channel, Seams
from pillarbox.channels.option_checks import flag
from pillarbox.channels.thread_pool import answer_of
from pillarbox.channels.url_parts import Options, parse_url
from pillarbox.clock import Clock, SystemClock
from pillarbox.domain.moments import to_datetime
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, Unavailable, Uncertain
from pillarbox.domain.plain_characters import escaped
from pillarbox.errors import ConfigError

# Nothing that waiting would mend: a link, a directory, a missing directory, somebody else's file, a read-only disk.
_MISCONFIGURED: Final = frozenset(
    {
        errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.ENXIO,
        errno.EPERM, errno.EROFS,
    }
)  # fmt: skip
# O_NOFOLLOW: not through a link that somebody put there. O_NONBLOCK: a FIFO must not hang the send; files ignore it.
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class FileChannel(Channel):
    """
    Append to the file at *path*, made with mode 0600 when it is missing. Its receipts are the lines' byte offsets.

    Args:
        fsync: Deliver only what is on the disk; without it, a power cut may take lines that were delivered.
    """

    kind = "file"
    capabilities = Capabilities(receipts="accepted")

    def __init__(self, path: str, *, fsync: bool = True) -> None:
        if not path.startswith("/") or path.endswith("/") or "\0" in path:
            raise ConfigError("url", "expected file:///path/to/a/file.jsonl, with an absolute path")
        self._path = path
        self._fsync = fsync
        self._clock: Clock = SystemClock()

    @classmethod
    def from_url(cls, url: str, *, fsync: bool | str | None = None) -> FileChannel:
        """
        Make the channel of ``file:///path/to/out.jsonl?fsync=false``.

        Raises:
            ConfigError: A host in the URL (two slashes instead of three), a relative path, an unknown option.
        """
        parsed = parse_url(url, schemes=("file",))
        options = Options(parsed, {} if fsync is None else {"fsync": fsync}, known=("fsync",))
        if parsed.host not in {"", "localhost"} or parsed.user or parsed.port:
            raise ConfigError("url", "expected three slashes: file:///path/to/a/file.jsonl")
        return cls(parsed.path, fsync=options.take("fsync", flag, default=True))

    async def start(self, seams: Seams) -> None:
        """See `Channel`."""
        self._clock = seams.clock

    def describe(self) -> str:
        """See `Channel`."""
        return f"file://{self._path}"

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        line = encode_line(attempt, now_ms=self._clock.wall_ms())
        writing = functools.partial(append, self._path, line, fsync=self._fsync)
        appending = asyncio.get_running_loop().run_in_executor(None, writing)
        return await answer_of(appending, attempt.progress, lambda outcome: outcome)


def encode_line(attempt: Attempt, *, now_ms: int) -> bytes:
    """Return the part as one line of JSON, its end included: the route, every field of the content, and the time."""
    fields: dict[str, object] = {
        "id": attempt.id,
        "time": to_datetime(now_ms).isoformat(),
        "channel": attempt.channel,
        "to": attempt.to,
        **msgspec.to_builtins(attempt.content),
        "part": attempt.part,
        "part_count": attempt.part_count,
        "attempt": attempt.number,
        "token": attempt.token,
        "op": str(attempt.op),
        "target": attempt.target,
        "thread": attempt.thread,
        "account": attempt.account,
        "tenant": attempt.tenant,
        "origin": attempt.origin,
        "correlation_id": attempt.correlation_id,
        "traceparent": attempt.traceparent,
        "metadata": attempt.metadata,
    }
    said = {key: value for key, value in fields.items() if value not in (None, "", {})}
    # People look into the file with a terminal.
    return escaped(msgspec.json.encode(said)) + b"\n"


def append(path: str, line: bytes, *, fsync: bool) -> AnyOutcome:
    """Append *line* to the file, blocking. Never raises OSError: what went wrong, and when, is the outcome."""
    try:
        handle = os.open(path, _FLAGS, 0o600)
    except OSError as exc:
        return _unwritten(exc)
    try:
        return _append(handle, os.path.dirname(path), line, fsync=fsync)  # noqa: PTH120 — the path came as text
    finally:
        with contextlib.suppress(OSError):
            os.close(handle)


def _append(handle: int, directory: str, line: bytes, *, fsync: bool) -> AnyOutcome:
    try:
        # Another writer's half-written line would look like a torn one. Held for one write; closing lets it go.
        fcntl.flock(handle, fcntl.LOCK_EX)
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            return Unavailable("file: not a regular file")
        # A line torn by a crash stays by itself: what follows it begins a line of its own.
        torn = found.st_size > 0 and os.pread(handle, 1, found.st_size - 1) != b"\n"
        line = b"\n" + line if torn else line
        written = os.write(handle, line)
    except OSError as exc:
        return _unwritten(exc)
    if written != len(line):
        return Uncertain(f"file: only {written} of {len(line)} bytes were written")
    try:
        offset = os.lseek(handle, 0, os.SEEK_CUR) - len(line) + torn
        if fsync:
            os.fsync(handle)
            if found.st_size == 0:
                _sync_directory(directory)
    except OSError as exc:
        return Uncertain(f"file: written, but perhaps not to the disk: {exc.strerror}")
    return Delivered(str(offset))


def _sync_directory(directory: str) -> None:
    """Sync a directory: a new file's name is on the disk only after that (fsync(2))."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritten(exc: OSError) -> AnyOutcome:
    reason = f"file: {exc.strerror or type(exc).__name__}"
    if exc.errno == errno.ELOOP:
        reason = "file: a symbolic link, which is not followed"
    return Unavailable(reason) if exc.errno in _MISCONFIGURED else Deferred(reason)
