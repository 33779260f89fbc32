"""
The connections of one client: made when they are wanted, kept for a second, and never more at once than it may have.

Each leads to an address that the guard has judged. A name is looked up once for ten seconds of connections.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from pillarbox.channels.egress import Address
from pillarbox.channels.http.connection import BUFFER_BYTES, Connection
from pillarbox.channels.http.failures import CONNECTIONS_MAX, Closed, LostAtOnce, NotConnected, NotResolved
from pillarbox.channels.http.trust import system_trust
from pillarbox.deadline import NO_GRACE, Within

if TYPE_CHECKING:
    import socket

    from pillarbox.channels.egress import Egress
    from pillarbox.clock import Clock, Timer

# Receivers hang up on idle connections after seconds (Node.js: 5), and perhaps just as we write.
IDLE_SECONDS_MAX: Final = 1.0
CONNECT_SECONDS_MAX: Final = 10.0
_NAME_SECONDS: Final = 10.0

Place = tuple[str, str, int]
"""What of a URL says where a connection leads to: scheme, host and port, as the guard reads them."""


@dataclass(slots=True)
class _Known:
    """What is kept of a place. ``asking`` is held while its name is looked up, so that others wait for that answer."""

    idle: list[Connection] = field(default_factory=list)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    addresses: list[Address] = field(default_factory=list)
    until: float = 0.0


class Pool:
    """
    A pool; make it inside the loop.

    Args:
        egress: The guard at the way out.
        limit: Connections at once; ``slots`` is to be held while one is used.
        tls: Whom to trust; ``None`` for the system's certificates.
        clock: By which connections get old.
    """

    def __init__(self, egress: Egress, *, limit: int, tls: ssl.SSLContext | None, clock: Clock) -> None:
        self.slots = asyncio.Semaphore(limit)
        self._egress = egress
        self._tls = tls
        self._clock = clock
        self._known: dict[Place, _Known] = {}
        self._open: set[Connection] = set()
        self._sweeping: Timer | None = None
        self._closed = False
        self._make = functools.partial(Connection, clock, memoryview(bytearray(BUFFER_BYTES)))

    def kept(self, place: Place) -> Connection | None:
        """Return the connection that was used last. It is silent: ask it in the same turn of the loop."""
        known, fresh = self._known.get(place), self._clock.mono() - IDLE_SECONDS_MAX
        while known is not None and known.idle:
            connection = known.idle.pop()
            if connection.idle_since >= fresh and connection.is_silent():
                return connection
            connection.abort()
        return None

    async def made(self, place: Place) -> Connection:
        """
        Return a new connection. It is silent: ask it in the same turn of the loop.

        Raises:
            EgressRefused: The guard refuses the address.
            NotConnected: There is none, or none in ten seconds, or none of three was silent.
        """
        if self._closed:
            raise Closed
        for _ in range(CONNECTIONS_MAX):
            connection = await self._connected(place, await self._looked_up(place, self._known_of(place)))
            if connection.is_silent():
                return connection
            connection.abort()
        raise LostAtOnce

    def give_back(self, place: Place, connection: Connection) -> None:
        """Keep a connection for the next request; the answer of the last one is over, and has left it usable."""
        if not self._closed:
            connection.idle_since = self._clock.mono()
            self._known_of(place).idle.append(connection)

    async def close(self) -> None:
        """Close every connection, also those that wait for an answer. Safe to repeat."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        opened = tuple(self._open)
        for connection in opened:
            connection.abort()
        await asyncio.gather(*(connection.gone for connection in opened))

    def _known_of(self, place: Place) -> _Known:
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = _Known()
            if self._sweeping is None:
                self._sweeping = self._clock.call_later(IDLE_SECONDS_MAX, self._sweep)
        return known

    def _sweep(self) -> None:
        """Close what was not used for a second, and forget places of which nothing is kept."""
        now = self._clock.mono()
        for place, known in tuple(self._known.items()):
            while known.idle and known.idle[0].idle_since + IDLE_SECONDS_MAX <= now:
                known.idle.pop(0).abort()
            if not known.idle and known.until <= now and not known.asking.locked():
                del self._known[place]
        self._sweeping = self._clock.call_later(IDLE_SECONDS_MAX, self._sweep) if self._known else None

    async def _looked_up(self, place: Place, known: _Known) -> list[Address]:
        async with known.asking:
            if known.until <= self._clock.mono():
                try:
                    known.addresses = await self._egress.addresses(*place[1:])
                except (OSError, UnicodeError) as exc:  # UnicodeError: a label that is too long for DNS
                    raise NotResolved from exc
                known.until = self._clock.mono() + _NAME_SECONDS
        return list(known.addresses)

    async def _connected(self, place: Place, addresses: list[Address]) -> Connection:
        """Connect to one of *addresses*; where its TLS fails, to another one."""
        while True:
            peer: Address | None = None
            try:
                async with Within(CONNECT_SECONDS_MAX, clock=self._clock, grace=NO_GRACE):
                    sock = await self._egress.connect(addresses, place[2])
                    try:
                        peer = ip_address(sock.getpeername()[0])
                        return await self._begun(place, sock)
                    except BaseException:
                        sock.close()
                        raise
            except OSError as exc:
                if peer not in addresses or len(addresses) == 1:
                    raise NotConnected from exc
                addresses.remove(peer)

    async def _begun(self, place: Place, sock: socket.socket) -> Connection:
        scheme, host, _ = place
        tls = None if scheme == "http" else self._tls or system_trust(ssl.get_default_verify_paths())
        # Certificates are for names without the dot at their end.
        name = None if tls is None else host.rstrip(".")
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(self._make, sock=sock, ssl=tls, server_hostname=name)
        self._open.add(connection)
        connection.gone.add_done_callback(lambda _: self._open.discard(connection))
        if self._closed:
            connection.abort()
            raise Closed
        return connection
