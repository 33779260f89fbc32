"""A warm process is what a cold one is, to the script that runs in it and to whoever started it."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.warm import WarmPython

TELLS = """
import atexit, json, os, signal, sys, threading
atexit.register(print, "at exit")
print(json.dumps([sys.argv, __name__, os.getcwd(), dict(os.environ), sys.path, sys.stdin.read()]))
print([str(signal.getsignal(number))[:20] for number in signal.valid_signals()])
print(os.listdir("/dev/fd"), threading.active_count())
print("to stderr", file=sys.stderr)
thread = threading.Thread(target=lambda: print("from a thread"))
thread.start()
"""


async def both(warm_python: WarmPython, script: Path, *arguments: str) -> list[tuple[int | None, bytes, bytes]]:
    env, cwd = {**warm_python.environment, "SAID": "\udcff"}, script.parent
    pipe = asyncio.subprocess.PIPE
    cold = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        env=env,
        cwd=cwd,
    )
    warm = await warm_python.start(str(script), *arguments, env=env, cwd=cwd)
    return [(one.returncode, *said) for one in (cold, warm) for said in [await one.communicate()]]


@pytest.mark.parametrize(
    "end", ["", "sys.exit()", "sys.exit(3)", "sys.exit('said')", "thread.join(); os.kill(os.getpid(), 9)"]
)
async def test_a_script_cannot_tell_a_warm_process_from_a_cold_one(
    warm_python: WarmPython, tmp_path: Path, end: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(TELLS + end, "utf-8")
    cold, warm = await both(warm_python, script, "one", "\udcff two")
    assert warm == cold


async def test_an_error_ends_it_with_a_traceback(warm_python: WarmPython, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("1 / 0", "utf-8")
    (code, _, error), (warm_code, _, warm_error) = await both(warm_python, script)
    assert (warm_code, warm_error.splitlines()[-1]) == (code, error.splitlines()[-1])


async def test_a_warm_process_hears_signals(warm_python: WarmPython, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import signal\nprint('ready', flush=True)\nsignal.pause()", "utf-8")
    process = await warm_python.start(str(script), env=warm_python.environment, cwd=tmp_path)
    await process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == process.returncode == -signal.SIGTERM
