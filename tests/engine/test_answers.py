"""What the platform answered to an attempt that failed is kept, masked, whatever kind of channel it was (ST10)."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pillarbox.channels.base import Channel
from pillarbox.channels.function import FunctionChannel
from pillarbox.channels.registry import build
from pillarbox.domain.outcome import AnyOutcome, Delivered, Rejected
from pillarbox.events import MessageDelivered, MessageDied, RetryScheduled
from pillarbox.outbox.outbox import inside
from pillarbox.testing.receiver import Answer, Receiver
from tests.channels.smtp_servers import rude
from tests.engine.stand import Stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pillarbox.channels.base import Attempt
    from pillarbox.store.base import Event
    from tests.engine.stand import Box

PATIENCE = 60.0


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with Stand(tmp_path) as stand:
        yield stand


async def last(box: Box, **said: Any) -> Event:
    message = await box.send(**said)
    await box.settled(message)
    return (await box.outbox.history(message.id or ""))[-1]


@pytest.mark.contract("ST10")
async def test_of_a_webhook_the_body_is_kept(stand: Stand) -> None:
    body = b'{"error": "no such room",\n "token": "hunter22", "said": "Hello there"}'
    async with Receiver(Answer(status=400, body=body)) as receiver:
        url = receiver.url.replace("http://", "http://mailer:opensesame@") + "hook/open-path?key=open-query"
        box = await stand.open(build(url))
        end = await last(box, text="Hello there")
        assert end.answer == '{"error": "no such room",\n "token": "***", "said": "***"}'
        assert end.reason == "HTTP 400 Bad Request"
        receiver.script(
            Answer(status=422, body=b"mailer opensesame open-path open-query bWFpbGVyOm9wZW5zZXNhbWU= " + b"x" * 5000)
        )
        end = await last(box)
        assert end.answer is not None
        assert end.answer.startswith("*** *** *** *** ***= ")
        assert len(end.answer.encode()) <= 1024


@pytest.mark.contract("ST10")
async def test_of_mail_the_reply_is_kept_without_the_password_that_it_repeats(stand: Stand) -> None:
    replies = {
        "EHLO": b"250-here\r\n250 AUTH PLAIN",
        "AUTH": b"550 not you, AG1lAG9wZW5zZXNhbWU= opensesame",
    }
    async with rude(**replies) as server:
        box = await stand.open(
            build(f"smtp://me:opensesame@127.0.0.1:{server.port}/?sender=me@example.org&timeout=20s")
        )
        message = await box.send(to="ann@example.net")
        await box.heard.wait_for(RetryScheduled)
        end = (await box.outbox.history(message.id or ""))[-1]
        assert end.answer == "550 not you, ***= ***"
        assert "opensesame" not in (end.reason or "")


@pytest.mark.contract("ST10")
async def test_of_a_function_the_answer_is_kept_that_it_gives_or_its_exception_has(stand: Stand) -> None:
    async def function(attempt: Attempt) -> AnyOutcome:
        if attempt.to == "gives":
            return Rejected("no", answer=f"they said no to {attempt.text}, token=hunter22")
        raise ValueError("chat not found: " + "x " * 300 + f"{attempt.text}")

    box = await stand.open(FunctionChannel(function))
    assert (await last(box, to="gives", text="Hello there")).answer == "they said no to ***, token=***"
    end = await last(box, to="raises", text="Hello there")
    assert end.answer is not None
    assert end.answer.startswith("ValueError: chat not found: x x")
    assert len(end.answer) > len(end.reason or "")


@pytest.mark.contract("ST10")
@pytest.mark.parametrize("history", ["outcomes", "full"])
async def test_a_success_keeps_its_answer_only_where_all_is_kept(
    stand: Stand, history: Literal["outcomes", "full"]
) -> None:
    async def function(attempt: Attempt) -> AnyOutcome:
        return Delivered("r", answer="thanks, token=hunter22")

    box = stand.make()
    box.outbox.channel("chat", function, history=history, text_limit=10)
    inside(box.outbox).lifetime.deliver_here()
    async with box.outbox:
        one = await last(box)
        several = await box.send(text="one two three four five")
        await box.settled(several)
        events = await box.outbox.history(several.id or "")
    kept = "thanks, token=***" if history == "full" else None
    assert one.answer == kept
    answers = [event.answer for event in events if event.outcome == "delivered"]
    assert answers
    assert set(answers) == {kept}


@pytest.mark.contract("CH8", "ST10")
async def test_a_receipt_shows_no_secret_even_where_it_comes_late(stand: Stand) -> None:
    released, started = threading.Event(), threading.Event()

    def function(attempt: Attempt) -> str:
        started.set()
        released.wait(PATIENCE)
        return "https://me:opensesame@example.org/id-1"

    box = await stand.open(FunctionChannel(function, send_timeout_seconds=0.05))
    await box.send(max_attempts=1)
    assert await asyncio.to_thread(started.wait, PATIENCE)
    await box.heard.wait_for(MessageDied)
    released.set()
    (told,) = await box.heard.wait_for(MessageDelivered)
    assert told.receipt == "https://***@example.org/id-1"


class Bare(Channel):
    """An adapter of somebody else, whose secrets are no such thing."""

    kind = "bare"
    known_secrets: Any = "opensesame"

    async def send(self, attempt: Attempt) -> AnyOutcome:
        return Rejected("no: password=hunter22")


@pytest.mark.contract("CH8", "EN8")
async def test_an_adapters_own_outcomes_are_masked_too(stand: Stand) -> None:
    box = await stand.open(Bare())
    end = await last(box)
    assert end.reason == "no: password=***"
