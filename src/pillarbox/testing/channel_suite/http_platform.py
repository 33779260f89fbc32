"""A whole platform that speaks HTTP, as a table of its answers."""

from __future__ import annotations

import ssl
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from pillarbox.testing.channel_suite.platform import Limit, Platform
from pillarbox.testing.receiver import Answer, Fault, Received, Receiver

_DRIPS = 1000
_DRIP_SECONDS = 0.02
_ASTRAY: Final = "/led-astray"
_NONSENSE: Final[Mapping[str, Answer]] = {
    "a page": Answer(body=b"<html>Sign in</html>", headers={"Content-Type": "text/html"}),
    "a page that refuses": Answer(status=400, body=b"<html>Bad Request</html>", headers={"Content-Type": "text/html"}),
    "another type": Answer(body=b"[1, 2]"),
    "nothing": Answer(body=b"null"),
    "deep": Answer(body=b"[" * 50_000),
    "no UTF-8": Answer(status=400, body=b'{"ok": false, "error": "\xff", "description": "\xff", "message": "\xff"}'),
    "half a pair": Answer(status=400, body=b'{"error": "\\ud800", "description": "\\ud800", "message": "\\ud800"}'),
    "wrong types": Answer(status=400, body=b'{"ok": 1, "error": 5, "code": 1.5, "description": [], "errcode": {}}'),
    "packed": Answer(headers={"Content-Encoding": "gzip"}, body=b"\x1f\x8b"),
    "another protocol": Answer(status=101),
    "no such status": Answer(status=999),
}


class HttpPlatform(Platform):
    """
    A `Receiver` that answers by a table. Use it as an async context manager.

    Attributes:
        accepts: Its answer to what it takes.
        rejects_message: Its answer to a message that it forbids; the others likewise. What stays ``None`` is not there.
        rates: Its answer for each way in which it limits.
    """

    accepts: Answer = Answer()
    rejects_message: Answer | None = None
    rejects_recipient: Answer | None = None
    refuses_credentials: Answer | None = None
    rates: Mapping[Limit, Answer] = {}

    def __init__(self) -> None:
        super().__init__()
        self.receiver = Receiver(self._answer)
        self._answers = self.accepts
        self._takes = True
        self._repeats = False
        self._taken: list[str] = []

    async def __aenter__(self) -> Self:
        await self.receiver.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.receiver.close()

    @abstractmethod
    def text_of(self, request: Received) -> str:
        """Return what a request says."""

    def limits(self) -> tuple[Limit, ...]:
        """Return every way in which the platform limits."""
        return tuple(self.rates)

    def _answer(self, request: Received) -> Answer:
        if self._takes:
            self._taken.append(self.text_of(request))
        if self._repeats:
            said = [request.path, *map(": ".join, request.headers.items()), request.body.decode(), *self.secrets]
            return replace(self._answers, body="\n".join(said).encode())
        return self._answers

    def _will(self, answer: Answer | None, *, take: bool = False, repeat: bool = False) -> None:
        if answer is None:
            raise NotImplementedError("give the platform this answer, or say in the suite's `absent` why it has none")
        self._answers, self._takes, self._repeats = answer, take, repeat

    def accept(self) -> None:
        """See `Platform`, here and below."""
        self._will(self.accepts, take=True)

    def received(self) -> list[str]:
        """Return the texts of the requests that were accepted."""
        return list(self._taken)

    def reject_message(self) -> None:
        """Answer with ``rejects_message``."""
        self._will(self.rejects_message)

    def reject_recipient(self) -> None:
        """Answer with ``rejects_recipient``."""
        self._will(self.rejects_recipient)

    def refuse_credentials(self) -> None:
        """Answer with ``refuses_credentials``."""
        self._will(self.refuses_credentials)

    def limit(self, limit: Limit) -> None:
        """Answer with what ``rates`` has for *limit*."""
        self._will(self.rates[limit])

    async def vanish(self) -> None:
        """Close the port."""
        await self.receiver.close()

    async def serve_tls(self, tls: ssl.SSLContext | None) -> None:
        """See `Platform`."""
        await self.receiver.close()
        self.receiver = Receiver(self._answer, tls=tls)
        await self.receiver.start()
        self.receiver.url = self.receiver.url.replace("http://", "https://")

    def cut(self) -> None:
        """Read the request, and reset the connection."""
        self._will(Answer.reset())

    def answer_at_length(self) -> None:
        """Accept, with blanks behind the answer for as long as the client reads."""
        self._will(replace(self.accepts, fault=Fault.POUR), take=True)

    def answer_endlessly(self) -> None:
        """Accept, one byte after the other."""
        body = self.accepts.body + b" " * _DRIPS
        self._will(replace(self.accepts, body=body, drip_seconds=_DRIP_SECONDS), take=True)

    def nonsense(self) -> tuple[str, ...]:
        """See `Platform`."""
        return tuple(_NONSENSE)

    def talk_nonsense(self, name: str) -> None:
        """Answer with a page, broken JSON, wrong types, statuses that are none."""
        self._will(_NONSENSE[name])

    def redirect(self) -> None:
        """Answer with a redirection to another path here."""
        place = f"{self.receiver.url.rstrip('/')}{_ASTRAY}"
        self._will(Answer(status=307, headers={"Location": place}))

    @property
    def led_astray(self) -> int:
        """Count the requests to that path."""
        return sum(request.path == _ASTRAY for request in self.receiver.requests)

    def hang(self) -> None:
        """Read the request, and do not answer."""
        self._will(Answer.hang())

    async def reached(self) -> None:
        """Wait for a request beyond those that came before."""
        await self.receiver.wait_for(1)

    def repeat(self) -> None:
        """Refuse with the words of the request."""
        self._will(self.rejects_message or Answer(status=400), repeat=True)

    async def quiet(self) -> None:
        """Wait until every connection is closed."""
        await self.receiver.wait_until_quiet()
