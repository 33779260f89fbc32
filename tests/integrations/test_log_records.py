"""What is logged becomes messages: grouped, never in a circle, and without harm to who logs."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import signal
import threading
import warnings
from typing import TYPE_CHECKING

import pytest

from pillarbox import Attempt, InvalidMessage, Outbox
from pillarbox.events.events import MessageDelivered
from pillarbox.integrations.log_records import KINDS_MAX, TEXT_LENGTH_MAX, LoggingHandler
from pillarbox.sync import Outbox as SyncOutbox
from pillarbox.testing.recording_outbox import RecordingOutbox, RecordingSyncOutbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOGGER = "shop"
log = logging.getLogger(LOGGER)


@pytest.fixture
def attach() -> Iterator[Callable[[LoggingHandler], LoggingHandler]]:
    """Attach handlers to the shop's logger for a test."""
    attached: list[LoggingHandler] = []

    def attach(handler: LoggingHandler) -> LoggingHandler:
        log.addHandler(handler)
        attached.append(handler)
        return handler

    yield attach
    for handler in attached:
        log.removeHandler(handler)
        handler.close()


def test_a_burst_becomes_one_message_with_a_count(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    with RecordingSyncOutbox(["ops"]) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call", every="1h", subject="Shop"))
        log.error("first")
        handler.flush()
        for number in range(100):
            log.error("payment %d failed", number)
        log.warning("late")
        assert [one.text for one in box.sent] == ["ERROR shop: first"]
        handler.flush()
        assert [one.text for one in box.sent][1:] == ["ERROR shop: payment 99 failed (100 times)\n\nWARNING shop: late"]
        assert {(one.to, one.subject) for one in box.sent} == {("on-call", "Shop")}


def test_the_first_record_waits_for_nothing(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    came = threading.Event()

    def ops(attempt: Attempt) -> None:
        came.set()

    with SyncOutbox(":memory:", {"ops": ops}) as box:
        attach(LoggingHandler(box, "ops", to="on-call", every="1h"))
        log.error("first")
        assert came.wait(30)


def test_a_traceback_stays_with_its_record(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    with RecordingSyncOutbox(["ops"]) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call", every="1h"))
        log.error("first")
        handler.flush()
        for _ in range(2):
            try:
                int("sold out")
            except ValueError:
                log.exception("order failed")
        handler.flush()
        first, *traceback = (box.sent[1].text or "").splitlines()
        assert (first, traceback[0]) == ("ERROR shop: order failed (2 times)", "Traceback (most recent call last):")


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_what_sending_logs_does_not_come_again(
    kind: str, tmp_path: Path, attach: Callable[[LoggingHandler], LoggingHandler]
) -> None:
    got: list[str] = []

    def in_a_thread(attempt: Attempt) -> None:
        log.error("calling the chat")
        got.append(attempt.text)

    async def on_the_loop(attempt: Attempt) -> None:
        in_a_thread(attempt)

    with SyncOutbox(tmp_path / "outbox.db", {"ops": in_a_thread if kind == "thread" else on_the_loop}) as box:
        box.subscribe(lambda event: log.error("delivered"), MessageDelivered)
        handler = attach(LoggingHandler(box, "ops", to="on-call", every=0.001))
        log.error("once")
        logging.getLogger("shop.other").error("another")
        for _ in range(3):
            handler.flush()
            box.drain(30)
        said = "\n\n".join(got)
        assert sorted(said.split("\n\n")) == ["ERROR shop.other: another", "ERROR shop: once"]


def test_what_another_channel_s_function_logs_is_sent(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    def mail(attempt: Attempt) -> None:
        log.error("the mail server is slow")

    got: list[str] = []
    with SyncOutbox(":memory:", {"mail": mail, "ops": lambda attempt: got.append(attempt.text)}) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call"))
        box.send("mail", to="ann", text="Hello")
        box.drain(30)
        handler.flush()
        box.drain(30)
    assert got == ["ERROR shop: the mail server is slow"]


def test_our_own_records_are_left_out() -> None:
    with RecordingSyncOutbox(["ops"]) as box:
        handler = LoggingHandler(box, "ops", to="on-call")
        for name in ("pillarbox", "pillarbox.delivery"):
            handler.handle(logging.LogRecord(name, logging.ERROR, "", 1, "no", (), None))
        handler.handle(logging.LogRecord("pillarboxes", logging.ERROR, "", 1, "yes", (), None))
        handler.close()
        assert [one.text for one in box.sent] == ["ERROR pillarboxes: yes"]


def test_a_full_queue_is_counted_and_told_later(
    tmp_path: Path, attach: Callable[[LoggingHandler], LoggingHandler]
) -> None:
    with SyncOutbox(tmp_path / "outbox.db", deliver=False, limits={"messages": 1}) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call", every=0.001))
        blocking = box.send("ops", to="somebody", text="Hello")
        for _ in range(2):
            log.error("no room")
        handler.flush()
        assert handler.lost == {"queue_full": 2}
        assert blocking.id is not None
        box.cancel(blocking.id)
        log.error("room again")
        handler.flush()
        (stored,) = box.list(where="state=scheduled")
        assert stored.id is not None
        whole = box.get(stored.id)
        assert whole is not None
        assert whole.content is not None
        assert whole.content.text == ("ERROR shop: room again\n\n(lost before these: 2, because the queue was full)")


def test_an_outbox_that_is_not_open_is_counted(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    for box in (RecordingSyncOutbox(["ops"]), RecordingOutbox(["ops"])):
        handler = attach(LoggingHandler(box, "ops", to="on-call"))
        log.error("too early")
        handler.flush()
        assert handler.lost == {"closed": 1}


def test_a_closed_handler_counts(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    with RecordingSyncOutbox(["ops"]) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call"))
        log.error("in time")
        handler.close()
        log.error("too late")
        handler.close()
        assert ([one.text for one in box.sent], handler.lost) == (["ERROR shop: in time"], {"closed": 1})


async def test_an_event_loop_is_not_blocked(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    """`flush` would wait for the very loop that it was called on."""
    async with RecordingOutbox(["ops"]) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call"))
        log.error("from a coroutine")
        handler.flush()
        await asyncio.to_thread(handler.flush)
        box.assert_sent(to="on-call", text="ERROR shop: from a coroutine", count=1)


def test_a_message_has_a_bound(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    with RecordingSyncOutbox(["ops"]) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call", every="1h"))
        log.error("first")
        handler.flush()
        log.error("x" * 2 * TEXT_LENGTH_MAX)
        for number in range(KINDS_MAX + 4):
            log.error(f"place {number}")  # noqa: G004 — each its own kind
        handler.flush()
        long, *others, last = (box.sent[1].text or "").split("\n\n")
        assert (len(long), len(others), last) == (TEXT_LENGTH_MAX, KINDS_MAX - 1, "(and of other places: 5)")


def test_a_record_that_cannot_be_formatted_is_sent_as_it_is(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    with RecordingSyncOutbox(["ops"]) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call"))
        # Not through the logger: pytest's own handler raises, as ours must not.
        handler.handle(logging.LogRecord(LOGGER, logging.ERROR, "", 1, "%d orders", ("many",), None))
        handler.flush()
        box.assert_sent(text="ERROR shop: %d orders")


def test_a_record_that_is_no_text_takes_no_other_along(attach: Callable[[LoggingHandler], LoggingHandler]) -> None:
    """As the name of a file that is not UTF-8."""
    with RecordingSyncOutbox(["ops"]) as box:
        handler = attach(LoggingHandler(box, "ops", to="on-call", every="1h"))
        log.error("first")
        handler.flush()
        # Not through the logger: whoever gathers the tests' records could not send it on, either.
        handler.handle(logging.LogRecord(LOGGER, logging.ERROR, "", 1, "cannot read %s", ("caf\udce9.txt",), None))
        log.error("payment failed")
        handler.flush()
        assert box.sent[1].text == "ERROR shop: cannot read caf\\udce9.txt\n\nERROR shop: payment failed"
        assert handler.lost == {}


def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    """A thread that logs as the process forks holds the handler's lock, and is not there to let it go."""
    handler = LoggingHandler(RecordingSyncOutbox(["ops"]), "ops", to="on-call")
    held, forked = threading.Event(), threading.Event()

    def logs() -> None:
        with handler._turn:
            held.set()
            forked.wait(60)

    thread = threading.Thread(target=logs)
    thread.start()
    assert held.wait(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, from Python 3.12 on
        child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        handler.flush()
        handler.close()
        os._exit(0)
    forked.set()
    thread.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_it_is_configured_as_every_handler() -> None:
    with RecordingSyncOutbox(["ops"]) as box:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"short": {"format": "!%(message)s"}},
                "handlers": {
                    "ops": {
                        "class": "pillarbox.integrations.log_records.LoggingHandler",
                        "box": box,
                        "channel": "ops",
                        "to": "on-call",
                        "level": "ERROR",
                        "formatter": "short",
                    }
                },
                "loggers": {"shop.configured": {"handlers": ["ops"]}},
            }
        )
        configured = logging.getLogger("shop.configured")
        configured.warning("not this")
        configured.error("this")
        (handler,) = configured.handlers
        handler.close()
        configured.removeHandler(handler)
        assert [one.text for one in box.sent] == ["!this"]


def test_what_cannot_be_is_named() -> None:
    box = RecordingSyncOutbox(["ops"])
    with pytest.raises(InvalidMessage, match="box: expected an Outbox of pillarbox, not str"):
        LoggingHandler("outbox.db", "ops", to="on-call")  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage, match="to: expected text"):
        LoggingHandler(box, "ops", to="")
    with pytest.raises(InvalidMessage, match="every: expected a span"):
        LoggingHandler(box, "ops", to="on-call", every="often")
    with pytest.raises(InvalidMessage, match="subjct: expected an option of send"):
        LoggingHandler(box, "ops", to="on-call", subjct="Shop")  # type: ignore[call-arg]
    with pytest.raises(InvalidMessage, match="text: expected an option of send"):
        LoggingHandler(box, "ops", to="on-call", text="Shop")


def test_both_kinds_of_outbox_are_taken() -> None:
    for box in (Outbox(":memory:"), SyncOutbox(":memory:")):
        assert LoggingHandler(box, "ops", to="on-call").lost == {}
