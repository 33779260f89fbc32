"""Plugs SQLite into the suite that every store must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest

from pillarbox.store.registry import open_store
from pillarbox.testing.store_suite import Backstage, MakeStore, StoreSuite

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.domain.ids import MessageId
    from pillarbox.domain.limits import Limits
    from pillarbox.store.base import Store
    from pillarbox.testing.fakes import FakeClock


class SQLiteBackstage:
    def __init__(self, path: Path) -> None:
        self._path = path

    def _run(self, sql: str, bindings: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        connection = apsw.Connection(str(self._path))
        try:
            return connection.execute(sql, bindings).fetchall()
        finally:
            connection.close()

    async def lose_content(self, message: MessageId) -> None:
        self._run("UPDATE message SET content = NULL, payload = NULL WHERE id = ?", (message,))

    async def spoil_policy(self, message: MessageId) -> None:
        self._run("INSERT OR IGNORE INTO policy (id, spec) VALUES (999, '{\"max_attempts\": ')")
        self._run("UPDATE message SET policy = 999 WHERE id = ?", (message,))

    async def stored_contents(self) -> int:
        ((count,),) = self._run("SELECT count(*) FROM payload")
        assert isinstance(count, int)
        return count


class TestSQLite(StoreSuite):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "outbox.db"

    @pytest.fixture
    def make_store(self, path: Path) -> MakeStore:
        def make(*, limits: Limits | None = None, clock: FakeClock | None = None) -> Store:
            return open_store(path, limits=limits, clock=clock)

        return make

    @pytest.fixture
    def backstage(self, path: Path) -> Backstage:
        return SQLiteBackstage(path)
