"""What is wrong with an argument is found before any shard is asked, and said as on one database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox.errors import PillarboxError
from pillarbox.outbox.outbox import Outbox
from tests.engine.test_odd_arguments import ID, TEXTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

Pair = tuple[Outbox, Outbox]

# Each is wrong in one way, and is for a message that no shard has.
CALLS: Final[dict[str, Callable[[Any], Awaitable[object]]]] = {
    "cancel-actor": lambda box: box.cancel(ID, actor=5),
    "retry-ttl": lambda box: box.retry(ID, ttl="soon"),
    "retry-reason": lambda box: box.retry(ID, reason="x" * 1001),
    "resolve-verdict": lambda box: box.resolve(ID, "maybe"),
    "resolve-force": lambda box: box.resolve(ID, "delivered", force_copy=True),
    "resolve-receipt": lambda box: box.resolve(ID, "resend", receipt="1"),
    "resolve-ttl": lambda box: box.resolve(ID, "resend", ttl=-1),
    "replay-fresh": lambda box: box.replay(ID, fresh=1),
    "replay-actor": lambda box: box.replay(ID, actor=5),
    "purge-reason": lambda box: box.purge(ID, reason=5),
    "edit-unknown": lambda box: box.edit(ID, text="x", colour="red"),
    "edit-place": lambda box: box.edit(ID, text="x", tenant="t"),
    "edit-both": lambda box: box.edit(ID, text="x", receipt="1"),
    "edit-neither": lambda box: box.edit(text="x"),
    "edit-no-recipient": lambda box: box.edit(receipt="1", channel="ops", text="x"),
    "edit-id": lambda box: box.edit(5, text="x"),
    "delete-unknown": lambda box: box.delete(ID, text="x"),
    "delete-both": lambda box: box.delete(ID, receipt="1"),
    "list-before": lambda box: box.list(before="x"),
    "list-where": lambda box: box.list(where="nonsense", before="x"),
    "list-limit": lambda box: box.list(limit="x", before="x"),
    "explain-nobody": lambda box: box.explain("\ud800"),
    "acknowledge": lambda box: box.mirror.acknowledge(5),
    "acknowledge-some": lambda box: box.mirror.acknowledge(["key", 5]),
    "send-many-tenant": lambda box: box.send_many([{"channel": "ops", "to": "ann", "text": "x", "tenant": 5}]),
}


@pytest.fixture
async def pair(files: list[str], tmp_path: Path) -> AsyncIterator[Pair]:
    """An outbox on one database, and one on two."""
    one, two = Outbox(str(tmp_path / "one.db"), deliver=False), Outbox(shards=files, deliver=False)
    async with one, two:
        yield one, two


async def said(answer: Awaitable[object]) -> tuple[type[BaseException], str]:
    with pytest.raises((PillarboxError, TypeError)) as refused:
        await answer
    return refused.type, str(refused.value)


@pytest.mark.parametrize("name", CALLS)
async def test_a_bad_argument_is_named_as_on_one_database(pair: Pair, name: str) -> None:
    one, two = pair
    assert await said(CALLS[name](two)) == await said(CALLS[name](one))


async def test_what_is_no_text_is_named_as_on_one_database(pair: Pair) -> None:
    one, two = pair
    for _, call in TEXTS:
        odd: Any
        for odd in ("\ud800", b"x", ["a"], 5.5):
            assert await said(call(two, odd)) == await said(call(one, odd))
