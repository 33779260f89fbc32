"""huey's SqliteHuey: enqueue every task, then dequeue and execute each. One process, which is its own consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huey import SqliteHuey
from life import TEXT, recipients, run

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(folder: str, mode: str) -> Callable[[int], int]:
    """Open it with ``fsync`` or without."""
    huey = SqliteHuey(filename=f"{folder}/huey.db", fsync=mode == "fsync", immediate=False)
    enqueue_one = huey.task()(_task)

    def lives(count: int) -> int:
        for recipient in recipients(count):
            enqueue_one(recipient, TEXT)
        done = 0
        while (task := huey.dequeue()) is not None:
            huey.execute(task)
            done += 1
        return done

    return lives


def _task(*_: str) -> None:
    """Take it at once."""


if __name__ == "__main__":
    run("huey", prepare)
