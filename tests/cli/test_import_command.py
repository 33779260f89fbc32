"""`pillarbox import`: every recorded queue through the command line, entry by entry (contract IM)."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from pillarbox.clock import SystemClock
from tests.imports.cases import FILES, NAMES, Case, stage, tree
from tests.imports.queues import NOW_MS, ComisQueue, EntriesQueue, FileQueue, OutboxQueue

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Ended, Pillarbox

every_case = pytest.mark.parametrize("name", NAMES)
RESULT = ("outcome", "state", "attempts")
COMIS = "comis/1.0.34"
STORED = ("imported", "terminal")


@pytest.fixture
def queue(tmp_path: Path) -> FileQueue:
    return FileQueue(tmp_path / "delivery-queue")


async def imported(pillarbox: Pillarbox, case: Case, *options: str) -> Ended:
    return await pillarbox("import", case.system, str(case.path), "--now", str(case.now_ms), "--json", *options)


def lines_of(ended: Ended) -> dict[str, Any]:
    entries: list[dict[str, Any]] = ended.json["entries"]
    by_id = {line["source_id"]: line for line in entries}
    assert len(by_id) == len(entries)
    return by_id


def complaints(found: dict[str, Any] | None, wanted: dict[str, Any]) -> str | None:
    choices = wanted.get("one_of") or [wanted]
    if found is None:
        return None if any(choice["outcome"] == "unreported" for choice in choices) else "is missing"
    fits = any(all(choice.get(key) in (None, found[key]) for key in RESULT) for choice in choices)
    fits = fits and found["attempts"] in wanted.get("attempts_one_of", [found["attempts"]])
    return None if fits else f"is {found}, expected one of {choices}"


@every_case
@pytest.mark.contract("IM1", "IM3", "IM4", "IM5")
async def test_the_report_is_what_was_recorded_entry_by_entry(name: str, pillarbox: Pillarbox) -> None:
    case = stage(name, pillarbox.home / "case")
    dry = await imported(pillarbox, case, "--dry-run")
    assert not pillarbox.db.exists()
    done = await imported(pillarbox, case)
    found = lines_of(done)
    wrong = [
        f"{source_id}: {complaint}"
        for source_id, wanted in case.entries.items()
        if (complaint := complaints(found.get(source_id), wanted)) is not None
    ]
    assert not wrong, "\n".join(wrong)
    assert found.keys() <= case.entries.keys()
    assert all(line.keys() == {"source_id", "outcome", "state", "attempts", "reason", "id"} for line in found.values())
    report = done.json
    assert sum(report["totals"].values()) == len(found)
    stays = any(line["outcome"] in ("left", "quarantined") for line in found.values())
    assert (report["complete"], done.code, dry.code) == (not stays, int(stays), int(stays))
    assert (report["system"], report["dry_run"], dry.json["dry_run"]) == (case.system, False, True)
    # But for the messages that there are now.
    assert lines_of(dry) == {source_id: line | {"id": None} for source_id, line in found.items()}
    assert all((line["id"] is not None) == (line["outcome"] in STORED) for line in found.values())
    stored = {source_id for source_id, line in found.items() if line["outcome"] in STORED}
    keys = {row["key"] for row in (await pillarbox("ls", "--limit", "1000", "--json")).json}
    assert keys == {f"{case.system}:{source_id}" for source_id in stored}


@every_case
@pytest.mark.contract("IM1", "IM2")
async def test_a_second_run_imports_nothing_anew(name: str, pillarbox: Pillarbox) -> None:
    case = stage(name, pillarbox.home / "case")
    first = await imported(pillarbox, case)
    before = (await pillarbox("ls", "--limit", "1000", "--json")).json
    files = tree(case.path.parent)
    dry = await imported(pillarbox, case, "--dry-run")
    second = await imported(pillarbox, case)
    # A dry run asks the database that there is.
    assert lines_of(dry) == lines_of(second)
    assert not [line for line in lines_of(second).values() if line["outcome"] in STORED]
    assert (await pillarbox("ls", "--limit", "1000", "--json")).json == before
    assert tree(case.path.parent) == files
    assert [line for line in lines_of(first).values() if line["outcome"] in STORED]


@pytest.mark.contract("IM5")
async def test_a_dry_run_makes_no_database_and_moves_nothing(pillarbox: Pillarbox) -> None:
    case = stage(FILES, pillarbox.home / "case")
    before = tree(pillarbox.home)
    dry = await imported(pillarbox, case, "--dry-run")
    assert tree(pillarbox.home) == before
    assert dry.err.splitlines()[0] == "a dry run: nothing was written"


@pytest.mark.contract("IM2", "IM3")
async def test_files_are_put_away_and_failed_ones_as_one_asks(pillarbox: Pillarbox, queue: FileQueue) -> None:
    queue.put("a.json")
    queue.put("failed/b.json")
    left = await imported(pillarbox, queue.case, "--leave-failed")
    assert (left.code, left.json["totals"], left.json["retired"]) == (1, {"imported/scheduled": 1, "left": 1}, 1)
    kept = await imported(pillarbox, queue.case)
    assert (kept.json["totals"], kept.json["retired"]) == ({"terminal/dead": 1}, 0)
    assert (queue.path / "failed/b.json").exists()
    archived = await imported(pillarbox, queue.case, "--archive-failed")
    assert (archived.json["totals"], archived.json["retired"]) == ({"skipped": 1}, 1)
    assert "moved to imported/: 1 file\n" in archived.err
    assert (queue.path / "imported/a.json").exists()
    assert (queue.path / "failed/imported/b.json").exists()


@pytest.mark.contract("IM2")
async def test_at_a_lesser_durability_the_files_stay_and_that_is_said(pillarbox: Pillarbox, queue: FileQueue) -> None:
    queue.put("a.json")
    pillarbox.variables["PILLARBOX_DURABILITY"] = "process"
    done = await imported(pillarbox, queue.case)
    assert (done.code, done.json["totals"]) == (1, {"imported/scheduled": 1})
    assert "durability is process" in done.json["kept"]
    assert (queue.path / "a.json").exists()


@pytest.mark.contract("IM1")
async def test_their_channels_become_ours_with_their_policies(pillarbox: Pillarbox, queue: FileQueue) -> None:
    queue.put("a.json", accountId="main")
    queue.put("b.json", accountId="other")
    queue.put("c.json", channel="slack")
    pillarbox.serving("http://127.0.0.1:1/", ttl="2h", max_attempts="7")
    pillarbox.variables["PILLARBOX_DEFAULTS__MAX_ATTEMPTS"] = "3"
    done = await imported(pillarbox, queue.case, "--map", "telegram=ops", "--map", "telegram/other=pager")
    rows = {row["key"].rpartition(":")[2]: row for row in (await pillarbox("ls", "--json")).json}
    assert {key: row["channel"] for key, row in rows.items()} == {"a.json": "ops", "b.json": "pager", "c.json": "slack"}
    assert {key: row["max_attempts"] for key, row in rows.items()} == {"a.json": 7, "b.json": 3, "c.json": 3}
    # Two hours from the import, whose time was given; the store's default is one.
    ends = [datetime.fromisoformat(rows[key]["expires_at"]).timestamp() * 1000 for key in ("a.json", "b.json")]
    assert ends == [NOW_MS + 7_200_000, NOW_MS + 3_600_000]
    assert done.err.splitlines()[1:] == [
        f"no channel {name} is configured here: 1 message waits {WORKER}" for name in ("pager", "slack")
    ]


WORKER = "for a worker that has it; configure it, or start the application that has it"


@pytest.mark.parametrize("kind", [FileQueue, EntriesQueue, OutboxQueue, ComisQueue])
@pytest.mark.contract("IM1")
async def test_channels_that_nobody_configured_are_named(
    kind: type[FileQueue | EntriesQueue | OutboxQueue | ComisQueue], pillarbox: Pillarbox
) -> None:
    queue = kind(pillarbox.home / "their.queue")
    for name in ("a.json", "b.json"):
        if isinstance(queue, FileQueue):
            queue.put(name)
        else:
            queue.add(name)
    command = ("import", queue.case.system, str(queue.case.path), "--now", str(NOW_MS))
    dry = await pillarbox(*command, "--dry-run")
    advice = "would wait for a worker that has it; configure it first, or name another with --map"
    assert dry.err.splitlines()[1:] == [f"no channel telegram is configured here: 2 messages {advice}"]
    mapped = await pillarbox(*command, "--dry-run", "--json", "--map", "telegram=ops", "--map", "slack=pager")
    assert mapped.json["waiting"] == {"ops": 2}
    assert "no channel pager is configured here: --map names it, but nothing was imported for it" in mapped.err
    pillarbox.serving("http://127.0.0.1:1/")
    assert "no channel" not in (await pillarbox(*command, "--dry-run", "--map", "telegram=ops")).err
    done = await pillarbox(*command)
    assert done.err.splitlines()[-1] == f"no channel telegram is configured here: 2 messages wait {WORKER}"
    # The second run imports nothing: nothing of its own waits.
    assert "no channel" not in (await pillarbox(*command)).err


async def test_what_is_only_kept_for_the_record_waits_for_no_channel(pillarbox: Pillarbox, queue: FileQueue) -> None:
    queue.put("failed/a.json")
    done = await imported(pillarbox, queue.case)
    assert (done.json["totals"], done.json["waiting"], done.err) == ({"terminal/dead": 1}, {}, "")


@pytest.mark.contract("IM4", "IM5")
async def test_age_and_doubt_are_judged_as_one_asks(pillarbox: Pillarbox, queue: FileQueue, tmp_path: Path) -> None:
    queue.put("a.json")
    path = str(queue.path)
    at = datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat()
    young = await pillarbox("import", "openclaw-files", path, "--now", at, "--dry-run", "--json")
    assert lines_of(young)["a.json"]["outcome"] == "imported"
    narrow = await pillarbox(
        "import", "openclaw-files", path, "--now", at, "--max-age", "30s", "--dry-run", "--json"
    )  # fmt: skip
    # Judged by the clock's own time it is older than three days.
    now = await pillarbox("import", "openclaw-files", path, "--dry-run", "--json")
    for old in (narrow, now):
        line = lines_of(old)["a.json"]
        assert (line["outcome"], line["reason"], old.code) == ("quarantined", "too_old", 1)
    comis = ComisQueue(tmp_path / "memory.db")
    comis.add("a", status="in_flight")
    held = await imported(pillarbox, comis.case, "--dry-run")
    sent = await imported(pillarbox, comis.case, "--dry-run", "--on-uncertain", "resend")
    assert (lines_of(held)["a"]["state"], lines_of(sent)["a"]["state"]) == ("held", "scheduled")


async def test_people_see_what_stays_and_why(pillarbox: Pillarbox, queue: FileQueue) -> None:
    queue.put("a.json")
    queue.put("broken\x1b.json", "{")
    shown = await pillarbox("import", "openclaw-files", str(queue.path), "--now", str(NOW_MS))
    assert shown.code == 1
    assert [line.split()[0] for line in shown.out.splitlines()] == [
        "RESULT", "imported/scheduled", "left", "STAYS", r"broken\x1b.json",
    ]  # fmt: skip
    assert "\x1b" not in shown.out


@pytest.mark.contract("DR1", "IM1")
async def test_what_was_imported_goes_out_with_the_next_drain(
    pillarbox: Pillarbox, receiver: Receiver, queue: FileQueue
) -> None:
    queue.put("a.json", enqueuedAt=SystemClock().wall_ms() - 1000)
    pillarbox.serving(receiver.url)
    done = await pillarbox("import", "openclaw-files", str(queue.path), "--map", "telegram=ops")
    assert (done.code, receiver.count) == (0, 0)
    drained = await pillarbox("run", "--drain", "--json")
    assert (drained.row("drained")["delivered"], drained.row("delivered")["channel"]) == (1, "ops")
    assert receiver.requests[0].json["text"] == "text of a"


def planted(home: Path) -> dict[str, tuple[tuple[str, str], int, str]]:
    """Make what no import should touch; gives system and path, the exit code, and how the line begins."""
    home.mkdir()
    queue = FileQueue(home / "queue")
    (home / "link").symlink_to(queue.path)
    (home / "text.db").write_text("no database", "utf-8")
    (home / "link.db").symlink_to(home / "text.db")
    os.mkfifo(home / "pipe.db")
    apsw.Connection(str(home / "other.db")).execute("CREATE TABLE a (b)")
    name = str
    return {
        "link to a directory": (("openclaw-files", name(home / "link")), 2, "path: "),
        "file for a directory": (("openclaw-files", name(home / "text.db")), 2, "path: "),
        "no directory": (("openclaw-files", name(home / "nowhere")), 3, "no "),
        "no file": (("comis", name(home / "nowhere")), 3, "no "),
        "directory for a file": (("comis", name(queue.path)), 2, "path: "),
        "link to a file": (("openclaw-sqlite", name(home / "link.db")), 2, "path: "),
        "no database": (("openclaw-outbox", name(home / "text.db")), 2, "path: "),
        "a pipe": (("comis", name(home / "pipe.db")), 2, "path: "),
        "another database": (("comis", name(home / "other.db")), 2, "path: "),
        "unknown system": (("openclaw", name(queue.path)), 2, "Invalid value for 'SYSTEM'"),
    }


@pytest.mark.contract("IM3")
async def test_hostile_sources_end_in_a_sentence_and_write_nothing(pillarbox: Pillarbox) -> None:
    cases = planted(pillarbox.home / "sources")
    before = tree(pillarbox.home)
    several = asyncio.Semaphore(3)

    async def attempt(system: str, path: str) -> Ended:
        async with several:
            return await pillarbox("import", system, path)

    found = await asyncio.gather(*(attempt(*given) for given, _, _ in cases.values()))
    for (name, (_, code, said)), ended in zip(cases.items(), found, strict=True):
        assert (ended.code, ended.out) == (code, ""), (name, ended)
        assert ended.said.startswith(f"error: {said}"), (name, ended)
    after = tree(pillarbox.home)
    assert {path: after.get(path) for path in before} == before
    # A source is looked at when the database is open; in it is nothing.
    assert not pillarbox.db.exists() or (await pillarbox("ls", "--json")).json == []


@pytest.mark.contract("IM3")
async def test_our_own_database_is_no_source(pillarbox: Pillarbox) -> None:
    await pillarbox("send", "http://127.0.0.1:1/", "hi", "--to", "x")
    refused = await pillarbox("import", "comis", str(pillarbox.db))
    assert (refused.code, "not this outbox's own" in refused.said) == (2, True)


async def test_options_that_make_no_sense_are_refused(pillarbox: Pillarbox, queue: FileQueue) -> None:
    mistakes = {
        "--map telegram": "Invalid value for '--map': expected THEIRS=OURS",
        "--map =ops": "Invalid value for '--map': expected THEIRS=OURS",
        "--map a=b --map a=c": "Invalid value for '--map': expected one channel for 'a'",
        "--now yesterday": "Invalid value for '--now': expected a time with its zone",
        "--now 2030-01-31T09:00": "Invalid value for '--now': expected a time with its zone",
        "--now 99999999999999999999": "Invalid value for '--now': expected a time with its zone",
        "--max-age 0s": "Invalid value for '--max-age': expected a span above 0",
        "--on-uncertain drop": "Invalid value for '--on-uncertain'",
        "--archive-failed --leave-failed": "--archive-failed and --leave-failed exclude each other",
    }
    several = asyncio.Semaphore(3)

    async def attempt(typed: str) -> Ended:
        async with several:
            return await pillarbox("import", "openclaw-files", str(queue.path), *typed.split())

    found = await asyncio.gather(*map(attempt, mistakes))
    for (typed, said), ended in zip(mistakes.items(), found, strict=True):
        assert (ended.code, ended.out) == (2, ""), typed
        assert ended.said.startswith(f"error: {said}"), typed
    other = await pillarbox("import", "comis", "x", "--leave-failed")
    assert (other.code, "are for openclaw-files" in other.said) == (2, True)
    assert not pillarbox.db.exists()


@pytest.mark.contract("EN12", "SG1")
async def test_where_nothing_is_kept_nothing_is_imported(pillarbox: Pillarbox, queue: FileQueue) -> None:
    queue.put("a.json")
    pillarbox.variables["PILLARBOX_ENABLED"] = "false"
    refused = await imported(pillarbox, queue.case)
    assert (refused.code, refused.out) == (1, "")
    assert json.loads((queue.path / "a.json").read_text("utf-8"))["id"] == "a"


async def test_last_is_what_was_imported_last(pillarbox: Pillarbox, queue: FileQueue) -> None:
    now_ms = SystemClock().wall_ms()
    queue.put("a.json", enqueuedAt=now_ms - 2000)
    queue.put("b.json", enqueuedAt=now_ms - 1000)
    words = ("import", "openclaw-files", str(queue.path), "--json")
    dry = await pillarbox(*words, "--dry-run")
    assert {line["id"] for line in dry.json["entries"]} == {None}
    assert (await pillarbox("show", "LAST")).code == 5  # there is no database yet
    entries = (await pillarbox(*words)).json["entries"]
    assert len({line["id"] for line in entries}) == 2
    assert (await pillarbox("show", "LAST", "--json")).json["id"] == entries[-1]["id"]
    # A second import stores nothing, and changes nothing.
    await pillarbox(*words)
    assert (await pillarbox("show", "LAST", "--json")).json["id"] == entries[-1]["id"]
