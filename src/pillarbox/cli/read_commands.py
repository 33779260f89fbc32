"""Commands that only look: ls, show, history, explain, stats, workers. None of them makes or changes a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from pillarbox.cli.channels import flow_row
from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.last_sent import find
from pillarbox.cli.numbers import WholeNumber
from pillarbox.cli.output import Cell, Row, emit, emit_json, listing, on_terminal, pairs, table, to_second
from pillarbox.cli.selection import STATES, filtered
from pillarbox.cli.shared_options import never_used, shared
from pillarbox.cli.spans_of_time import about, relative, seconds_since
from pillarbox.clock import SystemClock
from pillarbox.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.cli.command_context import Call
    from pillarbox.domain.explain.causes import Explanation
    from pillarbox.outbox.message import Message
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.store.base import Event, Flow, Tally

_LIMIT_MAX: Final = 10_000
_WATCH_SECONDS: Final = 2.0


@click.command()
@filtered
@click.option(
    "-n",
    "--limit",
    type=WholeNumber(1, _LIMIT_MAX),
    metavar="N",
    default=50,
    show_default=True,
    help="At most so many.",
)
@click.option("--before", metavar="ID", help="Only older ones than this: the next page.")
@click.option("--watch", is_flag=True, help="List again every two seconds, until Ctrl-C.")
@shared
def ls(call: Call, *, where: tuple[str, ...], limit: int, before: str | None, watch: bool) -> int:
    """List messages, the newest first."""

    async def look(box: Outbox) -> list[Message]:
        last = None if before is None else await find(box, before)
        return await box.list(where=where, limit=limit, before=last)

    def show(found: list[Message]) -> None:
        listing([message.to_dict() for message in found], columns, _listed, as_json=call.json, whole=2)

    async def look_on(box: Outbox) -> None:
        while True:
            found = await look(box)
            if on_terminal() and not call.json:
                click.clear()
            show(found)
            await SystemClock().sleep(_WATCH_SECONDS)

    columns = ("ID", "STATE", "CHANNEL", "TO", "AGE", "NEXT", "TRIES", "WHY")
    if watch:
        call.observe(look_on)
    else:
        show(call.observe(look))
    return Exit.OK


def _listed(row: Row) -> tuple[Cell, ...]:
    age = about(seconds_since(row["created_at"]))
    why = row["error"] or row["reason"]
    return row["id"], row["state"], row["channel"], row["to"], age, _next_try(row), row["claims"], why


def _next_try(row: Row) -> str | None:
    """Return when a message may go: at its time, when those before it in its lane are gone, or at this moment."""
    if row["state"] != "scheduled":
        return "sending" if row["state"] == "leased" else None
    if row["waiting"]:
        return "in line"
    return "now" if seconds_since(row["due_at"]) >= 0 else relative(row["due_at"])


@click.command()
@click.argument("message", metavar="ID|LAST")
@shared
def show(call: Call, message: str) -> int:
    """Show one message whole, with what it says."""

    async def look(box: Outbox) -> tuple[Message, str | None]:
        found = await find(box, message)
        events = await box.history(found.id) if found.id is not None else []
        return found, next((event.answer for event in reversed(events) if event.attempt is not None), None)

    found, answer = call.observe(look)
    row = found.to_dict()
    if call.json:
        emit_json(row)
        return Exit.OK
    from pillarbox.domain.explain.texts import first_line

    row["answer"] = first_line(answer)
    pairs([(name, _dated(name, value)) for name, value in row.items() if _is_plain(value)])
    for part in row["parts"]:
        emit(f"part {part['number']}  {part['state']}  {part['receipt'] or part['reason'] or ''}".rstrip())
    for name, value in {**(row["metadata"] or {}), **(row["content"] or {})}.items():
        emit(f"{name}: {value}")
    return Exit.OK


@click.command()
@click.argument("message", metavar="ID|LAST")
@shared
def history(call: Call, message: str) -> int:
    """Show what happened to a message: who, when, from which state to which, and why."""

    async def look(box: Outbox) -> list[Event]:
        from pillarbox.domain.ids import is_message_id

        try:
            identity = (await find(box, message)).id or message
        except NotFound:
            # A message that was pruned leaves its history for a while.
            identity = message
        events = await box.history(identity) if is_message_id(identity) else []
        if not events:
            raise NotFound("message", message)
        return events

    from pillarbox.domain.explain.texts import with_answer
    from pillarbox.views import event_dict

    def cells(row: Row) -> tuple[Cell, ...]:
        why = with_answer(row["reason"], row["answer"]) or row["receipt"]
        return row["at"], row["actor"], row["act"], row["from"], row["to"], row["attempt"], why

    rows = [event_dict(event) for event in call.observe(look)]
    listing(rows, ("AT", "WHO", "ACT", "FROM", "TO", "TRY", "WHY"), cells, as_json=call.json)
    return Exit.OK


@click.command()
@click.argument("message", metavar="ID|LAST")
@shared
def explain(call: Call, message: str) -> int:
    """Explain why a message is not delivered yet, since when, until when, and what would unblock it."""

    async def look(box: Outbox) -> Explanation:
        return await box.explain((await find(box, message)).id or message)

    from pillarbox.views import explanation_dict

    row = explanation_dict(call.observe(look))
    if call.json:
        emit_json(row)
    else:
        _tell(row)
    return Exit.OK


def _tell(row: dict[str, Any]) -> None:
    soonest = f", can go at {to_second(row['earliest_at'])} at the soonest" if row["earliest_at"] else ""
    emit(f"{row['id']} is {row['state']}{soonest}")
    for place, cause in enumerate(row["causes"], start=1):
        since = f"  since {to_second(cause['since'])}" if cause["since"] else ""
        until = f"  until {to_second(cause['until'])}" if cause["until"] else ""
        emit(f"{place}. {cause['word']}{since}{until}")
        emit(f"   {cause['text']}")
        emit(f"   → {cause['unblock']}")


@click.command()
@click.argument("channel", required=False)
@click.option("--tenant", help="Only this tenant's messages. Default: those of all.")
@shared
def stats(call: Call, channel: str | None, *, tenant: str | None) -> int:
    """Count messages by channel and state: of all channels and tenants, or of one."""

    async def look(box: Outbox) -> tuple[list[Tally], list[Flow]]:
        return await box.stats(), await box.flow()

    tallies, queues = call.observe(look)

    def wanted(item: Tally | Flow) -> bool:
        return channel in {None, item.channel} and tenant in {None, item.tenant}

    counted = _counted(list(filter(wanted, tallies)), list(filter(wanted, queues)))
    if not counted["queues"] and (channel is not None or tenant is not None):
        known = [queue.channel for queue in queues]
        if channel is not None and channel not in known:
            raise Stop(Exit.NOT_FOUND, never_used(channel, known))
        raise Stop(Exit.NOT_FOUND, "nothing was ever sent there: `pillarbox stats` shows channels and tenants")
    if call.json:
        emit_json(counted)
        return Exit.OK
    table(
        ("CHANNEL", "TENANT", *(state.upper() for state in STATES), "BYTES", "IS", "PAUSED"),
        [
            (queue["channel"], queue["tenant"], *(queue["states"][state] for state in STATES), queue["bytes"],
             queue["is"], _paused(queue))
            for queue in counted["queues"]
        ],
    )  # fmt: skip
    return Exit.OK


def _counted(tallies: Sequence[Tally], queues: Sequence[Flow]) -> dict[str, Any]:
    rows: dict[tuple[str, str], dict[str, Any]] = {
        (queue.tenant, queue.channel): {
            "messages": 0,
            "bytes": 0,
            "states": dict.fromkeys(STATES, 0),
            **flow_row(queue),
        }
        for queue in queues
    }
    total: dict[str, Any] = {"messages": 0, "bytes": 0, "states": dict.fromkeys(STATES, 0)}
    for tally in tallies:
        # The queues were read after the tallies, so none is missing.
        for row in (total, rows[tally.tenant, tally.channel]):
            row["messages"] += tally.messages
            row["bytes"] += tally.bytes
            row["states"][str(tally.state)] += tally.messages
    return {**total, "queues": list(rows.values())}


@click.command()
@shared
def workers(call: Call) -> int:
    """List the workers of this database, in whatever process."""
    from pillarbox.views import stamp

    rows: list[Row] = [
        {
            "worker": worker.slot,
            "id": worker.id.hex(),
            "host": worker.host,
            "pid": worker.pid,
            "version": worker.version,
            "channels": list(worker.channels),
            "started_at": stamp(worker.started_ms),
            "seen_at": stamp(worker.seen_ms),
            "alive": worker.alive,
        }
        for worker in call.observe(lambda box: box.workers())
    ]
    columns = ("WORKER", "HOST", "PID", "VERSION", "CHANNELS", "STARTED", "SEEN", "ALIVE")
    listing(rows, columns, _working, as_json=call.json)
    return Exit.OK


_ALIVE: Final[dict[object, str]] = {True: "yes", False: "no", None: "unknown"}


def _working(row: Row) -> tuple[Cell, ...]:
    times = relative(row["started_at"]), relative(row["seen_at"])
    channels = ", ".join(row["channels"])
    return row["worker"], row["host"], row["pid"], row["version"], channels, *times, _ALIVE[row["alive"]]


def _dated(name: str, value: Cell) -> Cell:
    """Add to a time how long ago it was, or how long it is until then."""
    return f"{value} ({relative(str(value))})" if name.endswith("_at") or name == "not_before" else value


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) and value != "" and value is not False


def _paused(queue: dict[str, Any]) -> str | None:
    if not queue["paused"]:
        return None
    until = f" until {to_second(queue['paused_until'])}" if queue["paused_until"] else ""
    return f"yes{until}: {queue['pause_reason'] or 'no reason given'}"
