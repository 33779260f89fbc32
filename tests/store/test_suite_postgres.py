"""Plugs PostgreSQL into the suite that every store must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.store.registry import open_store
from pillarbox.testing.store_suite import Backstage, MakeStore, StoreSuite
from tests.store.postgres_server import connected, fresh_database, kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.domain.ids import MessageId
    from pillarbox.domain.limits import Limits
    from pillarbox.store.base import Store
    from pillarbox.testing.fakes import FakeClock

HOURS_MS = 7 * 3_600_000
"""How far the server's clock is from the machines'."""


class PostgresBackstage:
    def __init__(self, url: str) -> None:
        self._url = url

    def _run(self, sql: str, bindings: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        with connected(self._url) as connection:
            cursor = connection.execute(sql, bindings)
            return cursor.fetchall() if cursor.description else []

    async def lose_content(self, message: MessageId) -> None:
        self._run("UPDATE message SET content = NULL, payload = NULL WHERE id = %s", (message,))

    async def spoil_policy(self, message: MessageId) -> None:
        self._run(
            "INSERT INTO policy (id, spec) OVERRIDING SYSTEM VALUE VALUES (999, '{\"max_attempts\": ')"
            " ON CONFLICT DO NOTHING"
        )
        self._run("UPDATE message SET policy = 999 WHERE id = %s", (message,))

    async def stored_contents(self) -> int:
        ((count,),) = self._run("SELECT count(*) FROM payload")
        assert isinstance(count, int)
        return count


class TestPostgres(StoreSuite):
    exact_limits = False
    lease_clock = "own"

    @pytest.fixture
    def url(self) -> Iterator[str]:
        with fresh_database() as url:
            yield url

    @pytest.fixture
    def make_store(self, url: str, clock: FakeClock) -> MakeStore:
        first = clock

        def make(*, limits: Limits | None = None, clock: FakeClock | None = None) -> Store:
            options: dict[str, Any] = {"lease_clock": lambda: first.boot_ms() + HOURS_MS, "connect": kept}
            return open_store(url, limits=limits, clock=clock, **options)

        return make

    @pytest.fixture
    def backstage(self, url: str) -> Backstage:
        return PostgresBackstage(url)
