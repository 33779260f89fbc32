"""
Imports queues of files, and dies in each as `kill -9` would make it: at the step that is named.

Arguments: directory and step, again and again. Every import is a process of its own, forked before anything runs; what
each one ended with is printed, a line each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from pillarbox.imports.entry import FailedFiles, System
from tests.imports.cases import Case, Importing
from tests.imports.queues import NOW_MS

DIED: Final = 9
FAILED: Final = 1


async def run(directory: Path, step: int) -> None:
    """Import ``queue`` into ``outbox.db``, both in *directory*; never returns from *step*, counted from 1."""
    left = step

    def die_here(_step: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(DIED)

    case = Case(system=System.OPENCLAW_FILES, path=directory / "queue", now_ms=NOW_MS, expected={})
    box = Importing(directory / "outbox.db", NOW_MS)
    await box.store.open()
    await box.run(case, checkpoint=die_here, failed=FailedFiles.ARCHIVE)
    await box.store.close()


def forked(directory: Path, step: int) -> int:
    """Do it in a process of its own; gives what it ended with."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = FAILED
    try:
        asyncio.run(run(directory, step))
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    given = iter(sys.argv[1:])
    for name, number in zip(given, given, strict=True):
        sys.stdout.write(f"{forked(Path(name), int(number))}\n")
        sys.stdout.flush()
