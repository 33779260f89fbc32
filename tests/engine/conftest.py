from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.stand import MakeStore, Stand, make_sqlite
from tests.store.second_driver import SecondStore, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.testing.fakes import FakeClock


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_sqlite(why): a test that looks behind SQLite's driver")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make_store" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only_sqlite")
        metafunc.parametrize("make_store", ["sqlite"] if only else ["sqlite", "second"], indirect=True)


@pytest.fixture
def make_store(request: pytest.FixtureRequest) -> MakeStore:
    """Make handles on SQLite, and on a database that differs where a server's will."""
    if request.param == "sqlite":
        return make_sqlite
    # No notice is lost here: what is found without them is found by the clock, which stands still.
    server = Server(misses=0)

    def make(path: Path, clock: FakeClock) -> SecondStore:
        return SecondStore(path, server=server, clock=clock)

    return make


@pytest.fixture
async def stand(tmp_path: Path, make_store: MakeStore) -> AsyncIterator[Stand]:
    async with Stand(tmp_path, make_store) as stand:
        yield stand
