"""Files are shared with applications: how they are made, and what any SQLite library may insert into them."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from pillarbox import Outbox
from pillarbox.domain.ids import is_message_id
from pillarbox.domain.message import State
from pillarbox.errors import ConfigError, InvalidMessage, Refused, StoreBusy, StoreUnsafe
from pillarbox.store.registry import open_store, share
from pillarbox.store.sqlite import python_library
from pillarbox.testing.scripted import ScriptedChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 30.0
_BY_NAME = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
PAGE = Path(__file__).parents[2] / "docs/how-to/transactions.md"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    assert share(path)
    return path


@contextlib.contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = EXTRA")
        with connection:
            yield connection


def enqueue(connection: sqlite3.Connection, channel: Any, recipient: Any, content: object, **named: Any) -> None:
    given = content if content is None or isinstance(content, str) else json.dumps(content)
    told = {"channel": channel, "recipient": recipient, "content": given, **named}
    names = ", ".join(f'"{name}"' for name in told)
    marks = ", ".join("?" for _ in told)
    sql = f"INSERT INTO pillarbox_enqueue ({names}) VALUES ({marks})"  # noqa: S608 — the names of our tests
    connection.execute(sql, tuple(told.values()))


def id_of(connection: sqlite3.Connection, key: str) -> str:
    ((found,),) = connection.execute("SELECT id FROM pillarbox_enqueue WHERE key = ?", (key,)).fetchall()
    return str(found)


@pytest.mark.contract("EN9")
async def test_a_row_is_sent_when_its_transaction_commits(db: Path) -> None:
    sent: list[tuple[str, str | None, bytes | None]] = []

    def pager(attempt: Any) -> str:
        sent.append((attempt.to, attempt.text, attempt.content.payload))
        return "sent"

    payloads: list[object] = [{"order": 7, "note": "é" * 5000}, [1], "xy", None]
    async with Outbox(db, channels={"pager": pager}) as box:
        with connected(db) as connection:
            enqueue(connection, "pager", "ann", {"text": "it’s paid"}, key="first")
            connection.execute("SAVEPOINT mine")
            enqueue(connection, "pager", "ann", {"text": "never"})
            connection.execute("ROLLBACK TO mine")
            for number, payload in enumerate(payloads):
                enqueue(connection, "pager", "bob", {"payload": payload}, key=str(number), ttl="none")
            ids = [id_of(connection, key) for key in ("first", "0", "1", "2", "3")]
        for identity in ids:
            assert is_message_id(identity)
            assert (await (await box.find(identity)).wait(SECONDS)).state is State.DELIVERED
        assert await box.check() == []
    assert sorted(one[:2] for one in sent if one[2] is None) == [("ann", "it’s paid")]
    assert [json.loads(payload) for _, _, payload in sent if payload is not None] == payloads


@pytest.mark.contract("EN9")
async def test_it_stores_what_send_stores(db: Path) -> None:
    async with Outbox(db, {"pager": "console:"}, deliver=False) as box:
        theirs = await box.send("pager", to="ann", text="hi", lane=None, at="2100-01-01T00:00:00Z", ttl="1h")
        ordered = await box.send("pager", to="ann", text="hi", ttl="1h")
        with connected(db) as connection:
            later = {"not_before": "2100-01-01T00:00:00Z", "ordered": 0}
            enqueue(connection, "pager", "ann", {"text": "hi"}, key="1", **later)
            enqueue(connection, "pager", "ann", {"text": "hi"}, key="2")
            ours = [id_of(connection, key) for key in "12"]
        differing = {"id", "seq", "created_ms", "prepared", "content", "content_size", "policy", "accepted_by", "key"}
        moving = {"due_ms", "expires_ms"}
        for one, other, too in ((theirs.id, ours[0], set()), (ordered.id, ours[1], moving)):
            views = [message.view for identity in (one, other) if (message := await box.get(identity or ""))]
            first, second = ({name: getattr(view, name) for name in view.__struct_fields__} for view in views if view)
            assert {name for name in first if first[name] != second[name]} <= differing | too
        assert await box.check() == []


@pytest.mark.contract("EN9")
async def test_a_key_finds_its_message_and_refuses_another(db: Path) -> None:
    async with Outbox(db, deliver=False) as box:
        with connected(db) as connection:
            for _ in range(2):
                enqueue(connection, "pager", "ann", {"text": "paid", "extra": {"x": "y" * 3000}}, key="invoice-7")
            with pytest.raises(sqlite3.IntegrityError, match="key: it belongs to another message"):
                enqueue(connection, "pager", "ann", {"text": "other"}, key="invoice-7")
            first = id_of(connection, "invoice-7")
        with pytest.raises(InvalidMessage):
            await box.send("pager", to="ann", text="other", key="invoice-7")
        assert [message.id for message in await box.list()] == [first]
        assert await box.check() == []


@pytest.mark.contract("EN9")
async def test_what_its_channel_does_not_take_is_dead(db: Path) -> None:
    class Choosy(ScriptedChannel):
        def admit(self, **named: Any) -> Any:
            raise InvalidMessage("to", "expected somebody else")

    async with Outbox(db, channels={"pager": Choosy()}) as box:
        with connected(db) as connection:
            enqueue(connection, "pager", "ann", {"text": "hi"}, key="k")
            made = id_of(connection, "k")
        message = await (await box.find(made)).wait(SECONDS)
        assert (message.state, message.reason) == (State.DEAD, "invalid")
        assert "to: expected somebody else" in (message.error or "")


@pytest.mark.contract("EN13")
@pytest.mark.parametrize(
    "row",
    [
        ("", "ann", {"text": "hi"}, {}, "channel: expected one line"),
        (7, "ann", {"text": "hi"}, {}, "channel: expected one line"),
        ("pager", "ann\nBcc: all", {"text": "hi"}, {}, "recipient: expected one line"),
        ("pager", "ann\x00", {"text": "hi"}, {}, "recipient: expected one line"),
        ("pager", "ann\x85", {"text": "hi"}, {}, "recipient: expected one line"),
        ("pager", " ", {"text": "hi"}, {}, "recipient: expected one line"),
        ("pager", "a" * 2049, {"text": "hi"}, {}, "recipient: expected one line"),
        ("pager", None, {"text": "hi"}, {}, "recipient: expected one line"),
        ("pager", "ann", {"text": "hi", "subject": "a\r\nBcc: all"}, {}, "subject: expected one line"),
        ("pager", "ann", {"text": "hi", "reply_to": "\x7f"}, {}, "reply_to: expected one line"),
        ("pager", "ann", {"text": "hi"}, {"key": "a\x07"}, "key: expected one line"),
        ("pager", "ann", {"text": "hi"}, {"tenant": "a\n"}, "tenant: expected one line"),
        ("pager", "ann", {"text": "hi"}, {"origin": ""}, "origin: expected one line"),
        ("pager", "ann", {"text": " \n"}, {}, "content: expected"),
        ("pager", "ann", {"text": "hi", "payload": {}}, {}, "content: expected"),
        ("pager", "ann", {"text": "hi", "files": []}, {}, "content: expected"),
        ("pager", "ann", ["hi"], {}, "content: expected"),
        ("pager", "ann", "{", {}, "content: expected"),
        ("pager", "ann", None, {}, "content: expected"),
        ("pager", "ann", '{"text": "a", "subject": "a", "subject": "b\\n"}', {}, "subject: expected"),
        ("pager", "ann", '{"text": "a", "text": "b"}', {}, "content: expected"),
        ("pager", "ann", {"text": "hi"}, {"max_attempts": 0}, "max_attempts: expected 1 to 10000"),
        ("pager", "ann", {"text": "hi"}, {"max_attempts": "many"}, "max_attempts: expected 1 to 10000"),
        ("pager", "ann", {"text": "hi"}, {"ttl": 0}, "ttl: expected seconds"),
        ("pager", "ann", {"text": "hi"}, {"ttl": "1h"}, "ttl: expected seconds"),
        ("pager", "ann", {"text": "hi"}, {"not_before": "soon"}, "not_before: expected a time"),
        ("pager", "ann", {"text": "hi"}, {"not_before": "9999-12-31"}, "not_before: expected a time"),
        ("pager", "ann", {"text": "hi"}, {"ordered": 2}, "ordered: expected 0 or 1"),
    ],
)
def test_what_could_do_harm_is_refused(refusing: sqlite3.Connection, row: tuple[Any, Any, object, Any, str]) -> None:
    channel, recipient, content, named, why = row
    with pytest.raises(sqlite3.IntegrityError, match=why):
        enqueue(refusing, channel, recipient, content, **named)
    assert refusing.execute("SELECT * FROM message").fetchall() == []


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("refusing") / "shop.db"
    share(path)
    with connected(path) as connection:
        yield connection


@pytest.mark.contract("EN9")
async def test_the_page_s_examples_run_as_they_stand(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text("utf-8")
    (sql,) = re.findall(r"^```sql\n(PRAGMA .*?)^```$", page, re.DOTALL | re.MULTILINE)
    (python,) = re.findall(r"^```python\n(import sqlite3\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (recipe,) = re.findall(r"^```python\n(from sqlalchemy .*?)^```$", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(db.parent)
    with contextlib.closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TABLE shop_order (number INTEGER)")
        connection.executescript(sql)
    told: dict[str, Any] = {}
    exec(recipe, told)  # noqa: S102 — our own page
    async with Outbox(f"sqlite3:///{db}", deliver=False) as box:
        with told["engine"].begin() as shop:
            shop.exec_driver_sql("INSERT INTO shop_order VALUES (8)")
            with contextlib.suppress(ZeroDivisionError), shop.begin_nested():
                await box.enqueue(shop, "mail", to="bob@example.org", subject="never", text="hi")
                raise ZeroDivisionError
            await box.enqueue(shop, "mail", to="bob@example.org", subject="Order 8", text="hi")
        told["engine"].dispose()
        assert [one.view.recipient for one in await box.list() if one.view] == ["bob@example.org", "ann@example.org"]
    # Under another key: one that SQL has taken stands for other content.
    exec(python.replace("order-7", "order-9"), {})  # noqa: S102 — our own page
    async with Outbox(db, deliver=False) as box:
        assert len(await box.list()) == 3
        assert await box.check() == []


async def test_what_is_in_a_file_stays(tmp_path: Path) -> None:
    shop, outbox = tmp_path / "shop.db", tmp_path / "outbox.db"
    with contextlib.closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE shop_order (number INTEGER)")
        connection.execute("INSERT INTO shop_order VALUES (1)")
    async with Outbox(outbox, deliver=False) as box:
        await box.send("pager", to="ann", text="hi")
    assert [share(shop), share(shop), share(outbox)] == [True, False, True]
    with contextlib.closing(sqlite3.connect(shop)) as connection:
        assert connection.execute("SELECT * FROM shop_order").fetchall() == [(1,)]
    async with Outbox(f"sqlite3:///{outbox}", deliver=False) as box:
        assert len(await box.list()) == 1
        assert await box.check() == []


async def test_what_cannot_be_shared_is_left_as_it_is(tmp_path: Path) -> None:
    taken, other, used, held, wide = (tmp_path / f"{name}.db" for name in ("taken", "other", "used", "held", "wide"))
    with contextlib.closing(sqlite3.connect(taken)) as connection, connection:
        connection.execute('CREATE TABLE "Message" (number INTEGER)')
        connection.execute("CREATE TABLE queue (number INTEGER)")
    before = taken.read_bytes()
    with pytest.raises(StoreUnsafe, match=r"named Message, queue, which the outbox needs"):
        share(taken)
    assert taken.read_bytes() == before
    with contextlib.closing(sqlite3.connect(wide)) as connection, connection:
        connection.execute("PRAGMA encoding = 'UTF-16le'")
        connection.execute("CREATE TABLE t (number INTEGER)")
    before = wide.read_bytes()
    with pytest.raises(StoreUnsafe, match="keeps its text as UTF-16le"):
        share(wide)
    assert wide.read_bytes() == before
    with contextlib.closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("PRAGMA application_id = 77")
        connection.execute("CREATE TABLE t (number INTEGER)")
    with pytest.raises(StoreUnsafe, match="marked as a file of another program"):
        share(other)
    async with Outbox(used, deliver=False):
        with pytest.raises((StoreUnsafe, StoreBusy)):
            share(used)
    with contextlib.closing(sqlite3.connect(held)) as connection:
        connection.execute("CREATE TABLE t (number INTEGER)")
        with pytest.raises(StoreUnsafe, match="two SQLite libraries in one process"):
            share(held)


async def test_apsw_works_on_a_shared_file_too(db: Path) -> None:
    async with Outbox(db, deliver=False) as box:
        with contextlib.closing(apsw.Connection(str(db))) as shop:
            assert shop.pragma("journal_mode") == "delete"
            shop.execute("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
            with pytest.raises(Refused, match="synchronous = EXTRA"):
                await box.enqueue(shop, "pager", to="ann", text="hi")
            shop.execute("ROLLBACK; PRAGMA synchronous = EXTRA")
            for setting, back, why in (
                ("PRAGMA journal_mode = OFF", "PRAGMA journal_mode = DELETE", "journal mode is off"),
                ("ATTACH ':memory:' AS a; ATTACH '{}' AS b", "DETACH a; DETACH b", r"is attached .*\(b\)"),
                ("PRAGMA locking_mode = EXCLUSIVE", "PRAGMA locking_mode = NORMAL", "keeps the file locked"),
                ("CREATE TEMP VIEW queue AS SELECT 1", "DROP VIEW temp.queue", "temporary tables or views named queue"),
            ):
                shop.execute(setting.format(db.parent / "other.db") + "; BEGIN").fetchall()
                with pytest.raises(Refused, match=why):
                    await box.enqueue(shop, "pager", to="ann", text="hi")
                for undone in ("ROLLBACK", back, "SELECT * FROM meta"):
                    shop.execute(undone).fetchall()
            with contextlib.closing(apsw.Connection(f"file:{db}?nolock=1", flags=_BY_NAME)) as unlocked:
                unlocked.execute("PRAGMA synchronous = EXTRA; BEGIN")
                with pytest.raises(Refused, match="does not have the file's write lock"):
                    await box.enqueue(unlocked, "pager", to="ann", text="hi")
            shop.execute("BEGIN IMMEDIATE")
            await box.enqueue(shop, "pager", to="ann", text="hi")
            shop.execute("COMMIT")
        assert len(await box.list()) == 1
        assert await box.check() == []


async def test_a_shared_file_is_backed_up_by_another_process(db: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    async with Outbox(f"sqlite3:///{db}", deliver=False) as box:
        await box.send("pager", to="ann", text="hi")
        with pytest.raises(Refused, match="process of its own"):
            await box.backup(copy)
    async with Outbox(db, deliver=False) as box:
        await box.backup(copy)
    async with Outbox(f"sqlite3:///{copy}", deliver=False) as box:
        assert len(await box.list()) == 1


def test_nobody_shares_what_is_no_file() -> None:
    with pytest.raises(ConfigError, match="nobody shares a database in memory"):
        open_store("sqlite3:///:memory:")


def test_a_library_that_is_too_old_is_told() -> None:
    with pytest.raises(StoreUnsafe, match=r"Python's own SQLite is 3\.34\.1; a shared file needs 3\.38\.0"):
        python_library.check_library((3, 34, 1))
