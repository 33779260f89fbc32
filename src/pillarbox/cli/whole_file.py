"""A file that a command writes: whole and on disk under its name, or not there at all."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pillarbox.cli.exits import Exit, Stop

_NAME_MAX: Final = 100


@contextlib.contextmanager
def whole_file(name: str) -> Iterator[Callable[[bytes], None]]:
    """
    Write a file beside *name*, private to this user, and give it that name where no error leaves the block.

    Yields:
        What writes into it.

    What has the name until then stays as it is. Where *name* is a link, the file that it leads to is replaced.

    Raises:
        Stop: It cannot be written, or *name* is no name for a file.
    """
    with _translated(name):
        target = Path(os.path.realpath(name))
        if target.exists() and not target.is_file():
            raise Stop(Exit.USAGE, f"{name}: expected the name of a file; without -o it goes to stdout")
        descriptor, beside = tempfile.mkstemp(prefix=f".{target.name[:_NAME_MAX]}.", suffix=".part", dir=target.parent)
    file = os.fdopen(descriptor, "wb")
    try:
        yield functools.partial(_write, name, file)
        with _translated(name):
            file.flush()
            os.fsync(descriptor)
            os.rename(beside, target)  # noqa: PTH104 — the name is text here
            _sync(target.parent)
    finally:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)  # noqa: PTH108 — the name is text here


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
