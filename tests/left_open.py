"""What a process keeps open, its threads and its files, as tests compare it."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def nothing_left_open(*, seconds: float = 0.0) -> Iterator[None]:
    """
    See that a block leaves no thread and no file behind. What earlier tests have left may end meanwhile.

    Args:
        seconds: How long what is left may take to end by itself.
    """
    gc.collect()
    threads, files = set(threading.enumerate()), open_files()
    yield
    ends = time.monotonic() + seconds
    while (set(threading.enumerate()) - threads or open_files() - files) and time.monotonic() < ends:
        threading.Event().wait(0.001)
    assert not set(threading.enumerate()) - threads
    assert not open_files() - files


def open_files() -> set[tuple[str, str]]:
    """Return the descriptors of this process, and what each stands for."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        # The one by which this is read is gone by then.
        with contextlib.suppress(OSError):
            found.add((link.name, str(link.readlink())))
    return found
