"""Applies one order to one message or to many, asks before many, and prints what became of each."""

from __future__ import annotations

import contextlib
import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from pillarbox.cli.command_context import actor
from pillarbox.cli.exits import Exit
from pillarbox.cli.last_sent import find, remember
from pillarbox.cli.output import emit_json, json_of, messages, on_terminal, reporting, talk
from pillarbox.cli.selection import Picked, picking
from pillarbox.domain.orders import ORDERS, Order
from pillarbox.errors import NotFound, QueueFull, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pillarbox.cli.command_context import Call
    from pillarbox.outbox.bulk import BulkItem, BulkReport
    from pillarbox.outbox.message import Message
    from pillarbox.outbox.outbox import Outbox

Row = dict[str, Any]
_LINES_MAX: Final = 20


class Verb(NamedTuple):
    """
    An order.

    Attributes:
        name: As it is asked for: "cancel".
        done: What is said of a message to which it was given.
        one: Applies it to one message; returns whether that changed anything, or the new message of a replay.
        many: Gives it to all that a filter picks, as `Outbox.cancel_many` does.
    """

    name: str
    done: str
    one: Callable[..., Awaitable[bool | Message]]
    many: Callable[..., Awaitable[BulkReport]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an order is given: ``dry_run`` only shows; ``yes`` does not ask; ``by`` says who gives it, and why."""

    dry_run: bool
    yes: bool
    by: dict[str, str | None]


def ordering(command: Callable[..., int]) -> Callable[..., int]:
    """Add what every order takes; the command gets a `Picked` and a `Manner`."""

    @picking
    @click.option("--dry-run", is_flag=True, help="Say how many and which, and change nothing.")
    @click.option("--yes", is_flag=True, help="Do not ask, however many there are.")
    @click.option("--reason", metavar="TEXT", help="Why; kept in the history.")
    @functools.wraps(command)
    def wrapped(*args: Any, dry_run: bool, yes: bool, reason: str | None, **options: Any) -> int:
        by = {"reason": reason, "actor": actor()}
        return command(*args, manner=Manner(dry_run=dry_run, yes=yes, by=by), **options)

    return wrapped


def give(call: Call, picked: Picked, verb: Verb, manner: Manner) -> int:
    """Apply an order to the picked messages, print what became of each, and return the exit code."""
    if picked.ids:
        return _to_each(call, picked.ids, verb, manner)
    return _to_many(call, picked, verb, manner)


# By ids


def _to_each(call: Call, names: tuple[str, ...], verb: Verb, manner: Manner) -> int:
    if len(names) > 1 and not _agreed(verb, len(names), manner):
        return Exit.FAILURE

    async def act_on_all(box: Outbox) -> list[Row]:
        return [await _one(box, name, verb, manner) for name in names]

    rows = call.operate(act_on_all)
    if call.json:
        with reporting(f"the order to {verb.name} was given"):
            emit_json([{name: value for name, value in row.items() if name != "full"} for row in rows])
    for row in rows:
        talk(f"{row['id']}: {_said(row, verb, manner)}")
    if any(row["full"] for row in rows):
        return Exit.QUEUE_FULL
    if any(row["state"] is None and not row["applied"] for row in rows):
        return Exit.NOT_FOUND
    return Exit.OK if manner.dry_run or all(row["applied"] for row in rows) else Exit.FAILURE


async def _one(box: Outbox, name: str, verb: Verb, manner: Manner) -> Row:
    """Act on one message; one that does not exist, or is refused, does not stop the others."""
    row: Row = {"id": name, "applied": False, "state": None, "cancel_requested": False, "refused": None}
    row |= {"replayed_as": None, "full": False}
    try:
        identity = (await find(box, name)).id or name
        if not manner.dry_run:
            row |= await _given(box, identity, verb, manner)
    except NotFound:
        return row
    row["id"] = identity
    found = await box.get(identity)
    view = None if found is None else found.view
    row["state"] = None if view is None else str(view.state)
    row["cancel_requested"] = view is not None and view.cancel_requested_ms is not None
    return row


async def _given(box: Outbox, identity: str, verb: Verb, manner: Manner) -> Row:
    try:
        done = await verb.one(box, identity, **manner.by)
    except (Refused, QueueFull) as exc:
        return {"refused": str(exc), "full": isinstance(exc, QueueFull)}
    if not isinstance(done, bool) and done.id is not None:
        remember(box.settings, done.id)
    return {"applied": bool(done), "replayed_as": None if isinstance(done, bool) else done.id}


def _said(row: Row, verb: Verb, manner: Manner) -> str:
    if row["refused"] is not None:
        return f"nothing was changed: {row['refused']}"
    if row["applied"]:
        if row["state"] == "leased" and row["cancel_requested"]:
            return "is being sent; it is cancelled if that fails"
        return f"{verb.done} as {row['replayed_as']}" if row["replayed_as"] else verb.done
    if row["state"] is None:
        return "no such message"
    done = f"would be asked to {verb.name}" if manner.dry_run else "nothing was changed"
    return f"{done}: it is {row['state']}, and {verb.name} is for what is {_scope(verb)}"


def _scope(verb: Verb) -> str:
    """Name the states that an order is for: ``scheduled, leased or held``."""
    words = [str(state) for state in ORDERS[Order(verb.name)].possible]
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


# By a filter


def _to_many(call: Call, picked: Picked, verb: Verb, manner: Manner) -> int:
    asks = not (manner.dry_run or manner.yes) and _on_terminals()

    async def ask(box: Outbox, *, dry_run: bool, on_item: Callable[[BulkItem], object] | None) -> BulkReport:
        return await verb.many(box, picked.where, every=picked.every, dry_run=dry_run, on_item=on_item, **manner.by)

    async def act(box: Outbox) -> BulkReport | None:
        if asks:
            count = (await ask(box, dry_run=True, on_item=None)).matched
            if count > 1 and not _agreed(verb, count, manner):
                return None
        newest: str | None = None
        with _rows(as_json=call.json, verb=verb, manner=manner) as write:

            def on_item(item: BulkItem) -> None:
                nonlocal newest
                newest = item.replayed_as or newest
                write(item)

            report = await ask(box, dry_run=manner.dry_run, on_item=on_item)
        if newest is not None:
            remember(box.settings, newest)
        return report

    bulk = call.operate(act)
    if bulk is None:
        return Exit.FAILURE
    talk(_summary(bulk, verb))
    if bulk.full is not None:
        return Exit.QUEUE_FULL
    return Exit.OK if bulk.dry_run or bulk.applied == bulk.matched else Exit.FAILURE


@contextlib.contextmanager
def _rows(*, as_json: bool, verb: Verb, manner: Manner) -> Iterator[Callable[[BulkItem], None]]:
    """Write a row for each message as it is done: a million of them are never held at once."""
    count = 0
    # An order is carried out whole, whatever becomes of its report.
    lost = False

    def write(piece: bytes) -> None:
        nonlocal lost
        if lost:
            return
        lost = True
        with reporting(f"the order to {verb.name} is carried out"):
            click.echo(piece, nl=False)
            lost = False

    def on_item(done: BulkItem) -> None:
        nonlocal count
        row = _row(done)
        if as_json:
            write((b"[" if count == 0 else b",") + json_of(row))
        elif count < _LINES_MAX:
            talk(f"{row['id']}: {_said(row, verb, manner)}")
        elif count == _LINES_MAX:
            talk("… (--json lists all of them)")
        count += 1

    try:
        yield on_item
    finally:
        if as_json:
            write(b"]\n" if count else b"[]\n")


def _row(done: BulkItem) -> Row:
    return {
        "id": done.id,
        "applied": done.applied,
        "state": None if done.state is None else str(done.state),
        "cancel_requested": done.pending,
        "refused": done.refused,
        "replayed_as": done.replayed_as,
    }


def _summary(bulk: BulkReport, verb: Verb) -> str:
    if not bulk.matched:
        return "no message fits"
    found = ", ".join(f"{count} {state}" for state, count in sorted(bulk.states.items(), key=lambda one: one[0].code))
    if bulk.dry_run:
        return f"{messages(bulk.matched)} would be asked to {verb.name} ({found}); nothing was changed"
    end = f"; {bulk.full}, so the rest was not tried" if bulk.full is not None else ""
    return f"{verb.done}: {bulk.applied} of {messages(bulk.matched)} ({found}){end}"


def _agreed(verb: Verb, count: int, manner: Manner) -> bool:
    """Ask, where a person is there to answer; anywhere else an order is an order."""
    if manner.yes or manner.dry_run or not _on_terminals():
        return True
    if click.confirm(f"{verb.name} {messages(count)}?", err=True):
        return True
    talk("nothing was changed")
    return False


def _on_terminals() -> bool:
    return on_terminal(sys.stdin) and on_terminal(sys.stderr)
