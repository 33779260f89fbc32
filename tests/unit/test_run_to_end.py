"""What a failure tells of a program that does not end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.run_to_end import last_words, run_to_end

HANGS = """
import os, sys, threading

def stands_still():
    os.fork()
    sys.stderr.write("still\\n")
    threading.Event().wait()

print("begun", flush=True)
stands_still()
"""


def test_a_program_that_ends_gives_what_it_wrote_and_its_exit_code() -> None:
    program = "import sys; print('out'); sys.exit('err')"
    done = run_to_end([sys.executable, "-c", program], seconds=100)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 1)


def test_of_one_that_does_not_end_it_is_told_what_was_written_and_where_each_of_its_processes_stands() -> None:
    program = ["bash", "-c", f"{sys.executable} -X faulthandler -c '{HANGS}'; echo never"]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        assert [process.stderr.readline() for _ in range(2)] == ["still\n"] * 2
        told = last_words(process)
    assert told.count("in stands_still") == 2
    assert "never" not in told


def test_who_waits_too_long_hears_it() -> None:
    with pytest.raises(subprocess.TimeoutExpired) as late:
        run_to_end([sys.executable, "-c", "import threading; threading.Event().wait()"], seconds=0)
    assert "stderr:" in late.value.__notes__[0]
