"""Many new messages are stored by COPY: as one by one, in their order, and each told of its own refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox.errors import InvalidMessage
from pillarbox.store.postgres.copier import COPIED_MIN
from pillarbox.store.registry import open_store
from pillarbox.store.thread import Inline
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.postgres_server import connected, fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import psycopg

    from pillarbox.domain.ids import MessageId
    from pillarbox.domain.message import Draft

ODD: Final = ("\\", "\\N", "\\.", "\t", "a\nb", "\r\n", '"', "'", "{}", ",", "", "\x1f", "ä\U0001f600", "plain")
_COLUMNS: Final = """
    SELECT string_agg(column_name, ', ' ORDER BY column_name) FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = 'message'
        AND column_name NOT IN ('seq', 'id', 'lane_pos', 'lease', 'recipient', 'lane')
"""


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as url:
        yield url


@pytest.fixture
async def driver(url: str) -> AsyncIterator[StoreDriver]:
    clock = FakeClock()
    store = open_store(url, clock=clock, lease_clock=clock.boot_ms, caller=lambda _: Inline())
    await store.open()
    yield StoreDriver(store, clock, SeededEntropy(1))
    await store.close()


def drafts(driver: StoreDriver, whose: str) -> list[Draft]:
    """More than one COPY needs, each with an odd text in another field."""
    made = []
    for number in range(COPIED_MIN + 10):
        odd = ODD[number % len(ODD)]
        seldom = {"metadata": b'{"a":"\\n"}', "accepted_by": b"\\x\0"}
        fields: dict[str, Any] = {"thread": odd} if number % 3 else seldom
        lane = f"{whose}{number}"
        made.append(driver.draft(recipient=lane, lane=lane, text=odd, origin=odd, account=odd, **fields))
    return made


@pytest.mark.contract("EN1", "CO1", "LE1")
@pytest.mark.parametrize("leased", [True, False])
async def test_rows_are_the_same_by_copy_and_one_by_one(url: str, driver: StoreDriver, *, leased: bool) -> None:
    claim = await driver.request(4 * COPIED_MIN) if leased else None
    many = await driver.commit(enqueue=[drafts(driver, "m")], claim=claim)
    assert len(many.claimed) == (COPIED_MIN + 10 if leased else 0)
    for draft in drafts(driver, "o"):
        assert len((await driver.commit(enqueue=[[draft]], claim=claim)).claimed) == int(leased)
    with connected(url) as connection:
        ((columns,),) = connection.execute(_COLUMNS).fetchall()
        rows = f"SELECT {columns}, substr(recipient, 2), substr(lane, 2) FROM message WHERE lane ^@ %s ORDER BY seq"  # noqa: S608 — our own names
        by_copy, alone = (connection.execute(rows, (whose,)).fetchall() for whose in "mo")
    assert by_copy == alone
    # What was told without reading it again is what was stored.
    assert [message.seq for message in many.claimed] == sorted(message.seq for message in many.claimed)
    await driver.deliver(*many.claimed)
    await driver.healthy()


@pytest.mark.contract("EN8")
@pytest.mark.parametrize("bad", [{"recipient": "\0"}, {"text": "\0", "recipient": b"ann"}, {"due_ms": 1 << 63}])
async def test_who_is_refused_among_many_leaves_the_others(driver: StoreDriver, bad: dict[str, Any]) -> None:
    good = drafts(driver, "g")
    # In two groups, so that each still goes by COPY when it is tried alone.
    result = await driver.commit(enqueue=[good, [*drafts(driver, "b"), driver.draft(**bad)]])
    assert isinstance(result.enqueued[1], InvalidMessage)
    assert {view.id for view in await driver.everything()} == {draft.id for draft in good}
    await driver.healthy()


@pytest.mark.contract("LA1")
async def test_the_order_of_a_lane_is_that_of_the_group(driver: StoreDriver) -> None:
    group = [driver.draft(lane="l") for _ in range(COPIED_MIN)]
    await driver.enqueue_group(*group)
    for draft in group:
        assert await driver.deliver_next() == draft.id
    await driver.healthy()


@pytest.fixture
def altered(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that alters the schema, which is no other test's afterwards."""
    with connected(url) as connection:
        yield connection
        connection.execute(f"DROP SCHEMA {url.partition('schema=')[2]} CASCADE")


@pytest.mark.contract("EN4", "LE1")
async def test_a_table_that_is_altered_while_a_worker_runs_is_written_and_read_on(
    driver: StoreDriver, altered: psycopg.Connection[Any]
) -> None:
    async def live() -> None:
        ids.append(await driver.send(lane="l"))
        await driver.deliver(*await driver.claim())
        ids.extend(one.id for one in await driver.enqueue(*(driver.draft() for _ in range(COPIED_MIN))))
        assert [view.id for view in await driver.everything()] == ids

    ids: list[MessageId] = []
    await live()
    # Plans that were made before would return another type of row.
    altered.execute("ALTER TABLE message ALTER recipient TYPE varchar, ALTER id TYPE varchar, ADD remark text")
    altered.execute("ALTER TABLE queue ALTER channel TYPE varchar")
    await live()
    await driver.healthy()
