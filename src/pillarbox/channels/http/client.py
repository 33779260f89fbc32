"""
How an adapter speaks HTTP: one request of an attempt, and its answer or what it means that none came.

An adapter's `send` is this and no more: what to post, and by which rules the answer is judged::

    answer = await self._client.post(url, body, content_type="application/json", headers=headers, attempt=attempt)
    if not isinstance(answer, Answer):
        return answer
    rule = rule_for(self._rules, answer.status, code=...)

Every connection leads to an address that the guard has judged. Redirects, proxies from the environment, cookies and
compression are not used. Nothing here sends a request twice: an attempt goes on with another connection only where
surely nothing was written on the first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.payload import Payload

from pillarbox.__about__ import __version__
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.connection import KeptConnection, keep_apart
from pillarbox.channels.http.failures import NoAnswer, failure
from pillarbox.channels.options import bounded_count, bounded_seconds
from pillarbox.clock import Clock, SystemClock
from pillarbox.deadline import Within
from pillarbox.domain.outcome import Deferred
from pillarbox.errors import EgressRefused, NotStarted

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter
    from yarl import URL

    from pillarbox.channels.base import Attempt, Progress
    from pillarbox.channels.egress import Egress

ANSWER_BYTES_MAX: Final = 64 * 1024
CONNECT_SECONDS_MAX: Final = 10.0
TIMEOUT_SECONDS_MAX: Final = 3600.0
CONCURRENCY_MAX: Final = 1000
# Where a kept connection turns out to be of no use, the attempt goes on with another one; not for ever.
CONNECTIONS_MAX: Final = 3
# Our deadline comes before the executor's: here one still knows whether the request was written.
_DEADLINE_SHARE: Final = 0.95
_EXECUTOR_GRACE_SECONDS: Final = 2.0
# One clock of ours runs over all of an attempt, from the look-up of the name to the answer's last byte: aiohttp's own
# would throw away an answer that has come while the loop stood still. Its only moves on from a dead address to the
# name's next one; without a threshold it would be rounded up to whole seconds.
_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, sock_connect=CONNECT_SECONDS_MAX, ceil_threshold=2 * TIMEOUT_SECONDS_MAX
)

OURS: Final = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that say how a request is carried, in lower case: no configuration sets them."""


class Client:
    """
    The HTTP client of one channel. Its connections are kept for the next request, for a second.

    Args:
        egress: The guard at the way out.
        headers: Sent with every request.
        timeout_seconds: For a whole request, connecting and reading the answer included; above 0, at most an hour.
        concurrency: Requests, and so connections, at once; 1–1000.
        tls: Whom to trust; ``None`` for the system's certificates.

    Raises:
        ConfigError: Names ``timeout`` or ``concurrency``.
    """

    def __init__(
        self,
        *,
        egress: Egress,
        headers: Mapping[str, str],
        timeout_seconds: float,
        concurrency: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.concurrency = bounded_count("concurrency", concurrency, most=CONCURRENCY_MAX)
        self._timeout_seconds = bounded_seconds("timeout", timeout_seconds, most=TIMEOUT_SECONDS_MAX)
        self._egress = egress
        self._headers = {"Accept-Encoding": "identity", **headers}
        if "user-agent" not in {name.lower() for name in headers}:
            self._headers["User-Agent"] = f"pillarbox/{__version__}"
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._clock: Clock = SystemClock()

    @property
    def send_timeout_seconds(self) -> float:
        """When the executor cuts off a send: after this client would have done so itself."""
        return self._timeout_seconds + _EXECUTOR_GRACE_SECONDS

    @property
    def is_started(self) -> bool:
        """Whether requests can be made now."""
        return self._session is not None

    async def start(self, clock: Clock) -> None:
        """Open the pool of connections, on the loop that sends; the timeout passes by *clock*."""
        self._clock = clock
        connector = self._egress.connector(limit=self.concurrency, tls=self._tls)
        keep_apart(connector, asyncio.get_running_loop())
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection. Safe to repeat."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(
        self,
        url: URL,
        body: bytes,
        *,
        content_type: str,
        headers: Mapping[str, str],
        attempt: Attempt,
        covered: bool = False,
        method: str = "POST",
    ) -> Answer | NoAnswer:
        """
        Make one request, and return its answer, or the outcome of there being none.

        ``attempt.progress.written`` says meanwhile whether the receiver may have it.

        Args:
            url: As the guard read it (`Egress.check_url`).
            covered: The receiver drops a second copy of this request, so trying again is safe.
            method: ``PUT`` where the platform wants it.

        Raises:
            NotStarted: Outside of `start` and `close`.
        """
        session = self._session
        if session is None:
            raise NotStarted("the channel was not started")
        seconds = min(self._timeout_seconds, attempt.deadline_seconds * _DEADLINE_SHARE)
        for _ in range(CONNECTIONS_MAX):
            request = _Body(body, content_type, attempt.progress)
            within = Within(seconds, clock=self._clock)
            found = await _exchange(session, method, url, request, headers, within=within, covered=covered)
            if found is not None:
                return found
        return Deferred(f"{CONNECTIONS_MAX} connections were lost in a row before the request was written")


async def _exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    body: _Body,
    headers: Mapping[str, str],
    *,
    within: Within,
    covered: bool,
) -> Answer | NoAnswer | None:
    """Return the answer to one request; ``None`` if the connection was lost before anything was written."""
    body.progress.written = False
    response: aiohttp.ClientResponse | None = None
    answer = bytearray()
    try:
        async with within:
            body.within = within
            response = await session.request(
                method, url, data=body, headers=headers, allow_redirects=False, timeout=_TIMEOUT
            )
            await _read(response, answer)
    except (aiohttp.ClientError, OSError, EgressRefused) as exc:
        # With a status in hand, a reset or a slow drip after it changes nothing: the status settled it.
        if response is None:
            if not body.written and _was_connected(exc):
                return None
            return failure(exc, written=body.written, covered=covered)
    finally:
        body.progress.written = body.written
        if response is not None:
            response.close()  # does nothing to a connection whose answer was read to its end
    # Packed against what we asked for: nothing of it is unpacked or shown.
    said = b"" if "Content-Encoding" in response.headers else bytes(answer).replace(b"\0", b"")
    return Answer(status=response.status, headers=response.headers, body=said)


def _was_connected(error: BaseException) -> bool:
    """Whether there was a connection, and it was found to be useless before it was used."""
    lost = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return lost and not isinstance(error, aiohttp.ClientConnectorError)


async def _read(response: aiohttp.ClientResponse, answer: bytearray) -> None:
    """Read into *answer*, so that what came before a failure is kept; never more than the cap."""
    while len(answer) < ANSWER_BYTES_MAX:
        piece = await response.content.read(ANSWER_BYTES_MAX - len(answer))
        if not piece:
            return
        answer += piece


class _Body(Payload):
    """
    A request's body that knows whether its first byte may have left.

    aiohttp keeps the headers back until the body is written, so ``written`` turns true before anything reaches the
    socket and stays false for a connection that was closed while it waited in the pool.
    """

    _autoclose = True

    def __init__(self, value: bytes, content_type: str, progress: Progress) -> None:
        super().__init__(value, content_type=content_type)
        self._size = len(value)
        self.bytes = value
        self.written = False
        self.within: Within | None = None
        self.progress = progress

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.bytes.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        if self.within is not None and self.within.overdue():
            # The connection came too late. Written now, the request could only be cut off again.
            raise TimeoutError
        transport = writer.transport
        connection = getattr(writer, "protocol", None)
        if isinstance(connection, KeptConnection) and not connection.begin():
            raise ConnectionResetError
        self.written = transport is not None and not transport.is_closing()
        # At once: who looks while the answer is waited for is to know that the receiver may have it.
        self.progress.written = self.written
        await writer.write(self.bytes)
