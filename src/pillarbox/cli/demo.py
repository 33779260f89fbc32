"""`pillarbox demo`: see it deliver, be killed midway, and lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import click

from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.numbers import WholeNumber
from pillarbox.cli.output import emit_json, on_terminal, table, talk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.demo.director import Play, Scene, Show
    from pillarbox.demo.judge import Verdict

_MESSAGES_MAX: Final = 20_000
_NOTICED_SECONDS: Final = 10


@click.command()
@click.option(
    "--messages",
    type=WholeNumber(1, _MESSAGES_MAX),
    metavar="N",
    default=300,
    show_default=True,
    help="How many are sent.",
)
@click.option(
    "--lanes", type=WholeNumber(1, 1000), metavar="N", default=20, show_default=True, help="In how many lanes."
)
@click.option(
    "--kills", type=WholeNumber(0, 20), metavar="N", default=3, show_default=True, help="How often the worker dies."
)
@click.option(
    "--db", metavar="URL", allow_from_autoenv=False, help="A PostgreSQL database to hold the queue. Default: a file."
)
@click.option("--keep", metavar="DIR", help="Keep database, ledger and logs there; it must not exist, or be empty.")
@click.option("--json", "as_json", is_flag=True, envvar="PILLARBOX_JSON", show_envvar=True, help="Write JSON.")
@click.pass_context
def demo(
    ctx: click.Context, *, messages: int, lanes: int, kills: int, db: str | None, keep: str | None, as_json: bool
) -> int:
    """
    Watch pillarbox deliver, be killed midway, and lose nothing. Needs no network and no configuration.

    A receiver and a worker run as processes of their own. The worker is killed with SIGKILL while the receiver holds
    its answers, and started again. Then the receiver's ledger is compared with the database: the exit code is 0 only
    if nothing was lost, nothing was out of order, and every duplicate has an attempt that explains it.

    With a server's database, the queue is in its schema pillarbox_demo, where the URL names no other one, and stays
    there. A killed worker is noticed when its leases run out, so each kill takes some seconds.
    """
    from pillarbox.demo.director import DemoFailed, Play

    if db is not None:
        db = _on_server(ctx, db)
    if messages <= kills:
        raise click.UsageError("expected more messages than kills.", ctx)
    with _folder(keep) as folder, _shown(messages, quiet=as_json) as show:
        play = Play(folder=folder, messages=messages, lanes=min(lanes, messages), kills=kills, db=db)
        if db is not None:
            play = dataclasses.replace(play, seconds_max=play.seconds_max + _NOTICED_SECONDS * kills)
        try:
            verdict, killed, seconds = asyncio.run(_held(play, show))
        except DemoFailed as failed:
            raise Stop(Exit.FAILURE, str(failed)) from failed
    row = _row(verdict, killed, seconds)
    if as_json:
        emit_json(row)
    else:
        table(("", "RESULT"), [(name.replace("_", " "), str(value)) for name, value in row.items()])
    for finding in verdict.findings:
        talk(finding)
    if verdict.good and not as_json:
        talk(_moral(verdict))
    return Exit.OK if verdict.good and killed == kills else Exit.FAILURE


def _on_server(ctx: click.Context, db: str) -> str:
    from pillarbox.store.registry import file_of

    if db == ":memory:" or file_of(db) is not None:
        raise click.UsageError("--db: expected postgresql://…; a file is what the demonstration makes itself", ctx)
    query = urlsplit(db).query
    if "schema" in parse_qs(query):
        return db
    return f"{db}{'&' if query else '?'}schema=pillarbox_demo"


async def _held(play: Play, show: Show) -> tuple[Verdict, int, float]:
    """Run the demonstration; return how many seconds it took. Asked to end, it ends its processes too."""
    from pillarbox.demo.director import Director

    loop = asyncio.get_running_loop()
    began = loop.time()
    holding = asyncio.ensure_future(Director(play, show).hold())
    asked = False

    def end() -> None:
        nonlocal asked
        asked = True
        holding.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        verdict, kills = await holding
    except asyncio.CancelledError:
        if not asked:
            raise
        raise Stop(Exit.FAILURE, "the demonstration was asked to end") from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    return verdict, kills, loop.time() - began


def _row(verdict: Verdict, kills: int, seconds: float) -> dict[str, float]:
    row = dataclasses.asdict(verdict)
    del row["findings"]
    return {**row, "kills": kills, "seconds": round(seconds, 2)}


def _moral(verdict: Verdict) -> str:
    if not verdict.duplicates:
        return "nothing was lost or sent twice"
    return (
        f"nothing was lost; each of the {verdict.duplicates} duplicates has an attempt that was committed before it: "
        "the worker died before it could write down that the copy before had arrived"
    )


@contextlib.contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="pillarbox-demo-") as name:
            yield Path(name)
        return
    folder = Path(keep).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as exc:
        raise Stop(Exit.USAGE, f"--keep {keep}: {exc.strerror}") from exc
    if taken:
        raise Stop(Exit.USAGE, f"--keep {keep}: expected an empty directory")
    yield folder
    talk(f"kept in {folder}")


@contextlib.contextmanager
def _shown(messages: int, *, quiet: bool) -> Iterator[Show]:
    """Show how far it is: a bar on a terminal, else the sentences alone."""
    if quiet:
        yield lambda scene, sentence: None  # noqa: ARG005 — a `Show` that shows nothing
        return
    if not on_terminal(sys.stderr):
        yield lambda scene, sentence: None if sentence is None else talk(sentence)  # noqa: ARG005
        return
    from pillarbox.cli.progress import Bar

    with Bar("delivering", total=messages) as bar:

        def show(scene: Scene, sentence: str | None) -> None:
            bar.update(done=scene.answered, label=f"delivering, {scene.kills} kills")
            if sentence is not None:
                bar.say(sentence)

        yield show
