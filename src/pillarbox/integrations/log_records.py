"""
`LoggingHandler`: log records as messages, for those who must hear of an error wherever they are.

Whoever logs waits for nothing and hears of nothing: a record is kept in memory, and a thread of the handler's makes
messages of what has come. What is logged while such a message is sent never becomes another one.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Unpack

from pillarbox.domain.moments import span_ms
from pillarbox.errors import InvalidMessage, NotStarted, PillarboxError, QueueFull
from pillarbox.outbox.checks import Options
from pillarbox.outbox.outbox import Outbox, inside
from pillarbox.sync import Outbox as SyncOutbox
from pillarbox.user_code import channel_at_work

EVERY_SECONDS: Final = 10.0
KINDS_MAX: Final = 20
TEXT_LENGTH_MAX: Final = 4000
FLUSH_SECONDS_MAX: Final = 5.0
ANSWER_SECONDS_MAX: Final = 30.0

_OURS: Final = "pillarbox"
_FORMAT: Final = "%(levelname)s %(name)s: %(message)s"
_LOST: Final = {
    "queue_full": "the queue was full",
    "closed": "the outbox was not open",
    "refused": "they were refused",
    "no_answer": "the outbox did not answer",
}


@dataclass(slots=True)
class _Kind:
    """Records of one place in a program, since the last message."""

    text: str
    count: int = 0


class LoggingHandler(logging.Handler):
    """
    Sends what is logged through a channel of an outbox.

    The first record goes out at once; what follows is one message after *every*, in which records of one place in the
    program are one text, the latest, with their count. Records of pillarbox itself, and what is logged while a message
    of the same channel is sent, are left out. Its text goes out as it is: what a program logs, it sends.

    Args:
        box: The program's outbox, of either kind. It may be opened later; the program closes it.
        level: As of every handler.
        every: Seconds, a timedelta or text such as ``"1m"``: the time from one message to the next.
        options: As of `Outbox.send`, but for ``text``: ``subject``, ``ttl``, ``metadata`` and the others.

    Attributes:
        lost: How many records became no message, by why: ``queue_full``, ``closed``, ``refused`` or ``no_answer``. The
            next message says so.

    Raises:
        InvalidMessage: *box*, *channel*, *to*, *every* or one of *options* cannot be; names it.
    """

    def __init__(
        self,
        box: Outbox | SyncOutbox,
        channel: str,
        *,
        to: str,
        level: int | str = logging.NOTSET,
        every: float | timedelta | str = EVERY_SECONDS,
        **options: Unpack[Options],
    ) -> None:
        given: object = box
        if not isinstance(given, Outbox | SyncOutbox):
            raise InvalidMessage("box", f"expected an Outbox of pillarbox, not {type(given).__name__}")
        for field, value in (("channel", channel), ("to", to)):
            said: object = value
            if not isinstance(said, str) or not said:
                raise InvalidMessage(field, "expected text")
        for field in options:
            if field not in Options.__annotations__ or field in {"text", "payload", "content_type"}:
                raise InvalidMessage(field, "expected an option of send() beside its text")
        self._every_seconds = span_ms("every", every) / 1000
        super().__init__(level)
        self.setFormatter(logging.Formatter(_FORMAT))
        self.lost: collections.Counter[str] = collections.Counter()
        self._box = box
        self._channel = channel
        self._to = to
        self._options = options
        self._begin()

    def _begin_in_child(self) -> None:
        """Let go of what a fork has copied: the parent has its records, and a thread that may hold the lock."""
        if self._pid != os.getpid():
            self._begin()

    def _begin(self) -> None:
        """Begin with nothing."""
        self._pid = os.getpid()
        self._turn = threading.Condition()
        self._kinds: dict[object, _Kind] = {}
        self._untold: collections.Counter[str] = collections.Counter()
        self._more = 0
        self._busy = self._hurried = self._closed = False
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record for the next message. Raises nothing, and waits for nobody."""
        if record.name.partition(".")[0] == _OURS or channel_at_work.get() == self._channel:
            return
        try:
            self._keep(record)
        except Exception:  # noqa: BLE001 — whoever logs is not to suffer from it
            self.lost["refused"] += 1

    def _keep(self, record: logging.LogRecord) -> None:
        text = self._text(record)
        place = (record.name, record.levelno, record.pathname, record.lineno, str(record.msg))
        self._begin_in_child()
        with self._turn:
            if self._closed:
                self.lost["closed"] += 1
                return
            kind = self._kinds.get(place)
            if kind is None and len(self._kinds) >= KINDS_MAX:
                self._more += 1
                return
            if kind is None:
                kind = self._kinds[place] = _Kind(text)
            kind.text, kind.count = text, kind.count + 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="pillarbox-logging", daemon=True)
                self._thread.start()
            self._turn.notify_all()

    def _text(self, record: logging.LogRecord) -> str:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 — a record whose arguments do not fit says something all the same
            text = f"{record.levelname} {record.name}: {record.msg!s}"
        # Half a surrogate pair would be refused, and with it every record of the same message.
        text = text.encode("utf-8", "backslashreplace").decode()
        return text if len(text) <= TEXT_LENGTH_MAX else f"{text[: TEXT_LENGTH_MAX - 1]}…"

    def flush(self) -> None:
        """
        Send what was kept, and wait for its acceptance, at most 5 s.

        On a thread that runs an event loop it does not wait: the loop may be the one that has to accept it.
        """
        self._begin_in_child()
        with self._turn:
            if self._thread is None or not self._pending():
                return
            self._hurried = bool(self._kinds)
            self._turn.notify_all()
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop()
                return
            self._turn.wait_for(lambda: not self._pending(), FLUSH_SECONDS_MAX)

    def close(self) -> None:
        """Send what was kept, as `flush`; what is logged afterwards is counted as lost. Safe to repeat."""
        self.flush()
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        super().close()

    # On the handler's own thread

    def _pending(self) -> bool:
        return bool(self._kinds) or self._busy

    def _work(self) -> None:
        # What this thread's calls run on the outbox's loop has this context, too.
        channel_at_work.set(self._channel)
        with self._turn:
            while True:
                self._turn.wait_for(lambda: self._kinds or self._closed)
                if not self._kinds:
                    return
                kinds, self._kinds = [*self._kinds.values()], {}
                more, self._more = self._more, 0
                self._busy, self._hurried = True, False
                self._turn.release()
                try:
                    self._send(kinds, more)
                finally:
                    self._turn.acquire()
                    self._busy = False
                    self._turn.notify_all()
                self._turn.wait_for(lambda: self._hurried or self._closed, self._every_seconds)

    def _send(self, kinds: list[_Kind], more: int) -> None:
        untold = self._untold
        why: str | None = None
        try:
            self._accept(_message(kinds, more, untold))
        except QueueFull:
            why = "queue_full"
        except NotStarted:
            why = "closed"
        except TimeoutError:
            why = "no_answer"
        except PillarboxError:
            why = "refused"
        except BaseException:  # noqa: BLE001 — hooks of the application's run in it
            why = "refused"
        if why is None:
            self._untold = collections.Counter()
            return
        count = more + sum(kind.count for kind in kinds)
        self.lost[why] += count
        untold[why] += count

    def _accept(self, text: str) -> None:
        options: Options = {**self._options, "text": text}
        if isinstance(self._box, SyncOutbox):
            self._box.send(self._channel, to=self._to, **options)
            return
        loop = inside(self._box).lifetime.loop
        if loop is None:
            raise NotStarted("the outbox is not open")
        sending: Coroutine[Any, Any, object] = self._box.send(self._channel, to=self._to, **options)
        try:
            asked = asyncio.run_coroutine_threadsafe(sending, loop)
        except RuntimeError:
            sending.close()
            raise NotStarted("the event loop of the outbox has ended") from None
        asked.result(ANSWER_SECONDS_MAX)


def _message(kinds: list[_Kind], more: int, untold: Mapping[str, int]) -> str:
    """Return the text of one message: each kind of record with its count, and what is missing."""
    texts = [_counted(kind) for kind in kinds]
    if more:
        texts.append(f"(and of other places: {more})")
    texts += [f"(lost before these: {count}, because {_LOST[why]})" for why, count in untold.items()]
    return "\n\n".join(texts)


def _counted(kind: _Kind) -> str:
    if kind.count == 1:
        return kind.text
    # Beside what was logged, and not beneath its traceback.
    first, line_end, rest = kind.text.partition("\n")
    return f"{first} ({kind.count} times){line_end}{rest}"
