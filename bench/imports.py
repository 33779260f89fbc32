"""
How long `import pillarbox` and `pillarbox --version` take.

Each is a process of its own, in turns with one that does nothing, so that the interpreter's own start is known. Names
are loaded when they are used: what the first of them loads is shown as well.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.figure import Figure, Goal, Of
from bench.harness.processes import environment

if TYPE_CHECKING:
    from bench.harness.plan import Plan

_GOAL = Goal(of=Of.VALUE, most=150)
_NOTHING = "nothing"
_COMMANDS = {
    _NOTHING: [sys.executable, "-c", "pass"],
    "import pillarbox": [sys.executable, "-c", "import pillarbox"],
    "from pillarbox import Outbox": [sys.executable, "-c", "from pillarbox import Outbox"],
    "pillarbox --version": [str(Path(sys.executable).with_name("pillarbox")), "--version"],
    "pillarbox --help": [str(Path(sys.executable).with_name("pillarbox")), "--help"],
}
_WITH_GOAL = ("import pillarbox", "pillarbox --version")


def measure(plan: Plan) -> list[Figure]:
    samples: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for command in _COMMANDS.values():
        # Once for the byte code and the page cache.
        _milliseconds(command)
    for _ in range(2 * plan.rounds):
        for name, command in _COMMANDS.items():
            samples[name].append(_milliseconds(command))
    return [
        Figure(
            name=name,
            unit="ms",
            samples=tuple(samples[name]),
            peer="bare python",
            peer_samples=tuple(samples[_NOTHING]),
            goal=_GOAL if name in _WITH_GOAL else None,
        )
        for name in _COMMANDS
        if name != _NOTHING
    ]


def _milliseconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    return (time.perf_counter() - began) * 1e3
