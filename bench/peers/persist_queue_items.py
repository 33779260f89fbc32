"""persist-queue's SQLiteAckQueue as it comes: put every item, then get each and acknowledge it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from life import TEXT, recipients, run
from persistqueue import SQLiteAckQueue

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(folder: str, _: str) -> Callable[[int], int]:
    """Open it."""
    queue = SQLiteAckQueue(folder, multithreading=True)

    def lives(count: int) -> int:
        for recipient in recipients(count):
            queue.put({"to": recipient, "text": TEXT})
        done = 0
        while queue.size > 0:
            queue.ack(queue.get(block=False))
            done += 1
        return done

    return lives


if __name__ == "__main__":
    run("persist-queue", prepare)
