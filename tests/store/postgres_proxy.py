"""A way to the server that breaks at a commit: before the server hears of it, or before we hear what became of it."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections import Counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

# A query that says nothing else: the hint that follows ends by one too.
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
# The server's answer: the command is complete, and it is ready for another query.
_COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
_READY = b"Z\x00\x00\x00\x05"
_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)

Cut = Literal["before", "during", "after"] | None


class Proxy:
    """
    Forwards connections to the server's socket, from a socket in a folder and from a port of 127.0.0.1.

    Attributes:
        port: The port.
        cut: How the next commit ends: the connection is reset before the server has it, while the server may be at it,
            or after it has answered that it is done.
        cuts: How often each happened. Of the last two the server has its commit, and nobody hears of it.
        isolated: Whether nobody gets through.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        self.cut: Cut = None
        self.cuts: Counter[str] = Counter()
        self.isolated = False
        self._cutting = threading.Lock()
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
                    elif data.endswith(_COMMIT) and self._breaks(server, client, data):
                        if client.family == socket.AF_INET:
                            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        return
                    elif not data.endswith(_COMMIT):
                        server.sendall(data)

    def _breaks(self, server: socket.socket, client: socket.socket, commit: bytes) -> bool:
        """Hand on a commit as far as it is to come; return whether the connection is to end there."""
        if self._takes("before"):
            return True
        server.sendall(commit)
        if self._takes("during"):
            return True
        if self.cut == "after":
            answer = server.recv(_BYTES)
            while answer[-len(_READY) - 1 : -1] != _READY:
                more = server.recv(_BYTES)
                if not more:
                    return True
                answer += more
            if _COMMITTED in answer and self._takes("after"):
                return True
            client.sendall(answer)
        return False

    def _takes(self, cut: Cut) -> bool:
        """Whether that is how this commit ends, and not another connection's."""
        with self._cutting:
            if self.cut is None or self.cut != cut:
                return False
            self.cuts[self.cut] += 1
            self.cut = None
            return True
