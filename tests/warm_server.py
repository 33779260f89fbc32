"""
Runs Python scripts, each in a process of its own that is forked from this one, where everything is imported already.

`tests.warm` starts it and speaks to it. A script is run as the interpreter would run it: with its own arguments,
environment, directory, standard files and exit code. What it saves is the half second of imports.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

# What commands load only when they need it, beside our own modules.
LOADED_LATE = ("aiosmtplib", "httptools", "multidict", "rich.console", "rich.table", "uvloop", "yaml", "yarl")
FILES = 4  # of a request: stdout, stderr, what to run, and where to tell what became of it


def load_everything() -> None:
    """Import what scripts are likely to import. What is not installed here, they do without as well."""
    package = importlib.import_module("pillarbox")
    ours = [found.name for found in pkgutil.walk_packages(package.__path__, "pillarbox.")]
    for name in (*ours, *LOADED_LATE):
        if not name.startswith(("pillarbox.testing.", "pillarbox.store.postgres")) and not name.endswith("__main__"):
            with suppress(ImportError):
                importlib.import_module(name)


def serve(requests: socket.socket) -> list[int]:
    """Fork a process for each request, until nobody asks any more. Return in that process, with its files."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets the keepers by itself
    while True:
        _, files, _, _ = socket.recv_fds(requests, 1, FILES)
        if not files:
            sys.exit()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            keep(files)
            return files
        for file in files:
            os.close(file)


def keep(files: list[int]) -> None:
    """Fork the process that was asked for; tell its id and how it ended. Return in that process."""
    if child := os.fork():
        for file in files[:-1]:
            os.close(file)
        with suppress(OSError):  # whoever asked is gone
            os.write(files[-1], b"%d\n" % child)
        _, status = os.waitpid(child, 0)
        with suppress(OSError):
            os.write(files[-1], b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)


def become(files: list[int]) -> str:
    """Take over the arguments, environment, directory and standard files that were asked for. Return the script."""
    stdout, stderr, asked, _ = files
    with os.fdopen(asked, encoding="utf-8") as request:
        arguments, environment, directory = json.load(request)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, 1024)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[:] = arguments
    sys.path[0] = str(Path(arguments[0]).parent)
    return sys.argv[0]


def run(script: str) -> int:
    """Run *script* as the main program; return its exit code."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as exc:
        if exc.code is None or isinstance(exc.code, int):
            return exc.code or 0
        sys.stderr.write(f"{exc.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 — as the interpreter does
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(code: int) -> None:
    """End as the interpreter does, but leave the memory to the kernel: taking it apart is the slowest of all."""
    threading._shutdown()  # type: ignore[attr-defined, unused-ignore]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever stops the tests closes the socket
    load_everything()
    gc.freeze()
    end(run(become(serve(socket.socket(fileno=int(sys.argv[1]))))))
