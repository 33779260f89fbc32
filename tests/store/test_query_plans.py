"""
What SQLite does to find rows: by index alone, and as much work with a million waiting as with ten (contract LA3, EN5).

Time says little on a busy machine, so the work is counted: SQLite's own virtual machine steps.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import apsw
import msgspec
import pytest

from pillarbox.domain.limits import Limits
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered, Rejected, Uncertain
from pillarbox.domain.pace import Pace, Rate
from pillarbox.domain.retry import UncertainAction
from pillarbox.store.base import Cancel, Durability, Pause, Prune, Query, Replay
from pillarbox.store.sqlite import opening
from pillarbox.store.sqlite.statements import FOR_MANY, READ, WRITE, text
from pillarbox.testing.store_suite.driver import CHANNEL, POLICY
from tests.store.opened import connecting, driver_on, raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from pillarbox.testing.store_suite import StoreDriver

# Statements that may read a whole table: what they read is small, or a person asked and may wait.
MAY_SCAN: Final = {
    "worker_slots": "workers are few",
    "workers": "the same",
    "owners": "the same",
    "queues": "asked for when something new was written",
    "redirects": "for people; queues are few",
    "flow": "the same",
    "suppressed": "the same",
    "tallies": "one row for each queue and state, for people",
    "tally_rows": "for the check",
    "list": "for people, newest first, a page at a time",
    "list_oldest": "the same, for what people do to many: each page goes on where the last one ended",
    "list_collapsed": "queues are few",
    "list_collapsed_oldest": "the same",
    "ids_to": "for people who know an id's end",
    "backlog": "at the end of a drain",
    "backlog_leased": "the same; and an index holds nothing but what is leased",
    "integrity": "for the check",
    "check_tally": "for the check",
    "check_stranded": "for the check",
    "check_waiting": "for the check",
    "check_leases": "for the check",
    "check_payloads": "for the check",
    "check_blobs": "for the check",
    "check_recipients": "for the check",
    "recipients_counted": "SQLite's own table",
    "meta": "two rows",
}
# Lines of a plan that look like a scan and are none: of an index that holds nothing but what is asked for.
ALL_WANTED: Final = {
    "gates": {"SCAN queue USING INDEX queue_gate"},
    "overview": {
        "SCAN queue USING INDEX queue_gate",
        "SCAN message USING COVERING INDEX message_wait",
        "SCAN recipient_alias",
        "SCAN suppression",
    },  # the first will do
    "clock_news": {"SCAN queue USING INDEX queue_gate"},
    "due_suspects": {"SCAN message USING INDEX message_suspect"},
    "claim": {"SCAN c"},  # the bounded number that it takes at a time
    "park": {"SCAN c"},
}
# What is sorted is as small as the statement's own limit, or one index has it in another order.
MAY_SORT: Final = {
    "check_recipients", "check_stranded", "check_tally", "flow", "list_collapsed", "list_collapsed_oldest",
    "replay_first", "replay_parts", "redirects", "suppressed", "tallies", "traces_of_gone",
}  # fmt: skip
TABLES: Final = (
    "message|payload|attempt|history|audit|queue|tally|policy|part|worker|message_key|message_blob|blob|recipient_tally"
    "|import_ledger|meta"
)
SCAN = re.compile(rf"SCAN ({TABLES}|[a-z])\b")
STATEMENTS: Final = {f"write {name}": sql for name, sql in WRITE.items()} | {
    f"read {name}": sql for name, sql in READ.items()
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def plan(connection: apsw.Connection, sql: str) -> list[str]:
    parameters = max((int(number) for number in re.findall(r"\?(\d+)", sql)), default=0)
    parameters = max(parameters, len(re.findall(r"\?(?!\d)", sql)))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * parameters)]


def faults(connection: apsw.Connection) -> list[str]:
    """Say which statements read more than an index gives, or sort what they read."""
    found = []
    for title, sql in STATEMENTS.items():
        name = title.split()[1]
        if sql.split()[0].upper() not in {"SELECT", "UPDATE", "INSERT", "DELETE", "WITH"}:
            continue
        for line in plan(connection, sql):
            if SCAN.match(line) and name not in MAY_SCAN and line not in ALL_WANTED.get(name, ()):
                found.append(f"{title}: {line}")
            if "TEMP B-TREE" in line and name not in MAY_SORT:
                found.append(f"{title}: {line}")
    return found


@contextlib.contextmanager
def seen_by_the_store(path: Path) -> Iterator[apsw.Connection]:
    connection = opening.connect(str(path), Durability.POWER)
    try:
        yield connection
    finally:
        connection.close()


@pytest.mark.contract("LA3", "EN5")
async def test_every_statement_of_an_empty_database_uses_indexes(path: Path) -> None:
    async with driver_on(path, limits=Limits(recipient_messages=10)):
        pass
    with seen_by_the_store(path) as connection:
        assert faults(connection) == []


@pytest.mark.contract("LA3", "EN5")
async def test_every_statement_of_a_full_database_uses_indexes_whatever_is_known_of_its_contents(path: Path) -> None:
    async with driver_on(path, limits=Limits(recipient_messages=100_000)) as driver:
        await every_kind(driver)
    with seen_by_the_store(path) as connection:
        assert faults(connection) == []
        # An operator may run this; the plans must not turn into scans by what it finds.
        connection.execute("ANALYZE")
    with seen_by_the_store(path) as connection:
        assert faults(connection) == []


@pytest.mark.contract("LA3")
async def test_a_statement_for_many_rows_finds_each_of_them_as_the_one_for_one_row_does(path: Path) -> None:
    async with driver_on(path) as driver:
        await every_kind(driver)
    with seen_by_the_store(path) as connection:
        connection.execute("ANALYZE")
    with seen_by_the_store(path) as connection:
        for name in FOR_MANY:
            for rows in (4, 64):
                assert searches(connection, text(name, rows)) == searches(connection, text(name)), name


def searches(connection: apsw.Connection, sql: str) -> list[str]:
    """Say how a statement finds rows of tables, the given rows aside."""
    return [line for line in plan(connection, sql) if re.match(rf"(SCAN|SEARCH) ({TABLES})\b|BLOOM|.*AUTOMATIC", line)]


async def every_kind(driver: StoreDriver) -> None:
    """Fill a database with every state, a long lane, later ones, attempts, orders and keys."""
    manual = msgspec.structs.replace(POLICY, uncertain=UncertainAction.HOLD)
    now_ms = driver.clock.wall_ms()
    await driver.enqueue(*[driver.draft(lane="long", expires_ms=now_ms + 10**7) for _ in range(1500)])
    await driver.enqueue(*[driver.draft(not_before_ms=now_ms + 10**6 + place) for place in range(500)])
    await driver.enqueue(*[driver.draft(lane=f"l{place}", policy=manual) for place in range(400)])
    await driver.enqueue(
        *[driver.draft(key=f"k{place}", digest=b"1", channel=f"c{place % 40}") for place in range(400)]
    )
    messages = await driver.claim(300)
    while driver.last.more:
        messages += await driver.claim(300 - len(messages))
    outcomes = (Deferred("busy"), Uncertain("no answer"))
    await driver.commit(settle=[driver.settlement(m, outcomes[at % 2]) for at, m in enumerate(messages[:200])])
    await driver.deliver(*messages[200:250])
    await driver.commit(acts=[Cancel(id=view.id, actor="ann") for view in (await driver.everything())[2300:2500]])
    assert {view.state for view in await driver.everything()} >= {
        "scheduled",
        "leased",
        "held",
        "delivered",
        "cancelled",
    }


# --- work is counted -----------------------------------------------------------------------------------------------


class Work:
    """Adds up the steps of all statements of the connections it watches."""

    def __init__(self) -> None:
        self.steps = 0
        self.scanned = 0
        self.statements: Counter[str] = Counter()

    def watch(self, connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._ended)

    def _ended(self, event: dict[str, object]) -> None:
        status = event["stmt_status"]
        assert isinstance(status, dict)
        self.steps += status["SQLITE_STMTSTATUS_VM_STEP"]
        self.scanned += status["SQLITE_STMTSTATUS_FULLSCAN_STEP"]
        self.statements[str(event["sql"])] += 1

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[int]]:
        """Give the steps and the scanned rows of what happens inside."""
        steps, scanned = self.steps, self.scanned
        result: list[int] = []
        yield result
        result += [self.steps - steps, self.scanned - scanned]


@contextlib.asynccontextmanager
async def watched(path: Path, limits: Limits | None = None) -> AsyncIterator[tuple[StoreDriver, Work]]:
    work = Work()
    async with driver_on(path, limits=limits, connect=connecting(work.watch)) as driver:
        yield driver, work


async def fill(driver: StoreDriver, count: int, **fields: object) -> None:
    """Enqueue many messages of one kind, a thousand at a time."""
    for start in range(0, count, 1000):
        await driver.enqueue(*[driver.draft(**fields) for _ in range(min(1000, count - start))])


async def settled_claims(driver: StoreDriver) -> None:
    """Claim until nothing can start and nothing is left to be made to wait."""
    while await driver.claim(1) or driver.last.more:
        pass


FEW, MANY = 10, 6000


@pytest.mark.contract("LA3")
async def test_a_claim_costs_the_same_whatever_waits_behind_one_head(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await fill(driver, count, lane="long")
            await settled_claims(driver)
            request = await driver.request(5)
            with work.counted() as dry:
                await driver.commit(claim=request)
            fresh = [await driver.send() for _ in range(5)]
            request = await driver.request(5)
            with work.counted() as busy:
                result = await driver.commit(claim=request)
            assert [message.id for message in result.claimed] == fresh
            costs[count] = dry, busy
    assert costs[MANY] == costs[FEW]


@pytest.mark.contract("LA3")
async def test_the_first_claim_costs_the_same_whatever_was_enqueued_while_nobody_worked(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await fill(driver, count, lane="long")
            request = await driver.request(1)
            with work.counted() as spent:
                assert len((await driver.commit(claim=request)).claimed) == 1
            costs[count] = spent
    assert costs[MANY] == costs[FEW]


@pytest.mark.contract("LA3")
async def test_settling_the_head_of_a_lane_costs_the_same_whatever_waits_behind_it(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await fill(driver, count, lane="long")
            message = (await driver.claim(1))[0]
            while driver.last.more:
                await driver.claim(1)
            settlement = driver.settlement(message, Deferred("busy"))
            await driver.commit(settle=[settlement])
            driver.clock.advance(10)
            while not (found := await driver.claim(1)):
                assert driver.last.more
            (message,) = found
            request = await driver.request(5)
            with work.counted() as spent:
                done = driver.settlement(message, Deferred("busy"))
                await driver.commit(settle=[done], acts=[Cancel(id=message.id, actor="ann")], claim=request)
            costs[count] = spent[0]
    assert costs[MANY] <= costs[FEW] * 1.05


@pytest.mark.contract("LA3")
async def test_a_backlog_is_made_to_wait_at_a_cost_that_grows_with_it_and_no_faster(tmp_path: Path) -> None:
    costs = {}
    for count in (1000, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await fill(driver, count, lane="long")
            with work.counted() as spent:
                await settled_claims(driver)
            costs[count] = spent[0] / count
    assert costs[MANY] < costs[1000] * 1.3


@pytest.mark.contract("LA3", "LA2")
async def test_one_transaction_steps_over_as_many_whatever_waits(tmp_path: Path) -> None:
    costs = {}
    for count in (MANY // 2, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await fill(driver, count, lane="long")
            await driver.claim(1)
            request = await driver.request(10)
            with work.counted() as spent:
                assert (await driver.commit(claim=request)).more
            costs[count] = spent[0]
    assert costs[MANY] <= costs[MANY // 2] * 1.05


@pytest.mark.contract("LA3", "RE6")
async def test_a_claim_costs_the_same_whatever_is_for_later(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            later_ms = driver.clock.wall_ms() + 10**6
            await fill(driver, count, lane="long", not_before_ms=later_ms)
            await fill(driver, count, due_ms=later_ms)
            due = await driver.send()
            request = await driver.request(5)
            with work.counted() as spent:
                result = await driver.commit(claim=request)
            assert [message.id for message in result.claimed] == [due]
            costs[count] = spent
    assert costs[MANY] == costs[FEW]


@pytest.mark.contract("LA2", "LA4")
async def test_a_claim_costs_the_same_whatever_waits_in_other_or_paused_queues(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await fill(driver, count, channel="bulk")
            await fill(driver, count, channel="dead")
            await driver.act(Pause(tenant=None, channel="dead", actor="ann"))
            due = await driver.send()
            request = await driver.request(5, channels=["dead", "chat"])
            with work.counted() as spent:
                result = await driver.commit(claim=request)
            assert [message.id for message in result.claimed] == [due]
            costs[count] = spent
    assert costs[MANY] == costs[FEW]


@pytest.mark.contract("LA2")
async def test_beside_a_paused_queue_a_message_costs_the_look_at_what_is_paused_and_nothing_else(
    tmp_path: Path,
) -> None:
    seen: dict[int, tuple[list[int], Counter[str]]] = {}
    for waiting in (0, FEW, MANY):
        async with watched(tmp_path / f"{waiting}.db") as (driver, work):
            await fill(driver, max(1, waiting), channel="dead")
            if waiting:
                await driver.act(Pause(tenant=None, channel="dead", actor="ann"))
            await driver.send()
            await driver.deliver(*await driver.claim(1))
            request = await driver.request(5, channels=["dead", "chat"] if waiting else ["chat"])
            work.statements.clear()
            with work.counted() as spent:
                due = driver.draft()
                (message,) = (await driver.commit(enqueue=[[due]], claim=request)).claimed
                await driver.commit(settle=[driver.settlement(message, Delivered("1"))])
            assert message.id == due.id
            seen[waiting] = spent, Counter(work.statements)
    assert seen[MANY] == seen[FEW]
    more = seen[FEW][1] - seen[0][1]
    # Who may claim, before and behind what is stored and with the settlement; and that an answer came.
    assert more == {text("gates"): 3, text("gate_clear"): 1}
    assert seen[FEW][0][0] - seen[0][0][0] < 100


@pytest.mark.contract("EN5")
@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(channel_messages=10**6),
        Limits(recipient_messages=10**6),
        Limits(tenant_messages=10**6),
    ],
    ids=["store", "channel", "recipient", "tenant"],
)
async def test_a_limit_is_looked_up_not_counted(tmp_path: Path, limits: Limits) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db", limits) as (driver, work):
            await fill(driver, count)
            with work.counted() as spent:
                await driver.send()
            costs[count] = spent[0]
    assert costs[MANY] <= costs[FEW] * 1.05


@pytest.mark.contract("EN5")
async def test_the_store_s_limit_costs_the_same_with_many_queues(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, 2000):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await driver.enqueue(*[driver.draft(tenant=f"t{place}") for place in range(count)])
            await driver.send()
            request = await driver.request(5)
            with work.counted() as spent:
                await driver.commit(enqueue=[[driver.draft()]], claim=request)
            costs[count] = spent[0]
    assert costs[2000] <= costs[FEW] * 1.05


@pytest.mark.contract("PR2")
async def test_pruning_a_few_costs_the_same_whatever_else_there_is(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await driver.send()
            await driver.deliver_next()
            driver.clock.advance(1)
            await fill(driver, count, lane="long")
            await fill(driver, count)
            for _ in range(count // 1000):
                await driver.deliver(*await driver.claim(1000))
            with work.counted() as spent:
                assert await prune_before(driver, driver.clock.wall_ms()) == 1
            costs[count] = spent[0]
    assert costs[MANY] <= costs[FEW] * 1.05


async def prune_before(driver: StoreDriver, before_ms: int) -> int:
    states = [state for state in State if state.terminal]
    request = Prune(before_ms=dict.fromkeys(states, before_ms), keys_until_ms=before_ms, audit_before_ms=before_ms)
    return sum((await driver.commit(prune=request)).pruned.values())


@pytest.mark.contract("OP3")
@pytest.mark.parametrize("field", ["correlation_id", "collapse_key"])
async def test_what_a_filter_looks_up_costs_the_same_whatever_else_there_is(tmp_path: Path, field: str) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            wanted = await driver.send(**{field: "wanted"})
            await fill(driver, count, **{field: "other"})
            with work.counted() as spent:
                query = Query(states=(State.SCHEDULED, State.HELD), oldest_first=True, **{field: "wanted"})  # type: ignore[arg-type]
                assert [view.id for view in await driver.store.list_messages(query)] == [wanted]
            costs[count] = spent
    assert costs[MANY] == costs[FEW]


@pytest.mark.contract("OP1")
async def test_a_page_costs_what_it_shows_and_not_what_went_before(tmp_path: Path) -> None:
    costs = {}
    for count in (1000, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await fill(driver, count)
            last = (await driver.store.list_messages(Query(limit=11)))[-1]
            with work.counted() as spent:
                page = await driver.store.list_messages(Query(oldest_first=True, after_seq=last.seq, limit=20))
                assert len(page) == 10
            costs[count] = spent
    assert costs[MANY] == costs[1000]


@pytest.mark.contract("ST2")
async def test_a_replay_costs_the_same_whatever_else_there_is(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            old = await driver.send()
            await driver.settle(await driver.claim_one(), Rejected("no"))
            await fill(driver, count, replay_of="AZMgQ2V6cAAAAAAAAAAAAA")
            with work.counted() as spent:
                assert (await driver.act(Replay(id=old, new_id=driver.draft().id, actor="ann"))).applied
            costs[count] = spent[0]
    assert costs[MANY] <= costs[FEW] * 1.05


@pytest.mark.contract("EX1")
async def test_ending_a_few_costs_the_same_whatever_else_there_is(tmp_path: Path) -> None:
    costs = {}
    for count in (FEW, MANY):
        async with watched(tmp_path / f"{count}.db") as (driver, work):
            await fill(driver, count, lane="long", expires_ms=driver.clock.wall_ms() + 10**8)
            await fill(driver, count)
            await driver.send(expires_ms=driver.clock.wall_ms() - 1)
            with work.counted() as spent:
                assert len(await driver.expire()) == 1
            costs[count] = spent[0]
    assert costs[MANY] <= costs[FEW] * 1.05


@pytest.mark.contract("FL1")
async def test_a_paced_claim_that_finds_nothing_due_writes_nothing(path: Path) -> None:
    paces = {CHANNEL: Pace(whole=(Rate(1),))}
    async with driver_on(path) as driver:
        later = driver.clock.wall_ms() + 60_000
        await driver.send(not_before_ms=later)
        assert await driver.claim(paces=paces) == []
        assert driver.last.next_due_ms == {await driver.queue(): later}
        with raw(path) as connection:
            assert connection.execute("SELECT count(*) FROM pace").fetchall() == [(0,)]
        driver.clock.advance(60)
        assert len(await driver.claim(paces=paces)) == 1
