"""Programs in any language store messages with one function of the database, in their transactions (contract EN9)."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors, pq

from pillarbox import Outbox
from pillarbox.domain.ids import is_message_id
from pillarbox.domain.message import State
from pillarbox.errors import InvalidMessage
from pillarbox.testing.scripted import ScriptedChannel
from tests.store.postgres_server import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 30.0
pytestmark = pytest.mark.contract("EN9")


def enqueue(connection: psycopg.Connection[Any], channel: str, recipient: str, content: object, **named: object) -> str:
    more = "".join(f", {name} => %({name})s" for name in named)
    row = connection.execute(
        f"SELECT enqueue(%(channel)s, %(recipient)s, %(content)s{more})",
        {"channel": channel, "recipient": recipient, "content": json.dumps(content), **named},
    ).fetchone()
    assert row is not None
    return str(row[0])


async def test_it_is_sent_when_its_transaction_commits(url: str) -> None:
    sent: list[tuple[str, str | None, bytes | None]] = []

    def pager(attempt: Any) -> str:
        sent.append((attempt.to, attempt.text, attempt.content.payload))
        return "sent"

    async with Outbox(url, channels={"pager": pager}) as box:
        with connected(url) as connection:
            first = enqueue(connection, "pager", "ann", {"text": "it’s paid"})
            assert is_message_id(first)
            message = await box.find(first)
            assert (await message.wait(SECONDS)).state is State.DELIVERED
            with contextlib.suppress(ZeroDivisionError), connection.transaction():
                enqueue(connection, "pager", "ann", {"text": "never"})
                raise ZeroDivisionError
            with connection.transaction():
                large = enqueue(connection, "pager", "bob", {"payload": {"order": 7, "note": "x" * 5000}})
                small = enqueue(connection, "pager", "bob", {"payload": [1]}, ordered=True)
        for identity in (large, small):
            await (await box.find(identity)).wait(SECONDS)
        assert await box.check() == []
    assert sent[0] == ("ann", "it’s paid", None)
    assert [json.loads(payload or b"") for _, _, payload in sent[1:]] == [{"order": 7, "note": "x" * 5000}, [1]]


async def test_it_stores_what_send_stores(url: str) -> None:
    async with Outbox(url, {"pager": "console:"}, deliver=False) as box:
        theirs = await box.send("pager", to="ann", text="hi", lane=None, at="2100-01-01T00:00:00Z", ttl="1h")
        with connected(url) as connection:
            later = {"not_before": "2100-01-01T00:00:00Z", "ordered": False}
            ours = enqueue(connection, "pager", "ann", {"text": "hi"}, **later)
        views = [message.view for identity in (theirs.id, ours) if (message := await box.get(identity or ""))]
        differing = {"id", "seq", "created_ms", "prepared", "content", "content_size", "policy", "accepted_by"}
        one, other = ({name: getattr(view, name) for name in view.__struct_fields__} for view in views if view)
        assert {name for name in one if one[name] != other[name]} <= differing
        assert await box.check() == []


async def test_a_key_finds_its_message_and_refuses_another(url: str) -> None:
    async with Outbox(url, deliver=False) as box:
        with connected(url) as connection:
            first = enqueue(connection, "pager", "ann", {"text": "paid"}, key="invoice-7")
            assert enqueue(connection, "pager", "ann", {"text": "paid"}, key="invoice-7") == first
            with pytest.raises(errors.UniqueViolation, match=f"key: it belongs to message {first}"):
                enqueue(connection, "pager", "ann", {"text": "other"}, key="invoice-7")
        with pytest.raises(InvalidMessage):
            await box.send("pager", to="ann", text="other", key="invoice-7")
        assert [message.id for message in await box.list()] == [first]
        assert await box.check() == []


async def test_the_page_s_sql_runs_as_it_stands(url: str) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/transactions.md").read_text("utf-8")
    (told,) = re.findall(r"^```sql\n(BEGIN;.*?)^```$", page, re.DOTALL | re.MULTILINE)
    async with Outbox(url, deliver=False) as box:
        with connected(url) as connection:
            connection.execute("CREATE TEMP TABLE shop_order (number integer)")
            connection.execute(told.replace("pillarbox.", f"{url.partition('schema=')[2]}."))
        (message,) = await box.list()
        assert message.view is not None
        assert (message.view.channel, message.view.recipient) == ("mail", "ann@example.org")


def other_languages() -> Iterator[tuple[str, str, list[tuple[str, list[Any]]]]]:
    """The page's examples: the language, and each statement with its values."""
    page = (Path(__file__).parents[2] / "docs/how-to/transactions.md").read_text("utf-8")
    for language, call, plain in (
        ("js", r"query\((\"(?:[^\"]+)\")(?:,\s*(\[.*?\]))?\);", r"JSON\.stringify\((.*?)\)(?=,)"),
        ("go", r"Exec\(ctx, `([^`]+)`(?:,\s*(.*?))?\); err", r"map\[string\]any(\{.*?\})"),
    ):
        (told,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        statements = []
        for sql, values in re.findall(call, told, re.DOTALL):
            # What JavaScript and Go write with names that have no quotes, JSON has with quotes.
            said = re.sub(plain, r"\1", values)
            said = re.sub(r"(?<=[{ ])(\w+):", r'"\1":', said).strip("[]")
            statements.append((sql.strip('"'), json.loads(f"[{said}]")))
        yield language, told, statements


@pytest.mark.parametrize(("language", "told", "statements"), [*other_languages()], ids=["node", "go"])
async def test_the_page_s_other_languages_say_what_the_server_takes(
    url: str, language: str, told: str, statements: list[tuple[str, list[Any]]]
) -> None:
    """Their drivers send each value as text, or in the binary form of the type that the server tells."""
    assert [sql for sql, values in statements if "enqueue" in sql and values], told
    async with Outbox(url, deliver=False) as box:
        with connected(url) as connection:
            connection.execute("CREATE TEMP TABLE shop_order (number integer)")
            for sql, values in statements:
                ours = sql.replace("pillarbox.", f"{url.partition('schema=')[2]}.").encode()
                texts = [one if isinstance(one, str) else json.dumps(one) for one in values]
                if language == "js":
                    done = connection.pgconn.exec_params(ours, [text.encode() for text in texts])
                else:
                    connection.pgconn.prepare(b"", ours)
                    asked = connection.pgconn.describe_prepared(b"")
                    kinds = [asked.param_type(place) for place in range(asked.nparams)]
                    sent = [_binary(kind, text) for kind, text in zip(kinds, texts, strict=True)]
                    done = connection.pgconn.exec_prepared(b"", sent, [1] * len(sent))
                assert done.status in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}, done.error_message
            assert connection.execute("SELECT number FROM shop_order").fetchall() == [(7,)]
        (message,) = await box.list()
        assert message.view is not None
        assert (message.view.channel, message.view.recipient) == tuple(
            statements[-1 if language == "go" else -2][1][:2]
        )


def _binary(kind: int, text: str) -> bytes:
    if kind == psycopg.adapters.types["int4"].oid:
        return int(text).to_bytes(4, "big", signed=True)
    return b"\x01" + text.encode() if kind == psycopg.adapters.types["jsonb"].oid else text.encode()


@pytest.mark.contract("EN13")
async def test_what_could_do_harm_is_refused(url: str) -> None:
    async with Outbox(url, deliver=False) as box:
        with connected(url) as connection:
            for channel, recipient, content, named, why in (
                ("", "ann", {"text": "hi"}, {}, "channel: expected one line"),
                ("pager", "ann\nBcc: all", {"text": "hi"}, {}, "recipient: expected one line"),
                ("pager", " ", {"text": "hi"}, {}, "recipient: expected one line"),
                ("pager", None, {"text": "hi"}, {}, "recipient: expected one line"),
                ("pager", "ann", {"text": "hi", "subject": "a\r\nBcc: all"}, {}, "subject: expected one line"),
                ("pager", "ann", {"text": "hi"}, {"key": "a\x07"}, "key: expected one line"),
                ("pager", "ann", {"text": " "}, {}, "content: expected"),
                ("pager", "ann", {"text": "hi", "payload": {}}, {}, "content: expected"),
                ("pager", "ann", {"text": "hi", "files": []}, {}, "content: expected"),
                ("pager", "ann", ["hi"], {}, "content: expected"),
                ("pager", "ann", {"text": "hi"}, {"max_attempts": 0}, "max_attempts: expected 1 to 10000"),
                ("pager", "ann", {"text": "hi"}, {"ttl": "0s"}, "ttl: expected some time"),
                ("pager", "ann", {"text": "hi"}, {"ttl": "9000 years"}, "before the year 10000"),
                ("pager", "ann", {"text": "hi"}, {"not_before": "infinity"}, "before the year 10000"),
                ("pager", "ann", {"text": "hi"}, {"not_before": "9999-12-31T23:59:59Z"}, "before the year 10000"),
            ):
                with pytest.raises(errors.InvalidParameterValue, match=why):
                    enqueue(connection, channel, recipient, content, **named)  # type: ignore[arg-type]
        assert await box.list() == []


async def test_what_its_channel_does_not_take_is_dead(url: str) -> None:
    class Choosy(ScriptedChannel):
        def admit(self, **named: Any) -> Any:
            raise InvalidMessage("to", "expected somebody else")

    async with Outbox(url, channels={"pager": Choosy()}) as box:
        with connected(url) as connection:
            made = enqueue(connection, "pager", "ann", {"text": "hi"})
        message = await (await box.find(made)).wait(SECONDS)
        assert (message.state, message.reason) == (State.DEAD, "invalid")
        assert "to: expected somebody else" in (message.error or "")


@pytest.mark.contract("EN13")
async def test_what_is_for_a_time_that_has_passed_is_sent_now_and_lives_as_long(url: str) -> None:
    async with Outbox(url, channels={"pager": lambda _: "sent"}) as box:
        for before in ("2000-01-01T00:00:00Z", "-infinity"):
            with connected(url) as connection:
                made = enqueue(connection, "pager", "ann", {"text": "hi"}, not_before=before, ttl="1 minute")
            message = await (await box.find(made)).wait(SECONDS)
            assert message.state is State.DELIVERED
            assert message.view is not None
            assert (message.view.expires_ms or 0) - message.view.created_ms == 60_000
