"""What may happen on the way to the server, and in it: nothing is lost, nothing is written twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from pillarbox.cli.exits import Exit, code_of
from pillarbox.clock import SystemClock
from pillarbox.domain.message import State
from pillarbox.domain.outcome import Deferred, Delivered
from pillarbox.errors import (
    ConfigError,
    PillarboxError,
    StoreCorrupt,
    StoreNotFound,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
)
from pillarbox.queue_clock import QueueClock
from pillarbox.store.base import Settled
from pillarbox.store.postgres.server_clock import ServerClock
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock, SeededEntropy
from pillarbox.testing.store_suite import StoreDriver
from tests.store.postgres_cluster import Machine, short_folder
from tests.store.postgres_proxy import Proxy
from tests.store.postgres_server import as_role, connected, fresh_database, socket_folder
from tests.store.silent_server import silent_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROUNDS = 10


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as url:
        # Other tests run on the same server.
        yield url.replace("schema=", f"application_name={url.partition('schema=')[2]}&schema=")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with short_folder() as folder:
        proxy = Proxy(folder, socket_folder())
        yield proxy
        proxy.close()


@pytest.fixture
async def driver(url: str, proxy: Proxy) -> AsyncIterator[StoreDriver]:
    clock = FakeClock()
    store = open_store(url.replace(str(socket_folder()), str(proxy.folder)), clock=clock, lease_clock=clock.boot_ms)
    await store.open()
    try:
        yield StoreDriver(store, clock, SeededEntropy(1))
    finally:
        await store.close()


@pytest.mark.contract("EN4", "ST7", "LE1")
@pytest.mark.parametrize("cut", ["before", "during", "after"])
async def test_where_the_answer_to_a_commit_is_lost_all_is_done_once(
    driver: StoreDriver, proxy: Proxy, cut: Literal["before", "during", "after"]
) -> None:
    await driver.register()
    for round_ in range(ROUNDS):
        proxy.cut = cut
        identity = await driver.send(key=f"k{round_}", digest=b"d")
        proxy.cut = cut
        (message,) = await driver.claim()
        assert (message.id, message.claims) == (identity, 1)
        proxy.cut = cut
        assert await driver.settle(message, Deferred("busy") if round_ % 2 else Delivered("r")) is Settled.APPLIED
    assert proxy.cuts == {cut: 3 * ROUNDS}
    views = await driver.everything()
    assert [view.state for view in views] == [State.DELIVERED, State.SCHEDULED] * (ROUNDS // 2)
    assert {view.claims for view in views} == {1}
    await driver.healthy()


@pytest.mark.contract("EN4")
async def test_a_connection_that_the_server_has_ended_is_noticed_by_nobody(url: str) -> None:
    store = open_store(url, clock=FakeClock())
    await store.open()
    driver = StoreDriver(store, FakeClock(), SeededEntropy(1))
    ids = [await driver.send()]
    for _ in range(3):
        with connected(url) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
            )
        assert (await driver.view(ids[-1])).id == ids[-1]
        ids.append(await driver.send())
    assert [view.id for view in await driver.everything()] == ids
    await driver.healthy()
    await store.close()


async def refusal(url: str, **options: Any) -> PillarboxError:
    store = open_store(url, **options)
    with pytest.raises(PillarboxError) as caught:
        await store.open()
    await store.close()
    return caught.value


@pytest.fixture
def says_no() -> Iterator[int]:
    """The port of a server that has no encryption, and then says nothing."""
    with silent_server() as port:
        yield port


@pytest.mark.contract("EN4", "SG2")
async def test_each_thing_that_is_wrong_with_a_database_has_a_sentence_of_its_own(url: str, says_no: int) -> None:
    base, _, schema = url.partition("schema=")
    missing = await refusal(f"{base}schema=no{schema}", create=False)
    assert isinstance(missing, StoreNotFound)
    assert f"no schema no{schema}" in str(missing)
    with connected(base) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS other{schema} CASCADE; CREATE SCHEMA other{schema}")
        connection.execute(f"CREATE TABLE other{schema}.message (id integer)")
    wrong: dict[str, tuple[type[PillarboxError], str, str]] = {
        "foreign": (StoreCorrupt, "another program's", f"{base}schema=other{schema}"),
        "refused": (StoreUnavailable, "Connection refused", "postgresql://ann:hunter2@127.0.0.1:9/app"),
        "no such database": (StoreUnavailable, "nosuchdatabase", url.replace("/postgres?", "/nosuchdatabase?")),
        "no such role": (StoreUnavailable, "nosuchrole", as_role(url, "nosuchrole:hunter2")),
        "read-only": (
            StoreReadOnly,
            "set read-only (default_transaction_read_only)",
            url.replace("?", "?options=-cdefault_transaction_read_only%3Don&"),
        ),
        "no encryption": (StoreUnavailable, "SSL", f"postgresql://ann:hunter2@127.0.0.1:{says_no}/app?sslmode=require"),
        "hanging": (
            StoreUnavailable,
            "timeout",
            f"postgresql://ann:hunter2@127.0.0.1:{says_no}/app?sslmode=disable&connect_timeout=1",
        ),
    }
    try:
        said = {name: await refusal(where) for name, (_, _, where) in wrong.items()}
    finally:
        with connected(base) as connection:
            connection.execute(f"DROP SCHEMA other{schema} CASCADE")
    for name, (kind, told, _) in wrong.items():
        assert isinstance(said[name], kind), name
        assert told in str(said[name]), name
        assert "hunter2" not in str(said[name]), name
        assert code_of(said[name]) is Exit.DATABASE


@pytest.mark.contract("EN4", "SG2")
async def test_a_role_without_rights_hears_what_it_may_not_do_and_writes_nothing(url: str) -> None:
    base, _, schema = url.partition("schema=")
    store = open_store(url)
    await store.open()
    await store.close()
    role = f"poor{schema}"
    with connected(base) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
    try:
        poor = as_role(url, role)
        told = "this database role may not"
        for where in (poor, poor.replace(f"schema={schema}", f"schema=no{schema}")):
            refused = await refusal(where)
            assert isinstance(refused, StoreReadOnly)
            assert told in str(refused)
        with connected(base) as connection:
            assert not connection.execute("SELECT to_regnamespace(%s)", (f"no{schema}",)).fetchall()[0][0]
    finally:
        with connected(base) as connection:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.contract("EN4")
async def test_a_wrong_password_and_a_standby_are_told_apart() -> None:
    with short_folder() as folder:
        server = Machine(folder)
        server.make()
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all ann scram-sha-256\n{rules.read_text()}")
        # Without a primary it waits for one, and is read meanwhile.
        (folder / "data" / "standby.signal").touch()
        server.run()
        try:
            standby = await refusal(server.url)
            assert isinstance(standby, StoreReadOnly)
            assert "is a standby" in str(standby)
            wrong = await refusal(as_role(server.url, "ann:hunter2"))
            assert isinstance(wrong, StoreUnavailable)
            assert "password authentication failed" in str(wrong)
            assert "hunter2" not in str(wrong)
        finally:
            server.kill()


@pytest.mark.contract("SG2")
async def test_a_schema_of_a_newer_version_is_left_alone(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()
    with connected(url) as connection:
        known = connection.execute("SELECT value, key FROM meta WHERE key IN ('version', 'usable_from')").fetchall()
        connection.execute("UPDATE meta SET value = '99' WHERE key IN ('version', 'usable_from')")
    try:
        assert isinstance(await refusal(url), StoreTooNew)
    finally:
        with connected(url) as connection:
            for said in known:
                connection.execute("UPDATE meta SET value = %s WHERE key = %s", said)


@pytest.mark.parametrize(
    "said", ["schema=Upper", "schema=pg_mine", "schema=a;b", "notices=never", "nosuchoption=1"], ids=str
)
def test_what_a_url_may_not_say_is_refused_without_its_password(said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(f"postgresql://ann:hunter2@h/app?{said}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_machine_whose_clock_is_wrong_goes_by_the_servers(url: str, hours: int) -> None:
    clock = FakeClock(wall_ms=SystemClock().wall_ms() + hours * 3_600_000)
    queue_clock = QueueClock(clock)
    store = open_store(url, clock=clock)
    await store.open()
    queue_clock.learn(await store.clock_news())
    assert abs(queue_clock.wall_ms() - SystemClock().wall_ms()) < 60_000
    assert not queue_clock.parted_ms()
    before_ms = queue_clock.wall_ms()
    clock.set_wall(clock.wall_ms() + 10 * 3_600_000)
    clock.advance(1)
    assert queue_clock.wall_ms() - before_ms == 1_000
    assert not queue_clock.parted_ms()
    await store.close()


def test_a_slow_answer_does_not_move_the_servers_clock() -> None:
    clock = FakeClock()
    seen = ServerClock(clock)

    def read(now_ms: int, took_ms: int) -> int:
        asked_ms = clock.boot_ms()
        clock.advance(took_ms / 1000)
        seen.read(now_ms, asked_ms=asked_ms)
        return seen.wall_ms() - clock.boot_ms()

    zero_ms = 9_000_000_000 - clock.boot_ms()
    # The first reading counts however long it took.
    assert read(9_000_000_000, 800) == zero_ms - 400
    assert read(clock.boot_ms() + zero_ms, 0) == zero_ms
    for wrong_ms, took_ms in ((5_000, 800), (99, 10), (-99, 0)):
        assert read(clock.boot_ms() + took_ms // 2 + zero_ms + wrong_ms, took_ms) == zero_ms
    assert read(clock.boot_ms() + zero_ms + 5_000, 0) == zero_ms + 5_000
