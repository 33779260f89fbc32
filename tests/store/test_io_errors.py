"""An I/O error is named for what it is (contract SG3)."""

from __future__ import annotations

import errno
import os
import resource
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import apsw
import pytest

from pillarbox.errors import StoreDiskFull, StoreError, StoreReadOnly
from pillarbox.store.sqlite import io_errors, opening

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.contract("SG3")
NAMED = {
    errno.ENOSPC: (StoreDiskFull, "the disk is full"),
    errno.EDQUOT: (StoreDiskFull, "the disk quota is used up"),
    errno.EFBIG: (StoreDiskFull, "the file may not grow any more"),
    errno.EROFS: (StoreReadOnly, "the file system is read-only"),
    errno.EACCES: (StoreReadOnly, "permission denied"),
}


def met(number: int, path: Path) -> apsw.Connection:
    """Stand for a connection that met an error of the system."""
    return cast("apsw.Connection", SimpleNamespace(system_errno=number, filename=str(path)))


@pytest.mark.parametrize("number", NAMED)
@pytest.mark.parametrize("kind", [apsw.IOError, apsw.CantOpenError, apsw.FullError])
def test_the_system_s_own_number_counts(tmp_path: Path, number: int, kind: type[apsw.Error]) -> None:
    expected, said = NAMED[number]
    with pytest.raises(StoreError) as caught, opening.translated("writing", met(number, tmp_path / "outbox.db")):
        raise kind("disk I/O error")
    assert type(caught.value) is expected
    assert str(caught.value).startswith("writing: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("number", NAMED)
def test_so_does_that_of_an_error_of_the_system_itself(number: int) -> None:
    with pytest.raises(NAMED[number][0]), opening.translated("opening the workers' lock file"):
        raise OSError(number, os.strerror(number))


def asked(free: int, *, flags: int = 0) -> Any:
    return lambda _path: SimpleNamespace(f_flag=flags, f_blocks=1000, f_bavail=free, f_frsize=1024)


def test_without_a_number_the_file_system_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.db"
    path.touch()
    error = apsw.IOError("disk I/O error")
    assert io_errors.named("reading", error, None, str(path)) is None
    monkeypatch.setattr(os, "statvfs", asked(free=10))
    assert type(io_errors.named("reading", error, None, str(path))) is StoreDiskFull
    assert type(io_errors.named("reading", error, met(0, path), None)) is StoreDiskFull
    monkeypatch.setattr(os, "statvfs", asked(free=1000, flags=os.ST_RDONLY))
    assert type(io_errors.named("reading", error, None, str(path))) is StoreReadOnly


def test_a_limit_on_file_sizes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(b"x" * 1000)
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (2000, 2000))
    assert "limit on file sizes" in str(io_errors.named("writing", apsw.IOError(), None, str(path)))


@pytest.mark.parametrize("kind", [apsw.BusyError, apsw.ConstraintError, apsw.CorruptError, apsw.SQLError])
def test_what_the_system_has_no_part_in_is_left_to_its_own_name(tmp_path: Path, kind: type[apsw.Error]) -> None:
    assert io_errors.named("writing", kind(), met(errno.ENOSPC, tmp_path / "outbox.db"), None) is None
