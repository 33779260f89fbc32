"""The fence holds: an import that points upwards is refused, whichever module it stands in (`lint-imports`)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from tests.run_to_end import run_to_end

ROOT: Final = Path(__file__).parents[1]
TOP: Final = "pillarbox.__main__"


def floors() -> list[list[str]]:
    """The layers of import-linter's contract, from the top, each as the modules that exist."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    named = [re.findall(r"\w+", layer) for layer in layers]
    return [[name for name in floor if is_there(name)] for floor in named]


def is_there(name: str) -> bool:
    place = ROOT / "src" / "pillarbox" / name
    return place.is_dir() or place.with_suffix(".py").is_file()


def copied(folder: Path) -> Path:
    source = folder / "src" / "pillarbox"
    shutil.copytree(ROOT / "src" / "pillarbox", source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return source


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "COLUMNS": "500"}
    return run_to_end(command, seconds=250, cwd=folder, env=environment)


def planted(folder: Path, imports: dict[str, str]) -> str:
    """Return what `lint-imports` says of a copy in which each module named imports another one."""
    source = copied(folder)
    for module, other in imports.items():
        place = source.joinpath(*module.split(".")[1:])
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        path.write_text(f"{path.read_text('utf-8')}\nimport {other}\n", "utf-8")
    done = linted(folder)
    assert (done.returncode == 0) == (not imports), done.stdout + done.stderr
    return done.stdout


def modules() -> list[str]:
    names = []
    for path in sorted((ROOT / "src" / "pillarbox").rglob("*.py")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if name not in ("pillarbox", TOP)]


def test_the_house_as_it_stands_is_let_through(tmp_path: Path) -> None:
    assert "0 broken" in planted(tmp_path, {})


def test_no_module_may_import_from_the_top(tmp_path: Path) -> None:
    said = planted(tmp_path, dict.fromkeys(modules(), TOP))
    assert [name for name in modules() if f"- {name} -> {TOP} " not in said] == []


def test_no_module_at_the_top_may_import_from_the_floor_above_it(tmp_path: Path) -> None:
    levels = floors()
    pairs = [(name, above) for n, floor in enumerate(levels[1:]) for name in floor for above in levels[n]]
    assert len(pairs) > 20
    imports: dict[str, str] = {}
    for name, above in pairs:
        key = f"pillarbox.{name}"
        imports[key] = f"{imports[key]}, pillarbox.{above}" if key in imports else f"pillarbox.{above}"
    said = planted(tmp_path, imports)
    assert [(name, above) for name, above in pairs if f"- pillarbox.{name} -> pillarbox.{above} " not in said] == []


def test_a_new_module_has_to_be_given_its_floor(tmp_path: Path) -> None:
    copied(tmp_path)
    (tmp_path / "src" / "pillarbox" / "stranger.py").write_text('"""It has no place yet."""\n', "utf-8")
    done = linted(tmp_path)
    assert done.returncode != 0
    assert "stranger" in done.stdout
