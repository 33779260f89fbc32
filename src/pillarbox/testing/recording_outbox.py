"""
Outboxes for the tests of programs that send: nothing leaves, what would have left can be asked for, hours take no time.

The engine is the real one, on a database in memory and a clock that stands still: what is refused, retried or expires
does so as in production.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Concatenate, Final, ParamSpec, TypeVar

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.message import Admission, Content
from pillarbox.domain.moments import span_ms
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.outbox.outbox import Outbox, inside
from pillarbox.outbox.routes import Routes, Target, make_route
from pillarbox.settings.model import Settings
from pillarbox.sync import Outbox as SyncOutbox
from pillarbox.testing.fakes import FakeClock
from pillarbox.testing.scripted import WAIT_SECONDS, ScriptedChannel, Step

P = ParamSpec("P")
R = TypeVar("R")
Channels = Mapping[str, Target | None] | Iterable[str]
"""The names of channels, or what they are in production: a URL, a `Channel`, a function, ``None`` for anything."""

_LOOKUPS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "contains": lambda value, wanted: value is not None and wanted in value,
    "startswith": lambda value, wanted: value is not None and value.startswith(wanted),
    "endswith": lambda value, wanted: value is not None and value.endswith(wanted),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """
    What would have left: one part of a message, as its channel was given it.

    Attributes:
        id: The message's.
        attempt: All that the channel was told.
    """

    id: str
    channel: str
    to: str
    text: str | None
    subject: str | None
    format: str
    payload: bytes | None
    content_type: str | None
    thread: str | None
    metadata: Mapping[str, object]
    attempt: Attempt = field(repr=False)


_FIELDS: Final = tuple(name for name in Sent.__slots__ if name != "attempt")


class Recorder(ScriptedChannel):
    """
    Stands for a channel: refuses what that one refuses, cuts text as it does, and keeps what would have left.

    Args:
        like: The channel of production; without one everything is taken.
    """

    def __init__(self, like: Channel | None, sent: list[Sent]) -> None:
        super().__init__()
        self._like = like
        self._sent = sent
        if like is not None:
            self.kind, self.capabilities, self.policy = like.kind, like.capabilities, like.policy
            self.ordered, self.split_mode = like.ordered, like.split_mode
            self.send_timeout_seconds = like.send_timeout_seconds

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
        """See `Channel`."""
        if self._like is None:
            return super().admit(to=to, content=content, thread=thread)
        return self._like.admit(to=to, content=content, thread=thread)

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        outcome = await super().send(attempt)
        if isinstance(outcome, Delivered):
            content = attempt.content
            self._sent.append(
                Sent(
                    id=attempt.id,
                    channel=attempt.channel,
                    to=attempt.to,
                    text=content.text,
                    subject=content.subject,
                    format=str(content.format),
                    payload=content.payload,
                    content_type=content.content_type,
                    thread=attempt.thread,
                    metadata=attempt.metadata,
                    attempt=attempt,
                )
            )
        return outcome


class _RecordingRoutes(Routes):
    """Has a `Recorder` in the place of each channel, whoever adds it."""

    def __init__(self, settings: Settings, *, deliver: bool) -> None:
        self.sent: list[Sent] = []
        super().__init__(settings, deliver=deliver)

    def add(self, name: str, target: Target, options: Mapping[str, object]) -> None:
        if not isinstance(target, Recorder):
            target = Recorder(make_route(self.settings, name, target).channel, self.sent)
        super().add(name, target, options)


def _then_delivered(
    method: Callable[Concatenate[Outbox, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Outbox, P], Coroutine[Any, Any, R]]:
    """Let a call return when what is due has been delivered, so that a test may look at once."""

    async def call(self: Outbox, /, *args: P.args, **kwargs: P.kwargs) -> R:
        done = await method(self, *args, **kwargs)
        await _delivered(self)
        return done

    functools.update_wrapper(call, method)
    return call


async def _delivered(box: Outbox) -> None:
    """Wait until nothing is due. A send out of a hook or a subscriber would wait for itself: that ends after 10 s."""
    async with asyncio.timeout(WAIT_SECONDS):
        await box.drain()


class RecordingOutbox(Outbox):
    """
    An outbox for tests, of which nothing leaves: its channels only keep what they are given.

    A call that accepts messages returns when what is due has been delivered; for what other calls make due there is
    `drain`. Time stands still but for `advance`.

    Args:
        channels: Which there are. Where it says what they are in production, messages are checked and cut as there;
            nothing is connected to.
        settings: As of `Outbox`.

    Attributes:
        clock: Which time it is.
    """

    _make_routes: ClassVar[type[Routes]] = _RecordingRoutes

    def __init__(self, channels: Channels = (), **settings: Any) -> None:  # noqa: ANN401 — as of `Outbox`
        self.clock = FakeClock()
        super().__init__(":memory:", clock=self.clock, **settings)
        given = channels if isinstance(channels, Mapping) else dict.fromkeys(channels)
        for name, target in given.items():
            recorder = Recorder(None, self._recording.sent)
            self._recording.add(name, recorder if target is None else target, {})

    @property
    def _recording(self) -> _RecordingRoutes:
        routes = inside(self).routes
        assert isinstance(routes, _RecordingRoutes)  # noqa: S101 — for the type checker
        return routes

    send = _then_delivered(Outbox.send)
    send_many = _then_delivered(Outbox.send_many)
    edit = _then_delivered(Outbox.edit)
    delete = _then_delivered(Outbox.delete)

    @property
    def sent(self) -> list[Sent]:
        """What would have left until now, in order: a new list."""
        return [*self._recording.sent]

    def assert_sent(self, *, count: int | None = None, **fields: object) -> Sent:
        """
        Check that something was sent, and return it: of several, the first.

        Args:
            count: How often; default: at least once.
            fields: What it has: names of `Sent`, each with its value; ``text__contains``, ``__startswith`` and
                ``__endswith`` look into text.

        Raises:
            AssertionError: It was not; the message says what was.
            TypeError: `Sent` has no such field.
        """
        return found_in(self.sent, count=count, fields=fields)

    def assert_nothing_sent(self) -> None:
        """Check that nothing was sent. Raises AssertionError, which says what was."""
        none_of(self.sent)

    def script(self, channel: str, *steps: Step, to: str | None = None) -> None:
        """
        Let a channel answer otherwise, once for each step: an outcome, an exception, or a function of the attempt.

        Args:
            to: The recipient whose messages are meant; default: whichever comes.
        """
        recorder = self._recording.for_new(channel).channel
        assert isinstance(recorder, Recorder)  # noqa: S101 — for the type checker
        recorder.script(*steps, to=to)

    async def advance(self, span: float | timedelta | str) -> None:
        """
        Let time pass: ``"1h"``, seconds or a timedelta. What becomes due meanwhile is sent, each at its own time.

        Raises:
            InvalidMessage: *span* is below a millisecond, or no span.
        """
        until_ms = self.clock.wall_ms() + span_ms("span", span)
        await _delivered(self)
        while (left_ms := until_ms - self.clock.wall_ms()) > 0:
            worker = inside(self).lifetime.live().worker
            due_ms = None if worker is None else worker.feed.next_due_ms()
            step_ms = left_ms if due_ms is None else min(left_ms, max(1, due_ms - self.clock.wall_ms()))
            self.clock.advance(step_ms / 1000)
            await _delivered(self)


class RecordingSyncOutbox(SyncOutbox):
    """
    The same for programs that block. Arguments as `RecordingOutbox`.

    Whoever asks what was sent waits until nothing is due.
    """

    _make_core: ClassVar[type[Outbox]] = RecordingOutbox

    @property
    def _recording(self) -> RecordingOutbox:
        assert isinstance(self.core, RecordingOutbox)  # noqa: S101 — for the type checker
        return self.core

    @property
    def sent(self) -> list[Sent]:
        """See `RecordingOutbox.sent`."""
        if self.core.started:
            self.run(_delivered(self.core))
        return self._recording.sent

    def assert_sent(self, *, count: int | None = None, **fields: object) -> Sent:
        """See `RecordingOutbox.assert_sent`."""
        return found_in(self.sent, count=count, fields=fields)

    def assert_nothing_sent(self) -> None:
        """See `RecordingOutbox.assert_nothing_sent`."""
        none_of(self.sent)

    def script(self, channel: str, *steps: Step, to: str | None = None) -> None:
        """See `RecordingOutbox.script`."""
        self._recording.script(channel, *steps, to=to)

    def advance(self, span: float | timedelta | str) -> None:
        """See `RecordingOutbox.advance`."""
        self.run(self._recording.advance(span))


def found_in(sent: list[Sent], *, count: int | None, fields: Mapping[str, object]) -> Sent:
    """Return the first of *sent* that has *fields*. See `RecordingOutbox.assert_sent`."""
    if count is not None and count < 1:
        raise ValueError("count: expected 1 or more; assert_nothing_sent() is for none")
    tests = [_test_of(name, wanted) for name, wanted in fields.items()]
    found = [one for one in sent if all(test(one) for test in tests)]
    if not found or (count is not None and len(found) != count):
        wanted = ", ".join(f"{name}={value!r}" for name, value in fields.items()) or "anything"
        times = "" if count is None else f" {count} times, but {len(found)}"
        raise AssertionError(f"not sent{times}: {wanted}\n{_shown(sent)}")
    return found[0]


def none_of(sent: list[Sent]) -> None:
    """Raise AssertionError where something was sent."""
    if sent:
        raise AssertionError(f"expected nothing to be sent\n{_shown(sent)}")


def _test_of(name: str, wanted: object) -> Callable[[Sent], bool]:
    known, mark, lookup = name.partition("__")
    if known not in _FIELDS or (mark and lookup not in _LOOKUPS):
        lookups = ", ".join(f"__{one}" for one in _LOOKUPS)
        raise TypeError(f"{name}: expected one of {', '.join(_FIELDS)}, alone or with {lookups}")
    if not mark:
        return lambda one: getattr(one, known) == wanted
    return lambda one: _LOOKUPS[lookup](getattr(one, known), wanted)


def _shown(sent: list[Sent]) -> str:
    lines = [f"  {one.channel} to {one.to}: {_said(one)}" for one in sent]
    return "\n".join(["what was sent:", *lines]) if lines else "nothing was sent"


def _said(one: Sent) -> str:
    said = one.payload if one.text is None else one.text
    return repr(said) if one.subject is None else f"{one.subject!r}: {said!r}"
