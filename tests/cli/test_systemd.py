"""`pillarbox run` as a service of systemd: it is told what the worker does (sd_notify(3))."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillarbox.cli.systemd import notify
from tests.cli.commands import heard

if TYPE_CHECKING:
    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Pillarbox


@pytest.mark.contract("DR3")
async def test_systemd_hears_when_a_worker_delivers_reloads_and_stops(
    pillarbox: Pillarbox, receiver: Receiver, systemd: socket.socket
) -> None:
    pillarbox.serving(receiver.url)
    async with pillarbox.running("run", "--json", NOTIFY_SOCKET=systemd.getsockname()) as worker:
        assert await heard(systemd) == "READY=1"
        await worker.line("started")
        worker.tell(signal.SIGHUP)
        assert [await heard(systemd), await heard(systemd)] == ["RELOADING=1", "READY=1"]
        worker.tell(signal.SIGTERM)
        assert await heard(systemd) == "STOPPING=1"
        assert (await worker.ended()).code == 0


def test_an_address_without_a_file_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has such addresses")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel finds one that is free
        name: bytes = listening.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name[1:].decode()}")
        notify("READY")
        assert listening.recv(100) == b"READY=1"


def test_a_systemd_that_is_away_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY")
    assert "systemd cannot be told READY" in caplog.text
