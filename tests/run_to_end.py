"""Runs a program to its end. Of one that does not end, a failure tells what it wrote and where it stood."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LAST_SECONDS: Final = 10.0


def run_to_end(
    command: Sequence[str | Path], *, seconds: float, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """
    Run a command, and all that it starts, as a group of its own; return what it wrote and its exit code.

    Raises TimeoutExpired after *seconds*, with a note: what was written until then, and the stack of every thread of
    every Python that ran on. Nothing of the group is left then.
    """
    environment = {**(os.environ if env is None else env), "PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException as exc:  # the time of the test may be over too
            exc.add_note(last_words(process))
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def last_words(process: subprocess.Popen[str]) -> str:
    """End the group of a process; return what it wrote."""
    said: list[str | bytes | None] = []
    # A Python says where it stands when it is aborted.
    for number in (signal.SIGABRT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            said = [*process.communicate(timeout=_LAST_SECONDS)]
            break
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired as late:
            said = [late.stdout, late.stderr]
    words = (one.decode("utf-8", "replace") if isinstance(one, bytes) else one or "" for one in said)
    return "\n".join(f"{name}:\n{text}" for name, text in zip(("stdout", "stderr"), words, strict=False))
