"""Draws where the time of `bench.programs.crowd` goes: a flame graph, the event loop beside the writer."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.harness.peers import output
from bench.harness.processes import ROOT

if TYPE_CHECKING:
    from bench.harness.plan import Plan

_SAMPLES: Final = 250  # a second
_TITLE: Final = re.compile(r'(<text id="title"[^>]*>)[^<]*')
_SCRIPT: Final = re.compile(r"<script.*?</script>", re.DOTALL)  # lets one zoom; not ours, and no picture needs it
_FOLDER: Final = re.compile(r"(?<=[( >])/(?:[^\s/<>()]+/)+")


def draw(plan: Plan, file: Path) -> None:
    """Profile a run, and write *file*. Raises Absent where the profiler is not there or may not look."""
    count = plan.size(trial=1_000, quick=20_000, usual=60_000)
    with plan.folder() as folder:
        drawn = folder / "flame.svg"
        py_spy = str(Path(sys.executable).with_name("py-spy"))
        record = [py_spy, "record", "-f", "flamegraph", "-r", str(_SAMPLES), "--threads", "-o", str(drawn)]
        program = [sys.executable, "-m", "bench.programs.crowd", str(folder / "ours.db"), str(count)]
        output([*record, "--", *program], cwd=ROOT)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(without_places(drawn.read_text("utf-8")), "utf-8")


def without_places(svg: str) -> str:
    """Return *svg* with a title of ours, without its script, and without the folders of this machine."""
    return _FOLDER.sub("", _SCRIPT.sub("", _TITLE.sub(r"\1whole lives, one process", svg)))
