"""What an entry becomes: its route by the map, its options in the content, its order, its end (contract IM1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox.channels.base import Attempt, Capabilities, Channel
from pillarbox.domain.limits import Limits
from pillarbox.domain.message import Admission, Content, Format, State, decode_content
from pillarbox.domain.retry import ExpireAction, PartsMode, Policy
from pillarbox.errors import InvalidMessage
from pillarbox.imports.entry import FailedFiles, Outcome
from pillarbox.outbox.routes import Route
from pillarbox.store.registry import open_store
from tests.imports.cases import Importing
from tests.imports.queues import MINUTE_MS, NOW_MS, ComisQueue, EntriesQueue, FileQueue, entry

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.domain.message import MessageView
    from pillarbox.domain.outcome import AnyOutcome
    from tests.imports.conftest import OpenStore


@pytest.fixture
def queue(tmp_path: Path) -> FileQueue:
    return FileQueue(tmp_path / "delivery-queue")


async def imported(box: Importing, queue: FileQueue, **options: Any) -> dict[str, MessageView]:
    await box.run(queue.case, **options)
    return {key.removeprefix("openclaw-files:"): view for key, view in (await box.messages()).items()}


@pytest.mark.contract("IM5")
async def test_a_map_sends_a_channel_elsewhere(queue: FileQueue, importing: OpenStore) -> None:
    queue.put("plain.json")
    queue.put("account.json", accountId="shop")
    queue.put("other.json", channel="slack")
    box = await importing(NOW_MS)
    found = await imported(box, queue, channel_map={"telegram": "ops", "telegram/shop": "sales"})
    assert {name: view.channel for name, view in found.items()} == {
        "plain.json": "ops", "account.json": "sales", "other.json": "slack",
    }  # fmt: skip
    # What it was called there is kept.
    metadata = json.loads(found["plain.json"].metadata or b"")
    assert metadata["import"]["entry"]["channel"] == "telegram"


@pytest.mark.contract("IM1", "CO1")
async def test_options_shape_the_content_and_bookkeeping_does_not(queue: FileQueue, importing: OpenStore) -> None:
    queue.put(
        "x.json",
        payloads=[{
            "text": "*hello*", "mediaUrls": ["https://a.test/1.png", "https://a.test/2.png"],
            "mediaUrl": "https://a.test/1.png", "audioAsVoice": True, "channelData": {"telegram": {"buttons": []}},
        }],
        threadId=77, replyToId="55", silent=True, gifPlayback=True, bestEffort=False, forceDocument=True,
        mirror={"sessionKey": "s", "text": "hello"}, formatting={"parseMode": "HTML"}, identity={"name": "Baker"},
        session={"key": "s"}, queuePolicy="required", renderedBatchPlan={"items": []}, newThing={"a": 1},
        retryCount=1, lastError="ETIMEDOUT", lastAttemptAt=NOW_MS - 1,
    )  # fmt: skip
    box = await importing(NOW_MS)
    view = (await imported(box, queue))["x.json"]
    content = decode_content(view.content or b"")
    assert (content.text, content.format, content.reply_to, content.silent) == ("*hello*", Format.HTML, "55", True)
    assert [file.url for file in content.files] == ["https://a.test/1.png", "https://a.test/2.png"]
    assert content.mirror == {"sessionKey": "s", "text": "hello"}
    assert content.extra == {
        "gifPlayback": True, "forceDocument": True, "formatting": {"parseMode": "HTML"},
        "identity": {"name": "Baker"}, "newThing": {"a": 1}, "audioAsVoice": True,
        "channelData": {"telegram": {"buttons": []}},
    }  # fmt: skip
    assert (view.thread, view.last_error, view.claimed_ms) == ("77", "ETIMEDOUT", NOW_MS - 1)
    kept = json.loads(view.metadata or b"")["import"]
    assert (kept["system"], kept["source_id"], kept["entry"]["id"]) == ("openclaw-files", "x.json", "x")
    assert kept["entry"]["threadId"] == 77
    assert {"session", "queuePolicy", "renderedBatchPlan", "lastError", "bestEffort"} <= kept["entry"].keys()
    assert view.policy.parts is PartsMode.ALL_OR_ABORT


@pytest.mark.contract("IM1")
async def test_several_payloads_are_parts_of_one_message_in_order(queue: FileQueue, importing: OpenStore) -> None:
    payloads = [{"text": "one"}, {"text": ""}, {"text": "two", "replyToId": "9"}, {"mediaUrl": "https://a.test/3.png"}]
    queue.put("x.json", payloads=payloads, replyToId="5", replyToMode="first", silent=True, bestEffort=True)
    box = await importing(NOW_MS)
    view = (await imported(box, queue))["x.json"]
    parts = [decode_content(part.content or b"") for part in view.parts]
    assert [(part.text, part.reply_to) for part in parts] == [("one", "5"), ("two", "9"), (None, None)]
    assert all(part.silent for part in parts)
    assert parts[2].files[0].url == "https://a.test/3.png"
    assert (view.part_count, view.prepared, view.policy.parts) == (3, True, PartsMode.BEST_EFFORT)
    assert decode_content(view.content or b"").text == "one\n\ntwo"


class Narrow(Channel):
    """Takes two characters at once, and nothing for nobody."""

    capabilities = Capabilities(text_limit=2)

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
        if to == "nobody":
            raise InvalidMessage("to", "expected somebody")
        admitted = super().admit(to=to, content=content, thread=thread)
        return msgspec.structs.replace(admitted, recipient=f"@{to}")

    async def send(self, attempt: Attempt) -> AnyOutcome:
        raise NotImplementedError


@pytest.mark.contract("IM1", "EN16")
async def test_a_channel_at_hand_cuts_long_payloads_further(queue: FileQueue, importing: OpenStore) -> None:
    queue.put("x.json", payloads=[{"text": "abcd"}, {"text": "e"}])
    queue.put("y.json", payloads=[{"text": "abcd"}, {"text": "e"}], to="nobody")

    box = await importing(NOW_MS)
    route = Route(channel=Narrow(), policy=Policy(), ordered=True)
    found = await imported(box, queue, route=lambda _name: route)
    assert found.keys() == {"x.json"}
    assert [decode_content(part.content or b"").text for part in found["x.json"].parts] == ["ab", "cd", "e"]
    assert found["x.json"].recipient == "@1001"


@pytest.mark.contract("IM1", "LA1")
async def test_a_lane_keeps_the_order_of_the_source(queue: FileQueue, importing: OpenStore) -> None:
    for number, age in enumerate((5, 1, 9, 3)):
        queue.put(f"{number}.json", enqueuedAt=NOW_MS - age * MINUTE_MS)
    box = await importing(NOW_MS)
    found = await imported(box, queue)
    in_order = sorted(found, key=lambda name: found[name].seq)
    assert in_order == ["2.json", "0.json", "3.json", "1.json"]
    assert len({view.lane for view in found.values()}) == 1
    assert {view.lane for view in found.values()} != {None}


@pytest.mark.contract("IM1", "EX1")
@pytest.mark.parametrize(
    ("policy", "expires_ms"),
    [
        (Policy(ttl_seconds=60.0), NOW_MS + 60_000),
        (Policy(ttl_seconds=None), None),
        (Policy(expire_action=ExpireAction.DELIVER), None),
    ],
)
async def test_the_time_to_live_counts_from_the_import(
    queue: FileQueue, importing: OpenStore, policy: Policy, expires_ms: int | None
) -> None:
    queue.put("x.json", enqueuedAt=NOW_MS - 60 * MINUTE_MS)
    box = await importing(NOW_MS)
    route = Route(channel=None, policy=policy, ordered=True)
    assert (await imported(box, queue, route=lambda _name: route))["x.json"].expires_ms == expires_ms


@pytest.mark.contract("IM1", "EX1")
async def test_a_message_for_later_keeps_its_time_and_its_end(tmp_path: Path, importing: OpenStore) -> None:
    queue = ComisQueue(tmp_path / "memory.sqlite")
    later = NOW_MS + 30 * MINUTE_MS
    queue.add("later", scheduled_at=later, expire_at=later + 1)
    queue.add("endless", scheduled_at=later, expire_at=-1)
    box = await importing(NOW_MS)
    await box.run(queue.case)
    found = await box.messages()
    view = found["comis:later"]
    assert (view.not_before_ms, view.due_ms, view.expires_ms) == (later, later, later + 1)
    assert found["comis:endless"].expires_ms == later + 60 * MINUTE_MS


@pytest.mark.contract("IM5")
async def test_comis_options_are_kept(tmp_path: Path, importing: OpenStore) -> None:
    options = {
        "replyTo": "88", "threadId": 12, "parseMode": "MarkdownV2", "subject": "Weekly", "effects": ["silent"],
        "buttons": [[{"text": "Yes"}]], "extra": {"telegramThreadId": 12},
    }  # fmt: skip
    queue = ComisQueue(tmp_path / "memory.sqlite")
    queue.add("x", options_json=json.dumps(options), trace_id="tr-1", origin="cron", tenant_id="shop")
    box = await importing(NOW_MS)
    await box.run(queue.case)
    view = (await box.messages())["comis:x"]
    content = decode_content(view.content or b"")
    assert (content.reply_to, content.format, content.subject, content.silent) == (
        "88",
        Format.MARKDOWN,
        "Weekly",
        True,
    )
    assert content.extra == {"buttons": [[{"text": "Yes"}]], "telegramThreadId": 12}
    assert (view.thread, view.tenant, view.origin, view.correlation_id) == ("12", "shop", "cron", "tr-1")
    assert json.loads(view.metadata or b"")["import"]["entry"]["options"] == options


@pytest.mark.contract("IM1", "IM5")
async def test_of_two_copies_of_one_delivery_at_most_one_waits(queue: FileQueue, importing: OpenStore) -> None:
    queue.put("a.json", entry("one"))
    queue.put("b.json", entry("one"))
    queue.put("failed/a.json", entry("one"))
    box = await importing(NOW_MS)
    report = await box.run(queue.case, failed=FailedFiles.IMPORT)
    lines = {line.source_id: (str(line.outcome), line.reason) for line in report.entries}
    assert lines == {
        "a.json": ("imported", "pending"),
        "b.json": ("quarantined", "duplicate_id"),
        "failed/a.json": ("terminal", "failed_dir"),
    }
    again = await box.run(queue.case)
    assert {view.state for view in (await box.messages()).values()} == {State.SCHEDULED, State.DEAD}
    assert not any(line.outcome.stored for line in again.entries)


@pytest.mark.contract("IM1", "IM3")
async def test_what_somebody_took_out_of_failed_again_is_sent(queue: FileQueue, importing: OpenStore) -> None:
    path = queue.put("failed/x.json")
    box = await importing(NOW_MS)
    assert (await box.run(queue.case)).totals == {"terminal/dead": 1}
    (queue.path / "x.json").write_bytes(path.read_bytes())
    report = await box.run(queue.case)
    assert {line.source_id: line.reason for line in report.entries} == {
        "x.json": "pending", "failed/x.json": "already_imported",
    }  # fmt: skip


@pytest.mark.contract("IM1")
async def test_an_entry_that_has_grown_too_old_since_is_not_reported_as_left(
    tmp_path: Path, importing: OpenStore
) -> None:
    queue = EntriesQueue(tmp_path / "a.sqlite")
    queue.add("x")
    box = await importing(NOW_MS)
    await box.run(queue.case)
    report = await box.run(queue.case, now_ms=NOW_MS + 1000 * 60 * MINUTE_MS)
    assert [(line.outcome, line.reason) for line in report.entries] == [(Outcome.SKIPPED, "already_imported")]
    assert report.complete


@pytest.mark.contract("IM5")
async def test_what_is_too_old_can_be_asked_for(queue: FileQueue, importing: OpenStore) -> None:
    queue.put("x.json", enqueuedAt=NOW_MS - 100 * 60 * MINUTE_MS)
    box = await importing(NOW_MS)
    assert (await box.run(queue.case)).totals == {"quarantined": 1}
    assert (await box.run(queue.case, max_age_ms=1000 * 60 * MINUTE_MS)).totals == {"imported/scheduled": 1}


@pytest.mark.contract("IM3", "EN5")
async def test_a_full_store_leaves_the_rest_in_its_source(queue: FileQueue, tmp_path: Path) -> None:
    for name in ("a.json", "b.json", "c.json", "failed/d.json"):
        queue.put(name)
    box = Importing(tmp_path / "outbox.db", NOW_MS)
    box.store = open_store(tmp_path / "outbox.db", clock=box.clock, limits=Limits(messages=2))
    await box.store.open()
    report = await box.run(queue.case)
    assert {line.source_id: line.reason for line in report.entries} == {
        "a.json": "pending", "b.json": "pending", "c.json": "queue_full", "failed/d.json": "failed_dir",
    }  # fmt: skip
    assert (queue.path / "c.json").exists()
    await box.store.close()
    box.store = open_store(tmp_path / "outbox.db", clock=box.clock)
    await box.store.open()
    assert (await box.run(queue.case)).totals == {"imported/scheduled": 1, "skipped": 1}
    assert await box.store.check() == []
    await box.store.close()


async def test_a_dry_run_needs_no_store(queue: FileQueue, tmp_path: Path) -> None:
    from pillarbox.imports.entry import System
    from pillarbox.imports.importer import ImportOptions, run_import
    from pillarbox.testing.fakes import FakeClock, SeededEntropy

    queue.put("x.json")
    clock = FakeClock(wall_ms=NOW_MS)
    options = ImportOptions(dry_run=True)
    report = await run_import(None, System.OPENCLAW_FILES, queue.path, options, clock=clock, entropy=SeededEntropy(1))
    assert (report.totals, report.dry_run) == ({"imported/scheduled": 1}, True)
    assert (queue.path / "x.json").exists()
