"""A channel that is one function: what it returns or raises becomes an outcome."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pillarbox.channels.base import Attempt, Capabilities, Channel, Mode, Seams, Unit
from pillarbox.channels.exceptions.bug_reports import Bugs
from pillarbox.channels.exceptions.judge import classify_exception
from pillarbox.channels.exceptions.unread_body import read_waiting_body
from pillarbox.channels.option_checks import bounded_count, one_of
from pillarbox.channels.privacy.outcomes import values_of
from pillarbox.channels.text.limits import TEXT_LIMIT_MAX
from pillarbox.channels.thread_pool import Ended, Threads, answer_of
from pillarbox.channels.url_parts import count, seconds
from pillarbox.domain.outcome import AnyOutcome, Delivered, Misreported, Outcome, RateLimited, Uncertain, name_of, plain
from pillarbox.domain.retry import CHAT, Policy
from pillarbox.errors import ConfigError, InvalidOutcome

Function = Callable[[Attempt], Any]

# How soon to look again whether a call that overran its deadline has given its thread back.
BUSY_SECONDS: Final = 5.0


class FunctionChannel(Channel):
    """
    Call *function* with each `Attempt`.

    An async function runs on the worker's loop. A plain ``def`` runs in a thread of a pool of its own. It cannot be
    stopped: past its deadline it goes on, and counts against *threads* until it returns; while all of them are so
    engaged, messages are given back at no cost. If it delivers after all, that is recorded late.

    What the function returns:

    * ``None``, a receipt (``str``), or an ``int``, which becomes one: delivered.
    * An outcome, returned or raised: ``RateLimited(after=30)``, ``Rejected("no such pager")`` and so on.
    * Another exception: what it carries, an HTTP status or an SMTP code of whatever library, then what its type says,
      then its text (`exceptions.judge`), else uncertain. A bug is logged with where it is (`exceptions.bug_reports`).
    * Anything else, ``True`` and ``False`` too: uncertain, because a made-up success loses messages. So is an outcome
      with a field that is no such thing; the reason names it.

    Args:
        concurrency: Calls at once; for a plain function no more than *threads*.
        send_timeout_seconds: When a call is given up.
        ordered: Whether messages to one recipient wait for each other.
        text_limit: Longer text comes in parts, one call each; at least 1, ``None`` for no limit.
        unit: What the limit counts: ``utf16``, ``bytes`` (of UTF-8) or ``codepoints``.
        split_mode: Where text is preferably cut: ``paragraph``, ``newline``, ``sentence`` or ``length``.
    """

    kind = "function"

    def __init__(
        self,
        function: Function,
        *,
        concurrency: int = 64,
        send_timeout_seconds: float = 30.0,
        policy: Policy = CHAT,
        ordered: bool = True,
        threads: int = 8,
        text_limit: int | None = None,
        unit: Unit = "codepoints",
        split_mode: Mode = "paragraph",
    ) -> None:
        if not callable(function):
            raise ConfigError("function", "expected a function of one argument, the attempt")
        if (wrong := _unusable(function)) is not None:
            raise ConfigError("function", f"expected a function of one argument, the attempt, not {wrong}")
        concurrency, threads = count("concurrency", concurrency), count("threads", threads)
        if text_limit is not None:
            text_limit = bounded_count("text_limit", text_limit, most=TEXT_LIMIT_MAX)
        self.capabilities = Capabilities(text_limit=text_limit, unit=one_of("unit", unit, Unit), receipts="accepted")
        self.split_mode = one_of("split_mode", split_mode, Mode)
        self._function = function
        self._is_async = _is_async(function)
        self._threads = Threads(limit=threads, name=f"pillarbox-{_name(function)}")
        self.concurrency = concurrency if self._is_async else min(concurrency, threads)
        self.send_timeout_seconds = seconds("send_timeout_seconds", send_timeout_seconds)
        self.policy = policy
        self.ordered = ordered
        self._seams = Seams()
        self._bugs = Bugs(self._seams.clock)

    async def start(self, seams: Seams) -> None:
        """See `Channel`."""
        self._seams = seams
        self._bugs = Bugs(seams.clock)

    def __del__(self) -> None:
        """End idle threads where the channel was not closed."""
        threads = getattr(self, "_threads", None)
        if threads is not None and not sys.is_finalizing():
            threads.close()

    async def close(self) -> None:
        """See `Channel`. Does not wait for calls that overran their deadline."""
        self._threads.close()

    def describe(self) -> str:
        """See `Channel`."""
        return f"function {_name(self._function)}"

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        if not self._is_async and self._threads.is_full:
            reason = "every thread is busy with a call that overran its deadline"
            return RateLimited(reason, scope="channel", after=BUSY_SECONDS)
        try:
            return _outcome(await (self._function if self._is_async else self._called_in_thread)(attempt))
        except Exception as exc:  # noqa: BLE001 — whatever it is, it has a meaning
            return self._failed(exc, attempt)

    def _failed(self, exc: Exception, attempt: Attempt) -> AnyOutcome:
        if isinstance(exc, Outcome):
            return _freed(exc)
        hide = values_of(attempt)
        self._bugs.note(exc, channel=attempt.channel, message=attempt.id, hide=hide)
        return classify_exception(exc, hide=hide, now_ms=self._seams.clock.wall_ms())

    async def _called_in_thread(self, attempt: Attempt) -> Any:  # noqa: ANN401 — it may return anything
        call = self._threads.start(functools.partial(_called, self._function, attempt))
        ended = await answer_of(call, attempt.progress, lambda late: self._late(late, attempt))
        if isinstance(ended.error, Exception):
            raise ended.error
        if ended.error is not None:
            # sys.exit() in a channel is no reason to end the worker.
            return _ended_by(ended.error)
        return await ended.value if isinstance(ended.value, Awaitable) else ended.value

    def _late(self, ended: Ended, attempt: Attempt) -> AnyOutcome:
        """Return what a call came to that went on in its thread after its send was cancelled."""
        if isinstance(ended.error, Exception):
            return self._failed(ended.error, attempt)
        if ended.error is not None:
            return _ended_by(ended.error)
        if isinstance(ended.value, Awaitable):
            return Uncertain("it ended after it was cut off, without an outcome")
        return _outcome(ended.value)


def _called(function: Function, attempt: Attempt) -> object:
    """Call *function* in its thread, where what it left of an answer may be waited for."""
    try:
        return function(attempt)
    except Exception as exc:
        read_waiting_body(exc)
        raise


def _ended_by(error: BaseException) -> AnyOutcome:
    return Uncertain(f"the function raised {type(error).__name__}")


def _outcome(result: object) -> AnyOutcome:
    match result:
        case None:
            return Delivered()
        case bool():  # an int to Python
            pass
        case str() | int():
            return _delivered(result)
        case Outcome():
            return _freed(result)
    name = name_of(type(result))
    return Misreported(f"the function returned {name}: expected a receipt (str), None or an outcome")


def _freed(outcome: Outcome) -> AnyOutcome:
    """Drop the traceback of an answer: it would keep the message's text in memory, and a thread keeps its last."""
    with contextlib.suppress(Exception):
        outcome.__traceback__ = outcome.__cause__ = outcome.__context__ = None
    return plain(outcome)


def _delivered(receipt: str | int) -> AnyOutcome:
    try:
        return Delivered(receipt)
    except InvalidOutcome as exc:
        return Misreported(str(exc))


def _is_async(function: Function) -> bool:
    # Second: an object whose __call__ is async, such as a client's bound sender.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 — not asked whether it is callable, but what calling it gives
    )


def _unusable(function: Function) -> str | None:
    """Return what stands against calling a function with an attempt; ``None`` where nothing is known."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "a generator, which returns no receipt"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(None)
    except TypeError:
        return f"{_name(function)}{signature}"
    return None


def _name(function: Function) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__name__).rpartition(".")[2]
