"""
The command line: it parses, calls the `Outbox`, and shows what came of it. No rules and no SQL live here.

This module stays light: ``pillarbox --version`` loads nothing but the version.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from pillarbox.__about__ import __version__

_INTERRUPTED = 130  # `Exit.INTERRUPTED`, which it would take too long to load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (docs/reference/cli.md)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        from pillarbox.cli import signals

        signals.heed_for(given)
    if "--version" in given and {"--version", "--json"}.issuperset(given):
        return _say(f'{{"version":"{__version__}"}}\n' if "--json" in given else f"pillarbox {__version__}\n")
    try:
        from pillarbox.cli.program import execute
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    return execute(given)


def _say(text: str) -> int:
    try:
        _write(text)
    except OSError as exc:
        from pillarbox.cli.program import unwritten

        return unwritten(exc)
    return 0


def _write(text: str) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    sys.stdout.write(text)
    sys.stdout.flush()
