"""
Copies a database into another one, of whatever kind: paused, resumable, compared at the end (contract SG7).

The database that is copied stays paused for good, and the other one goes on only when both were found to hold the same.
So nothing is sent by both, whenever the copy ends; nor by a second copy, because the first one is remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import msgspec

from pillarbox.domain.message import STATES
from pillarbox.errors import Refused, StoreError, ValueRefused
from pillarbox.store.base import Store
from pillarbox.store.steps import copy_progress as steps
from pillarbox.store.steps.kept import all_kept
from pillarbox.store.steps.tables import TABLES
from pillarbox.store.steps.tx import Row, Tx

T = TypeVar("T")

_LIMIT: Final = 1000
_STATE: Final = list(TABLES["message"].columns).index("state")


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy holds: messages by state. ``before``: it was whole already, and nothing was done."""

    messages: dict[str, int]
    before: bool = False


class _Target:
    """The database that is copied into. Its errors name it: whoever reads them thinks of the other one as theirs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.in_memory = store.in_memory

    async def moving(self, work: Callable[[Tx], T]) -> T:
        with self._named():
            return await self._store.moving(work)

    async def label(self) -> str | None:
        with self._named():
            return await self._store.label()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except StoreError as exc:
            exc.database = self._store.place
            raise


async def copy(source: Store, into: Store, *, now_ms: int, limit: int = _LIMIT) -> Copied:
    """
    Copy *source* into another one, which is empty, or holds the beginning of this very copy.

    Args:
        limit: Rows a transaction.

    Raises:
        Refused: A worker of *source* runs, or sends something; *into* holds something else, or is *source* itself;
            *source* was copied elsewhere, and not resumed since; or one of them was written to meanwhile, and they
            differ.
        StoreError: One of them failed; that of *into* names it. Call it again.
    """
    target = _Target(into)
    if source.in_memory or target.in_memory:
        raise Refused("a database in memory is not copied: it ends with its process")
    name, other = await source.moving(steps.key_of_database), await target.moving(steps.key_of_database)
    label, its = await source.label(), await target.label()
    if its is not None and its != label:
        raise Refused(f"the other database says of itself that it is {its}; name one that is empty")
    progress = await target.moving(lambda tx: steps.begin(tx, name))
    if progress.done:
        return Copied(messages=_messages(await _sums(target, limit)), before=True)
    if any(worker.alive is not False for worker in await source.workers()):
        raise Refused("a worker of the database that is to be copied runs; stop all of them first")
    pauses, sending = await source.moving(lambda tx: steps.pause(tx, now_ms, other))
    if sending:
        raise Refused("something is being sent, or its worker was killed: start a worker, stop it, and copy again")
    while (further := await _step(source, target, progress, limit)) != progress:
        progress = further
    was, now = await _sums(source, limit), await _sums(target, limit)
    differing = sorted({table for table, _ in was.keys() | now.keys() if _of(table, was) != _of(table, now)})
    if differing:
        raise _written(", ".join(differing))
    await source.moving(lambda tx: steps.hand_over(tx, other))
    kept = await source.moving(all_kept)
    await target.moving(lambda tx: steps.finish(tx, progress, pauses, label, kept))
    return Copied(messages=_messages(now))


async def _step(source: Store, target: _Target, progress: steps.Progress, limit: int) -> steps.Progress:
    behind = steps.after(progress)
    given = await source.moving(lambda tx: steps.rows(tx, progress.table, behind, limit=limit))
    try:
        return await target.moving(lambda tx: steps.put(tx, progress, given))
    except ValueRefused as exc:
        raise _written(progress.table) from exc


def _written(tables: str) -> Refused:
    return Refused(
        f"both differ ({tables}), so somebody has written to one of them: see that nobody does, make the copy's"
        " database anew, and copy again"
    )


Sums = dict[tuple[str, int], tuple[int, int]]
"""By table, and for messages by state: how many rows, and the sum of their digests, whatever their order."""


async def _sums(store: Store | _Target, limit: int) -> Sums:
    sums: defaultdict[tuple[str, int], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for table in TABLES:
        behind = steps.first(table)
        while found := await store.moving(_reading(table, behind, limit)):
            for row in found:
                group = table, row[_STATE] if table == "message" else -1
                count, total = sums[group]
                sums[group] = count + 1, total + _digest(row)
            behind = steps.key_of(table, found[-1])
    return dict(sums)


def _reading(table: str, behind: Row, limit: int) -> Callable[[Tx], list[Row]]:
    return lambda tx: steps.rows(tx, table, behind, limit=limit)


def _digest(row: Row) -> int:
    return int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=16).digest(), "big")


def _of(table: str, sums: Sums) -> dict[int, tuple[int, int]]:
    return {state: sums[name, state] for name, state in sums if name == table}


def _messages(sums: Sums) -> dict[str, int]:
    return {str(STATES[state]): count for state, (count, _) in sorted(_of("message", sums).items())}
