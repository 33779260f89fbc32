"""The real command and a real receiver, for every test of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.receiver import Receiver
from tests.cli.commands import Pillarbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def pillarbox(tmp_path: Path, bytecode: Path) -> Pillarbox:
    return Pillarbox(tmp_path, bytecode=bytecode)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as found:
        yield found
