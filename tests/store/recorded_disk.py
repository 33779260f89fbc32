"""
A disk that remembers every operation, and what is left of it after a power cut: an apsw VFS over the real one.

What was synced is kept. Of what was not, any part may be: writes of a file in any order, and names made or deleted in
its directory. With a journal's first sync SQLite syncs the directory too, of which the library tells nobody; here, a
sync makes a file's name durable.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import apsw

if TYPE_CHECKING:
    import random
    from types import TracebackType

_names = itertools.count(1)
_SECTOR: Final = 512


class Operation(NamedTuple):
    kind: str
    file: str
    at: int = 0
    content: bytes = b""


class RecordedDisk(apsw.VFS):
    def __init__(self) -> None:
        self.name = f"recorded-{next(_names)}"
        super().__init__(self.name, base="")
        self.log: list[Operation] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 — SQLite's name
        file = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "").name
        self.log.append(Operation("open", file))
        return RecordedFile(self, name, file, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 — SQLite's name
        super().xDelete(filename, syncdir)
        self.log.append(Operation("delete for good" if syncdir else "delete", Path(filename).name))


class RecordedFile(apsw.VFSFile):
    def __init__(self, disk: RecordedDisk, name: str | apsw.URIFilename | None, file: str, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk, self._file = disk, file

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 — SQLite's name
        super().xWrite(data, offset)
        self._disk.log.append(Operation("write", self._file, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802 — SQLite's name
        super().xTruncate(size)
        self._disk.log.append(Operation("truncate", self._file, size))

    def xSync(self, flags: int) -> None:  # noqa: N802 — SQLite's name
        super().xSync(flags)
        self._disk.log.append(Operation("sync", self._file))


@dataclass
class _File:
    kept: bytes = b""
    named: bool = False
    exists: bool = True
    before: bytes | None = None  # under that name, until the name of this one is durable
    pending: list[Operation] = field(default_factory=list)


def after_power_cut(start: dict[str, bytes], done: list[Operation], chance: random.Random | None) -> dict[str, bytes]:
    """
    Return the files that a power cut leaves after *done*.

    Args:
        start: The files that were there before.
        chance: Picks what is kept of what was not synced; ``None`` keeps nothing of it.
    """
    files = {name: _File(kept=content, named=True) for name, content in start.items()}
    for one in done:
        if one.kind == "open":
            known = files.get(one.file)
            if known is None or (not known.exists and not known.named):
                files[one.file] = _File()
            elif not known.exists:
                # Its deletion was not synced: the old one may come back as long as the new one has no name of its own.
                files[one.file] = _File(before=known.kept)
        elif one.kind in {"write", "truncate"}:
            files[one.file].pending.append(one)
        elif one.kind == "sync":
            file = files[one.file]
            file.kept, file.named, file.pending, file.before = _applied(file.kept, file.pending), True, [], None
        elif one.kind == "delete":
            files[one.file].exists = False
        else:
            del files[one.file]
    left = {}
    for name, file in files.items():
        kept = [part for one in file.pending for part in _parts(one) if chance is not None and chance.random() < 0.5]
        there = file.named or (file.exists and chance is not None and chance.random() < 0.5)
        if not file.exists and chance is not None and chance.random() < 0.5:
            there = False
        if not there and file.before is not None:
            left[name] = file.before
        elif there:
            left[name] = _applied(file.kept, kept)
    return left


def _parts(one: Operation) -> list[Operation]:
    """A write may arrive in part: sector by sector."""
    if one.kind != "write":
        return [one]
    starts = range(0, len(one.content), _SECTOR)
    return [one._replace(at=one.at + start, content=one.content[start : start + _SECTOR]) for start in starts]


def _applied(content: bytes, done: list[Operation]) -> bytes:
    changed = bytearray(content)
    for one in done:
        if one.kind == "truncate":
            del changed[one.at :]
            continue
        changed.extend(bytes(max(0, one.at - len(changed))))
        changed[one.at : one.at + len(one.content)] = one.content
    return bytes(changed)
