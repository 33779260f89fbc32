"""
How an adapter speaks HTTP: one request of an attempt, and its answer or what it means that none came.

An adapter's `send` is this and no more: what to post, and by which rules the answer is judged::

    answer = await self._client.post(url, body, content_type="application/json", headers=headers, attempt=attempt)
    if not isinstance(answer, Answer):
        return answer
    rule = rule_for(self._rules, answer.status, code=...)

Every connection leads to an address that the guard has judged. Redirects, proxies, cookies and compression are not
used. Nothing here sends a request twice: an attempt goes on with another connection only where surely nothing was
written on the first.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final, Literal

from pillarbox.__about__ import __version__
from pillarbox.channels.http.answer_reader import AnswerReader, Unintelligible
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.connection import Connection
from pillarbox.channels.http.failures import Disconnected, NoAnswer, NotConnected, failure
from pillarbox.channels.http.pool import Place, Pool
from pillarbox.channels.option_checks import bounded_count, bounded_seconds
from pillarbox.clock import Clock, SystemClock
from pillarbox.deadline import Within
from pillarbox.errors import EgressRefused, NotStarted

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from yarl import URL

    from pillarbox.channels.base import Attempt
    from pillarbox.channels.egress import Egress

TIMEOUT_SECONDS_MAX: Final = 3600.0
CONCURRENCY_MAX: Final = 1000
# Our deadline comes before the executor's: here one still knows whether the request was written.
_DEADLINE_SHARE: Final = 0.95
_EXECUTOR_GRACE_SECONDS: Final = 2.0
_BREAKS_LINE: Final = re.compile(r"[\x00-\x20\x7f]")

OURS: Final = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that say how a request is carried, in lower case: no configuration sets them."""

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


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
        always = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"pillarbox/{__version__}"}
        given = {name.lower() for name in headers}
        self._headers = _lines(
            {**{name: text for name, text in always.items() if name.lower() not in given}, **headers}
        )
        self._tls = tls
        self._pool: Pool | None = None
        self._clock: Clock = SystemClock()

    @property
    def send_timeout_seconds(self) -> float:
        """When the executor cuts off a send: after this client would have done so itself."""
        return self._timeout_seconds + _EXECUTOR_GRACE_SECONDS

    @property
    def is_started(self) -> bool:
        """Whether requests can be made now."""
        return self._pool is not None

    async def start(self, clock: Clock) -> None:
        """Begin, on the loop that sends; the timeout passes by *clock*."""
        self._clock = clock
        self._pool = Pool(self._egress, limit=self.concurrency, tls=self._tls, clock=clock)

    async def close(self) -> None:
        """Close every connection. Safe to repeat."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def post(
        self,
        url: URL,
        body: bytes,
        *,
        content_type: str,
        headers: Mapping[str, str],
        attempt: Attempt,
        covered: bool = False,
        method: Method = "POST",
    ) -> Answer | NoAnswer:
        """
        Make one request, and return its answer, or the outcome of there being none.

        ``attempt.progress.written`` says meanwhile whether the receiver may have it.

        Args:
            url: As the guard read it (`Egress.check_url`).
            covered: The receiver drops a second copy of this request, so trying again is safe.
            method: As the platform wants it. (An answer to HEAD would end elsewhere.)

        Raises:
            NotStarted: Outside of `start` and `close`.
            ValueError: A header, or the URL, would break out of its line. Nothing was written.
        """
        pool = self._pool
        if pool is None:
            raise NotStarted("the channel was not started")
        beginning, place = _target(method, url)
        request = self._request(beginning, body, {"Content-Type": content_type, **headers})
        progress, reader = attempt.progress, AnswerReader()
        progress.written = False
        ends = self._clock.mono() + min(self._timeout_seconds, attempt.deadline_seconds * _DEADLINE_SHARE)
        try:
            if pool.slots.locked():
                await self._wait_for_slot(pool, ends)
            else:
                await pool.slots.acquire()  # at once, so it needs no deadline
            try:
                connection = pool.kept(place) or await self._new_connection(pool, place, ends)
                try:
                    # At once: who looks while the answer is waited for is to know that the receiver may have it.
                    progress.written = True
                    await connection.ask(request, reader, ends=ends)
                finally:
                    if reader.over and reader.keeps:
                        pool.give_back(place, connection)
                    else:
                        connection.abort()
            finally:
                pool.slots.release()
        except (OSError, EgressRefused, NotConnected, Disconnected, Unintelligible) as exc:
            # With a status in hand, a reset or a slow drip after it changes nothing: the status settled it.
            if not reader.status:
                return failure(exc, written=progress.written, covered=covered)
        # Packed against what we asked for: nothing of it is unpacked or shown.
        said = b"" if "Content-Encoding" in reader.headers else bytes(reader.body).replace(b"\0", b"")
        return Answer(status=reader.status, headers=reader.headers, body=said)

    async def _wait_for_slot(self, pool: Pool, ends: float) -> None:
        async with Within(ends - self._clock.mono(), clock=self._clock) as within:
            await pool.slots.acquire()
            if within.overdue():
                pool.slots.release()
                raise TimeoutError

    async def _new_connection(self, pool: Pool, place: Place, ends: float) -> Connection:
        async with Within(ends - self._clock.mono(), clock=self._clock) as within:
            connection = await pool.made(place)
            if within.overdue():
                # It came too late. Written now, the request could only be cut off again.
                connection.abort()
                raise TimeoutError
            return connection

    def _request(self, beginning: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the request's bytes, in one piece: then the system sends a short one in one packet."""
        always = f"{beginning}{self._headers}Content-Length: {len(body)}\r\n"
        return f"{always}{_lines(headers)}\r\n".encode() + body


@functools.lru_cache
def _target(method: str, url: URL) -> tuple[str, Place]:
    """Return what a request begins with, and where it goes."""
    target, host = url.raw_path_qs, url.host_port_subcomponent
    if _BREAKS_LINE.search(f"{method}{target}{host}"):
        raise ValueError("a URL with blanks or control characters")
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n", address_of(url)


def address_of(url: URL) -> Place:
    """Return where a URL leads to, as the guard reads it."""
    return url.scheme, url.raw_host or "", url.port or 0


def _lines(headers: Mapping[str, str]) -> str:
    lines = list(map(": ".join, headers.items()))
    said = "".join(lines)
    if "\r" in said or "\n" in said or "\0" in said:
        raise ValueError("a header with a line break or a NUL")
    return "\r\n".join([*lines, ""])
