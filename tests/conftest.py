"""What every test shares: the marker that names promises, and hypothesis' profiles."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.contract_numbers import MARKER
from tests.store.postgres_server import fresh_database
from tests.warm import WarmPython

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ("pytester",)  # pytest within pytest, for the plugin

# The suites live in the package, where pytest does not look by itself for assertions to explain. Here, because some
# other test may import one before those that it is for.
pytest.register_assert_rewrite("pillarbox.testing.store_suite", "pillarbox.testing.channel_suite")

# Two busy cores are no reason to call an example slow; pytest-timeout catches what hangs. Each run has the same
# examples: a change is judged by what it does, not by what is drawn just then. HYPOTHESIS_PROFILE=new draws new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None)
settings.load_profile("new" if os.environ.get("HYPOTHESIS_PROFILE") else "same")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and with them the commands that they run.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}(*numbers): the promises that this test keeps, such as 'EN7'")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Fail a test that leaves another handler of a signal behind: later ones start processes, which inherit it."""
    before = [signal.getsignal(number) for number in STOPS]
    yield
    after = [signal.getsignal(number) for number in STOPS]
    for number, handler in zip(STOPS, before, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    python = WarmPython()
    yield python
    python.close()


@pytest.fixture
def url() -> Iterator[str]:
    """A schema of PostgreSQL with nothing in it."""
    with fresh_database() as url:
        yield url
