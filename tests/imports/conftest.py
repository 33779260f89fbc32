"""Staged cases and a store to import into."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.imports.cases import Case, Importing, stage

# As for the store's own tests: whoever imports the suite first decides whether its assertions say what they compared.
pytest.register_assert_rewrite("pillarbox.testing.store_suite")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Stage(Protocol):
    """Copies a case by its name."""

    def __call__(self, name: str) -> Case:
        """Each call makes a copy of its own."""


class OpenStore(Protocol):
    """Opens the test's store, or another handle on it."""

    async def __call__(self, now_ms: int) -> Importing:
        """It is closed when the test ends."""


@pytest.fixture
def staged(tmp_path: Path) -> Stage:
    count = iter(range(1000))
    return lambda name: stage(name, tmp_path / f"case-{next(count)}")


@pytest.fixture
async def importing(tmp_path: Path) -> AsyncIterator[OpenStore]:
    async with contextlib.AsyncExitStack() as handles:

        async def opened(now_ms: int) -> Importing:
            made = Importing(tmp_path / "outbox.db", now_ms)
            await made.store.open()
            handles.push_async_callback(made.store.close)
            return made

        yield opened
