"""How a program speaks with the measurement that started it. Imports next to nothing: what it costs is measured too."""

from __future__ import annotations

import asyncio
import json
import sys


def say(**values: float | str | bool) -> None:
    """Write *values* as one line of JSON."""
    sys.stdout.write(f"{json.dumps(values)}\n")
    sys.stdout.flush()


async def heard() -> str:
    """Wait for one line without stopping the loop; empty at the end of the input."""
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
