"""What is no text, or no Unicode, is refused by the argument's name, before it gets to the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

from pillarbox.errors import InvalidMessage, NotFound

if TYPE_CHECKING:
    from pillarbox.outbox.outbox import Outbox
    from tests.engine.stand import Stand

ID: Final = "A" * 22
Call = Callable[["Outbox", Any], Awaitable[object]]
TEXTS: Final[list[tuple[str, Call]]] = [
    ("id", lambda box, odd: box.history(odd)),
    ("id", lambda box, odd: box.cancel(odd)),
    ("id", lambda box, odd: box.retry(odd)),
    ("id", lambda box, odd: box.resolve(odd, "delivered")),
    ("id", lambda box, odd: box.replay(odd)),
    ("id", lambda box, odd: box.purge(odd)),
    ("turn", lambda box, odd: box.summary(odd)),
    ("actor", lambda box, odd: box.cancel(ID, actor=odd)),
    ("reason", lambda box, odd: box.retry(ID, reason=odd)),
    ("verdict", lambda box, odd: box.resolve(ID, odd)),
    ("receipt", lambda box, odd: box.resolve(ID, "delivered", receipt=odd)),
    ("actor", lambda box, odd: box.replay_many("state=dead", actor=odd)),
    ("where", lambda box, odd: box.list(where=odd)),
    ("channel", lambda box, odd: box.list(channel=odd)),
    ("limit", lambda box, odd: box.list(limit=odd)),
    ("channel", lambda box, odd: box.pause(odd)),
    ("tenant", lambda box, odd: box.pause("chat", tenant=odd)),
    ("reason", lambda box, odd: box.pause("chat", reason=odd)),
    ("channel", lambda box, odd: box.resume(odd)),
    ("actor", lambda box, odd: box.resume("chat", actor=odd)),
    ("session_key", lambda box, odd: box.mirror.pending(odd)),
    ("entries", lambda box, odd: box.mirror.acknowledge([odd])),
    ("channel", lambda box, odd: box.send(odd, to="ann", text="x")),
    ("to", lambda box, odd: box.send("chat", to=odd, text="x")),
]
IDS: Final = [f"{place}-{field}" for place, (field, _) in enumerate(TEXTS)]


@pytest.mark.parametrize(("field", "call"), TEXTS, ids=IDS)
async def test_what_is_no_text_is_refused_by_its_name(stand: Stand, field: str, call: Call) -> None:
    box = (await stand.open()).outbox
    odd: Any
    for odd in ("\ud800", b"x", ["a"], 5.5):
        with pytest.raises(InvalidMessage) as refused:
            await call(box, odd)
        assert refused.value.field == field, odd
    assert [word for word in box.counts if word.startswith("alarm:")] == []


@pytest.mark.parametrize("odd", [5, None, b"x", ["a"]])
async def test_an_id_that_is_no_text_is_refused_and_one_of_odd_text_is_nobodys(stand: Stand, odd: Any) -> None:
    box = (await stand.open()).outbox
    call: Call
    for call in (lambda box, odd: box.get(odd), lambda box, odd: box.find(odd), lambda box, odd: box.explain(odd)):
        with pytest.raises(InvalidMessage, match=r"^id: "):
            await call(box, odd)
    assert await box.get("\ud800") is None
    for call in (lambda box, odd: box.find(odd), lambda box, odd: box.explain(odd)):
        with pytest.raises(NotFound):
            await call(box, "\ud800")


async def test_one_key_is_no_list_of_keys(stand: Stand) -> None:
    box = (await stand.open()).outbox
    with pytest.raises(InvalidMessage, match=r"^entries: "):
        await box.mirror.acknowledge("session")


@pytest.mark.parametrize("odd", [5, None, b"x", ["a"], "\ud800", "a\0b"])
async def test_what_is_no_path_is_refused_by_its_name(stand: Stand, odd: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"^path: expected a path"):
        await (await stand.open()).outbox.backup(odd)
