"""
Every finding of the review in seed 000, put back as a bug into a copy of the code, is found by the test that is named.

A test that cannot fail proves nothing. So each bug of `tests.planted.bugs` is planted alone, and its test is run on the
copy: it has to fail there, and to pass where nothing was planted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.planted.bugs import BUGS, Bug, Edit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).parent.parent.parent
PACKAGE: Final = Path("src/pillarbox")
COPIED: Final = ("src", "tests")
SECONDS: Final = 250
OK, FAILED = int(pytest.ExitCode.OK), int(pytest.ExitCode.TESTS_FAILED)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the code and its tests; compiled files go along, and are good as long as their source is the same."""
    folder = tmp_path_factory.mktemp("planted") / "copy"
    # What other tests compile meanwhile has such a name first, and is gone before it can be copied.
    left_out = shutil.ignore_patterns("fixtures", "*.pyc.*")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def copy(whole: Path) -> Iterator[Path]:
    """The copy with nothing planted in it; what a test plants is pulled out when it is over."""
    before = time.time()
    yield whole
    for path in (whole / PACKAGE).rglob("*.*"):
        if path.is_file() and path.stat().st_mtime >= before - 1:
            shutil.copy2(ROOT / path.relative_to(whole), path)


def plant(copy: Path, bug: Bug) -> None:
    """Put a bug into a copy. A text that is not there exactly once is an error: the bug has to be written anew."""
    for edit in bug.edits:
        path = copy / PACKAGE / edit.file
        text = path.read_text("utf-8")
        found = text.count(edit.old)
        if found != 1:
            msg = f"{bug.word}: {edit.file} has {found} times what is to be replaced, expected once: {edit.old!r}"
            raise AssertionError(msg)
        path.write_text(text.replace(edit.old, edit.new), "utf-8")


def run(copy: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy on the code of that copy."""
    # Nobody reads why they fail, so what makes pytest start slowly is left out.
    quick = ["--assert=plain", *(f"-pno:{plugin}" for plugin in ("cacheprovider", "anyio", "hypothesispytest"))]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            *quick,
            # No bug is planted in what only PostgreSQL has, and each of these runs would start a server of its own.
            "-k=not postgres",
            f"--timeout={SECONDS // 2}",
            *(f"tests/{test}" for test in tests),
        ],
        cwd=copy,
        # Nothing is compiled there for good, or what was planted could be found after it was pulled out.
        env=os.environ | {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def counted(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Give how many tests passed, failed, …, by pytest's own words."""
    last = done.stdout.strip().splitlines()[-1]
    return {word.removesuffix("s"): int(count) for count, word in re.findall(r"(\d+) ([a-z]+)", last)}


@pytest.mark.parametrize("bug", BUGS, ids=[bug.word for bug in BUGS])
def test_a_planted_bug_is_found(copy: Path, bug: Bug) -> None:
    plant(copy, bug)
    done = run(copy, [bug.test])
    assert done.returncode == FAILED, done.stdout + done.stderr
    found = counted(done)
    # An error would be a copy that does not work, and find everything.
    assert found.get("failed", 0) > 0, done.stdout
    assert "error" not in found, done.stdout


def test_where_nothing_was_planted_every_one_of_these_tests_passes(copy: Path) -> None:
    done = run(copy, sorted({bug.test for bug in BUGS}))
    assert done.returncode == OK, done.stdout + done.stderr
    assert counted(done).keys() <= {"passed", "deselected", "warning"}, done.stdout


def test_it_is_the_copy_that_is_tested(copy: Path) -> None:
    broken = Edit(file="domain/retry.py", old="import msgspec\n", new='raise RuntimeError("I am the copy")\n')
    plant(copy, Bug(word="broken", edits=(broken,), test=""))
    done = run(copy, ["unit/test_retry.py"])
    assert done.returncode not in {OK, FAILED}
    assert "I am the copy" in done.stdout + done.stderr


def test_a_text_that_is_not_there_any_more_is_told(copy: Path) -> None:
    gone = Edit(file="domain/retry.py", old="this was here once", new="")
    with pytest.raises(AssertionError, match=r"gone: domain/retry\.py has 0 times"):
        plant(copy, Bug(word="gone", edits=(gone,), test=""))
