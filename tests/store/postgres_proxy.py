"""A way to the server that breaks at a commit: before the server hears of it, or before we hear what became of it."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

# A query that says nothing else: the hint that follows ends by one too.
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)

Cut = Literal["before", "during", "after"] | None


class Proxy:
    """
    Forwards connections to the server's socket, from a socket in a folder and from a port of 127.0.0.1.

    Attributes:
        port: The port.
        cut: How the next commit ends: the connection is reset before the server has it, while the server may be at it,
            or after it has answered.
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
        near = socket.socket(socket.AF_UNIX)
        near.bind(str(folder / ".s.PGSQL.5432"))
        near.listen()
        far = socket.create_server(("127.0.0.1", 0))
        self.port = int(far.getsockname()[1])
        self._listening = [near, far]
        self._threads = [threading.Thread(target=self._accept, args=(one,), daemon=True) for one in self._listening]
        for thread in tuple(self._threads):
            thread.start()

    def close(self) -> None:
        for listening in self._listening:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for thread in self._threads:
            thread.join()

    def isolate(self) -> None:
        """Break every connection, and let none come about."""
        self.isolated = True
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
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
                        if cut != "before":
                            server.sendall(data)
                        if cut == "after":
                            server.recv(_BYTES)
                        if client.family == socket.AF_INET:
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        return
                    else:
                        server.sendall(data)
