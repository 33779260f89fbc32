"""Commits so that a lost answer is found out where it can be: the batch is given again, and knows its own work."""

from __future__ import annotations

import msgspec

from pillarbox.errors import StoreError, StoreOutcomeUnknown
from pillarbox.store.base import Batch, BatchResult, Store


async def commit(store: Store, batch: Batch) -> BatchResult:
    """
    Commit *batch*; where it is unknown whether that was done, commit it once more (contract EN4).

    Raises:
        StoreOutcomeUnknown: That failed too. Whatever of the batch is given again, in whatever batch, is given so with
            ``again``.
        StoreError, ValueRefused, Refused: As `Store.commit`; nothing was written.
    """
    try:
        return await store.commit(batch)
    except StoreOutcomeUnknown as lost:
        return await once_more(store, batch, lost)


async def once_more(store: Store, batch: Batch, lost: StoreOutcomeUnknown) -> BatchResult:
    """
    Commit a batch whose answer was *lost*: it recognises its own work.

    Raises:
        StoreOutcomeUnknown: See `commit`.
    """
    try:
        return await store.commit(msgspec.structs.replace(batch, again=True))
    except StoreError as exc:
        raise StoreOutcomeUnknown(f"{lost.reason}, and its outcome could not be read back") from exc
