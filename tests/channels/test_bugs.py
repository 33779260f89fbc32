"""A bug in a channel's function is told of with where it is, once a minute and place, and without any value."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from pillarbox.channels.base import Seams
from pillarbox.channels.exceptions import bug_reports
from pillarbox.channels.function import FunctionChannel
from pillarbox.domain.outcome import Rejected, Uncertain
from pillarbox.testing.fakes import FakeClock
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pillarbox.channels.base import Attempt

VALUE = "opensesame"


def raises(make: Callable[[], Exception]) -> Callable[[Attempt], None]:
    def function(attempt: Attempt) -> None:
        hidden = VALUE
        assert hidden
        inner(make)

    return function


def inner(make: Callable[[], Exception]) -> None:
    raise make()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Told:
    """Sends through functions, and reads what is logged at ERROR."""

    def __init__(self, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
        self.clock = clock
        self._caplog = caplog
        self._channels: list[FunctionChannel] = []

    async def channel(self, function: Any) -> FunctionChannel:
        channel = FunctionChannel(function)
        await channel.start(Seams(clock=self.clock))
        self._channels.append(channel)
        return channel

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.levelno == logging.ERROR]

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


@pytest.fixture
async def told(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Told]:
    caplog.set_level(logging.DEBUG)
    told = Told(clock, caplog)
    yield told
    await told.close()


BUGS: list[Callable[[], Exception]] = [
    lambda: TypeError("unsupported operand"),
    lambda: KeyError("chat"),
    lambda: IndexError("list index out of range"),
    lambda: AttributeError("'NoneType' object has no attribute 'send'"),
    lambda: NameError("name 'clinet' is not defined"),
    lambda: UnboundLocalError("local variable"),
    lambda: ZeroDivisionError("division by zero"),
    AssertionError,
    NotImplementedError,
    lambda: ModuleNotFoundError("No module named 'httpx'"),
    lambda: ValueError("invalid literal for int()"),
    lambda: RuntimeError("dictionary changed size during iteration"),
    lambda: RecursionError("maximum recursion depth exceeded"),
]


@pytest.mark.contract("EV3", "EV4", "CL6")
@pytest.mark.parametrize("make", BUGS, ids=[type(make()).__name__ for make in BUGS])
async def test_a_bug_is_told_of_with_file_line_and_function_of_each_frame(told: Told, make: Any) -> None:
    channel = await told.channel(raises(make))
    assert isinstance(await channel.send(an_attempt()), Uncertain)
    (line,) = told.lines
    assert "the function of channel ops has a bug" in line
    assert type(make()).__name__ in line
    for name in ("raises.<locals>.function", "inner"):
        assert f", in {name}" in line
    assert f'File "{__file__}", line {raises.__code__.co_firstlineno + 4}, in' in line


@pytest.mark.contract("EV3")
async def test_no_value_no_source_line_and_no_secret_of_its_text_is_told(told: Told) -> None:
    def function(attempt: Attempt) -> None:
        token = "opensesame-in-the-source"
        raise KeyError(f"no {attempt.text!r} for {attempt.to}, token={token}, https://me:{token}@x/", token and "chat")

    channel = await told.channel(function)
    await channel.send(an_attempt("ann@example.net", text="Hello there"))
    (line,) = told.lines
    assert "opensesame" not in line
    assert "Hello there" not in line
    assert "ann@example.net" not in line
    assert "raise KeyError" not in line


@pytest.mark.contract("EV4")
async def test_a_place_is_told_of_once_a_minute(told: Told) -> None:
    channel = await told.channel(raises(lambda: TypeError("x")))
    for _ in range(5):
        await channel.send(an_attempt())
    assert len(told.lines) == 1
    told.clock.advance(59.9)
    await channel.send(an_attempt())
    assert len(told.lines) == 1
    told.clock.advance(0.2)
    await channel.send(an_attempt())
    assert len(told.lines) == 2


@pytest.mark.contract("EV4")
async def test_two_places_are_told_of_each(told: Told) -> None:
    def function(attempt: Attempt) -> None:
        if attempt.to == "ann":
            raise TypeError
        raise TypeError

    channel = await told.channel(function)
    for to in ("ann", "bob", "ann", "bob"):
        await channel.send(an_attempt(to))
    assert len(told.lines) == 2


@pytest.mark.contract("EV4")
async def test_only_so_many_places_are_remembered(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bug_reports, "_PLACES_MAX", 3)
    kinds = [type(f"Bug{number}", (TypeError,), {}) for number in range(10)]

    def function(attempt: Attempt) -> None:
        raise kinds[int(attempt.to)]

    channel = await told.channel(function)
    for number in range(10):
        await channel.send(an_attempt(str(number)))
    assert len(channel._bugs._told) == 3
    assert len(told.lines) == 10


def with_status() -> Exception:
    error = ValueError("404")
    error.response = type("Response", (), {"status_code": 404, "headers": {}})()  # type: ignore[attr-defined]
    return error


@pytest.mark.contract("EV4")
@pytest.mark.parametrize(
    "make",
    [
        lambda: ConnectionRefusedError(111, "refused"),
        TimeoutError,
        lambda: ValueError("Bad Request: chat not found"),
        lambda: RuntimeError("rate limited"),
        aiohttp.ServerDisconnectedError,
        with_status,
        lambda: Rejected("no"),
        lambda: OSError("somewhere else"),
    ],
    ids=range(8),
)
async def test_a_failure_that_is_no_bug_is_not_told_of_as_one(told: Told, make: Any) -> None:
    channel = await told.channel(raises(make))
    await channel.send(an_attempt())
    assert told.lines == []


@pytest.mark.contract("EN8")
async def test_an_exception_that_shows_itself_oddly_is_still_told_of(told: Told) -> None:
    class Odd(TypeError):
        def __str__(self) -> str:
            raise RuntimeError

    channel = await told.channel(raises(Odd))
    assert isinstance(await channel.send(an_attempt()), Uncertain)
    assert len(told.lines) == 1
