"""A field that merely travels is added to the envelope and to the schema, and nowhere else in the store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pillarbox
from pillarbox.domain.envelope import Envelope
from pillarbox.domain.message import Draft, Leased, MessageView
from pillarbox.store.steps.columns import CARRIED, LEASED, VIEW

EDITS: Final = {
    "domain/envelope.py": ("traceparent: str | None = None\n", "campaign: str | None = None\n"),
    "store/sql/sqlite/schema.sql": ("traceparent TEXT,\n", "campaign TEXT,\n"),
}

STORES_AND_READS: Final = """
import asyncio, sys
from pillarbox.domain.ids import LeaseId, message_id
from pillarbox.domain.message import Draft
from pillarbox.domain.retry import Policy
from pillarbox.store.base import Batch, Claim, Query, WorkerStart
from pillarbox.store.registry import open_store

async def main():
    store = open_store(":memory:")
    await store.open()
    start = WorkerStart(id=b"w", host="h", pid=1, version="0", channels=("chat",), now_ms=1)
    worker = await store.register(start)
    identity = message_id(1, bytes(10))
    draft = Draft(id=identity, tenant="", channel="chat", recipient="ann", policy=Policy(), content=b"{}",
                  created_ms=1, due_ms=1, max_attempts=5, campaign="spring")
    claim = Claim(worker=worker, lease=LeaseId(b"l"), lease_ms=1000, capacity={1: 1})
    (leased,) = (await store.commit(Batch(now_ms=1, enqueue=[[draft]], claim=claim))).claimed
    (listed,) = await store.list_messages(Query())
    print(leased.campaign, (await store.get(identity)).campaign, listed.campaign)
    await store.close()

asyncio.run(main())
"""


def test_every_station_of_a_message_has_the_whole_envelope() -> None:
    for station in (Draft, Leased, MessageView):
        assert station.__struct_fields__[: len(Envelope.__struct_fields__)] == Envelope.__struct_fields__
    assert set(CARRIED) <= set(LEASED) & set(VIEW)


def test_a_new_field_of_the_envelope_travels_from_end_to_end(tmp_path: Path) -> None:
    package = tmp_path / "pillarbox"
    shutil.copytree(Path(pillarbox.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for file, (beside, added) in EDITS.items():
        text = (package / file).read_text("utf-8")
        assert text.count(beside) == 1
        (package / file).write_text(text.replace(beside, f"{beside}    {added}"), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", STORES_AND_READS],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout == "spring spring spring\n", done.stderr
