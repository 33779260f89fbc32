"""Databases against the model: a few programs, 1 000 of 50 steps with ``HYPOTHESIS_PROFILE=thorough`` (proof.md)."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from pillarbox.store.base import Durability
from pillarbox.store.registry import open_store
from pillarbox.store.thread import Inline
from tests.store.machine import StoreMachine
from tests.store.postgres_server import fresh_database, kept

if TYPE_CHECKING:
    from pillarbox.store.base import Store
    from pillarbox.testing.fakes import FakeClock

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE", "") == "thorough"


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


class PostgresMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.database = contextlib.ExitStack()
        self.url = self.database.enter_context(fresh_database())

    def make_store(self, clock: FakeClock) -> Store:
        return open_store(self.url, clock=clock, lease_clock=clock.boot_ms, caller=lambda _: Inline(), connect=kept)

    def teardown(self) -> None:
        super().teardown()
        self.database.close()


def case_of(machine: type[StoreMachine], programs: int) -> Any:
    """Return the test case of a machine, with so many programs a run."""
    case = pytest.mark.timeout(3600)(
        pytest.mark.contract(
            "ST1", "ST2", "ST6", "ST7", "UN2", "UN3", "LA1", "LE1", "LE2", "LE3", "EN5", "EN7", "EN8", "PR2"
        )(machine.TestCase)
    )
    case.settings = settings(
        max_examples=1000 if THOROUGH else programs,
        stateful_step_count=50 if THOROUGH else 30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase is not Phase.explain],
    )
    return case


TestSQLiteModel = case_of(SQLiteMachine, 60)
TestPostgresModel = case_of(PostgresMachine, 10)
