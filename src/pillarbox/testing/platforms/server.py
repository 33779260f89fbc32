"""What the fake platforms share: a receiver that answers by rules, and limits that notice who does not wait."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl

import msgspec

from pillarbox.clock import Clock, SystemClock
from pillarbox.testing.receiver import Answer, Plan, Received, Receiver

_BURST: Final = 3
_BOUNDARY: Final = re.compile(r'boundary="?([^";]+)')
_PIECE: Final = {
    "field": re.compile(r'[ ;]name="([^"]*)"'),
    "name": re.compile(r'filename="([^"]*)"'),
    "media_type": re.compile(r"(?i)content-type:([^\r\n]*)"),
}
JSON: Final = {"Content-Type": "application/json"}


def answer_json(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer of JSON."""
    return Answer(status=status, headers={**JSON, **(headers or {})}, body=msgspec.json.encode(body))


def fields_of(request: Received) -> dict[str, object]:
    """Return what a request says: its query, and its JSON object or its form. Empty where it has none."""
    fields: dict[str, object] = dict(parse_qsl(request.path.partition("?")[2]))
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return fields | {piece.field: piece.data.decode() for piece in form_of(request) if not piece.name}
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return fields | dict(parse_qsl(request.body.decode()))
    try:
        found = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return fields
    return fields | found if isinstance(found, dict) else fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A field of a form; with a name it is a file."""

    field: str
    name: str = ""
    media_type: str = ""
    data: bytes = b""


def form_of(request: Received) -> list[Piece]:
    """Return what a form of several parts holds: RFC 7578. Empty where it is none."""
    boundary = _BOUNDARY.search(request.headers.get("content-type", ""))
    if boundary is None:
        return []
    found: list[Piece] = []
    for piece in (b"\r\n" + request.body).split(b"\r\n--" + boundary[1].encode())[1:-1]:
        head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        said = {name: _PIECE[name].search(head.decode()) for name in _PIECE}
        values = {name: "" if match is None else match[1].strip() for name, match in said.items()}
        found.append(Piece(data=data, **values))
    return found


class Bucket:
    """
    So many at once, and one more each *seconds*. Who does not wait as long as told is counted.

    Attributes:
        ignored: Requests that came before the wait was over that the last refusal named.
    """

    def __init__(self, *, burst: int, seconds: float) -> None:
        self._burst = burst
        self._spacing_ms = seconds * 1000
        self._empty_ms = 0.0  # when the last token is back, seen from now
        self._banned_ms = 0.0
        self.ignored = 0

    def full_ms(self, now_ms: int) -> float:
        """Return how long there is no token; 0 where there is one."""
        return max(0.0, self._empty_ms + self._spacing_ms - now_ms)

    def wait_ms(self, now_ms: int) -> float:
        """Take a token and return 0, or how long to wait for one."""
        if now_ms < self._banned_ms:
            self.ignored += 1
            return self._banned_ms - now_ms
        self._empty_ms = max(self._empty_ms, now_ms - self._burst * self._spacing_ms) + self._spacing_ms
        if self._empty_ms <= now_ms:
            return 0.0
        self._banned_ms = self._empty_ms
        wait, self._empty_ms = self._empty_ms - now_ms, self._empty_ms - self._spacing_ms
        return wait


class FakePlatform(ABC):
    """
    A server on 127.0.0.1. Use it as an async context manager.

    Args:
        place_seconds: At most one message in so many seconds to one place, after three at once; ``None``: no limit.

    Attributes:
        receiver: Its ledger of requests, and ways not to answer (`Receiver.script`, `Receiver.hold`).
        messages: What stands in its places, in the order of sending.
    """

    def __init__(self, *, place_seconds: float | None = None, port: int = 0, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.receiver = Receiver(self.answer, port=port, clock=self.clock)
        self.messages: list[dict[str, Any]] = []
        self._place_seconds = place_seconds
        self._buckets: dict[str, Bucket] = {}

    async def __aenter__(self) -> Self:
        await self.receiver.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.receiver.close()

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at its end."""
        return self.receiver.url.rstrip("/")

    @property
    def ignored_limits(self) -> int:
        """How many requests came before the wait was over that a 429 had named."""
        return sum(bucket.ignored for bucket in self._buckets.values())

    def wait_ms(self, place: str, *, seconds: float | None = None) -> float:
        """
        Take a place's token, and return 0 or how long to wait for one; *seconds* where it has its own limit.

        As many may come at once as in a second, and three at least.
        """
        seconds = self._place_seconds if seconds is None else seconds
        if seconds is None:
            return 0.0
        burst = max(_BURST, round(1 / seconds))
        bucket = self._buckets.setdefault(place, Bucket(burst=burst, seconds=seconds))
        return bucket.wait_ms(self.clock.wall_ms())

    def full_ms(self, place: str) -> float:
        """Return how long a place takes nothing more, now that it took something; 0 where it takes more."""
        bucket = self._buckets.get(place)
        return 0.0 if bucket is None else bucket.full_ms(self.clock.wall_ms())

    def script(self, *plans: Plan) -> None:
        """Answer the next requests like this instead, in this order."""
        self.receiver.script(*plans)

    @abstractmethod
    def answer(self, request: Received) -> Answer:
        """Return what the platform says to *request*."""
