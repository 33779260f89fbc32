"""
Lives a second on other Pythons, and with uvloop.

The same program on each version that is found here, in turns: CPython 3.11 to 3.14, and the free-threaded builds of
3.13 and 3.14. pyenv, uv and PATH are asked, and uv may fetch what is not there. Each has an environment of its own,
with pillarbox, and with uvloop for a second figure. A Python that is not found, or on which something cannot be
installed, is named with the reason.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.harness.figure import Figure
from bench.harness.peers import Absent, output, pip_install
from bench.harness.processes import ROOT

if TYPE_CHECKING:
    from bench.harness.plan import Plan

VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t")
_HERE: Final = f"{platform.python_version()}, as here"
_ASK: Final = (
    "import sys, sysconfig; "
    "print('%d.%d' % sys.version_info[:2] + 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
)


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=1_000, quick=10_000, usual=20_000)
    there: dict[str, Path] = {_HERE: Path(sys.executable)}
    absent: dict[str, str] = {}
    for version in plan.size(trial=(), quick=VERSIONS, usual=VERSIONS):
        try:
            there[version] = _environment(version, plan)
        except Absent as error:
            absent[version] = str(error)
    samples: dict[tuple[str, bool], list[float]] = {
        (version, fast): []
        for version, fast in itertools.product(there, (False, True))
        if not fast or _uvloop(there[version]).exists()
    }
    for _ in range(plan.rounds):
        for (version, fast), rates in samples.items():
            rates.append(_rate(there[version], plan, count, fast=fast))
    return _figures(samples, absent)


def _figures(samples: dict[tuple[str, bool], list[float]], absent: dict[str, str]) -> list[Figure]:
    here = tuple(samples.pop((_HERE, False)))
    figures = [Figure(name=f"Python {_HERE}", unit="lives/s", samples=here)]
    figures += [
        Figure(
            name=f"Python {version}{', uvloop' if fast else ''}",
            unit="lives/s",
            samples=tuple(rates),
            peer=f"Python {_HERE}",
            peer_samples=here,
        )
        for (version, fast), rates in samples.items()
    ]
    if absent:
        figures.append(
            Figure(
                name="Pythons that are absent",
                unit="",
                samples=(float(len(absent)),),
                note="; ".join(f"{version}: {why}" for version, why in absent.items()),
            )
        )
    return figures


def _rate(python: Path, plan: Plan, count: int, *, fast: bool) -> float:
    with plan.folder() as folder:
        command = [str(python), "-m", "bench.programs.crowd", str(folder / "ours.db"), str(count)]
        # Before what the environment has: it may have been made from another tree.
        variables = {"PYTHONPATH": str(ROOT / "src")}
        said = output([*command, "--uvloop"] if fast else command, cwd=ROOT, variables=variables)
    return float(json.loads(said.splitlines()[-1])["rate"])


def _environment(version: str, plan: Plan) -> Path:
    """Return the interpreter of an environment with this pillarbox in it. Raises Absent."""
    home = plan.cache / f"python-{version}"
    python = home / "bin/python"
    if not (home / ".installed").exists():
        found = _find(version, plan)
        shutil.rmtree(home, ignore_errors=True)
        output([found, "-m", "venv", "--without-pip", str(home)], cwd=plan.cache)
        output([*pip_install(python), "-e", str(ROOT)], cwd=plan.cache)
        try:
            output([*pip_install(python), "uvloop"], cwd=plan.cache)
            _uvloop(python).touch()
        except Absent:
            pass  # the figure with uvloop is left out
        (home / ".installed").touch()
    return python


def _uvloop(python: Path) -> Path:
    """Return the mark of an environment that has uvloop."""
    return python.parent.parent / ".uvloop"


def _find(version: str, plan: Plan) -> str:
    """Return an interpreter of *version*. Raises Absent where none is here and none can be fetched."""
    plan.cache.mkdir(parents=True, exist_ok=True)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    number = version.rstrip("t")
    candidates = [str(path) for path in sorted(root.glob(f"versions/{number}.*/bin/python"))]
    for candidate in (*candidates, f"python{version}"):
        try:
            if output([candidate, "-c", _ASK], cwd=plan.cache).strip() == version:
                return candidate
        except Absent:
            continue
    uv = plan.cache / "uv"
    if not (uv / "bin/uv").exists():
        output([sys.executable, "-m", "venv", "--without-pip", str(uv)], cwd=plan.cache)
        output([*pip_install(uv / "bin/python"), "uv"], cwd=plan.cache)
    try:
        output([str(uv / "bin/uv"), "python", "install", version], cwd=plan.cache, seconds=120)
        return output([str(uv / "bin/uv"), "python", "find", version], cwd=plan.cache).strip()
    except Absent as error:
        raise Absent(f"not found here, and uv cannot fetch it ({error})") from error
