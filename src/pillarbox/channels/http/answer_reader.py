"""
One answer, read from the bytes that come on a connection. No socket, no clock: bytes in, an answer out.

httptools reads the grammar. What is decided here is where an answer ends, so that nothing behind its end is taken for a
part of it, and how much of it is looked at. Each head gets a parser of its own, which is fed to that head's end and no
further: what a receiver said before never colours how its next words are read.
"""

from __future__ import annotations

import re
from typing import Final

import httptools
from multidict import CIMultiDict

ANSWER_BYTES_MAX: Final = 64 * 1024
HEAD_BYTES_MAX: Final = 16 * 1024
INTERIM_MAX: Final = 100

# RFC 9112 §2.2: a lone LF may be taken for a line's end.
_HEAD_END: Final = re.compile(rb"\n\r?\n")
# Behind the last chunk and its trailers. It may also stand within a body, where a cut does no harm.
_CHUNKS_END: Final = re.compile(rb"\r\n\r\n")
_LOOK_BACK: Final = 3  # octets of an end that may have come before the others
_BEGINNING: Final = b"HTTP/"
_NO_BODY: Final = frozenset({101, 204, 304})  # after 101 it is no longer HTTP


class Unintelligible(Exception):
    """What came is no answer, or has more before its end than anybody reads."""


class AnswerReader:
    """
    Reads one answer. Interim ones (RFC 9110 §15.2) before it are skipped, a hundred at most.

    Attributes:
        status: 0 until the head was read.
        headers: The answer's; trailers are dropped.
        body: What came of it, `ANSWER_BYTES_MAX` with its framing at most.
        over: The answer is at its end, or as far as it is read.
        keeps: Another request may follow on the connection.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.body = bytearray()
        self.over = False
        self.keeps = False
        self._room = HEAD_BYTES_MAX
        self._interim = 0
        self._head = b""  # as much of a head as came
        self._left: int | None = None  # octets of the body to come; None where it does not say
        self._last = b""  # what came last of a body that does not say
        self._parser: httptools.HttpResponseParser  # from a head's end on

    def feed(self, data: bytes) -> bytes:
        """
        Read *data*, and return what of it stands behind the answer's end. Not called again where it is `over`.

        Raises:
            Unintelligible: Before there is a status. Later, a body that is not HTTP just ends: the status counts.
        """
        while data and not self.over:
            data = self._feed_body(data) if self.status else self._feed_head(data)
        if self.over:
            del self._parser  # which holds this: else both would be the garbage collector's
        return data

    def end(self) -> None:
        """Hear that nothing more will come: where there is a status, the answer is over."""
        self.keeps = False
        self.over = self.status != 0

    def _feed_head(self, data: bytes) -> bytes:
        head = self._head + data if self._head else data.lstrip(b"\r\n")
        self._room -= len(self._head) + len(data) - len(head)  # empty lines before it count as well
        found = _HEAD_END.search(head, max(0, len(self._head) - _LOOK_BACK))
        end = len(head) if found is None else found.end()
        if end > self._room or not (head.startswith(_BEGINNING) or _BEGINNING.startswith(head)):
            raise Unintelligible
        if found is None:
            self._head = head
            return b""
        self._head = b""
        self._room -= end
        self._read_head(head[:end])
        return head[end:]

    def _read_head(self, head: bytes) -> None:
        parser = self._parser = httptools.HttpResponseParser(self)
        parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        try:
            parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.status != 101:  # what it promises is no longer for this parser
                raise Unintelligible from None
        if not self.status:
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise Unintelligible
            self.headers = CIMultiDict()
        elif self.status in _NO_BODY:
            # Where a body is announced all the same (RFC 9110 §8.6), it may well be sent.
            self.over = True
            self.keeps = self.keeps and not self._left and "Transfer-Encoding" not in self.headers

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools, here and below: called out of ``feed_data``."""
        if not self.status:
            self.headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Look at the status, and at what the head says of its body."""
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        if status < 100:
            raise Unintelligible
        self.status = status
        self.keeps = self._parser.should_keep_alive()
        length = self.headers.get("Content-Length", "").strip()
        self._left = int(length) if length.isdigit() and "Transfer-Encoding" not in self.headers else None
        self._room = ANSWER_BYTES_MAX

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Where that was the answer, and no interim one, it is over."""
        self.over = self.status != 0

    def _feed_body(self, data: bytes) -> bytes:
        cut = min(self._cut(data), self._room)
        self._room -= cut
        try:
            self._parser.feed_data(data[:cut])
        except httptools.HttpParserError:
            self.end()
        if not self._room and not self.over:
            self.end()
        return data[cut:]

    def _cut(self, data: bytes) -> int:
        """Return how much of *data* is surely not behind the body's end."""
        if self._left is not None:
            cut = min(self._left, len(data))
            self._left -= cut
            return cut
        found = _CHUNKS_END.search(self._last + data)
        if found is None:
            self._last = (self._last + data)[-_LOOK_BACK:]
            return len(data)
        cut = found.end() - len(self._last)
        self._last = b""
        return cut
