"""What mypy and pyright, as they are installed, tell somebody who writes a program with an outbox."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.run_to_end import run_to_end

HERE = Path(__file__).parent / "user_types"
RIGHT, WRONG = HERE / "right.py", HERE / "wrong.py"
MARKED = {number for number, line in enumerate(WRONG.read_text("utf-8").splitlines(), 1) if "# wrong" in line}
SECONDS = 300


def mypy(folder: Path) -> dict[str, set[int]]:
    """Return the lines of each file in which mypy finds an error."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={folder}",
        RIGHT,
        WRONG,
    ]
    done = run_to_end(command, seconds=SECONDS, cwd=folder)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[str, set[int]] = {RIGHT.name: set(), WRONG.name: set()}
    for name, line in re.findall(r"(\w+\.py):(\d+): error:", done.stdout):
        found[name].add(int(line))
    return found


def pyright(folder: Path) -> dict[str, set[int]]:
    """Return the lines of each file in which pyright finds an error."""
    for program in (RIGHT, WRONG):
        shutil.copy(program, folder)
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        folder,
    ]
    done = run_to_end(command, seconds=SECONDS, cwd=folder)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[str, set[int]] = {RIGHT.name: set(), WRONG.name: set()}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        if one["severity"] == "error":
            found[Path(one["file"]).name].add(one["range"]["start"]["line"] + 1)
    return found


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_right_program_is_right_and_each_mistake_is_seen_where_it_stands(checker: object, tmp_path: Path) -> None:
    assert callable(checker)
    assert checker(tmp_path) == {RIGHT.name: set(), WRONG.name: MARKED}
