"""
Plugs shared files into the suite that every store must pass: through Python's own SQLite, and through apsw.

A commit waits for the disk several times there, so this is a part of it: what is accepted. The
whole: ``PILLARBOX_TEST_SHARED=1``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Final

import pytest

from pillarbox.store.registry import open_store, share
from pillarbox.testing.store_suite import Backstage, MakeStore, StoreSuite
from pillarbox.testing.store_suite.accepting import AcceptingSuite
from tests.store.test_suite_sqlite import SQLiteBackstage

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.domain.limits import Limits
    from pillarbox.store.base import Store
    from pillarbox.testing.fakes import FakeClock


WHOLE: Final = "PILLARBOX_TEST_SHARED" in os.environ


class PythonBackstage(SQLiteBackstage):
    def _run(self, sql: str, bindings: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(self._path)) as connection, connection:
            return connection.execute(sql, bindings).fetchall()


class ThroughPython:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "shop.db"
        share(path)
        return path

    @pytest.fixture
    def make_store(self, path: Path) -> MakeStore:
        def make(*, limits: Limits | None = None, clock: FakeClock | None = None) -> Store:
            return open_store(self.url(path), limits=limits, clock=clock)

        return make

    @pytest.fixture
    def backstage(self, path: Path) -> Backstage:
        return PythonBackstage(path)

    def url(self, path: Path) -> str:
        return f"sqlite3:///{path}"


class TestAcceptingThroughPython(ThroughPython, AcceptingSuite):
    pass


if WHOLE:

    class TestThroughPython(ThroughPython, StoreSuite):
        pass

    class TestThroughApsw(ThroughPython, StoreSuite):
        @pytest.fixture
        def backstage(self, path: Path) -> Backstage:
            return SQLiteBackstage(path)

        def url(self, path: Path) -> str:
            return str(path)
