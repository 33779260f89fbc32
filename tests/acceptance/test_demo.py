"""`pillarbox demo`: it shows what it says, cleans up, and would notice if it were not so."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.demo.director import DemoFailed, Director, Play
from pillarbox.demo.judge import Entry, Sent, Told, Verdict, judge
from tests.cli.commands import COMMAND, PATIENCE_SECONDS
from tests.store.postgres_server import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROW = ["sent", "delivered", "lost", "duplicates", "unexplained_duplicates", "out_of_order", "kills", "seconds"]
PLANTED = Path(__file__).with_name("planted_worker.py")


async def started(*arguments: str, folder: Path) -> asyncio.subprocess.Process:
    """Start a demonstration in a process group of its own, with its temporary files in *folder*."""
    return await asyncio.create_subprocess_exec(
        COMMAND,
        "demo",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, err = await process.communicate()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody of its group is left
    return out.decode(), err.decode()


@pytest.mark.contract("EN1", "LE4", "LE5", "LA1", "DR4")
async def test_a_worker_killed_three_times_loses_nothing(tmp_path: Path) -> None:
    process = await started("--json", folder=tmp_path)
    out, err = await ended(process)
    row = json.loads(out)
    assert list(row) == ROW
    assert (process.returncode, err) == (0, "")
    assert (row["sent"], row["delivered"], row["kills"]) == (300, 300, 3)
    assert (row["lost"], row["unexplained_duplicates"], row["out_of_order"]) == (0, 0, 0)
    assert row["duplicates"] >= 3  # each kill met at least one message that was read and not yet answered
    assert list(tmp_path.iterdir()) == []


@pytest.mark.contract("LE4", "LA1", "DR4")
async def test_on_a_server_a_killed_worker_loses_nothing_either(tmp_path: Path) -> None:
    with fresh_database() as url:
        how = ("--messages", "30", "--lanes", "3", "--kills", "1", "--db", url)
        out, err = await ended(await started(*how, "--json", folder=tmp_path))
        row = json.loads(out)
        assert (row["sent"], row["delivered"], row["kills"], err) == (30, 30, 1, "")
        assert (row["lost"], row["unexplained_duplicates"], row["out_of_order"]) == (0, 0, 0)
        assert row["duplicates"] >= 1


async def test_a_file_is_what_it_makes_itself(tmp_path: Path) -> None:
    process = await started("--db", str(tmp_path / "mine.db"), folder=tmp_path)
    _, err = await ended(process)
    assert (process.returncode, "expected postgresql://" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


async def test_people_see_what_happened_and_may_keep_it(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    process = await started("--messages", "40", "--lanes", "4", "--kills", "2", "--keep", str(kept), folder=tmp_path)
    out, err = await ended(process)
    assert process.returncode == 0
    assert dict(line.rsplit(maxsplit=1) for line in out.splitlines()[1:])["delivered"] == "40"
    assert err.count("was killed with SIGKILL") == 2
    assert f"kept in {kept}" in err
    ledger = [json.loads(line) for line in (kept / "ledger.jsonl").read_text().splitlines()]
    assert len({entry["id"] for entry in ledger if entry["event"] == "read"}) == 40
    assert any(entry["event"] == "answered_too_late" for entry in ledger)
    assert len(list(kept.glob("worker-*.log"))) == 3
    process = await started("--keep", str(kept), folder=tmp_path)
    _, err = await ended(process)
    assert (process.returncode, "expected an empty directory" in err) == (2, True)


async def test_asked_to_end_it_takes_its_processes_along(tmp_path: Path) -> None:
    process = await started(folder=tmp_path)
    assert process.stderr is not None
    await process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    await ended(process)
    assert process.returncode == 1
    assert list(tmp_path.iterdir()) == []


async def held(folder: Path, *worker: str, kills: int, seconds_max: float) -> Verdict:
    command: Sequence[str] = (sys.executable, *worker)
    play = Play(folder=folder, messages=48, lanes=6, kills=kills, worker=command, seconds_max=seconds_max)
    verdict, _ = await Director(play, lambda scene, sentence: None).hold()
    return verdict


async def judged(folder: Path, bug: str, *, kills: int, found: Callable[[Verdict], bool]) -> Verdict:
    """Hold one with a bug, which never ends by itself; a longer one, where a slow machine has not shown it by then."""
    (first := folder / "first").mkdir()
    verdict = await held(first, str(PLANTED), bug, "run", kills=kills, seconds_max=8.0)
    if found(verdict):
        return verdict
    (again := folder / "again").mkdir()
    return await held(again, str(PLANTED), bug, "run", kills=kills, seconds_max=80.0)


@pytest.mark.parametrize(
    ("bug", "kills", "found"),
    [
        ("settles_nothing", 0, "lost"),
        ("settles_before_it_sends", 1, "out_of_order"),
        ("forgets_lanes", 0, "out_of_order"),
        ("sends_twice", 0, "unexplained_duplicates"),
        ("sends_uncommitted_attempts", 1, "unexplained_duplicates"),
    ],
)
async def test_a_worker_with_a_bug_is_found_out(tmp_path: Path, bug: str, kills: int, found: str) -> None:
    verdict = await judged(tmp_path, bug, kills=kills, found=lambda verdict: getattr(verdict, found) > 0)
    assert getattr(verdict, found) > 0
    assert not verdict.good
    assert verdict.findings


async def test_a_single_message_that_is_recorded_and_never_sent_is_found(tmp_path: Path) -> None:
    verdict = await judged(tmp_path, "drops_one", kills=1, found=lambda verdict: verdict.lost == 1)
    assert (verdict.lost, verdict.unexplained_duplicates, verdict.out_of_order) == (1, 0, 0)
    assert verdict.findings[0].endswith("number 3 of lane 1")


async def test_a_worker_that_ends_by_itself_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match="the worker ended by itself: it gave up"):
        await held(tmp_path, "-c", "import sys; sys.exit('it gave up')", kills=1, seconds_max=PATIENCE_SECONDS)


# The judge alone: one lane, two messages, what should be and one thing that should not.
SENT = [Sent(id="a", lane=0, place=0), Sent(id="b", lane=0, place=1)]
TOLD = {"a": Told(delivered=True, claims={1: 10}), "b": Told(delivered=True, claims={1: 20})}


def read(number: int, message: str, attempt: int = 1, at_ms: int = 100) -> Entry:
    return Entry(event="read", number=number, id=message, attempt=attempt, at_ms=at_ms)


def answered(number: int) -> Entry:
    return Entry(event="answered", number=number)


GOOD = [read(1, "a"), answered(1), read(2, "b"), answered(2)]


def test_the_judge_finds_nothing_where_nothing_is() -> None:
    assert judge(SENT, GOOD, TOLD) == Verdict(
        sent=2, delivered=2, lost=0, duplicates=0, unexplained_duplicates=0, out_of_order=0
    )


@pytest.mark.parametrize(
    ("ledger", "told", "expected"),
    [
        (GOOD[:2], TOLD, {"lost": 1, "delivered": 1}),
        (GOOD, TOLD | {"b": Told(delivered=False, claims={1: 20})}, {"lost": 1}),
        (GOOD, {"a": TOLD["a"]}, {"lost": 1, "unexplained_duplicates": 1}),
        ([*GOOD, read(3, "b")], TOLD, {"duplicates": 1, "unexplained_duplicates": 1}),
        ([*GOOD, read(3, "b", 2)], TOLD, {"duplicates": 1, "unexplained_duplicates": 1}),
        ([*GOOD, read(3, "b", 2)], TOLD | {"b": Told(delivered=True, claims={1: 20, 2: 100})}, {"duplicates": 1}),
        (
            [*GOOD, read(3, "b", 2)],
            TOLD | {"b": Told(delivered=True, claims={1: 20, 2: 101})},
            {"duplicates": 1, "unexplained_duplicates": 1},
        ),
        ([*GOOD, read(3, "c")], TOLD, {"unexplained_duplicates": 1}),
        ([read(1, "b"), answered(1), read(2, "a"), answered(2)], TOLD, {"out_of_order": 2}),
        ([read(1, "a"), read(2, "b"), answered(1), answered(2)], TOLD, {"out_of_order": 1}),
        (
            [*GOOD, read(3, "a", 2), answered(3)],
            TOLD | {"a": Told(delivered=True, claims={1: 10, 2: 50})},
            {"duplicates": 1, "out_of_order": 1},
        ),
        (
            [read(1, "a"), Entry(event="answered_too_late", number=1), read(2, "b"), answered(2)],
            TOLD,
            {"out_of_order": 1},
        ),
    ],
    ids=[
        "never arrived", "never recorded", "unknown to the database", "same attempt twice", "attempt never committed",
        "explained", "committed too late", "sent by nobody", "swapped", "overlapping", "again after its successor",
        "successor of one that was not answered",
    ],
)  # fmt: skip
def test_the_judge_finds_what_is_wrong(ledger: list[Entry], told: dict[str, Told], expected: dict[str, Any]) -> None:
    verdict = judge(SENT, ledger, told)
    counted = {name: getattr(verdict, name) for name in ROW[2:6]}
    assert counted == {name: expected.get(name, 0) for name in ROW[2:6]}
