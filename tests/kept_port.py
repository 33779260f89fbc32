"""A port of this machine that is known before its server begins, and that nobody else gets meanwhile."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def kept_port() -> Iterator[int]:
    """
    Take a port of 127.0.0.1: the system gives it to no other socket that asks for a free one.

    Connections to it are refused, unless a server listens there. Servers may, as they set SO_REUSEADDR.
    """
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port: int = kept.getsockname()[1]
        yield port
