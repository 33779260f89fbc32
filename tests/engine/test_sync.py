"""The blocking façade: the same outbox, called from programs that have no event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.channels.base import Channel
from pillarbox.domain.message import State, decode_content
from pillarbox.domain.outcome import Delivered
from pillarbox.errors import InvalidMessage, KeyConflict, NotFound, NotStarted, Refused, StoreError, UnknownChannel
from pillarbox.events import MessageDelivered
from pillarbox.sync import Outbox
from tests.left_open import nothing_left_open

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pillarbox.channels.base import Attempt
    from pillarbox.domain.message import Admission, Content
    from pillarbox.domain.outcome import AnyOutcome

SECONDS = 60.0


def deliver(attempt: Attempt) -> str:
    return f"to {attempt.to}"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


async def test_who_blocks_an_event_loop_is_told_once(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It works, and holds up everything else that runs there."""
    with Outbox(db, deliver=False) as box:
        for _ in range(2):
            box.send("pager", to="ann", text="hi")
    assert [line.getMessage().partition(":")[0] for line in caplog.records] == [
        "the blocking Outbox is called in a running event loop, which stands still meanwhile"
    ]


@pytest.mark.contract("DR3")
@pytest.mark.parametrize("shards", [False, True])
def test_a_plain_function_that_closes_the_outbox_it_sends_for_is_refused(tmp_path: Path, *, shards: bool) -> None:
    refused: list[str] = []
    ended = threading.Event()

    def close_in_time() -> None:
        box.close()
        ended.set()

    def close(attempt: Attempt) -> str:
        for end in (box.close, functools.partial(box.stop, 0)):
            with pytest.raises(Refused) as said:
                end()
            refused.append(str(said.value))
        # Another outbox is another matter, and so is a thread that nobody waits for.
        Outbox(":memory:", deliver=False).close()
        threading.Thread(target=close_in_time).start()
        return deliver(attempt)

    names = [str(tmp_path / name) for name in ("a.db", "b.db")]
    where: dict[str, Any] = {"shards": names} if shards else {"db": names[0]}
    box = Outbox(channels={"pager": close}, stop_seconds=SECONDS, **where)
    box.start()
    message = box.send("pager", to="ann", text="hi")
    assert ended.wait(SECONDS)
    assert all("inside a channel waits for the very send that calls it" in one for one in refused)
    assert len(refused) == 2
    with box:
        assert box.find(message.id or "").state is State.DELIVERED


@pytest.mark.contract("EN1", "EN7")
def test_a_message_is_sent_and_waited_for(db: Path) -> None:
    with Outbox(db, channels={"pager": deliver}) as box:
        message = box.send("pager", to="ann", text="hi", key="k")
        assert message.wait(SECONDS) is message
        assert (message.state, message.receipt) == (State.DELIVERED, "to ann")
        again = box.send("pager", to="ann", text="hi", key="k")
        assert (again.id, again.created) == (message.id, False)
        assert [found.id for found in box.list()] == [message.id]
        found = box.get(message.id or "")
        assert found is not None
        assert found.wait(SECONDS).state is State.DELIVERED
        assert box.get("nothing") is None
        assert box.find((message.id or "")[-8:]).id == message.id
        assert [event.to_state for event in box.history(message.id or "")][-1] is State.DELIVERED
        assert box.check() == []


@pytest.mark.contract("EN4", "EN13", "EN16")
def test_errors_are_those_of_the_asynchronous_outbox(db: Path) -> None:
    box = Outbox(db, channels={"pager": deliver})
    with pytest.raises(NotStarted):
        box.send("pager", to="ann", text="hi")
    with box:
        with pytest.raises(UnknownChannel):
            box.send("bell", to="ann", text="hi")
        with pytest.raises(InvalidMessage):
            box.send("pager", to="a\nb", text="hi")
        box.send("pager", to="ann", text="hi", key="k")
        with pytest.raises(KeyConflict):
            box.send("pager", to="ann", text="other", key="k")
        with pytest.raises(NotFound):
            box.cancel("A" * 22)
        assert box.send("pager", to="ann", text=" ").wait().skipped == "empty"
    with pytest.raises(NotStarted):
        box.list()


@pytest.mark.contract("LE1")
def test_many_threads_may_share_one_outbox(db: Path) -> None:
    with Outbox(db, channels={"pager": deliver}) as box, ThreadPoolExecutor(16) as pool:
        messages = list(pool.map(lambda n: box.send("pager", to=f"r{n}", text="hi"), range(200)))
        assert {message.wait(SECONDS).state for message in messages} == {State.DELIVERED}
        assert len({message.id for message in messages}) == 200


@pytest.mark.contract("DR3", "SG5")
def test_close_lets_threads_and_files_go_and_may_be_repeated(db: Path) -> None:
    with nothing_left_open():
        for _ in range(3):
            box = Outbox(db, channels={"pager": deliver})
            box.close()
            with box:
                box.send("pager", to="ann", text="hi").wait(SECONDS)
            box.close()


def test_an_outbox_may_be_opened_again(db: Path) -> None:
    box = Outbox(db, channels={"pager": deliver})
    for count in range(1, 4):
        with box:
            box.send("pager", to="ann", text="hi").wait(SECONDS)
            assert len(box.list()) == count


def test_what_would_wait_for_itself_for_ever_is_refused(db: Path) -> None:
    box = Outbox(db, channels={"pager": deliver})
    raised: list[Exception] = []
    heard = threading.Event()

    def ask(event: MessageDelivered) -> None:
        try:
            box.get(event.id)
        except Refused as exc:
            raised.append(exc)
        heard.set()

    box.subscribe(ask, MessageDelivered)
    with box:
        box.send("pager", to="ann", text="hi").wait(SECONDS)
        assert heard.wait(SECONDS)
    assert "core" in str(raised[0])


@pytest.mark.contract("HO4", "DK2")
def test_what_hosts_read_and_hooks_say_needs_no_await(db: Path) -> None:
    box = Outbox(db, channels={"pager": deliver})
    box.hooks.before_delivery(lambda said: said.text.upper())
    with box:
        message = box.send("pager", to="ann", text="hi", correlation_id="turn", mirror={"sessionKey": "s"})
        assert message.wait(SECONDS).state is State.DELIVERED
        (entry,) = box.mirror.pending("s")
        assert (entry.text, entry.message) == ("HI", message.id)
        assert box.mirror.acknowledge([entry]) == 1
        box.mirror.prune(timedelta(days=1))
        assert box.mirror.pending("s") == []
        summary = box.summary("turn")
        assert (summary.delivered, summary.complete) == (1, True)


@pytest.mark.contract("DR3")
def test_every_call_of_every_thread_ends_when_it_is_closed(db: Path) -> None:
    """Also those that race with the close, and those that wait for a message."""
    for _ in range(10):
        box = Outbox(db, deliver=False, durability="process")
        box.start()
        message = box.send("pager", to="ann", text="hi")
        ended: list[type[BaseException]] = []
        begun = threading.Barrier(9)

        def call(again: Callable[[], object], begun: threading.Barrier = begun, ended: Any = ended) -> None:
            begun.wait(SECONDS)
            try:
                while True:
                    again()
            except NotStarted:
                ended.append(NotStarted)

        calls: list[Callable[[], object]] = [
            message.wait,
            box.stats,
            box.queues,
            functools.partial(box.get, message.id or ""),
            functools.partial(box.send, "pager", to="ann", text="hi"),
        ]
        calls = (calls * 2)[:8]
        threads = [threading.Thread(target=call, args=(one,), daemon=True) for one in calls]
        for thread in threads:
            thread.start()
        begun.wait(SECONDS)
        box.close()
        for thread in threads:
            thread.join(SECONDS)
        assert ended == [NotStarted] * len(calls)


@pytest.mark.contract("DR3")
def test_a_close_waits_for_another_threads_and_a_start_for_both(db: Path) -> None:
    begun, gate = threading.Event(), threading.Event()

    def slow(attempt: Attempt) -> str:
        begun.set()
        assert gate.wait(SECONDS)
        return "r"

    box = Outbox(db, channels={"pager": slow}, stop_seconds=60)
    box.start()
    box.send("pager", to="ann", text="hi")
    assert begun.wait(SECONDS)
    with ThreadPoolExecutor(4) as pool:
        closing = [pool.submit(box.close) for _ in range(3)]
        starting = pool.submit(box.start)
        assert not any(one.done() for one in closing)
        gate.set()
        for one in closing:
            one.result(SECONDS)
        starting.result(SECONDS)
    box.close()
    box.start()
    assert [message.state for message in box.list()] == [State.DELIVERED]
    box.close()


@pytest.mark.contract("DR3")
def test_a_stop_at_once_cuts_off_what_another_threads_stop_waits_for(db: Path) -> None:
    begun = threading.Event()

    async def hangs(attempt: Attempt) -> None:
        begun.set()
        await asyncio.Event().wait()

    box = Outbox(db, channels={"pager": hangs})
    box.start()
    box.send("pager", to="ann", text="hi")
    assert begun.wait(SECONDS)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(box.stop, 600)
        box.stop(0)
        first.result(SECONDS)


@pytest.mark.contract("DR3", "EN8")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize(
    "where",
    ["channel", "plain channel", "admit", "revalidate", "before_delivery", "after_delivery", "subscriber", "loop"],
)
def test_nothing_that_exits_on_its_thread_ends_the_thread(db: Path, where: str, error: type[BaseException]) -> None:
    raised: list[str] = []

    def raises(at: str) -> None:
        if at == where and not raised:
            raised.append(at)
            raise error(3)

    class Pager(Channel):
        def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
            raises("admit")
            return super().admit(to=to, content=content, thread=thread)

        async def send(self, attempt: Attempt) -> AnyOutcome:
            raises("channel")
            return Delivered("r")

    def plain(attempt: Attempt) -> str:
        raises("plain channel")
        return "r"

    box = Outbox(db, channels={"pager": plain if where == "plain channel" else Pager()})
    box.hooks.revalidate(lambda _: raises("revalidate"))
    box.hooks.before_delivery(lambda _: raises("before_delivery"))
    box.hooks.after_delivery(lambda _: raises("after_delivery"))
    box.subscribe(lambda _: raises("subscriber"))
    with box:
        if where == "loop":
            asyncio.run_coroutine_threadsafe(_raising(error), box._thread._shared.loop)  # type: ignore[union-attr]
            raised.append(where)
        with ThreadPoolExecutor(4) as pool:
            sending = [pool.submit(box.send, "pager", to=f"r{n}", text="hi") for n in range(4)]
            for sent in sending:
                # The one whose call it was raised in may hear of it.
                with contextlib.suppress(error):
                    sent.result(SECONDS)
        assert box.send("pager", to="last", text="hi").wait(SECONDS).state is State.DELIVERED
        box.stats()
    assert raised == [where]
    assert "pillarbox-loop" not in {thread.name for thread in threading.enumerate()}


async def _raising(error: type[BaseException]) -> None:
    raise error(3)


@pytest.mark.contract("DR3")
def test_to_close_it_from_its_own_thread_is_refused_and_harms_nobody(db: Path) -> None:
    raised: list[str] = []
    heard = threading.Event()

    def ask(event: MessageDelivered) -> None:
        for call in (box.close, box.start, box.stats, message.wait, lambda: box.mirror.pending("s")):
            with pytest.raises(Refused, match="core") as refused:
                call()
            raised.append(refused.typename)
        heard.set()

    box = Outbox(db, channels={"pager": deliver})
    box.subscribe(ask, MessageDelivered)
    with box:
        message = box.send("pager", to="ann", text="hi", at=timedelta(milliseconds=1))
        message.wait(SECONDS)
        assert heard.wait(SECONDS)
        assert raised == ["Refused"] * 5
        assert box.stats()


@pytest.mark.contract("DR3", "SG5")
def test_one_that_was_never_closed_says_so_and_lets_everything_go(db: Path) -> None:
    said = pytest.warns(ResourceWarning, match=r"sync Outbox .*outbox\.db> was never closed")
    with nothing_left_open(seconds=SECONDS), said:
        box = Outbox(db, channels={"pager": deliver})
        box.start()
        message = box.send("pager", to="ann", text="hi")
        message.wait(SECONDS)
        del box, message
        gc.collect()
    with Outbox(db, deliver=False) as looking:
        assert looking.workers() == []


@pytest.mark.contract("SG1", "SG5")
def test_a_start_that_fails_and_a_call_before_it_leave_no_thread(tmp_path: Path) -> None:
    with nothing_left_open():
        box = Outbox(tmp_path / "missing" / "there" / "outbox.db", channels={"pager": deliver})
        (tmp_path / "missing").write_text("a file")
        for call in (box.start, box.start):
            with pytest.raises(StoreError):
                call()
        for early in (box.stats, lambda: box.send("pager", to="ann", text="hi"), lambda: box.get("A" * 22)):
            with pytest.raises(NotStarted):
                early()
        box.close()


@pytest.mark.contract("DR3")
def test_a_coroutine_may_run_on_it_before_it_is_started(db: Path) -> None:
    """Importing does that: it opens the database for itself."""

    async def here() -> str:
        return threading.current_thread().name

    box = Outbox(db, deliver=False)
    assert box.run(here()) == "pillarbox-loop"
    assert "pillarbox-loop" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.contract("CO5")
def test_a_text_grows_in_a_program_that_blocks(db: Path) -> None:
    with Outbox(db, channels={"chat": deliver}) as box:
        with box.stream("chat", to="ann") as stream:
            assert stream.messages == ()
            stream.write("Hello")
            stream.write(" you")
        assert stream.text == "Hello you"
        assert stream.last is not None
        view = stream.last.wait(SECONDS).view
        assert view is not None
        assert decode_content(view.content or b"").text == "Hello you"
        with pytest.raises(NotStarted):
            stream.write("more")
