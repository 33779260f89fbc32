"""Starts the programs of `bench.programs` and reads what they say: one JSON object a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
_STOP_SECONDS = 30


class Program:
    """One running program. It ends when its standard input does."""

    def __init__(self, name: str, *arguments: str | Path | float) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"bench.programs.{name}", *map(str, arguments)],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def say(self, word: str) -> None:
        """Write one line to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Read its next line. Raises RuntimeError if it ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with {self._process.wait()}")
        values: dict[str, Any] = json.loads(line)
        return values

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> dict[str, Any] | None:
        """End its input and wait; return its last line, ``None`` where it writes no more."""
        try:
            said, _ = self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        lines = said.splitlines()
        return json.loads(lines[-1]) if lines else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


@contextmanager
def programs(*started: Program) -> Iterator[tuple[Program, ...]]:
    """Start several programs; end them all when the context ends."""
    try:
        yield started
    finally:
        for program in started:
            program.__exit__()


def environment() -> dict[str, str]:
    """Return our own environment, without what would configure the pillarbox that is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PILLARBOX_")}
