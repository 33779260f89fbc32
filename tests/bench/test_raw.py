"""The raw peer: its connection must open a file that several processes come to at once."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from bench.harness.raw import connect

if TYPE_CHECKING:
    from pathlib import Path


def test_a_connection_waits_for_whoever_has_the_file_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "raw.db"
    alone = connect(path)
    alone.pragma("locking_mode", "exclusive")
    alone.execute("CREATE TABLE t (a)")

    letting_go = threading.Timer(0.1, alone.close)
    letting_go.start()
    with contextlib.closing(connect(path)) as other:
        assert other.execute("SELECT count(*) FROM t").get == 0
    letting_go.join()
