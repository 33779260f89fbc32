"""`pillarbox run`: the worker as a process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from pillarbox.__about__ import __version__
from pillarbox.cli import signals
from pillarbox.cli.command_context import naming, whole_of
from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.numbers import WholeNumber
from pillarbox.cli.output import complain, hush, messages, on_terminal
from pillarbox.cli.shared_options import shared, span_above_zero
from pillarbox.cli.supervisor import WORKERS_MAX, Supervisor
from pillarbox.cli.systemd import notify
from pillarbox.cli.worker_log import Voice, log
from pillarbox.errors import PillarboxError, ShardsUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import timedelta

    from pillarbox.cli.command_context import Call
    from pillarbox.cli.progress import Bar
    from pillarbox.cli.supervisor import Link
    from pillarbox.cli.systemd import Word
    from pillarbox.engine.drain import DrainReport
    from pillarbox.events.events import BusEvent
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.settings.model import Settings

_ENDS: Final = frozenset({"delivered", "held", "dead", "expired", "cancelled"})
_REPORTED: Final = ("delivered", "failed", "expired", "exhausted", "uncertain")
_RARE: Final = ("held", "reaped")
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@click.command(short_help="Deliver, until it is told to stop; or --drain what is due.")
@click.argument("url", required=False, metavar="[URL]")
@click.option("--channel", "names", metavar="NAME", multiple=True, help="Only through this channel; may be repeated.")
@click.option("--app", metavar="MODULE:BOX", help="Deliver for your own Outbox, functions as channels included.")
@click.option("--drain", is_flag=True, help="Send what is due, then end with a report.")
@click.option(
    "--budget", type=span_above_zero, default="60s", show_default=True, metavar="SPAN",
    help="How long --drain may take.",
)  # fmt: skip
@click.option(
    "--workers", type=WholeNumber(1, WORKERS_MAX), default=1, show_default=True, metavar="N",
    help="So many processes; one that dies is replaced.",
)  # fmt: skip
@click.option(
    "-v", "--verbose", is_flag=True, help="Log all there is, as log_level = debug does; -q logs warnings only."
)
@shared
@signals.given_back()
def run(
    call: Call,
    *,
    url: str | None,
    names: tuple[str, ...],
    app: str | None,
    drain: bool,
    budget: timedelta,
    workers: int,
    verbose: bool,
) -> int:
    """
    Deliver: through the configured channels, or those of your own Outbox.

    With URL: what `send URL` stored for it. With --channel: through those alone; others' messages wait.

    One line an outcome on stderr; with --json, one object a line on stdout. SIGTERM or Ctrl-C stops it gracefully:
    no new sends, and those under way may end. A second signal cuts them off. SIGHUP reads the configuration again.
    Where the queue is disabled (enabled = false) it says that there is nothing to run, and ends at once with 0.
    """
    from pillarbox.outbox.outbox import inside

    _exclude(call, url=url, names=names, app=app)
    link: Link | None = None
    if workers > 1:
        if drain:
            raise click.UsageError("--drain is the work of one process: leave --workers out.", call.ctx)
        watched = Supervisor(workers, rows=call.json, quiet=call.ctx.obj["quiet"]).watch()
        if isinstance(watched, int):
            return watched
        link = watched
    box, db = _box(call, app, url=url, names=names)

    level: Literal["debug", "warning"] | None = "debug" if verbose else "warning" if call.ctx.obj["quiet"] else None

    def fitted(settings: Settings) -> Settings:
        return dataclasses.replace(
            settings,
            drain_on_startup=settings.drain_on_startup and not drain,
            log_level=level or settings.log_level,
        )

    if (shards := inside(box).shards) is not None:
        # The others are served, and what is missing is said.
        shards.lenient = True
    inside(box).routes.fit(fitted)
    voice = Voice(box.settings, rows=call.json)
    if not box.settings.enabled:
        with voice.heard():
            return _nothing_to_run(voice, drain=drain)
    read = (lambda: fitted(_settings(call, url, names))) if app is None else None
    runner = _Runner(box, voice, read=read, link=link)
    with naming(db), voice.heard(), asyncio.Runner(loop_factory=_fast_loop()) as loop:
        return loop.run(runner.drained(budget.total_seconds()) if drain else runner.forever())


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loop; ``None``, for asyncio's own, where the extra ``fast`` is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _nothing_to_run(voice: Voice, *, drain: bool) -> int:
    """Report that the queue is disabled, and return success: a restart would change nothing (contract EN12)."""
    from pillarbox.engine.drain import DrainReport

    why = "the queue is disabled (enabled = false): every send goes straight to its channel, and nothing waits"
    if voice.rows:
        voice.emit_json({"event": "disabled", "reason": why})
        if drain:
            voice.emit_json({"event": "drained", **dataclasses.asdict(DrainReport())})
    voice.say(f"nothing to run: {why}")
    return Exit.OK


def _exclude(call: Call, *, url: str | None, names: tuple[str, ...], app: str | None) -> None:
    if app is not None and (call.db is not None or call.shard is not None or call.config is not None):
        raise click.UsageError(
            "--app brings its own database and configuration: leave --db, --shard and --config out.", call.ctx
        )
    if url is not None and ":" not in url and not names and app is None:
        raise click.UsageError(f"run takes a URL; a configured channel is named by --channel {url}.", call.ctx)
    if sum([app is not None, url is not None, bool(names)]) > 1:
        raise click.UsageError("URL, --channel and --app exclude each other.", call.ctx)


def _settings(call: Call, url: str | None, names: tuple[str, ...]) -> Settings:
    """Read the configuration, with those channels alone that are asked for."""
    return _only(call.loaded().settings, url, names)


def _only(settings: Settings, url: str | None, names: tuple[str, ...]) -> Settings:
    from pillarbox import app

    return app.only_url(settings, url) if url is not None else app.only(settings, names) if names else settings


def _box(call: Call, where: str | None, *, url: str | None, names: tuple[str, ...]) -> tuple[Outbox, str | None]:
    from pillarbox import app
    from pillarbox.cli.program import variables

    if where is None:
        found = app.examine(path=call.config, db=call.db, shard=call.shard, other_variables=variables(call.ctx))
        if len(found.errors) > 1 and url is None and not names:
            for error in found.errors:
                complain(f"error: {error}")
            raise Stop(Exit.CONFIGURATION, f"the configuration has {len(found.errors)} mistakes: nothing is delivered")
        # A mistake may be in a channel that is not asked for: reading it anew says.
        settings = _settings(call, url, names) if found.settings is None else _only(found.settings, url, names)
        return app.worker(settings), whole_of(settings)
    box = app.imported(where, directory=Path.cwd())
    return box, whole_of(box.settings)


class _Stopped(Exception):
    """Raised where a worker is told to stop before it is open."""


class _Runner:
    """
    One run of a worker: its signals and its lines.

    *read* returns the configuration as it is now; without it nothing is reloaded. *link* leads to the supervisor, where
    there is one.
    """

    def __init__(
        self, box: Outbox, voice: Voice, *, read: Callable[[], Settings] | None, link: Link | None = None
    ) -> None:
        self._box = box
        self._voice = voice
        self._read = read
        self._link = link
        self._asked = 0
        self._signalled = 0
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._seen_on_terminal = sys.stderr is not None and on_terminal(sys.stderr)
        self._cut = 0
        self._stopping = False
        self._unrecorded: list[str] = []
        self._progress: Bar | None = None

    async def forever(self) -> int:
        """Deliver until a signal comes."""
        with contextlib.suppress(_Stopped):
            async with self._started():
                if signals.ends_with_the_command():
                    # What is loaded by now stays to the end. The collector need not look at it again and again, which
                    # takes a twentieth of the time of a worker that is busy.
                    gc.collect()
                    gc.freeze()
                await self._stop.wait()
                return await self._finish(deadline=None)
        return self._stopped(0)

    async def drained(self, budget: float) -> int:
        """Send what is due within *budget* seconds; what is being sent then is cut off."""
        with contextlib.suppress(_Stopped):
            return await self._drained(budget)
        return self._stopped(0)

    async def _drained(self, budget: float) -> int:
        async with self._started():
            with await self._drawn():
                draining = asyncio.ensure_future(self._box.drain(budget))
                stopping = asyncio.ensure_future(self._stop.wait())
                await asyncio.wait((draining, stopping), return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                if not draining.done():
                    draining.cancel()
                    return await self._finish(deadline=None)
            code = self._report(draining.result())
            code = self._report_unanswered() or code
            return await self._finish(deadline=0) or code

    @contextlib.asynccontextmanager
    async def _started(self) -> AsyncIterator[None]:
        self._box.subscribe(self._tell)
        with self._signals():
            await self._open()
            reloading = asyncio.ensure_future(self._reload_when_asked())
            try:
                names = list(self._box.channels)
                loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
                self._voice.tell(
                    "started",
                    {"channels": names, "pid": os.getpid(), "version": __version__, "loop": loop},
                    f"pillarbox {__version__} delivers through {', '.join(names)} (pid {os.getpid()}, {loop})",
                )
                self._notify("READY")
                yield
            finally:
                reloading.cancel()
                # Does nothing after `_finish`; after an error it gives the leases back.
                await self._box.stop(0)

    async def _open(self) -> None:
        """Open the outbox. Who is told to stop meanwhile has nothing to wait for: raises `_Stopped`."""
        starting = asyncio.ensure_future(self._box.start())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                return
            starting.cancel()
            await asyncio.wait((starting,))
        finally:
            stopping.cancel()
        if starting.cancelled() or starting.exception() is not None:
            raise _Stopped

    async def _finish(self, *, deadline: float | None) -> int:
        self._stopping = True
        self._notify("STOPPING")
        cut = await self._box.stop(deadline)
        cut += self._cut
        if not self._unrecorded:
            return self._stopped(cut)
        count = len(self._unrecorded)
        what = "1 outcome or lease" if count == 1 else f"{count} outcomes or leases"
        self._voice.tell(
            "stopped",
            {"cut_off": cut, "unrecorded": count},
            f"stopped, but {what} could not be written down ({self._unrecorded[0]}): another worker takes these"
            f" messages for lost, and tries them again{_cut_off(cut)}",
        )
        return Exit.DATABASE

    def _stopped(self, cut: int) -> int:
        self._voice.tell("stopped", {"cut_off": cut, "unrecorded": 0}, f"stopped{_cut_off(cut)}")
        return Exit.OK

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        if signals.reload_was_asked():
            # It may have come after the configuration was read.
            self._reload.set()
        if self._link is not None:
            loop.add_reader(self._link.fileno(), self._hear_supervisor, self._link)
        try:
            yield
        finally:
            if self._link is not None:
                loop.remove_reader(self._link.fileno())
            for number in (*_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)
                # It has stopped: a signal that comes now changes nothing, least of all the exit code.
                signal.signal(number, signal.SIG_IGN)

    def _notify(self, word: Word) -> None:
        """Report to whoever started this worker what it does now."""
        if self._link is None:
            notify(word)
        else:
            self._link.tell(word, self._box.settings)

    def _hear_supervisor(self, link: Link) -> None:
        """Do as the supervisor says. Where it is gone, nobody would stop this worker: it stops by itself."""
        said = link.heard()
        if said is None:
            asyncio.get_running_loop().remove_reader(link.fileno())
            if not self._stop.is_set():
                log.warning("the process that watched over this worker is gone: it stops")
            said = ["STOP 1"]
        for words in said:
            verb, _, times = words.partition(" ")
            if verb == "STOP":
                self._stop_as_asked(int(times))
            else:
                self._reload.set()

    def _asked_to_stop(self) -> None:
        self._signalled += 1
        self._stop_as_asked(self._signalled)

    def _stop_as_asked(self, times: int) -> None:
        """
        Stop; asked twice, cut off what is under way.

        *times*: how often by now, in one of the two ways. A signal may come from the terminal, or from systemd to all
        of a service, and before or after that from the supervisor, which got the same one: that is counted once.
        """
        from pillarbox.outbox.outbox import inside

        before, self._asked = self._asked, max(self._asked, times)
        if not before:
            self._stop.set()
            if self._link is None:
                self._voice.say("stopping: sends under way may end; a second signal cuts them off")
        if before < self._asked and self._asked > 1:
            self._cut += inside(self._box).lifetime.stop_now()

    def _asked_to_reload(self) -> None:
        if self._seen_on_terminal and not on_terminal(sys.stderr):
            # The terminal that we ran on was closed: nobody asks for anything else, and nobody reads on.
            hush()
            self._stop.set()
        else:
            self._reload.set()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            if self._stopping or self._stop.is_set():
                log.info("it stops: the configuration is not read again")
                continue
            self._notify("RELOADING")
            await self._reload_once()
            self._notify("READY")

    async def _reload_once(self) -> None:
        """Take over what the configuration says now; a mistake in it, or no configuration of ours, changes nothing."""
        if self._read is None:
            log.warning("nothing is reloaded: the outbox of --app brings its own configuration")
            return
        try:
            settings = await asyncio.to_thread(self._read)
            changes = await self._box.reload(settings)
        except ShardsUnavailable as exc:
            log.error("the configuration is reloaded, but not everywhere; reload it again then: %s", exc)
            self._voice.tell("reload_failed", {"error": str(exc)})
            self._voice.adopt(self._box.settings)
            return
        except PillarboxError as exc:
            log.error("the configuration is not reloaded, and nothing changed: %s", exc)
            self._voice.tell("reload_failed", {"error": str(exc)})
            return
        except Exception as exc:  # noqa: BLE001 — a bug of an adapter is no reason to stop delivering
            log.error("the configuration is not reloaded, and nothing changed", exc_info=exc)
            self._voice.tell("reload_failed", {"error": type(exc).__name__})
            return
        self._voice.adopt(self._box.settings)
        if changes.restart:
            log.warning("a restart is needed for: %s", ", ".join(changes.restart))
        log.info("configuration reloaded; changed: %s", ", ".join(changes.reload) or "nothing")
        self._voice.tell("reloaded", {"changed": changes.reload, "restart": changes.restart})

    def _tell(self, event: BusEvent) -> None:
        from pillarbox.cli.outcome_lines import line_of, row_of
        from pillarbox.events.events import Alarm

        if self._stopping and isinstance(event, Alarm) and event.what == "recording_failed":
            self._unrecorded.append(event.detail)
        row = row_of(event)
        if row is None:
            return
        name = row.pop("event")
        self._voice.tell(name, row, line_of(event))
        if self._progress is not None and name in _ENDS:
            self._progress.update()

    async def _drawn(self) -> contextlib.AbstractContextManager[object]:
        """Draw a bar instead of lines, where people look and nothing else is written there."""
        if self._voice.rows or sys.stderr is None or not on_terminal(sys.stderr):
            return contextlib.nullcontext()
        from pillarbox.cli.progress import Bar

        waiting = sum(
            tally.messages
            for tally in await self._box.stats()
            if tally.channel in self._box.channels and not tally.state.terminal
        )
        bar = self._progress = Bar("draining", total=waiting, stream=self._voice.terminal())
        self._voice.quiet = True
        return bar

    def _report_unanswered(self) -> int:
        """Name the shards from which nothing was sent, because they did not answer; return the exit code of that."""
        from pillarbox.outbox.outbox import inside

        shards = inside(self._box).shards
        silent = {} if shards is None else shards.unanswered
        for name, why in silent.items():
            self._voice.say(f"{name} did not answer: {why}")
        return Exit.DATABASE if silent else Exit.OK

    def _report(self, report: DrainReport) -> int:
        row = dataclasses.asdict(report)
        if self._voice.rows:
            self._voice.emit_json({"event": "drained", **row})
        else:
            counted = (name for name in row if name in _REPORTED or (name in _RARE and row[name]))
            self._voice.emit(", ".join(f"{row[name]} {name}" for name in counted))
            self._voice.emit(
                f"left: {report.deferred_budget} due, {report.deferred_backoff} for later{_unsent(report)}"
            )
        for sentence in _unjudged(report):
            self._voice.say(sentence)
        if report.deferred_budget + report.deferred_leased + report.deferred_lost:
            return Exit.TIMED_OUT
        lost = report.failed + report.exhausted + report.expired + report.held
        return Exit.NOT_DELIVERED if lost else Exit.OK


def _cut_off(count: int) -> str:
    if count == 1:
        return "; 1 send was cut off: that message may have arrived, and is tried again"
    return f"; {count} sends were cut off: those messages may have arrived, and are tried again" if count else ""


def _unsent(report: DrainReport) -> str:
    leased = f", {report.deferred_leased} leased by another worker" if report.deferred_leased else ""
    return leased + (f", {report.deferred_lost} after a lost worker" if report.deferred_lost else "")


def _unjudged(report: DrainReport) -> Iterator[str]:
    """Yield what the drain left although nothing stopped it: messages of other workers, and those that lost workers."""
    if report.deferred_leased:
        yield (
            f"{messages(report.deferred_leased)} left alone, under the lease of another worker, which lives or cannot"
            " be asked (`pillarbox workers`): what becomes of that is known when it tells, or when the lease runs out"
        )
    if report.deferred_lost:
        yield (
            f"{messages(report.deferred_lost)} left for later, because worker after worker was lost while sending:"
            " `pillarbox explain ID` tells until when"
        )
