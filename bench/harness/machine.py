"""What a figure was measured on: without that it cannot be compared with anything."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import apsw
import psutil

_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})


class Machine(TypedDict):
    """Plain values, for JSON and for the page."""

    at: str
    commit: str
    python: str
    sqlite: str
    system: str
    processor: str
    cores: int
    load: float
    file_system: str
    fdatasync_ms: float


def machine(directory: Path) -> Machine:
    """Look at this machine. ``load`` is what others made of it in the last minute."""
    return Machine(
        at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        commit=_commit(),
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        load=round(os.getloadavg()[0], 2),
        file_system=file_system(directory),
        fdatasync_ms=round(fdatasync_ms(directory), 3),
    )


def fdatasync_ms(directory: Path, times: int = 50) -> float:
    """Append a page to a file and wait for the disk, *times* times; return the median of the waits in ms."""
    waits = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(times):
            os.write(file.fileno(), bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            waits.append((time.perf_counter() - began) * 1e3)
    return statistics.median(waits)


def file_system(directory: Path) -> str:
    """Name the kind of file system that *directory* is on."""
    place = directory.resolve()
    mounts = {Path(partition.mountpoint): partition.fstype for partition in psutil.disk_partitions(all=True)}
    for candidate in (place, *place.parents):
        if candidate in mounts:
            return mounts[candidate]
    return "unknown"


def in_memory(kind: str) -> bool:
    """Whether that kind of file system has no disk, so that an fsync on it costs nothing."""
    return kind in _IN_MEMORY


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return asked.stdout.strip() or "none"


def _processor() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.machine()
