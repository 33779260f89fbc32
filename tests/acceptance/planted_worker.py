"""A worker with a bug on purpose, for the demonstration to find: ``planted_worker.py BUG run --db … --config …``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from pillarbox.channels.webhook import WebhookChannel
from pillarbox.cli import main
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.store.base import Settled
from pillarbox.store.sqlite.store import SQLiteStore
from pillarbox.store.steps import batch as steps

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt

_send = WebhookChannel.send
_commit = SQLiteStore.commit
_apply = steps.apply
_under_way: set[asyncio.Future[AnyOutcome]] = set()


async def _settles_nothing(self: SQLiteStore, batch: Any) -> Any:
    result = await _commit(self, msgspec.structs.replace(batch, settle=()))
    return msgspec.structs.replace(result, settled=[Settled.APPLIED] * len(batch.settle))


async def _drops_one(self: WebhookChannel, attempt: Attempt) -> AnyOutcome:
    return Delivered() if (attempt.to, attempt.text) == ("lane 1", "message 3") else await _send(self, attempt)


async def _sends_twice(self: WebhookChannel, attempt: Attempt) -> AnyOutcome:
    await _send(self, attempt)
    return await _send(self, attempt)


async def _sends_uncommitted_attempts(self: WebhookChannel, attempt: Attempt) -> AnyOutcome:
    return await _send(self, msgspec.structs.replace(attempt, number=attempt.number + 1))


async def _settles_before_it_sends(self: WebhookChannel, attempt: Attempt) -> AnyOutcome:
    task = asyncio.ensure_future(_send(self, attempt))
    _under_way.add(task)
    return Delivered()


def _forgets_lanes(session: Any, numbers: Any, batch: Any, **options: Any) -> Any:
    session.connection.execute("UPDATE message SET lane = NULL, waiting = 0 WHERE lane IS NOT NULL")
    return _apply(session, numbers, batch, **options)


def plant(bug: str) -> None:
    """Put one bug into this process."""
    match bug:
        case "settles_nothing":
            SQLiteStore.commit = _settles_nothing  # type: ignore[method-assign]
        case "forgets_lanes":
            steps.apply = _forgets_lanes  # type: ignore[assignment]
        case _:
            WebhookChannel.send = {  # type: ignore[method-assign]
                "drops_one": _drops_one,
                "sends_twice": _sends_twice,
                "sends_uncommitted_attempts": _sends_uncommitted_attempts,
                "settles_before_it_sends": _settles_before_it_sends,
            }[bug]


if __name__ == "__main__":
    plant(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
