"""Whoever listens for what others wrote hears of it in any program."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from pillarbox.store.postgres.listener import Listener

MANY = 1100
SECONDS = 60.0


@pytest.mark.contract("DR2")
async def test_a_listener_is_called_in_a_program_that_has_many_files_open() -> None:
    with contextlib.ExitStack() as files:
        for _ in range(MANY):
            files.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        called = asyncio.Event()
        listener = Listener(lambda: None, "pillarbox_test", set)
        end = listener.add(asyncio.get_running_loop(), called.set, seconds=0.01)
        try:
            async with asyncio.timeout(SECONDS):
                await called.wait()
        finally:
            end()
            listener.end()
