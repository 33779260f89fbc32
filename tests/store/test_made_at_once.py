"""Two processes that make one database: whoever finds that the other was quicker goes on with what that one made."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from pillarbox.store.base import Durability
from pillarbox.store.sqlite import opening
from tests.store.opened import driver_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def made_by_another(path: Path) -> Iterator[None]:
    """Make the database and keep it open, so that its log is there and is not empty."""
    opening.prepare_file(path, create=True)
    with contextlib.closing(opening.connect(str(path), Durability.POWER)) as connection:
        opening.prepare_schema(connection)
        assert path.with_name(path.name + "-wal").stat().st_size
        yield


@pytest.mark.contract("SG4", "SG10")
@pytest.mark.parametrize("before", ["_check_beside", "_check_no_remains", "_make"])
async def test_a_database_that_another_process_makes_this_instant_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    path = tmp_path / "outbox.db"
    step = getattr(opening, before)
    with contextlib.ExitStack() as another:

        def late(place: Path, **options: bool) -> object:
            monkeypatch.setattr(opening, before, step)
            another.enter_context(made_by_another(path))
            return step(place, **options)

        monkeypatch.setattr(opening, before, late)
        async with driver_on(path) as driver:
            sent = await driver.send()
            assert await driver.claimed_ids() == [sent]
