"""litequeue: put every message, then pop each and mark it done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from life import TEXT, recipients, run
from litequeue import LiteQueue

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(folder: str, mode: str) -> Callable[[int], int]:
    """Open it as it comes (``normal``), or with an fsync for each commit (``full``)."""
    queue = LiteQueue(f"{folder}/litequeue.db")
    queue.conn.execute(f"PRAGMA synchronous = {mode}")

    def lives(count: int) -> int:
        for recipient in recipients(count):
            queue.put(f"{recipient}: {TEXT}")
        done = 0
        while (message := queue.pop()) is not None:
            queue.done(message.message_id)
            done += 1
        return done

    return lives


if __name__ == "__main__":
    run("litequeue", prepare)
