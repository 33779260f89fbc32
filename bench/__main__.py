"""Runs measurements: ``python -m bench`` all of them, ``python -m bench NAME`` one. See the package's docstring."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import bench
from bench.harness import machine, table
from bench.harness.plan import Plan

if TYPE_CHECKING:
    from bench.harness.figure import Figure

_RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for and print one table; 2 when a name is unknown, 1 when a measurement failed."""
    options = _parser().parse_args(arguments)
    known = sorted(
        module.name for module in pkgutil.iter_modules(bench.__path__) if not module.ispkg and module.name[0] != "_"
    )
    if unknown := [name for name in options.names if name not in known]:
        print(f"no such measurement: {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    plan = Plan(directory=options.directory, quick=options.quick, full=options.full)
    plan.directory.mkdir(parents=True, exist_ok=True)
    here = machine.machine(plan.directory)
    if machine.in_memory(here["file_system"]):
        print(f"{plan.directory} is in memory: an fsync there costs nothing, so nothing here counts", file=sys.stderr)
    found = {name: _measured(name, plan) for name in options.names or known}
    print(table.text(found))
    if options.json is not None:
        table.write_json(options.json, found, here)
    if options.page is not None:
        table.write_page(options.page, found, here)
    missed = any(figure.met is False for figures in found.values() for figure in figures)
    return 1 if not all(found.values()) or (missed and options.strict) else 0


def _measured(name: str, plan: Plan) -> list[Figure]:
    """Answer one question. One that fails is told of and leaves the others alone; it has no figures."""
    began = time.monotonic()
    print(f"{name} …", end=" ", flush=True, file=sys.stderr)
    try:
        figures: list[Figure] = importlib.import_module(f"bench.{name}").measure(plan)
    except Exception:  # noqa: BLE001 — minutes of other figures must not be lost to it
        traceback.print_exc()
        return []
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__.splitlines()[1])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a question; all of them if none is named")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument("--full", action="store_true", help="a million waiting instead of 100 000; takes minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into FILE, between its two marks")
    parser.add_argument("--directory", type=Path, default=_RESULTS, help="where databases are made: a real disk")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
