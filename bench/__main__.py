"""Runs measurements: ``python -m bench`` all of them, ``python -m bench NAME`` one. See the package's docstring."""

from __future__ import annotations

import argparse
import pkgutil
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import bench
from bench.harness import alone, flame, machine, plots, table
from bench.harness.peers import Absent
from bench.harness.plan import CACHE, Plan, Scale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.harness.figure import Figure

_FLAME = "flame.svg"
_RESULTS = Path(__file__).parent / "results"
# What `make bench-quick` asks: what a change of the hot path may make slower.
_MAIN = ("lives", "awaiting", "latency", "claim", "lanes", "processes", "webhooks")


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for and print one table; 2 when a name is unknown, 1 when a measurement failed."""
    options = _parser().parse_args(arguments)
    known = questions()
    if unknown := [name for name in options.names if name not in known]:
        print(f"no such measurement: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    if options.page is not None:
        # Before the minutes that it takes, not after them.
        table.check_page(options.page)
    plan = _plan(options)
    plan.directory.mkdir(parents=True, exist_ok=True)
    here = machine.machine(plan.directory)
    if machine.in_memory(here["file_system"]):
        print(f"{plan.directory} is in memory: an fsync there costs nothing, so nothing here counts", file=sys.stderr)
    names = options.names or (_MAIN if options.quick else known)
    found = {name: _measured(name, plan) for name in names}
    print(table.text(found))
    if options.json is not None:
        table.write_json(options.json, found, here)
    if options.plots is not None:
        plots.draw(found, options.plots)
    if options.page is not None:
        table.write_page(options.page, found, here, _pictures(options.page, found, plan))
    missed = any(figure.met is False for figures in found.values() for figure in figures)
    return 1 if not all(found.values()) or (missed and options.strict) else 0


def questions() -> list[str]:
    """Return the names of all measurements."""
    return sorted(
        module.name for module in pkgutil.iter_modules(bench.__path__) if not module.ispkg and module.name[0] != "_"
    )


def _plan(options: argparse.Namespace) -> Plan:
    scale = Scale.QUICK if options.quick else Scale.FULL if options.full else Scale.USUAL
    return Plan(directory=options.directory.absolute(), scale=scale, cache=options.cache.absolute())


def _pictures(page: Path, found: Mapping[str, list[Figure]], plan: Plan) -> list[str]:
    """Draw the plots and a flame graph into the folder that is named like *page*; return what the page says of each."""
    folder = page.with_suffix("")
    pictures = [f"![{plots.PLOTS[name].title}]({folder.name}/{name}.svg)" for name in plots.draw(found, folder)]
    try:
        flame.draw(plan, folder / _FLAME)
        # Linked, because without its script, which no page runs, its words do not fit.
        pictures.append(f"[Where the time of whole lives goes]({folder.name}/{_FLAME}): a flame graph of this commit.")
    except Absent as error:
        print(f"no flame graph: {error}", file=sys.stderr)
    return pictures


def _measured(name: str, plan: Plan) -> list[Figure]:
    """Answer one question. One that fails is told of and leaves the others alone; it has no figures."""
    began = time.monotonic()
    print(f"{name} …", end=" ", flush=True, file=sys.stderr)
    try:
        figures = alone.asked(f"bench.{name}", plan)
    except Exception:  # noqa: BLE001 — minutes of other figures must not be lost to it
        traceback.print_exc()
        return []
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__.splitlines()[1])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a question; all of them if none is named")
    parser.add_argument(
        "--quick", action="store_true", help="smaller, three rounds; the main questions if none is named"
    )
    parser.add_argument("--full", action="store_true", help="as large as the goals say, however long that takes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table and plots into FILE")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the plots into FOLDER")
    parser.add_argument("--directory", type=Path, default=_RESULTS, help="where databases are made: a real disk")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where peers and other Pythons are installed")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
