"""Programs of others that run until they are told to stop: servers, and workers of task queues."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

SECONDS: Final = 120.0
_PAGES: Final = Path(__file__).parents[2] / "docs/how-to"


def commands(page: str) -> list[list[str]]:
    """Return the commands that a page lets its reader type into terminals of their own."""
    found = re.findall(r"^```console\n(.*?)^```$", (_PAGES / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [shlex.split(line.removeprefix("$ ")) for block in found for line in block.splitlines()]


def environment(folder: Path) -> dict[str, str]:
    """
    Return the tests' environment for programs in a folder; what it says to tests is no setting of theirs.

    Lines are written whole there: unbuffered, a `print` writes its words one by one, and others' come in between.
    """
    ours = ("PILLARBOX_", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(folder)}


class Program:
    """
    A Python program in a group of processes of its own, which is killed at the end of the context, if it still runs.

    Attributes:
        output: The lines that it has written so far, to stdout and stderr alike.
    """

    def __init__(self, name: str, *arguments: str, folder: Path) -> None:
        self.output: list[str] = []
        self._command = [str(Path(sys.executable).parent / name), *arguments]
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._folder,
            env=environment(self._folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def said(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        """Wait until so many lines have matched; return the last match. What it has said before counts."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(SECONDS):
                while len(found := [match for line in self.output if (match := re.search(pattern, line))]) < times:
                    line = await self.process.stdout.readline()
                    assert line, f"it ended without {pattern!r}: {''.join(self.output)}"
                    self.output.append(line.decode())
        except TimeoutError as exc:
            exc.add_note(f"it does not say {pattern!r}, but said: {''.join(self.output)}")
            raise
        return found[times - 1]

    async def stop(self) -> None:
        """Ask it to end, and wait until it has; it must do so without an error."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            rest, _ = await self.process.communicate()
        self.output += rest.decode().splitlines(keepends=True)
        assert self.process.returncode == 0, "".join(self.output)
