"""
Finds processes that work on files which this database is not any more: deleted, moved or replaced under them.

They notice it themselves and stop; a process with sound files would see nothing of them.
Only where the kernel tells which files a process has open (Linux), and of processes that may be looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pillarbox.clock import pause_thread
from pillarbox.store.sqlite.guarding import DATABASE, LOG, Identity, identity

_PROCESSES: Final = Path("/proc")
_LOOKS: Final = 5
_PAUSE_SECONDS: Final = 0.05


def problems(database: str) -> list[str]:
    """Return a sentence for each process that has the workers' lock file open, and another database or log."""
    suspects: Iterable[Path] = [place for place in _PROCESSES.glob("[0-9]*") if place.name.isdigit()]
    # More than one look: who opens or closes this instant has only some of the files.
    for tries_left in reversed(range(_LOOKS)):
        suspects = [place for place in suspects if _is_astray(place, database)]
        if suspects and tries_left:
            pause_thread(_PAUSE_SECONDS)
    return [
        f"files: process {place.name} works on a database or log that is not the one here any more (deleted, moved or"
        " replaced under it?); restart it"
        for place in suspects
    ]


def _is_astray(process: Path, database: str) -> bool:
    lock_file = identity(f"{database}-workers")
    files = {identity(database + ending) for ending in (DATABASE, LOG)}
    if lock_file is None or None in files:
        return False
    held = _open_files(process)
    return lock_file in held and not files <= held


def _open_files(process: Path) -> set[Identity | None]:
    try:
        return {identity(str(link)) for link in (process / "fd").iterdir()}
    except OSError:
        return set()
