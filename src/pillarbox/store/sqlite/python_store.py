"""`PythonStore`: a shared file, worked on through Python's own SQLite, which the application has it open with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pillarbox.domain.message import Draft
from pillarbox.errors import NotStarted, Refused
from pillarbox.store.base import Ready
from pillarbox.store.sqlite import joined_python, python_library, shared_files
from pillarbox.store.sqlite.handles import THROUGH_PYTHON
from pillarbox.store.sqlite.store import SQLiteStore


class PythonStore(SQLiteStore):
    """
    One shared file (`shared_files`). See `SQLiteStore`.

    It may be open in the same process with ``sqlite3`` as often as the application wants; with apsw not at all.
    """

    def __init__(self, path: str | Path, **options: Any) -> None:  # noqa: ANN401 — passed on as they are
        super().__init__(path, connect=python_library.connect, library=THROUGH_PYTHON, **options)

    def _open(self) -> None:
        shared_files.check_exists(self._path)
        super()._open()

    async def ready(self, drafts: Sequence[Draft], *, now_ms: int) -> Ready:
        """See `Store`. Nothing is judged before: a transaction of ours would wait for the caller's."""
        if self._writer is None:
            raise NotStarted("the store is not open")
        return joined_python.Joined(self._joined_file(drafts, now_ms))

    async def backup(self, path: Path) -> int:  # noqa: ARG002 — of every store
        """Refuse: the copy is checked with apsw, which may not open the file in this process."""
        raise Refused("a shared file is backed up by a process of its own: pillarbox db backup FILE --db PATH")
