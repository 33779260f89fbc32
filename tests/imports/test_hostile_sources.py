"""Sources that are broken, or made to break the importer: refused, reported, and the others go on (contract IM3)."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pillarbox.errors import InvalidMessage, NotFound
from pillarbox.imports.documents import Unreadable
from pillarbox.imports.entry import Outcome, System
from pillarbox.imports.openclaw_entry import understand
from tests.imports.cases import LIVE_LOG, Case, entries_of, tree
from tests.imports.queues import (
    COMIS_TABLE,
    MINUTE_MS,
    NOW_MS,
    ComisQueue,
    EntriesQueue,
    FileQueue,
    OutboxQueue,
    entry,
)
from tests.imports.test_documents import folder, json_values, link, pipe, unix_socket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.imports.conftest import OpenStore, Stage

TWO_MEBIBYTES: Final = 2 << 20


@pytest.fixture
def queue(tmp_path: Path) -> FileQueue:
    made = FileQueue(tmp_path / "delivery-queue")
    made.put("good.json")
    return made


# Files: what is there besides a good one, and how it is reported.
TEXTS: Final[dict[str, tuple[str | bytes | dict[str, Any], str, str]]] = {
    "cut off": ('{"id": "x", ', "left", "not_json"),
    "empty": ("", "left", "not_json"),
    "a list": ("[]", "left", "not_an_object"),
    "not a number": (json.dumps(entry("x", retryCount=float("nan"))), "left", "not_json"),
    "a key twice": ('{"id":"x","id":"y","channel":"a","to":"b","payloads":[]}', "left", "not_json"),
    "half a pair": (json.dumps(entry("x", payloads=[{"text": "\ud800"}])), "left", "not_json"),
    "deep": ('{"id":"x","channel":"a","to":"b","payloads":' + "[" * 100_000 + "]" * 100_000 + "}", "left", "too_deep"),
    "two mebibytes": (entry("x", payloads=[{"text": "x" * TWO_MEBIBYTES}]), "left", "too_large"),
    "no id": (entry("x", id=None), "left", "missing_field:id"),
    "an id that is a number": (entry("x", id=7), "left", "missing_field:id"),
    "no channel": (entry("x", channel=None), "left", "missing_field:channel"),
    "blank recipient": (entry("x", to="  "), "left", "missing_field:to"),
    "a recipient that is a list": (entry("x", to=["1001"]), "left", "missing_field:to"),
    "no payloads": (entry("x", payloads=None), "left", "missing_field:payloads"),
    "payloads that are none": (entry("x", payloads={"text": "x"}), "left", "invalid_field:payloads"),
    "a payload that is none": (entry("x", payloads=["hello"]), "left", "invalid_field:payloads"),
    "text that is none": (entry("x", payloads=[{"text": ["x"]}]), "left", "invalid_field:text"),
    "a thread that is none": (entry("x", threadId={"id": 1}), "left", "invalid_field:threadId"),
    "a mirror that is none": (entry("x", mirror="x"), "left", "invalid_field:mirror"),
    "media that is none": (entry("x", payloads=[{"mediaUrls": "x"}]), "left", "invalid_field:mediaUrls"),
    "media of two lines": (entry("x", payloads=[{"mediaUrl": "https://a/\r\nx"}]), "left", "invalid_field:mediaUrl"),
    "an unknown batch": (entry("x", preparedBatch={"schemaVersion": 2}), "left", "invalid_field:preparedBatch"),
    "nothing to say": (entry("x", payloads=[{"text": " \n"}]), "skipped", "empty"),
    "no payload at all": (entry("x", payloads=[]), "quarantined", "no_payloads"),
    "a time of infinity": (
        json.dumps(entry("x")).replace(str(NOW_MS - MINUTE_MS), "1e999"),
        "quarantined",
        "enqueued_at_invalid",
    ),
    "a time of 40 digits": (
        json.dumps(entry("x")).replace(str(NOW_MS - MINUTE_MS), "9" * 40),
        "quarantined",
        "enqueued_at_future",
    ),
    "huge times": (entry("x", enqueuedAt=1 << 62), "quarantined", "enqueued_at_future"),
    "a time that is text": (entry("x", enqueuedAt="2026-03-15"), "quarantined", "enqueued_at_invalid"),
    "huge counter": (entry("x", retryCount=1 << 62), "terminal", "max_attempts"),
}


@pytest.mark.contract("IM3", "IM4")
async def test_bad_files_are_reported_and_the_others_are_imported(queue: FileQueue, importing: OpenStore) -> None:
    for number, (text, _, _) in enumerate(TEXTS.values()):
        # Each with an id of its own, or the second would be a copy of the first.
        own = text | {"id": f"x{number}"} if isinstance(text, dict) and text.get("id") == "x" else text
        queue.put(f"{number}.json", own)
    before = tree(queue.path)
    box = await importing(NOW_MS)
    lines = {line.source_id: line for line in (await box.run(queue.case)).entries}
    found = {what: lines[f"{number}.json"] for number, what in enumerate(TEXTS)}
    wanted = {what: (outcome, reason) for what, (_, outcome, reason) in TEXTS.items()}
    assert {what: (str(line.outcome), line.reason) for what, line in found.items()} == wanted
    stored = {line.source_id for line in lines.values() if line.outcome.stored}
    assert (await box.messages()).keys() == {f"openclaw-files:{name}" for name in stored}
    assert "good.json" in stored
    after = tree(queue.path)
    assert {name: after.get(name) for name in before if name not in stored} == {
        name: text for name, text in before.items() if name not in stored
    }


REFUSED: Final[list[tuple[dict[str, Any], str]]] = [
    ({"to": "1001\r\nBcc: all"}, "to"),
    ({"to": "x" * 5000}, "to"),
    ({"to": "a\0b"}, "to"),
    ({"channel": "tele\ngram"}, "channel"),
    ({"channel": "a,b"}, "channel"),
    ({"channel": "https://hooks.example.org/s3cr3t"}, "channel"),
    ({"accountId": "a\r\nb"}, "account"),
    ({"threadId": "a\nb"}, "thread"),
    ({"replyToId": "a\nb"}, "reply_to"),
    ({"payloads": [{"text": "x" * 300_000}]}, "text"),
    ({"payloads": [{"text": "x" * 200_000}, {"text": "y" * 200_000}]}, "text"),
]


@pytest.mark.contract("IM3")
async def test_what_no_message_may_be_stays_in_its_source(queue: FileQueue, importing: OpenStore) -> None:
    for number, (values, _) in enumerate(REFUSED):
        queue.put(f"{number}.json", **values)
    box = await importing(NOW_MS)
    report = await box.run(queue.case)
    reasons = {line.source_id: line.reason for line in report.entries}
    assert reasons == {"good.json": "pending"} | {
        f"{number}.json": f"invalid_field:{field}" for number, (_, field) in enumerate(REFUSED)
    }
    assert not report.complete
    assert len(list(queue.path.glob("*.json"))) == len(REFUSED)
    assert await box.store.check() == []


@pytest.mark.contract("IM3")
async def test_an_id_inside_a_file_names_no_other_file(queue: FileQueue, importing: OpenStore) -> None:
    ids = ["../../../etc/passwd", "/etc/passwd", "..", "a\r\nb", "a\0b", "", "x" * 10_000, "💥", "%2e%2e"]
    for number, identity in enumerate(ids):
        queue.put(f"{number}.json", entry(identity))
    outside = tree(queue.path.parent)
    box = await importing(NOW_MS)
    await box.run(queue.case)
    names = {name for name in tree(queue.path.parent) if not name.startswith("outbox.db")}
    moved = {name.replace("delivery-queue/", "delivery-queue/imported/") for name in outside}
    assert names <= outside.keys() | moved | {"delivery-queue/imported"}
    assert "delivery-queue/imported/0.json" in names


@pytest.mark.contract("IM3")
@pytest.mark.parametrize(
    ("make", "reason"),
    [(link, "symlink"), (pipe, "not_regular_file"), (unix_socket, "not_regular_file"), (folder, "not_regular_file")],
)
@pytest.mark.parametrize("name", ["x.json", "failed/x.json"])
async def test_what_is_no_file_is_skipped(
    make: Callable[[Path], None], reason: str, name: str, queue: FileQueue, importing: OpenStore
) -> None:
    (queue.path.parent / "outside.json").write_text(json.dumps(entry("outside")))
    (queue.path / "failed").mkdir()
    (queue.path / "outside.json").write_text(json.dumps(entry("outside", to="inside")))
    make(queue.path / name)
    box = await importing(NOW_MS)
    report = await box.run(queue.case)
    lines = {line.source_id: (line.outcome, line.reason) for line in report.entries}
    assert lines[name] == (Outcome.SKIPPED, reason)
    assert os.path.lexists(queue.path / name)
    assert {view.recipient for view in (await box.messages()).values()} == {"1001", "inside"}


@pytest.mark.contract("IM3")
async def test_a_link_in_the_place_of_a_directory_is_not_followed(
    queue: FileQueue, importing: OpenStore, tmp_path: Path
) -> None:
    elsewhere = FileQueue(tmp_path / "elsewhere")
    elsewhere.put("stolen.json")
    (queue.path / "failed").symlink_to(elsewhere.path)
    box = await importing(NOW_MS)
    report = await box.run(queue.case)
    lines = {line.source_id: (line.outcome, line.reason) for line in report.entries}
    assert lines["failed"] == (Outcome.SKIPPED, "symlink")
    assert (await box.messages()).keys() == {"openclaw-files:good.json"}
    link_to_queue = tmp_path / "link"
    link_to_queue.symlink_to(queue.path)
    with pytest.raises(InvalidMessage, match="link"):
        entries_of(Case(system=System.OPENCLAW_FILES, path=link_to_queue, now_ms=NOW_MS, expected={}))


@pytest.mark.contract("IM3")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_file_of_another_user_is_left(queue: FileQueue, importing: OpenStore) -> None:
    os.chown(queue.put("x.json"), 12345, 12345)
    os.chown(queue.put("failed/y.json").parent, 12345, 12345)
    box = await importing(NOW_MS)
    report = await box.run(queue.case)
    lines = {line.source_id: (line.outcome, line.reason) for line in report.entries}
    assert lines["x.json"] == (Outcome.LEFT, "another_users_file")
    assert lines["failed"] == (Outcome.SKIPPED, "another_users_file")
    assert (await box.messages()).keys() == {"openclaw-files:good.json"}


@pytest.mark.contract("IM3")
async def test_strange_names_are_reported(queue: FileQueue, importing: OpenStore) -> None:
    text = json.dumps(entry("x")).encode()
    for raw in (b"\xff.json", b"x.JSON", b"y.json.28.tmp", b"z.json~"):
        (queue.path / os.fsdecode(raw)).write_bytes(text)
    for name in ("a\nb", "w" * 249):
        queue.put(f"{name}.json", entry(name[:9]))
    box = await importing(NOW_MS)
    lines = {line.source_id: (line.outcome, line.reason) for line in (await box.run(queue.case)).entries}
    assert lines["\\xff.json"] == (Outcome.LEFT, "name_not_utf8")
    assert lines["a\nb.json"] == (Outcome.LEFT, "invalid_field:key")
    assert lines["w" * 249 + ".json"] == (Outcome.LEFT, "invalid_field:key")
    assert lines["x.JSON"] == lines["z.json~"] == (Outcome.LEFT, "not_a_queue_file")
    assert lines["y.json.28.tmp"] == (Outcome.LEFT, "temp_file")
    json.dumps(sorted(lines))


@pytest.mark.contract("IM3")
async def test_a_delivered_marker_covers_the_file_beside_it(queue: FileQueue, importing: OpenStore) -> None:
    queue.put("x.json")
    queue.put("x.delivered")
    queue.put("failed/y.json")
    queue.put("failed/y.delivered")
    box = await importing(NOW_MS)
    report = await box.run(queue.case)
    skipped = {line.source_id for line in report.entries if line.outcome is Outcome.SKIPPED}
    assert skipped == {"x.json", "x.delivered", "failed/y.json", "failed/y.delivered"}
    assert (await box.messages()).keys() == {"openclaw-files:good.json"}


# Databases


@pytest.mark.contract("IM5")
def test_rows_of_unknown_status_are_left(tmp_path: Path) -> None:
    entries, outbox, comis = (
        EntriesQueue(tmp_path / "a.sqlite"), OutboxQueue(tmp_path / "b.sqlite"), ComisQueue(tmp_path / "c.sqlite"),
    )  # fmt: skip
    entries.add("x", status="paused")
    outbox.add("x", status="sending")
    comis.add("x", status="paused")
    for queue in (entries, outbox, comis):
        (found,) = entries_of(queue.case).values()
        assert (found.outcome, found.reason) == (Outcome.LEFT, "unknown_status")


@pytest.mark.contract("IM3", "IM5")
async def test_a_bad_row_is_left_and_the_others_are_imported(tmp_path: Path, importing: OpenStore) -> None:
    queue = EntriesQueue(tmp_path / "a.sqlite")
    queue.add("good")
    queue.add("cut", '{"id": ')
    queue.add("bytes", b"\xff\xfe")
    queue.add("lost", entry("lost", to=None))
    queue.add("large", entry("large", payloads=[{"text": "x" * TWO_MEBIBYTES}]))
    queue.add("wordy", last_error="x" * TWO_MEBIBYTES)
    queue.add("x" * TWO_MEBIBYTES)
    queue.add("a\r\nb")
    queue.run("INSERT INTO delivery_queue_entries SELECT queue_name, CAST(x'ff' AS TEXT), status, entry_kind, "
              "session_key, channel, target, account_id, retry_count, last_attempt_at, last_error, recovery_state, "
              "platform_send_started_at, entry_json, enqueued_at, updated_at, failed_at "
              "FROM delivery_queue_entries WHERE id = 'good'")  # fmt: skip
    box = await importing(NOW_MS)
    report = await box.run(queue.case)
    assert {line.source_id: line.reason for line in report.entries} == {
        "outbound/good": "pending",
        "outbound/cut": "not_json",
        "outbound/bytes": "not_json",
        "outbound/lost": "missing_field:to",
        "outbound/large": "too_large",
        "outbound/a\r\nb": "invalid_field:key",
        "outbound/wordy": "pending",
        "outbound/": "missing_field:id",
        "row 9": "not_utf8",
    }
    assert (await box.messages()).keys() == {"openclaw-sqlite:outbound/good", "openclaw-sqlite:outbound/wordy"}


@pytest.mark.contract("IM4", "IM5")
def test_columns_of_other_types_are_read_as_what_they_are(tmp_path: Path) -> None:
    queue = EntriesQueue(tmp_path / "a.sqlite")
    queue.add("text", retry_count="many", last_attempt_at="soon", enqueued_at=NOW_MS - 5.5)
    queue.add("real", retry_count=2.5, last_attempt_at=NOW_MS - 1)
    queue.add("late", enqueued_at="yesterday")
    found = entries_of(queue.case)
    assert (found["outbound/text"].attempts, found["outbound/text"].enqueued_ms) == (0, NOW_MS - 6)
    assert (found["outbound/real"].attempts, found["outbound/real"].next_attempt_ms) == (2, NOW_MS - 1 + 25_000)
    assert found["outbound/late"].reason == "enqueued_at_missing"


@pytest.mark.contract("IM5")
def test_one_delivery_under_two_queue_names_is_sent_once_at_most(tmp_path: Path) -> None:
    queue = EntriesQueue(tmp_path / "a.sqlite")
    queue.add("done", queue_name="outbound")
    queue.add("done", "{}", queue_name="outbound-prepared-v1", status="completed")
    found = entries_of(queue.case)
    assert found["outbound/done"].reason == "completed_elsewhere"
    assert found["outbound-prepared-v1/done"].outcome is Outcome.SKIPPED


@pytest.mark.contract("IM5")
def test_a_row_that_was_acknowledged_before_it_failed_is_not_sent_again(tmp_path: Path) -> None:
    queue = ComisQueue(tmp_path / "a.sqlite")
    queue.add("x", delivered_message_id="m-1", attempt_count=1)
    (found,) = entries_of(queue.case).values()
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, "acknowledged_row")


@pytest.mark.contract("IM5")
@pytest.mark.parametrize("state", ["settlement_pending", "something new"])
def test_a_state_that_nobody_knows_is_no_state_to_send_in(tmp_path: Path, state: str) -> None:
    queue = EntriesQueue(tmp_path / "a.sqlite")
    queue.add("x", recovery_state=state)
    (found,) = entries_of(queue.case).values()
    assert (found.outcome, str(found.state)) == (Outcome.IMPORTED, "held")


def no_database(path: Path) -> None:
    path.write_text("hello, I am no database, but long enough to be one")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_tables(path: Path) -> None:
    ComisQueue(path).run("ALTER TABLE delivery_queue RENAME TO something_else")


def missing_column(path: Path) -> None:
    ComisQueue(path).run("ALTER TABLE delivery_queue RENAME COLUMN status TO standing")


def a_view(path: Path) -> None:
    other_tables(path)
    connection = apsw.Connection(str(path))
    connection.execute("CREATE VIEW delivery_queue AS SELECT * FROM something_else")
    connection.close()


def damaged(path: Path) -> None:
    ComisQueue(path).run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
        "INSERT INTO delivery_queue (id, text, channel_type, channel_id, created_at, scheduled_at, expire_at) "
        "SELECT i, hex(zeroblob(300)), 'telegram', '1', 1, 1, 1 FROM n"
    )
    raw = bytearray(path.read_bytes())
    raw[4096:20_000] = b"\x55" * (20_000 - 4096)
    path.write_bytes(raw)


def utf16(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("encoding", "UTF-16")
    connection.execute(COMIS_TABLE)
    connection.close()


def linked(path: Path) -> None:
    ComisQueue(path.with_name("real.db"))
    path.symlink_to("real.db")


def linked_log(path: Path) -> None:
    ComisQueue(path)
    (path.parent / "log").write_bytes(b"")
    path.with_name(path.name + "-wal").symlink_to("log")


@pytest.mark.contract("IM3", "IM5")
@pytest.mark.parametrize(
    "make",
    [no_database, empty, other_tables, missing_column, a_view, damaged, utf16, linked, linked_log, folder, pipe],
)
async def test_a_database_that_cannot_be_trusted_is_refused(
    make: Callable[[Path], None], tmp_path: Path, importing: OpenStore
) -> None:
    make(tmp_path / "source.db")
    before = {name: text for name, text in tree(tmp_path).items() if not name.startswith("outbox")}
    case = Case(system=System.COMIS, path=tmp_path / "source.db", now_ms=NOW_MS, expected={})
    box = await importing(NOW_MS)
    with pytest.raises(InvalidMessage) as caught:
        await box.run(case)
    assert caught.value.field == "path"
    assert await box.messages() == {}
    assert {name: text for name, text in tree(tmp_path).items() if not name.startswith("outbox")} == before


@pytest.mark.contract("IM3")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_database_of_another_user_is_refused(tmp_path: Path) -> None:
    queue = ComisQueue(tmp_path / "source.db")
    os.chown(queue.case.path, 12345, 12345)
    with pytest.raises(InvalidMessage, match="own"):
        entries_of(queue.case)


@pytest.mark.parametrize("system", System)
async def test_a_source_that_is_not_there_is_not_found(system: System, tmp_path: Path, importing: OpenStore) -> None:
    box = await importing(NOW_MS)
    with pytest.raises(NotFound):
        await box.run(Case(system=system, path=tmp_path / "nowhere", now_ms=NOW_MS, expected={}))


async def test_our_own_database_is_no_source(importing: OpenStore, tmp_path: Path) -> None:
    box = await importing(NOW_MS)
    case = Case(system=System.COMIS, path=box.path, now_ms=NOW_MS, expected={})
    with pytest.raises(InvalidMessage, match="own"):
        await box.run(case, own_database=box.path)


@pytest.mark.contract("IM5")
def test_without_its_log_a_database_would_tell_other_things(staged: Stage) -> None:
    case = staged(LIVE_LOG)
    with_log = entries_of(case)
    case.path.with_name(case.path.name + "-wal").unlink()
    assert entries_of(case).keys() != with_log.keys()


# Anything at all


@given(json_values)
def test_any_json_is_understood_or_refused(value: Any) -> None:
    said = value if isinstance(value, dict) else {"payloads": value}
    said = {"channel": "a", "to": "b", **said}
    try:
        understand(said, system=System.OPENCLAW_FILES, source_id="x.json")
    except Unreadable as exc:
        assert exc.reason  # noqa: PT017 — some are refused, some are not


FIELDS: Final = (
    "id enqueuedAt channel to accountId threadId replyToId replyToMode payloads retryCount lastAttemptAt lastError "
    "recoveryState silent mirror formatting reply preparedBatch dispatchKind maxRetries"
)
fields = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS.split(), json_values))
payload_fields = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("text", "mediaUrl", "mediaUrls", "replyToId", "channelData"), json_values)
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.tuples(fields, payload_fields | st.none()), max_size=3))
async def test_no_queue_breaks_the_importer(
    files: list[tuple[dict[str, Any], dict[str, Any] | None]], tmp_path: Path, importing: OpenStore
) -> None:
    """Each field is anything; where the route is good, the rest may still be anything."""
    example = len(list(tmp_path.iterdir()))
    queue = FileQueue(tmp_path / f"queue-{example}")
    for number, (said, payload) in enumerate(files):
        values = entry(f"e{number}") | said
        if payload is not None:
            values |= {"payloads": [payload], "channel": "telegram", "to": "1001"}
        queue.put(f"{example}-{number}.json", values)
    box = await importing(NOW_MS)
    report = await box.run(queue.case)
    assert len(report.entries) == len(files)
    stored = {line.source_id for line in report.entries if line.outcome.stored}
    assert await box.store.known_imports(queue.case.system, [f"{example}-{n}.json" for n in range(9)]) == stored
    assert await box.store.check() == []
