"""The suite on a server that behaves as one that is spread over machines: `distributed`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.domain.message import State
from pillarbox.errors import StoreBusy
from pillarbox.store.postgres.statements import SCHEMA, STATEMENTS
from pillarbox.store.registry import open_store
from pillarbox.testing.store_suite import Backstage, MakeStore, StoreSuite
from pillarbox.testing.store_suite.keys import KeySuite
from pillarbox.testing.store_suite.late import LateSuite
from pillarbox.testing.store_suite.repeating import RepeatingSuite
from tests.store.distributed import MISSING, URL, Spread
from tests.store.postgres_server import connected, fresh_database
from tests.store.test_suite_postgres import HOURS_MS, PostgresBackstage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.domain.ids import MessageId
    from pillarbox.domain.limits import Limits
    from pillarbox.store.base import Store
    from pillarbox.testing.fakes import FakeClock
    from pillarbox.testing.store_suite import OpenDriver, StoreDriver

WHOLE = "PILLARBOX_TEST_DISTRIBUTED"
CHANGES = re.compile(r"\bINSERT INTO\b|\bDELETE FROM\b|\bUPDATE \w+ SET\b")
LANES = 4


class Short(KeySuite, LateSuite, RepeatingSuite):
    """Keys, late answers and lost ones: where a try that was undone could be taken for one that was not."""


Suite: Any = StoreSuite if os.environ.get(WHOLE) else Short


class TestDistributed(Suite):  # type: ignore[misc]
    exact_limits = False
    lease_clock = "own"

    @pytest.fixture
    def url(self) -> Iterator[str]:
        with fresh_database() as url:
            yield url

    @pytest.fixture
    def spread(self) -> Iterator[Spread]:
        spread = Spread(1)
        yield spread
        assert spread.missing == []

    @pytest.fixture
    def make_store(self, url: str, clock: FakeClock, spread: Spread) -> MakeStore:
        first = clock

        def make(*, limits: Limits | None = None, clock: FakeClock | None = None) -> Store:
            options: dict[str, Any] = {"lease_clock": lambda: first.boot_ms() + HOURS_MS, "connect": spread}
            return open_store(url + URL, limits=limits, clock=clock, **options)

        return make

    @pytest.fixture
    def backstage(self, url: str) -> Backstage:
        return PostgresBackstage(url)

    @pytest.mark.contract("EN4", "LA1", "ST1")
    async def test_what_is_undone_again_and_again_is_done_once_and_in_order(
        self, driver: StoreDriver, open_driver: OpenDriver, spread: Spread
    ) -> None:
        other = await open_driver()
        ids = [await driver.send(lane=f"l{number % LANES}") for number in range(3 * LANES)]
        sent: list[MessageId] = []
        while len(sent) < len(ids):
            for worker in (driver, other):
                leased = await worker.claim(LANES)
                sent += [message.id for message in leased]
                await worker.deliver(*leased)
        # In each lane in the order of acceptance.
        assert [[one for one in sent if ids.index(one) % LANES == lane] for lane in range(LANES)] == [
            ids[lane::LANES] for lane in range(LANES)
        ]
        views = await other.everything()
        assert {(view.state, view.claims) for view in views} == {(State.DELIVERED, 1)}
        assert spread.failures > len(ids) // 2
        await driver.healthy()

    @pytest.mark.contract("EN9")
    async def test_a_callers_transaction_that_was_undone_is_begun_anew_by_the_caller(
        self, driver: StoreDriver, url: str
    ) -> None:
        store = driver.store
        draft = driver.draft()
        joined = await store.ready([draft], now_ms=driver.clock.wall_ms())
        with connected(url) as connection:
            connection.execute(
                "CREATE OR REPLACE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN RAISE serialization_failure; END';"
                " CREATE TRIGGER lost BEFORE INSERT ON message FOR EACH ROW EXECUTE FUNCTION lost()"
            )
            try:
                with pytest.raises(StoreBusy, match="roll back, and begin anew"), connection.transaction():
                    joined.write(connection)
            finally:
                connection.execute("DROP FUNCTION lost CASCADE")
            assert await driver.everything() == []
            with connection.transaction():
                joined.write(connection)
        assert [view.id for view in await driver.everything()] == [draft.id]


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_changes_rows_twice(name: str) -> None:
    assert len(CHANGES.findall(STATEMENTS[name])) <= 1


@pytest.mark.parametrize("name", sorted(SCHEMA))
def test_no_function_is_altered_in_a_way_that_citus_refuses(name: str) -> None:
    # It takes the two words of a function that is made, and not of one that its other servers have already.
    assert re.search(r"ALTER FUNCTION[^;]*FROM CURRENT", SCHEMA[name]) is None


@pytest.mark.parametrize("name", sorted(set(SCHEMA) - {"tables"}))  # what a function there would do is not done yet
def test_a_schema_is_changed_without_what_such_a_database_lacks(name: str) -> None:
    assert MISSING.search(SCHEMA[name]) is None
