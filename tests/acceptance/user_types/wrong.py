"""The same with mistakes: two type checkers see each one, where it stands. It is never run."""

from __future__ import annotations

from typing import assert_type

from pillarbox import Attempt, Message, Outbox, sync

box = Outbox("outbox.db")
blocking = sync.Outbox("outbox.db")


@box.channel("pager", text_limt=3)  # wrong: there is no such option
async def page(attempt: Attempt) -> str:
    return attempt.text


@blocking.channel("bell", text_limt=3)  # wrong: nor for the blocking one
def ring(attempt: Attempt) -> None:
    print(attempt.to)


@box.channel("plain")
async def plain(attempt: Attempt) -> str:
    return attempt.text


box.channel("hooks", "https://example.org/hook", text_limt=3)  # wrong: nor for a URL
box.channel("again", plain, text_limt=3)  # wrong: nor for a function
box.channel("text", plain, text_limit="many")  # wrong: no number
box.channel("policy", plain, uncertain="perhaps")  # wrong: no such policy


async def main(attempt: Attempt) -> None:
    count: int = await plain(attempt)  # wrong: it gives text
    await box.send("pager", to="ann", txt="hi")  # wrong: there is no such option
    await box.cancel_many("state=dead", each=print)  # wrong: it is called on_item
    box.stop_now()  # wrong: not a name of an outbox
    blocking.cancel(7)  # wrong: no id
    await box.send("pager", text="hi")  # wrong: to whom?
    await box.send("pager", to="ann", text="hi", at=5)  # wrong: neither a time nor a span
    assert_type(await box.get("id"), Message)  # wrong: it may be none
    with box:  # wrong: it takes async with
        pass
    print(count)
