"""The servers of the tests: whose programs they are made of, and which tests run where only those run that need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store import postgres_server
from tests.store.postgres_cluster import short_folder
from tests.store.postgres_server import Server, server_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAMS = "PILLARBOX_TEST_PG_PROGRAMS"


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
def programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of somebody's programs, in which one says what it was told, and the others are missing."""
    programs = folder / "theirs/bin"
    programs.mkdir(parents=True)
    (programs / "initdb").write_text('#!/bin/sh\necho "theirs: $*"; exit 1\n', encoding="ascii")
    (programs / "initdb").chmod(0o755)
    monkeypatch.setenv(PROGRAMS, str(programs))
    return programs


def test_programs_that_are_named_are_run(programs: Path, folder: Path) -> None:
    with pytest.raises(OSError, match=r"^initdb: theirs: .*--auth=trust"):
        Server(folder).start()
    # Those in a folder that only root may enter are copied.
    programs.parent.chmod(0o700)
    with pytest.raises(OSError, match=r"^initdb: theirs: .*--auth=trust"):
        Server(folder).start()


def test_a_program_that_is_not_among_them_is_the_packages(programs: Path, folder: Path) -> None:
    assert not (programs / "pg_basebackup").exists()
    with pytest.raises(OSError, match=r"^pg_basebackup: .*connection to server"):
        Server(folder)._run("pg_basebackup", "-D", "/nowhere/data", "-d", "host=/nowhere")


def test_a_test_that_would_be_left_out_on_other_versions_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "tests/engine/test_waits.py::test_of_any_name (call)")
    for ask in (server_url, lambda: Server(folder)):
        with pytest.raises(pytest.fail.Exception, match="no word of TESTS is in its name"):
            ask()


def test_where_a_version_is_asked_for_a_test_that_has_no_server_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_server, "_url", lambda: OSError("none"))
    answers = (pytest.fail.Exception, pytest.skip.Exception)
    monkeypatch.setenv(PROGRAMS, "")
    with pytest.raises(answers, match="no PostgreSQL server could be started: none") as failed:
        server_url()
    monkeypatch.delenv(PROGRAMS)
    with pytest.raises(answers) as skipped:
        server_url()
    assert (failed.type, skipped.type) == answers
