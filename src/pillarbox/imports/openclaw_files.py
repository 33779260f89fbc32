"""
Reads OpenClaw's queue of files: ``<id>.json`` waits, ``<id>.delivered`` was sent, ``failed/<id>.json`` was given up.

The directory is only read. Everything in it is reported but our own ``imported`` directories.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pillarbox.imports import documents
from pillarbox.imports.documents import DOCUMENT_BYTES_MAX, Unreadable
from pillarbox.imports.entry import FailedFiles, SourceEntry, System, Terms, left, skipped
from pillarbox.imports.openclaw_entry import required_text, said_error, uncertain, understand
from pillarbox.imports.rules import Facts, Standing, counter, judged, limit_of, moment

FAILED: Final = "failed"
IMPORTED: Final = "imported"
_WAITING: Final = ".json"
_DELIVERED: Final = ".delivered"
_UNFINISHED: Final = ".tmp"


def read(path: Path, terms: Terms) -> Iterator[SourceEntry]:
    """
    Read a ``delivery-queue`` directory, the oldest message first; what is no message comes after them.

    Every file is read before the first entry is given, so that they can be put in order.

    Raises:
        NotFound: There is no such directory.
        InvalidMessage: ``path`` cannot be trusted: a link, no directory, another user's.
    """
    with documents.directory(path) as root:
        found = list(_read_directory(root, "", terms))
        found += _read_failed(root, terms)
    yield from sorted(found, key=_age)


def _age(entry: SourceEntry) -> tuple[bool, int, str]:
    return not entry.outcome.stored, entry.enqueued_ms or 0, entry.source_id


def _read_failed(root: int, terms: Terms) -> Iterator[SourceEntry]:
    try:
        with documents.subdirectory(root, FAILED) as directory:
            if terms.failed is FailedFiles.LEAVE:
                names = [name for name in _names(directory) if name != IMPORTED]
                yield from (left(f"{FAILED}/{shown(name)}", "failed_dir") for name in names)
            else:
                yield from _read_directory(directory, FAILED + "/", terms)
    except FileNotFoundError:
        return
    except Unreadable as exc:
        yield skipped(FAILED, "symlink" if exc.reason == "not_a_directory" else exc.reason)


def _read_directory(directory: int, prefix: str, terms: Terms) -> Iterator[SourceEntry]:
    names = _names(directory)
    delivered = {name.removesuffix(_DELIVERED) for name in names if name.endswith(_DELIVERED)}
    for name in names:
        source_id = prefix + shown(name)
        try:
            entry = _not_a_message(directory, name, source_id, delivered)
            if entry is not None:
                yield entry
            elif not (name == IMPORTED or (name == FAILED and not prefix)):
                yield _read_file(directory, name, source_id, terms)
        except FileNotFoundError:
            # Delivered by its owner between the listing and now.
            continue
        except Unreadable as exc:
            yield left(source_id, exc.reason)


def _names(directory: int) -> list[str]:
    return sorted(os.listdir(directory))


def shown(name: str) -> str:
    """Return a file's name as text: a name that is no UTF-8 must not break the report."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _not_a_message(directory: int, name: str, source_id: str, delivered: set[str]) -> SourceEntry | None:
    """Return the entry of a file that holds no message; ``None`` for one to read, and for directories of ours."""
    info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        return skipped(source_id, "symlink")
    if stat.S_ISDIR(info.st_mode) and name in (FAILED, IMPORTED):
        return None
    if name.endswith(_DELIVERED):
        return skipped(source_id, "delivered_marker")
    if not name.endswith(_WAITING):
        return left(source_id, "temp_file" if name.endswith(_UNFINISHED) else "not_a_queue_file")
    if not stat.S_ISREG(info.st_mode):
        return skipped(source_id, "not_regular_file")
    if name.removesuffix(_WAITING) in delivered:
        return skipped(source_id, "delivered_marker_beside")
    if shown(name) != name:
        return left(source_id, "name_not_utf8")
    return None


def _read_file(directory: int, name: str, source_id: str, terms: Terms) -> SourceEntry:
    entry = documents.read_document(directory, name, bytes_max=DOCUMENT_BYTES_MAX)
    identity = required_text(entry, "id")
    said = understand(entry, system=System.OPENCLAW_FILES, source_id=source_id, delivery_id=identity)
    given_up = source_id.startswith(FAILED + "/")
    facts = Facts(
        standing=Standing.FAILED if given_up else Standing.PENDING,
        why="failed_dir" if given_up else "",
        attempts=counter(entry.get("retryCount")),
        limit=limit_of(entry.get("maxRetries")),
        final=entry.get("dispatchKind") in (None, "final"),
        uncertain=uncertain(entry.get("recoveryState")),
        enqueued=entry.get("enqueuedAt"),
    )
    tried = moment(entry.get("lastAttemptAt"))
    return judged(msgspec.structs.replace(said, last_attempt_ms=tried, last_error=said_error(entry)), facts, terms)
