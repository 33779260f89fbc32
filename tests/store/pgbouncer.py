"""PgBouncer before the tests' server, in transaction mode: each transaction gets whatever connection is free."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.store.postgres_server import socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS: Final = 30
_POOL: Final = 3
"""Connections to the server, given out in turns: two transactions of a client seldom have the same one."""
_SETTINGS: Final = """
[databases]
* = host={server} port=5432 user=postgres
[pgbouncer]
listen_addr =
listen_port = 5432
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
min_pool_size = {pool}
server_round_robin = 1
log_connections = 0
log_disconnections = 0
log_stats = 0
"""


def program() -> str:
    """Return where PgBouncer is; a test for which there is none is skipped, and says so."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("!!! no pgbouncer here: install Debian's package `pgbouncer` !!!")
    return found


@contextlib.contextmanager
def pooled(*, levels: int = 1) -> Iterator[str]:
    """
    Start PgBouncer before the server, and another one before that.

    Returns:
        The URL of the last one, without a schema.
    """
    host = str(socket_folder())
    with contextlib.ExitStack() as started:
        for _ in range(levels):
            host = started.enter_context(_started(host))
        yield f"postgresql://postgres@/postgres?host={host}"


@contextlib.contextmanager
def _started(server: str) -> Iterator[str]:
    # Short: a socket's name may not be long.
    folder = Path(tempfile.mkdtemp(prefix="pbb"))
    # It refuses to be run by root.
    user = "nobody" if os.geteuid() == 0 else None
    settings = folder / "ini"
    settings.write_text(_SETTINGS.format(server=server, folder=folder, pool=_POOL))
    if user is not None:
        shutil.chown(folder, user)
        shutil.chown(settings, user)
    command = [program(), str(settings)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, user=user, cwd="/")
    try:
        _wait_until_up(process)
        yield str(folder)
    finally:
        process.terminate()
        process.communicate(timeout=_SECONDS)
        shutil.rmtree(folder)


def _wait_until_up(process: subprocess.Popen[bytes]) -> None:
    """Return when it lets clients in, as it says itself."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if b"process up" in line:
            return
        said.append(line)
    raise OSError(f"pgbouncer ended: {b''.join(said).decode(errors='replace')}")
