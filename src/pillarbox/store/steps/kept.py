"""Keeps a text for each channel that wants one: tokens that it was given. No listing, event or export shows it."""

from __future__ import annotations

from pillarbox.store.steps.tx import Reader, Tx

_PREFIX = "kept:"


def kept(tx: Reader, channel: str) -> str | None:
    """Return what is kept for *channel*; ``None`` where nothing is."""
    row = tx.one("meta_value", (_PREFIX + channel,))
    return None if row is None else row[0]


def keep(tx: Tx, channel: str, old: str | None, new: str) -> bool:
    """Keep *new* in the place of *old*, and return whether it is there now: not where somebody else was first."""
    name = _PREFIX + channel
    written = tx.many("meta_put", (name, new)) if old is None else tx.many("meta_replace", (name, old, new))
    # This may be the second run of a transaction whose first one was committed, and its answer lost.
    return bool(written) or kept(tx, channel) == new


def all_kept(tx: Reader) -> list[tuple[str, str]]:
    """Return everything that is kept, for the database that takes this one's place."""
    return [(key, value) for key, value in tx.many("meta") if key.startswith(_PREFIX)]


def hand_on(tx: Tx, rows: list[tuple[str, str]]) -> None:
    """Take over what the database kept that was copied into this one."""
    for name, text in rows:
        tx.many("meta_set", (name, text))
