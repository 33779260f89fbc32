"""The blocking façade: the same outbox, called from programs that have no event loop."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from pillarbox.errors import InvalidMessage, KeyConflict, NotFound, NotStarted, Refused, UnknownChannel
from pillarbox.events import MessageDelivered
from pillarbox.sync import Outbox

if TYPE_CHECKING:
    from pillarbox.channels.base import Attempt

SECONDS = 10.0


def deliver(attempt: Attempt) -> str:
    return f"to {attempt.to}"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


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
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        box = Outbox(db, channels={"pager": deliver})
        box.close()
        with box:
            box.send("pager", to="ann", text="hi").wait(SECONDS)
        box.close()
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == files


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
