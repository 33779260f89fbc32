"""What every test shares: the marker that names promises, and a patient hypothesis profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings

from tests.contract_numbers import MARKER

if TYPE_CHECKING:
    import pytest

# Two busy cores are no reason to call an example slow; pytest-timeout catches what hangs.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}(*numbers): the promises that this test keeps, such as 'EN7'")
