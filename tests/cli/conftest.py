"""The real command and a real receiver, for every test of the command line."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.receiver import Receiver
from tests.cli.commands import Pillarbox
from tests.cli.typed import Typed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.warm import WarmPython


@pytest.fixture
def pillarbox(tmp_path: Path, warm_python: WarmPython) -> Pillarbox:
    return Pillarbox(tmp_path, warm_python)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as found:
        yield found


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    for name in [name for name in os.environ if name.startswith(("PILLARBOX_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, place in {"HOME": "", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config"}.items():
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setenv("PILLARBOX_DB", str(tmp_path / "outbox.db"))
    monkeypatch.chdir(tmp_path)
    return Typed(tmp_path, capsys)


@pytest.fixture
def systemd() -> Iterator[socket.socket]:
    """Where systemd listens; in a folder with a short name, because such an address has 108 bytes at most."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"{folder}/notify")
        listening.setblocking(False)
        yield listening
