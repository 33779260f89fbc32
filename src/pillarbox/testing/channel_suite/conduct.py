"""How a channel behaves towards the process that it lives in: stopped in the middle, shown to operators, closed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from pathlib import Path
from typing import Final

import pytest

from pillarbox.channels.base import Channel, Seams
from pillarbox.domain.outcome import Delivered
from pillarbox.testing.channel_suite.fixtures import PATIENCE_SECONDS, ChannelFixtures, Point, an_attempt, sent
from pillarbox.testing.channel_suite.platform import Platform

_PLACE: Final = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^/?#@\s]+/?")
_DESCRIPTORS: Final = Path("/proc/self/fd")  # Linux; elsewhere sockets are not counted


class ConductSuite(ChannelFixtures):
    """What it leaves behind."""

    @pytest.mark.contract("DR2")
    async def test_a_send_that_is_cancelled_stops_and_the_next_one_goes_through(
        self, platform: Platform, channel: Channel
    ) -> None:
        self.needs(Point.CANCELLED)
        platform.hang()
        attempt = an_attempt(platform)
        sending = asyncio.create_task(channel.send(attempt))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await platform.reached()
        sending.cancel()
        await asyncio.wait({sending}, timeout=PATIENCE_SECONDS)
        assert sending.cancelled(), "it goes on, or took the cancellation for something else"
        assert attempt.progress.written is not False, "the platform has it"
        platform.accept()
        await sent(Delivered, platform, channel, "And the next one.")
        if attempt.progress.rest is not None:
            await asyncio.wait([attempt.progress.rest], timeout=PATIENCE_SECONDS)
            assert attempt.progress.rest.done()

    @pytest.mark.contract("CH8")
    def test_it_says_of_where_messages_go_the_scheme_and_the_host_and_nothing_else(self, platform: Platform) -> None:
        self.needs(Point.DESCRIBE)
        channel = platform.make_channel()
        assert _PLACE.fullmatch(channel.describe()), channel.describe()

    async def test_what_is_closed_leaves_no_connection_task_or_thread(self, platform: Platform) -> None:
        self.needs(Point.CLOSE)
        tasks, sockets, threads = asyncio.all_tasks(), _sockets(), _threads()
        platform.accept()
        channel = platform.make_channel()
        await channel.start(Seams(clock=platform.clock))
        await sent(Delivered, platform, channel)
        await channel.close()
        await channel.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await platform.quiet()
        left: list[object] = []
        # What was told to end may need some turns of the loop, and a thread its turn on a busy machine.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while left := [*(asyncio.all_tasks() - tasks), *(_sockets() - sockets), *(_threads() - threads)]:
                    await platform.clock.sleep(0)
        assert not left


def _sockets() -> set[str]:
    if not _DESCRIPTORS.is_dir():
        return set()
    found = set()
    for descriptor in _DESCRIPTORS.iterdir():
        with contextlib.suppress(OSError):  # the listing's own, which is closed by now
            found.add(str(descriptor.readlink()))
    return {target for target in found if target.startswith("socket:")}


def _threads() -> set[threading.Thread]:
    """Return the threads that are alive, without those of the loop's own pool, which are kept."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
