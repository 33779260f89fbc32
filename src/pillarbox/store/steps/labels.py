"""What a database is labelled with: a text that others have chosen, and that nothing here knows the meaning of."""

from __future__ import annotations

from pillarbox.store.steps.tx import Reader, Tx

_LABEL = "label"


def label(tx: Reader) -> str | None:
    """Return the label; ``None`` where there is none."""
    meta: dict[str, str] = {row[0]: row[1] for row in tx.many("meta")}
    return meta.get(_LABEL)


def set_label(tx: Tx, text: str) -> str | None:
    """Set the label where there is none and no queue yet; return the one that is there."""
    found = label(tx)
    if found is None and not tx.many("queues"):
        tx.many("meta_set", (_LABEL, text))
        return text
    return found


def hand_on(tx: Tx, text: str | None) -> None:
    """Take over the label of the database that was copied into this one."""
    if text is not None:
        tx.many("meta_set", (_LABEL, text))
