"""What listens where a PostgreSQL server should, has no encryption, and then says nothing more."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a client asks for first: encryption by TLS, or by GSSAPI.
_ENCRYPTION: Final = (bytes.fromhex("0000000804d2162f"), bytes.fromhex("0000000804d21630"))


@contextlib.contextmanager
def silent_server(greeting: bytes = b"") -> Iterator[int]:
    """Listen, and yield the port. *greeting*: what is said instead to whoever asks for anything."""
    listening = socket.create_server(("127.0.0.1", 0))
    asked: list[socket.socket] = []

    def answer() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            asked.append(client)
            with contextlib.suppress(OSError):
                while (said := client.recv(8)) and (greeting or said in _ENCRYPTION):
                    client.sendall(greeting or b"N")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        for one in asked:
            one.close()
        listening.close()
        thread.join()
