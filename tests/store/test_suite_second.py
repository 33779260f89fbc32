"""Plugs a second database into the suite: SQLite, made to differ where a server's will (`second_driver`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.store_suite import Backstage, MakeStore, StoreSuite
from tests.store.second_driver import OWNER_SECONDS, SecondStore, Server
from tests.store.test_suite_sqlite import SQLiteBackstage

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.domain.limits import Limits
    from pillarbox.store.base import Store
    from pillarbox.testing.fakes import FakeClock


class TestSecond(StoreSuite):
    exact_limits = False
    owner_liveness = OWNER_SECONDS
    lease_clock = "own"

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "outbox.db"

    @pytest.fixture
    def make_store(self, path: Path, clock: FakeClock) -> MakeStore:
        server = Server(clock=clock)

        def make(*, limits: Limits | None = None, clock: FakeClock | None = clock) -> Store:
            assert clock is not None
            return SecondStore(path, server=server, limits=limits, clock=clock)

        return make

    @pytest.fixture
    def backstage(self, path: Path) -> Backstage:
        return SQLiteBackstage(path)
