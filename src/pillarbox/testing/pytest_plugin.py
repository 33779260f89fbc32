"""
What pytest finds by itself where pillarbox is installed: the fixtures ``outbox`` and ``async_outbox``.

Nothing of the outbox is loaded before a test asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pillarbox.testing.recording_outbox import Channels, RecordingOutbox, RecordingSyncOutbox


@pytest.fixture
def outbox_channels() -> Channels:
    """Return which channels the outboxes have: to be overridden, in ``conftest.py`` for all tests."""
    pytest.fail(
        "which channels does your program send to? Define a fixture `outbox_channels` that returns their names, as in"
        ' ["mail", "chat"], or a dict of names and what they are in production',
        pytrace=False,
    )


@pytest.fixture
def outbox(outbox_channels: Channels) -> Iterator[RecordingSyncOutbox]:
    """Yield an open outbox for programs that block, of which nothing leaves."""
    from pillarbox.testing.recording_outbox import RecordingSyncOutbox

    with RecordingSyncOutbox(outbox_channels) as box:
        yield box


@pytest.fixture
def async_outbox(outbox_channels: Channels) -> RecordingOutbox:
    """Return an outbox of which nothing leaves; ``async with`` opens it, in the loop of the test or the program."""
    from pillarbox.testing.recording_outbox import RecordingOutbox

    return RecordingOutbox(outbox_channels)
