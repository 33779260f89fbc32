"""Runs a program to its end. Of one that does not end, a failure tells what it wrote and where it stood."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LAST_SECONDS: Final = 10.0
_SECONDS_EACH: Final = 2.0


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
    """End the group of a process, one after the other; return what they wrote."""
    said: list[str | bytes | None] = []
    with contextlib.suppress(ProcessLookupError):
        # Stopped, none of them goes on because another has ended.
        os.killpg(process.pid, signal.SIGSTOP)
        for pid in _of_group(process.pid):
            _abort(pid)
        os.killpg(process.pid, signal.SIGKILL)
    try:
        said = [*process.communicate(timeout=_LAST_SECONDS)]
    except subprocess.TimeoutExpired as late:
        said = [late.stdout, late.stderr]
    words = (one.decode("utf-8", "replace") if isinstance(one, bytes) else one or "" for one in said)
    return "\n".join(f"{name}:\n{text}" for name, text in zip(("stdout", "stderr"), words, strict=False))


def _of_group(leader: int) -> list[int]:
    members = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == leader:
                members.append(pid)
    return members


def _abort(pid: int) -> None:
    """
    Make a process say where it stands, and end; return when it has.

    Two that write into one pipe at the same time are not to be read: the next one speaks when this one is silent.
    """
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            for number in (signal.SIGABRT, signal.SIGCONT):
                signal.pidfd_send_signal(descriptor, number)
            select.select([descriptor], [], [], _SECONDS_EACH)
        finally:
            os.close(descriptor)
