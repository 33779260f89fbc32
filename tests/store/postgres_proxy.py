"""A way to the server that breaks at a commit: before the server hears of it, or before we hear what became of it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

_COMMIT = b"COMMIT\0"
_BYTES = 65536

Cut = Literal["before", "after"] | None


class Proxy:
    """
    Forwards connections to the server's socket.

    Attributes:
        cut: How the next commit ends: the connection breaks before the server has it, or after it has answered.
        cuts: How often that happened.
        isolated: Whether nobody gets through.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        self.cut: Cut = None
        self.cuts = 0
        self.isolated = False
        self._clients: list[socket.socket] = []
        self._server = server
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def isolate(self) -> None:
        """Break every connection, and let none come about."""
        self.isolated = True
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._clients.append(client)
            thread = threading.Thread(target=self._forward, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(str(self._server / ".s.PGSQL.5432"))
            while not self.isolated:
                for one in select.select([client, server], (), ())[0]:
                    data = one.recv(_BYTES)
                    if not data:
                        return
                    if one is server:
                        client.sendall(data)
                    elif self.cut is not None and _COMMIT in data:
                        self.cuts += 1
                        cut, self.cut = self.cut, None
                        if cut == "after":
                            server.sendall(data)
                            server.recv(_BYTES)
                        return
                    else:
                        server.sendall(data)
