"""Fills a database with messages that wait, a million in seconds: by copying one that pillarbox stored itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bench.harness.raw import connect
from pillarbox.domain.ids import message_id
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Content, Draft, encode_content
from pillarbox.domain.retry import Policy
from pillarbox.entropy import SystemEntropy
from pillarbox.store.base import Batch, Durability
from pillarbox.store.sqlite.store import SQLiteStore
from pillarbox.store.thread import Inline

if TYPE_CHECKING:
    from pathlib import Path

CHANNEL = "ops"
_CACHE_KIB = 1 << 20  # ten million rows go into indices in no order
NO_LIMITS = Limits(messages=None, bytes=None)
_POLICY = Policy(ttl_seconds=None)
_CONTENT = encode_content(Content(text="Deploy done, all checks are green"))
_entropy = SystemEntropy()


def store(path: Path, *, durability: Durability = Durability.POWER) -> SQLiteStore:
    """Make a store without limits that runs where it is called, so that no thread's wake-up is measured with it."""
    return SQLiteStore(path, durability=durability, limits=NO_LIMITS, caller=lambda _: Inline())


def draft(recipient: str, *, now_ms: int, channel: str = CHANNEL, lane: str | None = None) -> Draft:
    """Make a message as `Outbox.send` would; without *lane* each recipient has its own."""
    return Draft(
        id=message_id(now_ms, _entropy.token(10)),
        tenant="",
        channel=channel,
        recipient=recipient,
        content=_CONTENT,
        policy=_POLICY,
        created_ms=now_ms,
        due_ms=now_ms,
        lane=f"\x1f{channel}\x1f\x1f{recipient}\x1f" if lane is None else lane,
        max_attempts=_POLICY.max_attempts,
        admission=Admission(recipient=recipient),
    )


async def fill(
    path: Path, count: int, *, now_ms: int, channel: str = CHANNEL, lane: str | None = None, lanes: int | None = None
) -> int:
    """
    Make *path* hold *count* more messages that are due.

    Args:
        lane: One for all of them; ``None`` gives each its own.
        lanes: Over so many they are spread in turns; ``None`` means one for each message.

    Returns:
        The number of their queue.
    """
    one = store(path)
    await one.open()
    await one.commit(Batch(now_ms=now_ms, enqueue=[[draft("recipient-0", now_ms=now_ms, channel=channel, lane=lane)]]))
    queue = next(info.id for info in await one.queues() if info.channel == channel)
    await one.close()
    if count > 1:
        _copy(path, queue, count - 1, lanes=1 if lane is not None else lanes or count)
    return queue


def _copy(path: Path, queue: int, count: int, *, lanes: int) -> None:
    """Copy the newest message of *queue* into *lanes* lanes. Without a journal until everything is there."""
    connection = connect(path, synchronous="off")
    connection.pragma("journal_mode", "off")
    connection.pragma("cache_size", -_CACHE_KIB)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            """
            WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
            INSERT INTO message (id, queue, due_at, lane, max_attempts, policy, recipient, created_at, prepared,
                content, content_size)
            SELECT printf('%012x%09dA', m.seq, n), m.queue, m.due_at,
                replace(m.lane, 'recipient-0', 'recipient-' || (n % :lanes)), m.max_attempts, m.policy,
                'recipient-' || (n % :lanes), m.created_at, m.prepared, m.content, m.content_size
            FROM numbers, (SELECT * FROM message WHERE queue = :queue ORDER BY seq DESC LIMIT 1) AS m
            """,
            {"count": count, "queue": queue, "lanes": lanes},
        )
        connection.execute(
            "UPDATE tally SET messages = messages + ?1, bytes = bytes + ?1 * ?2 WHERE queue = ?3 AND state = 0",
            (count, len(_CONTENT), queue),
        )
        connection.execute("COMMIT")
        connection.pragma("journal_mode", "wal")
    finally:
        connection.close()
    # So that the disk does not go on writing it while something is measured.
    with path.open("rb") as file:
        os.fsync(file.fileno())
