"""What is no text, or no Unicode, is refused by the argument's name, before it gets to the store."""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

import pillarbox.sync
from pillarbox.channels.function import FunctionChannel
from pillarbox.errors import ConfigError, InvalidMessage, NotFound
from pillarbox.outbox.outbox import Outbox
from pillarbox.store.base import Query

if TYPE_CHECKING:
    from pathlib import Path

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


WORDS: Final = [(field, call) for field, call in TEXTS if field not in {"limit", "to", "verdict"}] + [
    ("id", lambda box, odd: box.edit(odd, text="x")),
    ("id", lambda box, odd: box.delete(odd)),
    ("where", lambda box, odd: box.list(where=f'to="{odd}"')),
    ("recipient", lambda box, odd: box.clear_recipient("chat", odd)),
    ("recipient", lambda box, odd: box.forget_redirect("chat", odd)),
    ("lane", lambda box, odd: box.list(lane=odd)),
]


async def test_nul_is_refused_by_the_arguments_name_and_not_by_a_database(stand: Stand) -> None:
    """PostgreSQL's text holds none. What anybody may put into an address must raise no alarm."""
    box = (await stand.open()).outbox
    for field, call in WORDS:
        with pytest.raises(InvalidMessage) as refused:
            await call(box, "a\0b")
        assert refused.value.field == field


NUMBERS: Final[list[tuple[str, Call]]] = [
    *((name, lambda box, odd, name=name: box.list(**{name: odd})) for name in ("created_from_ms", "created_to_ms")),
    *((name, lambda box, odd, name=name: box.list(**{name: odd})) for name in ("before_seq", "after_seq", "limit")),
    ("limit", lambda box, odd: box.redirects(limit=odd)),
    ("limit", lambda box, odd: box.suppressed(limit=odd)),
]


async def test_a_number_that_no_database_holds_is_refused_by_its_name(stand: Stand) -> None:
    box = (await stand.open()).outbox
    odd: Any
    for field, call in NUMBERS:
        for odd in (1 << 63, 10**400, "5", 1.5, float("nan"), True, *((-1,) if field == "limit" else ())):
            with pytest.raises(InvalidMessage) as refused:
                await call(box, odd)
            assert refused.value.field == field, odd
    with pytest.raises(InvalidMessage, match=r"^query: .*where="):
        await box.list("state=dead")  # type: ignore[arg-type]


async def test_a_filter_beside_a_query_is_refused_and_not_passed_over(stand: Stand) -> None:
    box = (await stand.open()).outbox
    await box.send("chat", to="ann", text="x")
    with pytest.raises(InvalidMessage, match=r"^channel: stands beside a Query"):
        await box.list(Query(), channel="other")
    assert len(await box.list(Query(channel="chat"), where="to=ann")) == 1


FLAGS: Final[list[tuple[str, Call]]] = [
    ("ephemeral", lambda box, odd: box.send("chat", to="ann", text="x", ephemeral=odd)),
    ("silent", lambda box, odd: box.send("chat", to="ann", text="x", silent=odd)),
    ("final_only", lambda box, odd: box.summary("turn", final_only=odd)),
    ("force_copy", lambda box, odd: box.resolve(ID, "resend", force_copy=odd)),
    ("fresh", lambda box, odd: box.replay(ID, fresh=odd)),
    ("fresh", lambda box, odd: box.replay_many("state=dead", fresh=odd)),
    ("every", lambda box, odd: box.purge_many(every=odd)),
    ("dry_run", lambda box, odd: box.purge_many("state=dead", dry_run=odd)),
]


async def test_what_only_counts_as_true_is_no_flag(stand: Stand) -> None:
    box = (await stand.open()).outbox
    odd: Any
    for field, call in FLAGS:
        for odd in ("no", "", 1, None):
            with pytest.raises(InvalidMessage) as refused:
                await call(box, odd)
            assert refused.value.field == field, odd
    assert await box.list() == []


CHOICES: Final[list[tuple[str, Call]]] = [
    *(
        (name, lambda box, odd, name=name: box.send("chat", to="ann", text="x", **{name: odd}))
        for name in ("format", "kind", "uncertain")
    ),
    ("verdict", lambda box, odd: box.resolve(ID, odd)),
    ("path", lambda box, odd: box.backup(odd)),
    ("on_item", lambda box, odd: box.cancel_many(every=True, on_item=odd)),
]


async def test_what_cannot_be_written_is_refused_all_the_same(stand: Stand) -> None:
    box = (await stand.open()).outbox
    endless: list[Any] = []
    for _ in range(5000):
        endless = [endless]
    for field, call in CHOICES:
        with pytest.raises(InvalidMessage) as refused:
            await call(box, endless)
        assert refused.value.field == field


@pytest.mark.parametrize("odd", [None, 5, "text", b"x", {"channel": "chat", "to": "ann", "text": "x"}])
async def test_what_is_no_list_of_messages_is_refused(stand: Stand, odd: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"^messages: expected a list of messages"):
        await (await stand.open()).outbox.send_many(odd)


async def test_arguments_go_by_their_names_in_a_mapping_too(stand: Stand) -> None:
    with pytest.raises(InvalidMessage, match=r"^messages\[0\].message: .*not by NoneType"):
        await (await stand.open()).outbox.send_many([{None: 1, 2: 3}])  # type: ignore[dict-item]


NO_SPANS: Final[tuple[Any, ...]] = (
    -1, -0.5, timedelta(-1), math.nan, math.inf, -math.inf, 1e300, 10**400, True, "soon", "-5s", b"x",
)  # fmt: skip
SPANS: Final[list[tuple[str, Call]]] = [
    ("deadline", lambda box, odd: box.stop(odd)),
    ("budget", lambda box, odd: box.drain(odd)),
    ("age", lambda box, odd: box.prune(odd)),
    ("age", lambda box, odd: box.mirror.prune(odd)),
    ("span", lambda box, odd: box.pause("chat", span=odd)),
    ("ttl", lambda box, odd: box.retry(ID, ttl=odd)),
    ("ttl", lambda box, odd: box.resolve(ID, "resend", ttl=odd)),
    ("ttl", lambda box, odd: box.retry_many("state=dead", ttl=odd)),
    ("every", lambda box, odd: box.stream("chat", to="ann", every=odd).__aenter__()),
]


async def test_what_is_no_span_of_time_is_refused_by_its_name_before_anything_is_done(stand: Stand) -> None:
    box = (await stand.open()).outbox
    message = await box.send("chat", to="ann", text="x")
    for odd in NO_SPANS:
        for field, call in (*SPANS, ("timeout", lambda _, odd: message.wait(odd))):
            with pytest.raises(InvalidMessage, match="expected") as refused:
                await call(box, odd)
            assert refused.value.field == field, odd
    assert box.started
    assert not (await message.wait(0)).settled
    skipped = await box.send("chat", to="ann", text="")
    with pytest.raises(InvalidMessage, match=r"^timeout: "):
        await skipped.wait(-1)
    assert await box.stop("0s") == 0


def test_a_blocking_outbox_goes_on_where_it_was_told_to_stop_after_no_span(tmp_path: Path) -> None:
    box = pillarbox.sync.Outbox(tmp_path / "outbox.db", deliver=False)
    with pytest.raises(InvalidMessage, match=r"^deadline: "):
        box.stop(-1)
    with box:
        skipped = box.send("ops", to="ann", text="")
        for odd in NO_SPANS:
            with pytest.raises(InvalidMessage, match=r"^deadline: "):
                box.stop(odd)
            with pytest.raises(InvalidMessage, match=r"^timeout: "):
                skipped.wait(odd)
        assert box.list() == []


@pytest.mark.parametrize("odd", [0, -1, math.nan, math.inf, 10**400, True, None, "many", [1]])
def test_what_a_function_takes_is_checked_where_it_is_added(odd: Any) -> None:
    box = Outbox(":memory:")
    for field in ("concurrency", "threads", "timeout"):
        if odd == 10**400 and field != "timeout":
            continue
        with pytest.raises(ConfigError, match="expected") as refused:
            box.channel("pager", lambda _: None, **{field: odd})
        assert field in refused.value.field, (field, odd)
        if field != "timeout":
            with pytest.raises(ConfigError, match=f"^{field}: expected"):
                FunctionChannel(lambda _: None, **{field: odd})
    with pytest.raises(ConfigError, match=r"^send_timeout_seconds: expected"):
        FunctionChannel(lambda _: None, send_timeout_seconds=odd)


async def test_a_hook_that_can_never_be_called_is_refused_at_once(stand: Stand) -> None:
    hooks = (await stand.open()).outbox.hooks
    of_chat = functools.partial(hooks.readiness, "chat")
    places: list[Any] = [hooks.before_delivery, hooks.after_delivery, hooks.revalidate, of_chat]
    for place in places:
        with pytest.raises(TypeError, match="hook: expected a function, not str"):
            place("hook")
        for odd in (0, -1, float("nan"), float("inf"), 10**400, "5", None, True):
            with pytest.raises(InvalidMessage, match=r"^timeout_seconds: "):
                place(print, timeout_seconds=odd)
    with pytest.raises(InvalidMessage, match=r"^priority: "):
        hooks.before_delivery(print, priority="high")  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage, match=r"^channel: "):
        hooks.readiness("", print)
    assert not hooks.any_before


@pytest.mark.parametrize("odd", [5, b"x.db", True, ["a"]])
def test_a_database_is_named_by_text_or_a_path(odd: Any) -> None:
    with pytest.raises(ConfigError, match=r"^db: expected a path or a URL as text"):
        Outbox(odd)
    with pytest.raises(ConfigError, match=r"^deliver: expected True or False"):
        Outbox(deliver=odd if odd is not True else "no")  # type: ignore[arg-type]


@pytest.mark.parametrize("odd", ["file:outbox.db?mode=ro", ":memory:?cache=shared", "\ud800", "a\0b"])
async def test_no_file_is_made_of_a_name_that_means_something_else(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^db: expected a path"):
        await Outbox(odd, deliver=False).start()
    assert [*tmp_path.iterdir()] == []
