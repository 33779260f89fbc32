"""What the programs in Python share: arguments, the message, the answer. Needs the standard library only."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "Deploy done, all checks are green"


def recipients(count: int) -> list[str]:
    """Return as many as there are messages."""
    return [f"recipient-{number}" for number in range(count)]


def run(package: str, prepare: Callable[[str, str], Callable[[int], int]]) -> None:
    """
    Measure what *prepare* makes of the place and the mode: a function that does so many lives and returns how many.

    The place is a folder, or the URL of a database.

    Args:
        package: Whose version is reported.
    """
    place, count, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    lives = prepare(place, mode)
    began = time.perf_counter()
    done = lives(count)
    print(json.dumps({"seconds": time.perf_counter() - began, "done": done, "version": version(package)}))
