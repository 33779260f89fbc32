from __future__ import annotations

import asyncio
import functools
import gc
import sys
import threading
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.channels.function import FunctionChannel
from pillarbox.domain.outcome import (
    AnyOutcome,
    Deferred,
    Delivered,
    Outcome,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
)
from pillarbox.domain.retry import CHAT, SMTP
from pillarbox.errors import ConfigError
from tests.channels.attempts import an_attempt
from tests.run_to_end import run_to_end

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt

SEVEN: list[AnyOutcome] = [
    Delivered("r"),
    Deferred("later", after=3),
    RateLimited(after=30),
    Rejected("no such pager"),
    Redirected("bob"),
    Unavailable("no key"),
    Uncertain("who knows"),
]
PATIENCE = 60  # seconds; only a failing test waits for so long


async def sent(function: Any, **options: Any) -> AnyOutcome:
    channel = FunctionChannel(function, **options)
    try:
        return await channel.send(an_attempt())
    finally:
        await channel.close()


@pytest.mark.contract("CL1")
@pytest.mark.parametrize(
    ("result", "receipt"), [(None, None), ("abc", "abc"), ("", None), (42, "42"), (0, "0"), (-100123, "-100123")]
)
async def test_a_receipt_or_nothing_is_a_delivery(result: object, receipt: str | None) -> None:
    async def function(attempt: Attempt) -> object:
        return result

    assert await sent(function) == Delivered(receipt)
    assert await sent(lambda attempt: result) == Delivered(receipt)


@pytest.mark.contract("CL1")
@pytest.mark.parametrize("outcome", SEVEN, ids=lambda outcome: type(outcome).__name__)
async def test_an_outcome_counts_whether_it_is_returned_or_raised(outcome: AnyOutcome) -> None:
    async def returns(attempt: Attempt) -> AnyOutcome:
        return outcome

    async def raises(attempt: Attempt) -> None:
        raise outcome

    def raises_plainly(attempt: Attempt) -> None:
        raise outcome

    assert await sent(returns) == outcome
    assert await sent(raises) == outcome
    assert await sent(lambda attempt: outcome) == outcome
    assert await sent(raises_plainly) == outcome


@pytest.mark.contract("CL1")
@pytest.mark.parametrize(
    ("result", "name"),
    [(True, "bool"), (False, "bool"), (1.5, "float"), ({"ok": True}, "dict"), (b"x", "bytes"), (Rejected, "type")],
)
async def test_anything_else_is_uncertain_and_its_type_named(result: object, name: str) -> None:
    outcome = await sent(lambda attempt: result)
    assert isinstance(outcome, Uncertain)
    assert f"returned {name}:" in outcome.reason


@pytest.mark.contract("CL1")
async def test_the_bare_base_of_the_outcomes_is_none_of_them() -> None:
    outcome = await sent(lambda attempt: Outcome())
    assert isinstance(outcome, Uncertain)
    assert "Outcome" in outcome.reason


@pytest.mark.contract("CL2", "CL3", "CL6")
@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (RuntimeError("chat not found"), Rejected),
        (RuntimeError("outbound not configured for channel: x"), Unavailable),
        (RuntimeError("rate limited"), RateLimited),
        (ConnectionRefusedError(), Deferred),
        (TimeoutError(), Uncertain),
        (KeyError("x"), Uncertain),
        (StopIteration(), Uncertain),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_another_exception_means_what_its_type_and_text_say(exc: Exception, kind: type) -> None:
    def function(attempt: Attempt) -> None:
        raise exc

    async def coroutine(attempt: Attempt) -> None:
        raise exc

    assert type(await sent(function)) is kind
    assert type(await sent(coroutine)) is kind


@pytest.mark.contract("EV3")
async def test_a_reason_holds_neither_recipient_nor_text() -> None:
    def function(attempt: Attempt) -> None:
        raise ValueError(f"cannot say {attempt.text!r} to {attempt.to}, token=hunter22, " + "x" * 500)

    outcome = await sent(function)
    assert isinstance(outcome, Uncertain)
    assert outcome.reason.startswith("ValueError: cannot say '***' to ***, token=***, xxx")
    assert len(outcome.reason) == 200


async def test_the_whole_attempt_is_handed_over() -> None:
    seen: list[Attempt] = []
    channel = FunctionChannel(seen.append)
    attempt = an_attempt("+49", number=3, part=1, part_count=2)
    assert await channel.send(attempt) == Delivered()
    assert seen == [attempt]
    await channel.close()


@pytest.mark.parametrize("shape", ["method", "partial", "object", "lambda"])
async def test_whatever_can_be_awaited_is(shape: str) -> None:
    class Pager:
        async def page(self, attempt: Attempt) -> str:
            return attempt.to

        async def __call__(self, attempt: Attempt) -> str:
            return attempt.to

    pager = Pager()
    function: Any = {
        "method": pager.page,
        "partial": functools.partial(Pager.page, pager),
        "object": pager,
        "lambda": lambda attempt: Pager().page(attempt),
    }[shape]
    assert await sent(function) == Delivered("ann@example.net")


async def test_a_plain_function_runs_beside_the_loop_in_the_callers_context() -> None:
    word: ContextVar[str] = ContextVar("word")
    word.set("here")

    def function(attempt: Attempt) -> str:
        return f"{word.get()} {threading.current_thread() is threading.main_thread()}"

    assert await sent(function) == Delivered("here False")


@pytest.mark.contract("LE2")
async def test_a_plain_function_takes_no_more_than_its_threads() -> None:
    assert FunctionChannel(lambda attempt: None).concurrency == 8
    assert FunctionChannel(lambda attempt: None, threads=3, concurrency=2).concurrency == 2

    async def function(attempt: Attempt) -> None: ...

    assert FunctionChannel(function).concurrency == 64
    assert FunctionChannel(function, concurrency=100, threads=3).concurrency == 100


async def test_a_call_that_overran_counts_until_it_returns() -> None:
    started, released = threading.Semaphore(0), threading.Event()

    def function(attempt: Attempt) -> str:
        started.release()
        released.wait(PATIENCE)
        return "late"

    channel = FunctionChannel(function, threads=2)
    hanging = [asyncio.ensure_future(channel.send(an_attempt())) for _ in range(2)]
    for _ in hanging:
        assert await asyncio.to_thread(started.acquire, timeout=PATIENCE)
    for task in hanging:
        task.cancel()
    assert all(
        isinstance(done, asyncio.CancelledError) for done in await asyncio.gather(*hanging, return_exceptions=True)
    )

    busy = await channel.send(an_attempt())
    assert isinstance(busy, RateLimited)
    assert (busy.scope, busy.after) == ("channel", 5.0)

    released.set()
    outcome: AnyOutcome = busy
    async with asyncio.timeout(PATIENCE):
        while isinstance(outcome, RateLimited):
            outcome = await channel.send(an_attempt())
            await asyncio.sleep(0)
    assert outcome == Delivered("late")
    await channel.close()


async def test_threads_are_kept_for_the_next_call_and_end_with_the_channel() -> None:
    threads: list[threading.Thread] = []
    channel = FunctionChannel(lambda attempt: threads.append(threading.current_thread()), threads=4)
    for _ in range(5):
        await channel.send(an_attempt())
    assert len(set(threads)) == 1
    await channel.close()
    await channel.close()
    await asyncio.to_thread(threads[0].join, PATIENCE)
    assert not threads[0].is_alive()
    # And again: a channel may be started after it was closed.
    assert await channel.send(an_attempt()) == Delivered()
    await channel.close()


@pytest.mark.contract("DR3")
def test_a_call_that_hangs_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, threading
from pillarbox.channels.function import FunctionChannel
from tests.channels.attempts import an_attempt
started = threading.Event()
def hang(attempt):
    started.set()
    threading.Event().wait()
async def main():
    channel = FunctionChannel(hang)
    task = asyncio.ensure_future(channel.send(an_attempt()))
    while not started.is_set():
        await asyncio.sleep(0)
    task.cancel()
    await channel.close()
asyncio.run(main())
print("done")
"""
    ended = run_to_end([sys.executable, "-c", program], seconds=60)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


async def test_exiting_in_a_plain_function_does_not_end_the_worker() -> None:
    def function(attempt: Attempt) -> None:
        sys.exit(3)

    assert await sent(function) == Uncertain("the function raised SystemExit")


async def test_an_outcome_that_was_raised_keeps_no_message_in_memory() -> None:
    class Big: ...

    kept: list[weakref.ref[Big]] = []

    def function(attempt: Attempt) -> None:
        big = Big()
        kept.append(weakref.ref(big))
        try:
            dict[Big, int]()[big]
        except KeyError as exc:
            raise Rejected("no") from exc

    outcome = await sent(function)
    gc.collect()
    assert outcome == Rejected("no")
    assert kept[0]() is None


async def test_a_deadline_reaches_an_async_function() -> None:
    cancelled = asyncio.Event()

    async def function(attempt: Attempt) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.ensure_future(FunctionChannel(function).send(an_attempt()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


@pytest.mark.contract("RE7", "UN5")
def test_a_function_is_chat_unless_it_says_otherwise() -> None:
    channel = FunctionChannel(lambda attempt: None)
    assert (channel.policy, channel.ordered, channel.send_timeout_seconds, channel.kind) == (
        CHAT,
        True,
        30.0,
        "function",
    )
    other = FunctionChannel(print, policy=SMTP, ordered=False, send_timeout_seconds=5)
    assert (other.policy, other.ordered, other.send_timeout_seconds) == (SMTP, False, 5)
    assert other.describe() == "function print"
    assert FunctionChannel(functools.partial(print, 1)).describe() == "function print"


@pytest.mark.contract("CF2")
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"threads": 0}, "threads"),
        ({"send_timeout_seconds": 0}, "send_timeout_seconds"),
    ],
)
def test_a_useless_bound_is_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        FunctionChannel(print, **options)
    assert refused.value.field == field
    with pytest.raises(ConfigError):
        FunctionChannel("print")  # type: ignore[arg-type]
