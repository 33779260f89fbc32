"""The adapter for the neutral harness: it says who it is and how it goes, and ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.store.postgres_server import connected, server_url

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = Path(__file__).parents[2] / "bench/neutral/main.py"
MANIFEST = json.loads(MAIN.with_name("adapter.json").read_text("utf-8"))
ASKED_FOR = {"claim_p50_ms", "claim_p95_ms", "claim_p99_ms", "enqueue_rate", "completion_rate", "queue_depth"}


@pytest.fixture
def url() -> Iterator[str]:
    """A database of its own: the harness makes one for each system."""
    name = f"neutral{os.getpid()}"
    with connected(server_url()) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server_url().replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def start(**variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(MAIN)],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("mode", ["fixed", "depth-target"])
def test_the_harness_is_told_what_it_asks_for(url: str, mode: str) -> None:
    with start(
        DATABASE_URL=url,
        PRODUCER_MODE=mode,
        PRODUCER_RATE="50",
        TARGET_DEPTH="5",
        WORKER_COUNT="4",
        SAMPLE_EVERY_S="1",
    ) as adapter:
        assert adapter.stdout is not None
        said: list[dict[str, Any]] = [json.loads(adapter.stdout.readline())]
        while not done(said):
            line = adapter.stdout.readline()
            assert line, adapter.stderr and adapter.stderr.read()
            said.append(json.loads(line))
        with psycopg.connect(url) as connection:
            for name in MANIFEST["event_tables"] + MANIFEST["event_indexes"]:
                assert connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() != (None,), name
        adapter.send_signal(signal.SIGTERM)
        adapter.communicate()
    assert adapter.returncode == 0
    who, *samples = said
    assert who["kind"] == "descriptor"
    assert {name: who[name] for name in ("system", "db_name", "event_tables")} == {
        name: MANIFEST[name] for name in ("system", "db_name", "event_tables")
    }
    assert {one["metric"] for one in samples} >= ASKED_FOR
    assert {one["subject_kind"] for one in samples} == {"adapter"}


def done(said: list[dict[str, Any]]) -> bool:
    told = {one.get("metric"): one.get("value", 0) for one in said if one.get("value", 0) > 0 or "depth" in str(one)}
    return {"completion_rate", "claim_p99_ms", "queue_depth"} <= told.keys()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DATABASE_URL", "", "DATABASE_URL: expected the URL"),
        ("PRODUCER_RATE", "fast", "PRODUCER_RATE: expected a whole number"),
        ("PRODUCER_MODE", "burst", "PRODUCER_MODE: expected fixed or depth-target"),
        ("SCENARIO", "chaos", "SCENARIO: expected long_horizon"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(name: str, value: str, expected: str) -> None:
    with start(**({"DATABASE_URL": "postgresql://nowhere.invalid/x"} | {name: value})) as adapter:
        _, errors = adapter.communicate()
    assert adapter.returncode == 2
    assert errors.startswith(f"pillarbox: {expected}")
    assert "Traceback" not in errors
