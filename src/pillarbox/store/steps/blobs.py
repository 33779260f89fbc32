"""Keeps the files of messages: the same bytes once, until the last message that has them is gone (contract CO4)."""

from __future__ import annotations

from collections.abc import Sequence

from pillarbox.domain.message import File
from pillarbox.store.steps.tx import Reader
from pillarbox.store.steps.writing import Writing


def store(tx: Writing, files: Sequence[tuple[int, Sequence[File]]]) -> None:
    """Store the files of messages that were just written, given by the messages' numbers."""
    if not files:
        return
    known = {_key(file.digest): file for _, own in files for file in own}
    # Always in this order: who stores and who deletes the same files in two transactions must not wait for each other.
    for digest in sorted(known):
        if not tx.many("blob_use", (digest,)):
            tx.many("blob", (digest, known[digest].size, known[digest].data))
    tx.each("message_blob", [(seq, digest) for seq, own in files for digest in {_key(file.digest) for file in own}])


def release(tx: Writing, messages: Sequence[int]) -> None:
    """Let go of the files of messages, given by their numbers, and delete what no other message has."""
    released = tx.each("prune_blobs", [(seq,) for seq in messages])
    digests = [(digest,) for digest in sorted({bytes(digest) for rows in released for _, digest in rows})]
    # First: the deletion then sees who has used one, or has let go of it too. What somebody is about to use is left to
    # its last user.
    tx.each("blob_turn", digests)
    held = [row for rows in tx.each("blob_hold", digests) for row in rows]
    tx.each("blob_drop", held)


def read(tx: Reader, digests: Sequence[str]) -> dict[str, bytes]:
    """Read files by their digests; what is not stored is missing."""
    found = ((digest, tx.one("blob_content", (_key(digest),))) for digest in digests)
    return {digest: bytes(row[0]) for digest, row in found if row is not None}


def _key(digest: str | None) -> bytes:
    return bytes.fromhex(digest or "")
