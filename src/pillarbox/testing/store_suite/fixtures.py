"""The fixtures that every part of the suite uses; a database brings ``make_store`` and ``backstage``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Literal, Protocol

import pytest

from pillarbox.domain.limits import Limits
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite.driver import Backstage, MakeStore, StoreDriver


class OpenDriver(Protocol):
    """Opens another handle on the same database, driven by the same clock unless told otherwise."""

    async def __call__(self, *, limits: Limits | None = None, clock: FakeClock | None = None) -> StoreDriver:
        """It is closed when the test ends."""


class StoreFixtures:
    """
    What a part of the suite asks for by name, and in what databases may differ.

    Attributes:
        exact_limits: Whether limits are judged by what is stored now, and not by counters that are up to a second old.
        owner_liveness: How many seconds after its end a worker is known to be gone: 0 where its process is asked.
        lease_clock: Whose clock judges leases: that of each handle's ``machine``, or the database's ``own``.
    """

    exact_limits: bool = True
    owner_liveness: float = 0
    lease_clock: Literal["machine", "own"] = "machine"

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Make handles on one fresh database. Each database's test class overrides this."""
        raise NotImplementedError

    @pytest.fixture
    def backstage(self) -> Backstage:
        """Reach behind the seam. Each database's test class overrides this."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Return the clock that every handle of a test shares."""
        return FakeClock()

    @pytest.fixture
    def entropy(self) -> SeededEntropy:
        """Return the randomness that every handle of a test shares: no id comes twice."""
        return SeededEntropy(1)

    @pytest.fixture
    async def open_driver(
        self, make_store: MakeStore, clock: FakeClock, entropy: SeededEntropy
    ) -> AsyncIterator[OpenDriver]:
        """Open any number of handles."""
        async with contextlib.AsyncExitStack() as handles:

            async def opened(*, limits: Limits | None = None, clock: FakeClock | None = clock) -> StoreDriver:
                used = clock or FakeClock()
                store = make_store(limits=limits, clock=used)
                await store.open()
                handles.push_async_callback(store.close)
                return StoreDriver(store, used, entropy)

            yield opened

    @pytest.fixture
    async def open_limited(self, open_driver: OpenDriver) -> OpenDriver:
        """Open handles for tests of limits: time enough passes before each commit for its counters to be right."""

        async def opened(*, limits: Limits | None = None, clock: FakeClock | None = None) -> StoreDriver:
            driver = (
                await open_driver(limits=limits) if clock is None else await open_driver(limits=limits, clock=clock)
            )
            driver.before_commit_seconds = 0.0 if self.exact_limits else 1.0
            return driver

        return opened

    @pytest.fixture
    async def driver(self, open_driver: OpenDriver) -> StoreDriver:
        """Open the first handle."""
        return await open_driver()

    @pytest.fixture
    async def other(self, open_driver: OpenDriver) -> StoreDriver:
        """Open a second handle on the same database, another worker."""
        return await open_driver()
