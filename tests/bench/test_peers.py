"""Other queues' programs: run in their own environment, believed only when they did all of it, named when absent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from bench.harness import peers
from bench.harness.peers import Absent, Installed, Peer
from bench.harness.plan import Plan, Scale

if TYPE_CHECKING:
    from pathlib import Path

DOES_ALL = 'import json, sys; print(json.dumps({"seconds": 0.5, "done": int(sys.argv[2]), "version": "1"}))'
DOES_HALF = 'import json, sys; print(json.dumps({"seconds": 0.5, "done": int(sys.argv[2]) // 2, "version": "1"}))'
FAILS = 'raise RuntimeError("database is locked")'


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(directory=tmp_path / "disk", cache=tmp_path / "cache", scale=Scale.TRIAL)


def installed(plan: Plan, program: str) -> Installed:
    """A peer whose environment stands there already: this test's own."""
    home = plan.cache / "some-queue"
    (home / "venv/bin").mkdir(parents=True)
    (home / "venv/bin/python").symlink_to(sys.executable)
    (home / ".installed").touch()
    path = home / "program.py"
    path.write_text(program, "utf-8")
    return Installed(Peer(name="Some queue", program=str(path), python=("some-queue",)), plan.cache)


def test_the_rate_is_by_the_program_s_own_clock(plan: Plan) -> None:
    peer = installed(plan, DOES_ALL)
    assert peer.lives(plan, 100, "full") == 200
    assert peer.version == "1"
    assert list(plan.directory.iterdir()) == []


def test_a_peer_that_did_less_is_not_believed(plan: Plan) -> None:
    with pytest.raises(AssertionError, match="Some queue"):
        installed(plan, DOES_HALF).lives(plan, 100, "full")


def test_a_program_that_fails_is_absent_with_its_last_words(plan: Plan) -> None:
    with pytest.raises(Absent, match="RuntimeError: database is locked"):
        installed(plan, FAILS).lives(plan, 100, "full")


def test_a_peer_that_cannot_be_installed_is_named_with_the_reason(plan: Plan) -> None:
    there, absent = peers.install((Peer(name="Gone", program="gone.py", python=("./no-such-folder",)),), plan)
    assert there == {}
    assert "error" in absent["Gone"].lower()


def test_last_words_say_what_went_wrong_but_not_where() -> None:
    said = "npm error 404 Not Found - GET https://some.host/x\nnpm error A complete log is in: /home/a/b.log\n"
    assert peers.last_words(said) == "npm error 404 Not Found - GET"
    assert peers.last_words("") == ""


def test_every_peer_has_its_program() -> None:
    known = (peers.HUEY, peers.LITEQUEUE, peers.PERSIST_QUEUE, peers.DBOS, peers.OPENCLAW, peers.COMIS)
    on_servers = (peers.PGQUEUER, peers.PROCRASTINATE, peers.OBAN)
    for peer in (*known, *on_servers):
        assert (peers.PROGRAMS / peer.program).is_file()


def test_a_peer_whose_python_is_not_here_is_absent() -> None:
    with pytest.raises(Absent, match=r"it needs Python 3\.99"):
        peers.find("3.99")
