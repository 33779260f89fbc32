"""Runs commands in this process: quick, for what needs neither signals nor a process of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pillarbox.cli import main
from tests.cli.commands import Ended

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from pillarbox import Message, Outbox


class Typed:
    """Types commands at home; ``typed("ls -n 1")``. What has blanks is given as words of their own."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self.db = home / "outbox.db"
        self._capsys = capsys

    def __call__(self, line: str, *words: str) -> Ended:
        self._capsys.readouterr()
        code = main([*line.split(), *words])
        found = self._capsys.readouterr()
        assert "internal error" not in found.err
        return Ended(code=code, out=found.out, err=found.err)

    def stored(self, box: Outbox, *channels: str, **options: Any) -> list[str]:
        """Store a message for each of *channels*; return their ids."""

        async def store() -> list[Message]:
            async with box:
                return [await box.send(channel, to="ann", text="hi", **options) for channel in channels]

        return [message.id or "" for message in asyncio.run(store())]
