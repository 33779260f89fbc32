"""A file that a command writes: whole and on disk under its name, or not there at all."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pillarbox.cli.exits import Exit, Stop
from pillarbox.entropy import SystemEntropy

_OPEN_FILES: Final = "/proc/self/fd"


@contextlib.contextmanager
def whole_file(name: str) -> Iterator[Callable[[bytes], None]]:
    """
    Write a file in the folder of *name*, private to this user, and give it that name where no error leaves the block.

    Yields:
        What writes into it.

    What has the name until then stays as it is. Where *name* is a link, the file that it leads to is replaced. Of a
    process that is killed nothing is left, where the file system has files without names; else a hidden ``.part`` file.

    Raises:
        Stop: It cannot be written, or *name* is no name for a file.
    """
    with _translated(name):
        target = Path(os.path.realpath(name))
        if name.endswith(os.sep) or (target.exists() and not target.is_file()):
            raise Stop(Exit.USAGE, f"{name}: expected the name of a file; without -o it goes to stdout")
        beside = str(target.parent / f".pillarbox-{SystemEntropy().token(8).hex()}.part")
        unnamed = _unnamed(target.parent)
        # Private to this user from its first byte on.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) if unnamed is None else unnamed
    file = os.fdopen(descriptor, "wb")
    try:
        yield functools.partial(_write, name, file)
        with _translated(name):
            file.flush()
            os.fsync(descriptor)
            if unnamed is not None:
                # No call puts a file without a name in the place of another. Of a link only linkat(2) takes what it
                # leads to, which Python calls where a folder is named, whatever that is.
                os.link(f"{_OPEN_FILES}/{descriptor}", beside, src_dir_fd=descriptor)
            os.rename(beside, target)  # noqa: PTH104 — the name is text here
            _sync(target.parent)
    finally:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)  # noqa: PTH108 — the name is text here


def _unnamed(folder: Path) -> int | None:
    """Open a file that has no name, and so goes with this process; ``None`` where there is none such."""
    if not hasattr(os, "O_TMPFILE") or not Path(_OPEN_FILES).is_dir():
        return None
    try:
        return os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o600)
    except OSError:  # whatever it is, a file with a name meets it too, or can be
        return None


def _write(name: str, file: BinaryIO, data: bytes) -> None:
    with _translated(name):
        file.write(data)


@contextlib.contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "expected a path without NUL"
        raise Stop(Exit.FAILURE, f"{name}: it cannot be written: {why or type(exc).__name__}") from exc


def _sync(directory: Path) -> None:
    """Make a new name durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
