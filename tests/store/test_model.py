"""SQLite against the model: a few programs here, 1 000 of 50 steps with ``HYPOTHESIS_PROFILE=thorough`` (proof.md)."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

from pillarbox.store.base import Durability
from pillarbox.store.registry import open_store
from pillarbox.store.thread import Inline
from tests.store.machine import StoreMachine

if TYPE_CHECKING:
    from pillarbox.store.base import Store
    from pillarbox.testing.fakes import FakeClock

PROGRAMS = {"thorough": (1000, 50)}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), (60, 30))


class SQLiteMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())

    def make_store(self, clock: FakeClock) -> Store:
        # In the caller's thread, and without waiting for the disk: what is tested here is what the statements mean.
        return open_store(
            self.folder / "outbox.db", clock=clock, durability=Durability.PROCESS, caller=lambda _: Inline()
        )

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


TestSQLiteModel = pytest.mark.timeout(3600)(
    pytest.mark.contract(
        "ST1", "ST2", "ST6", "ST7", "UN2", "UN3", "LA1", "LE1", "LE2", "LE3", "EN5", "EN7", "EN8", "PR2"
    )(SQLiteMachine.TestCase)
)
TestSQLiteModel.settings = settings(
    max_examples=PROGRAMS[0],
    stateful_step_count=PROGRAMS[1],
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
