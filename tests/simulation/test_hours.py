"""A thousand hours of the real outbox, engine, committer and SQLite store, with crashes, in a few seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.simulation import Order
from tests.simulation.world import HOUR, lived

if TYPE_CHECKING:
    from tests.simulation.world import World

ROOT = Path(__file__).parents[2]
# A process that was killed closed nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*was never closed:ResourceWarning")


def once_more(seed: int, hours: float) -> subprocess.Popen[str]:
    """Begin the same run in an interpreter whose sets have another order; it prints its trace."""
    program = [sys.executable, "-m", "tests.simulation.world", str(seed), str(hours)]
    # Unbuffered, it would drop what the system does not take of its trace at once.
    environment = os.environ | {"PYTHONHASHSEED": "17", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    return subprocess.Popen(
        program, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def happened(world: World) -> Counter[str]:
    return Counter(line.split()[2] for line in world.trace if line.split()[1].startswith("process-"))


@pytest.mark.contract("EN1", "LE1", "LA1")
def test_a_thousand_hours_with_crashes_lose_nothing_and_can_be_lived_again(tmp_path: Path) -> None:
    with once_more(1, 1_000) as other:
        world = lived(tmp_path, 1, 1_000)
        trace, _ = other.communicate(timeout=250)
    assert world.faults() == []
    assert world.loop.time() >= 1_000 * HOUR
    # It was no quiet life.
    what = happened(world)
    assert world.kills >= 20
    assert len(world.accepted) >= 150
    for event in ("MessageDelivered", "RetryScheduled", "MessageDied", "MessageExpired", "MessageHeld"):
        assert what[event] >= 1, event
    assert any(call.answered is None for call in world.calls)
    assert len(world.calls) > len({call.message for call in world.calls})
    assert (other.returncode, trace.splitlines()) == (0, world.trace)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("seed", [2, 3])
def test_other_seeds_are_other_lives_and_lose_nothing_either(tmp_path: Path, seed: int, order: Order) -> None:
    first = tmp_path / "first"
    second = tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    world, other = lived(first, seed, 60, order), lived(second, seed + 2, 60, order)
    assert world.faults() == other.faults() == []
    assert world.trace != other.trace


@pytest.mark.contract("LE2", "LE3", "ST6", "EN1", "LA1")
def test_commits_that_take_longer_than_a_lease_lose_nothing_and_send_nothing_that_nobody_claimed(
    tmp_path: Path,
) -> None:
    worlds = []
    for seed in (1, 2, 3, 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        worlds.append(lived(folder, seed, 200, slow=0.2))
    assert [world.faults() for world in worlds] == [[]] * 4
    assert sum(happened(world)["LeaseLost"] for world in worlds) >= 1
    assert all(world.kills for world in worlds)
