"""Every example runs, and so does the README's; what they print is what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.run_to_end import run_to_end

ROOT = Path(__file__).parents[2]
PRINTS = {
    "pager.py": r"Message\(id='[\w-]{22}', state='delivered', receipt='page-ann'\)\n",
    "blocking.py": r"Message\(id='[\w-]{22}', state='delivered', receipt='letter to ann'\)\n",
    # The drain at start ends when it ends, so its line may stand anywhere.
    "turn.py": r"(?sm)(?=.*^delivery:queue_drained)(?=.*^delivery:hook_cancelled looks like a key$)"
    r".*^True 2 delivered$.*^the session learns: It is done, d\*\*\* it\.$.*",
    "two_processes.py": r"ann note 0\nann note 1\nann note 2\n3 delivered\n",
}


SHOWN_ON = {
    "celery_shop": "how-to/celery.md",
    "django_shop": "how-to/django.md",
    "dramatiq_shop": "how-to/dramatiq.md",
    "fastapi_shop": "how-to/fastapi.md",
    "logged_errors": "how-to/logging.md",
    "sqlalchemy_shop": "how-to/sqlalchemy.md",
    "sqlite_bot": "how-to/sqlite-bot.md",
    "tested_shop": "how-to/pytest.md",
}
"""The page that shows an application of several files, by its folder."""


def run(script: Path, *, cwd: Path) -> str:
    done = run_to_end([sys.executable, script, cwd / "outbox.db"], seconds=120, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_every_example_runs_and_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    assert re.fullmatch(PRINTS[name], run(ROOT / "examples" / name, cwd=tmp_path))


def test_the_readme_s_program_runs_as_it_stands(tmp_path: Path) -> None:
    program = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert program is not None
    script = tmp_path / "readme.py"
    script.write_text(program[1], encoding="utf-8")
    assert re.fullmatch(r"Message\(id='[\w-]{22}', state='delivered', receipt='page-1'\)\n", run(script, cwd=tmp_path))


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir()))
def test_a_page_shows_an_application_as_it_stands(folder: str) -> None:
    """What is run is the page: see `test_sessions`."""
    page = (ROOT / "docs" / SHOWN_ON[folder]).read_text("utf-8")
    files = {path.name: path.read_text("utf-8") for path in (ROOT / "examples" / folder).rglob("*.py")}
    assert dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)) == files
