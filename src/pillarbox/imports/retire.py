"""
Puts a source file away once its message is ours: into ``imported/`` beside it. Nothing is ever unlinked or overwritten.

Safe to repeat after a crash: a file that is not there any more was put away before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pillarbox.errors import Refused
from pillarbox.imports import documents
from pillarbox.imports.documents import Unreadable
from pillarbox.imports.openclaw_files import FAILED, IMPORTED

_NAMES_MAX: Final = 1000


def retire(path: Path, source_ids: Sequence[str], checkpoint: Callable[[str], None]) -> int:
    """
    Move the files of *source_ids*, which are paths below the queue's directory *path*.

    When this returns, the moves are durable. If it is interrupted, some files may have been moved, and any of these
    moves may be undone by a power cut: calling it again does what is left.

    Args:
        checkpoint: Called before and after every step that a crash can fall between.

    Returns:
        How many were moved by this call.

    Raises:
        Refused: ``imported`` is there already and cannot be trusted: a link, no directory, another user's.
    """
    moved = 0
    with documents.directory(path) as root:
        for folder in ("", FAILED):
            names = [found for found in map(_split, source_ids) if found[0] == folder]
            if names:
                moved += _retire_from(root, folder, [name for _, name in names], checkpoint)
    return moved


def _split(source_id: str) -> tuple[str, str]:
    folder, _, name = source_id.rpartition("/")
    if folder not in ("", FAILED) or name in ("", ".", ".."):
        raise ValueError(f"not the path of a queue's file: {source_id!r}")
    return folder, name


def _retire_from(root: int, folder: str, names: Sequence[str], checkpoint: Callable[[str], None]) -> int:
    with ExitStack() as held:
        try:
            source = held.enter_context(documents.subdirectory(root, folder)) if folder else root
        except (FileNotFoundError, Unreadable):
            return 0
        target = _imported(source, held)
        moved = 0
        for name in names:
            checkpoint(f"moving {name}")
            moved += _move(source, target, name)
            checkpoint(f"moved {name}")
        # The new name first: after a power cut a file may be in both places, never in none.
        os.fsync(target)
        os.fsync(source)
    checkpoint("synced")
    return moved


def _imported(source: int, held: ExitStack) -> int:
    """Open the directory for what is put away, made durable before anything is moved into it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(IMPORTED, mode=0o700, dir_fd=source)
    # Also where it is there already: whoever made it may have died before this.
    os.fsync(source)
    try:
        return held.enter_context(documents.subdirectory(source, IMPORTED))
    except Unreadable as exc:
        raise Refused(
            f"{IMPORTED!r} in the queue's directory is no directory of this user's own: move it away"
        ) from exc


def _move(source: int, target: int, name: str) -> int:
    free = _free_name(target, name)
    try:
        os.rename(name, free, src_dir_fd=source, dst_dir_fd=target)
    except FileNotFoundError:
        return 0
    return 1


def _free_name(target: int, name: str) -> str:
    """Return *name*, or one with a number where that file exists: what lies there may be the only copy of it."""
    for number in range(_NAMES_MAX):
        free = f"{name}.{number}" if number else name
        try:
            os.stat(free, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            return free
    raise Refused(f"{IMPORTED!r} holds {_NAMES_MAX} files named {name!r} already")
