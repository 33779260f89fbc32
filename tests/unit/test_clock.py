"""The machine's clocks: what tells one boot from another, whatever anybody does to the wall clock."""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING

import pytest

from pillarbox import clock
from pillarbox.clock import SystemClock

if TYPE_CHECKING:
    from pathlib import Path


def nameless(monkeypatch: pytest.MonkeyPatch, missing: Path) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", missing)
    monkeypatch.setattr(clock, "_BOOT_NAMES", ())


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("seconds", [6, -6, 7200, -7200])
def test_a_boot_without_a_name_is_the_same_one_after_the_clock_was_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: int
) -> None:
    nameless(monkeypatch, tmp_path / "missing")
    before = SystemClock().boot_id()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + seconds * 10**9)
    monkeypatch.setattr(time, "time", lambda: real() / 10**9 + seconds)
    assert SystemClock().boot_id() == before == ""


@pytest.mark.contract("LE6")
@pytest.mark.parametrize("held", [b"", b"\xff\xfe"], ids=["empty", "not text"])
def test_a_name_that_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: bytes) -> None:
    file = tmp_path / "boot_id"
    file.write_bytes(held)
    nameless(monkeypatch, file)
    assert SystemClock().boot_id() == ""


@pytest.mark.contract("LE6")
def test_the_kernel_is_asked_for_the_name_where_there_is_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nameless(monkeypatch, tmp_path / "missing")
    monkeypatch.setattr(clock, "_BOOT_NAMES", (b"kern.unknown", b"kern.bootsessionuuid"))
    asked: list[bytes] = []

    class Library:
        """A C library that has `sysctlbyname`, as macOS's has."""

        def sysctlbyname(self, name: object, room: object, size: object, new: object, length: object) -> int:
            said = getattr(name, "value", b"")
            asked.append(said)
            if said != b"kern.bootsessionuuid":
                return -1
            room.value = b"3F2504E0-4F89-11D3-9A0C-0305E82C3301"  # type: ignore[attr-defined]
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    assert SystemClock().boot_id() == "3F2504E0-4F89-11D3-9A0C-0305E82C3301"
    assert asked == [b"kern.unknown", b"kern.bootsessionuuid"]


def test_a_library_without_that_call_gives_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "missing")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert SystemClock().boot_id() == ""
