from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.stand import Stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with Stand(tmp_path) as stand:
        yield stand
