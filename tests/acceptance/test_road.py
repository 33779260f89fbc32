"""A message's road through the code, walked by a real one: few files, and no way back and forth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.road import Road, follow

if TYPE_CHECKING:
    from pathlib import Path

STATIONS_MAX = 20


@pytest.fixture
async def road(tmp_path: Path) -> Road:
    return await follow(tmp_path)


async def test_a_message_goes_through_few_files_from_send_to_the_wire_and_back(road: Road) -> None:
    assert len(road.stations) <= STATIONS_MAX, road.stations
    # What it cannot have gone round: it was checked, written, sent, judged, and written again.
    assert {"outbox/sending.py", "engine/committer.py", "engine/executor.py", "channels/webhook.py"} <= set(
        road.stations
    )
    assert {"outbox/checks.py", "domain/lifecycle.py"} <= set(road.holders)


async def test_no_file_of_the_outbox_calls_back_the_one_that_called_it(road: Road) -> None:
    inside = {pair for pair in road.asked if all(file.startswith("outbox/") for file in pair)}
    assert ("outbox/sending.py", "outbox/checks.py") in inside
    assert not {(caller, called) for caller, called in inside if (called, caller) in inside}
    upwards = {pair for pair in road.asked if pair[1].startswith("outbox/") and not pair[0].startswith("outbox/")}
    assert not upwards
