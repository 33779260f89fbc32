from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from pillarbox.store.registry import open_store
from tests.engine.stand import MakeStore, Stand, make_sqlite
from tests.store.postgres_server import fresh_database, kept
from tests.store.second_driver import SecondStore, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from pillarbox.store.sqlite.store import SQLiteStore


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_sqlite(why): a test that looks behind SQLite's driver")
    config.addinivalue_line("markers", "on_files(why): a test that no server's database can pass as it stands")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make_store" in metafunc.fixturenames:
        marked = {mark.name for mark in metafunc.definition.iter_markers()}
        databases = ["sqlite", "second", "postgres"]
        if "only_sqlite" in marked:
            databases = ["sqlite"]
        elif "on_files" in marked:
            databases = ["sqlite", "second"]
        metafunc.parametrize("make_store", databases, indirect=True)


@pytest.fixture
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """Make handles on SQLite, on a database that differs where a server's will, and on a server's."""
    if request.param == "sqlite":
        yield make_sqlite
    elif request.param == "second":
        # No notice is lost here: what is found without them is found by the clock, which stands still.
        server = Server(misses=0)
        yield lambda path, clock: SecondStore(path, server=server, clock=clock)
    else:
        with fresh_database() as url:
            # Typed as what tests that look behind the seam run on.
            yield lambda _, clock: cast(
                "SQLiteStore", open_store(url, clock=clock, lease_clock=clock.boot_ms, connect=kept)
            )


@pytest.fixture
async def stand(tmp_path: Path, make_store: MakeStore) -> AsyncIterator[Stand]:
    async with Stand(tmp_path, make_store) as stand:
        yield stand


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Where two shards are to be."""
    return [str(tmp_path / "a.db"), str(tmp_path / "b.db")]
