"""
`pillarbox run --workers`: several worker processes under one that watches over them.

The supervisor opens no database, runs no event loop and starts no thread, so that it can fork at any time. A worker
is a fork of it: what it tells ("READY") and what it is told ("STOP 1") goes through a pair of sockets, its `Link`. A
worker that ends unasked is replaced, later each time; where the supervisor itself is gone, its workers stop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import selectors
import signal
import socket
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, cast

from pillarbox.cli import signals
from pillarbox.cli.exits import Exit
from pillarbox.cli.output import encoded
from pillarbox.cli.systemd import Word, notify
from pillarbox.cli.worker_log import log
from pillarbox.clock import SystemClock
from pillarbox.domain.plain_characters import visible
from pillarbox.events.log_format import LEVELS, make_formatter

if TYPE_CHECKING:
    from types import FrameType

    from pillarbox.settings.model import Settings

WORKERS_MAX: Final = 64
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_HEARD: Final = (*_STOPS, signal.SIGHUP, signal.SIGCHLD)
_WAIT_SECONDS_MAX: Final = 60.0
# A worker that lived so long has not died of what killed the one before it.
_SOUND_SECONDS: Final = 60.0
_READ_BYTES: Final = 4096


def restart_seconds(losses: int) -> float:
    """Return how long a place stays empty that has lost *losses* workers in a row: 1, 2, 4, … 60 seconds."""
    return min(2.0 ** min(losses - 1, 10), _WAIT_SECONDS_MAX)


class Link:
    """A worker's end of what binds it to its supervisor."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(0)
        self._end = end
        self._rest = b""

    def fileno(self) -> int:
        """Return what an event loop watches."""
        return self._end.fileno()

    def tell(self, word: Word, settings: Settings) -> None:
        """Send what this worker does now, and how it writes its log. A supervisor that is gone hears nothing."""
        with contextlib.suppress(OSError):
            self._end.send(f"{word} {settings.log_format} {settings.log_level}\n".encode())

    def heard(self) -> list[str] | None:
        """Return what the supervisor has said since the last call; ``None`` where it is gone."""
        try:
            got = self._end.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not got:
            return None
        *lines, self._rest = (self._rest + got).split(b"\n")
        return [line.decode() for line in lines]


@dataclass(slots=True, kw_only=True)
class _Place:
    """
    One of the workers, or where one was.

    Attributes:
        pid: ``None`` where nobody is there now.
        ready: Whether it delivers.
        reloading: Whether it was asked to read its configuration again, and has not said yet that it has.
        losses: How many workers it has lost in a row.
        at: When its worker was started, or is to be; by `Clock.mono`.
    """

    at: float
    pid: int | None = None
    end: socket.socket | None = None
    rest: bytes = b""
    ready: bool = False
    reloading: bool = False
    losses: int = 0


class Supervisor:
    """
    Keeps *count* workers running.

    Args:
        rows: What it tells goes to stdout as JSON, as its workers' outcomes do; else to stderr.
        quiet: Of what it tells, only what is wrong.
    """

    def __init__(self, count: int, *, rows: bool, quiet: bool) -> None:
        self._clock = SystemClock()
        self._places = [_Place(at=self._clock.mono()) for _ in range(count)]
        self._rows = rows
        self._level = logging.WARNING if quiet else logging.INFO
        self._quiet = quiet
        self._format = "text"
        self._ever_ready = False
        self._announced = False
        self._reloading = False
        self._stops = 0
        self._left_alone = False
        self._worst = 0
        self._signals: list[int] = []
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()

    def watch(self) -> Link | int:
        """
        Keep them running until they are told to stop.

        Returns:
            In a new worker, its link: the caller then works. In the supervisor, the exit code.
        """
        self._listen()
        while True:
            self._obey()
            failed = self._bury()
            if failed is not None:
                return failed
            if self._stops and not self._alive():
                return self._ended()
            if not self._stops:
                for place in self._due():
                    link = self._fork(place)
                    if link is not None:
                        return link
            self._announce()
            self._wait()

    # What it hears

    def _listen(self) -> None:
        for end in (self._woken, self._waker):
            end.settimeout(0)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in _HEARD:
            signal.signal(number, self._on_signal)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _wait(self) -> None:
        """Wait for a signal, a worker's word, or the time to start one."""
        times = [] if self._stops or not self._ever_ready else [one.at for one in self._places if one.pid is None]
        timeout = max(0.0, min(times) - self._clock.mono()) if times else None
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(_READ_BYTES)
            else:
                self._hear(cast("_Place", key.data))

    def _hear(self, place: _Place) -> None:
        assert place.end is not None  # noqa: S101 — only those that have one are watched
        try:
            got = place.end.recv(_READ_BYTES)
        except OSError:
            got = b""
        if not got:
            # It is about to end, or has ended: the kernel tells which.
            self._selector.unregister(place.end)
            return
        *lines, place.rest = (place.rest + got).split(b"\n")
        for line in lines:
            word, self._format, level = line.decode().split()
            self._level = logging.WARNING if self._quiet else LEVELS[level]
            if word == "READY":
                place.ready, place.reloading = True, False
                self._ever_ready = True

    def _obey(self) -> None:
        """Pass on what it was told by signals."""
        told, self._signals = self._signals, []
        for number in told:
            if number in _STOPS:
                self._stops += 1
                self._on_stop()
            elif number == signal.SIGHUP and not self._stops:
                self._tell_workers("RELOAD")
                for place in self._alive():
                    place.reloading = True
                self._reloading = True
                notify("RELOADING")

    def _on_stop(self) -> None:
        if self._stops == 1:
            notify("STOPPING")
            self._left_alone = not self._alive()
            self._say("stopping: sends under way may end; a second signal cuts them off")
        self._tell_workers(f"STOP {self._stops}")

    def _tell_workers(self, words: str) -> None:
        for place in self._alive():
            assert place.end is not None  # noqa: S101 — whoever lives has one
            with contextlib.suppress(OSError):
                place.end.send(f"{words}\n".encode())

    # Workers begin and end

    def _alive(self) -> list[_Place]:
        return [place for place in self._places if place.pid is not None]

    def _due(self) -> list[_Place]:
        """Return where a worker is to be started now: of all the first alone, until it has shown that one can run."""
        now = self._clock.mono()
        due = [place for place in self._places if place.pid is None and place.at <= now]
        if self._ever_ready:
            return due
        return [] if self._alive() else due[:1]

    def _fork(self, place: _Place) -> Link | None:
        """Start a worker; return its link, in the worker alone."""
        ours, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
        # What comes before the child has handlers of its own waits until then.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._let_go()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return Link(theirs)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        ours.settimeout(0)
        place.pid, place.end, place.rest, place.at = pid, ours, b"", self._clock.mono()
        self._selector.register(ours, selectors.EVENT_READ, place)
        return None

    def _let_go(self) -> None:
        """Drop, in a worker, all that is the supervisor's: as long as another holds it, its end goes unnoticed."""
        signal.set_wakeup_fd(-1)
        for number in _HEARD:
            signal.signal(number, signal.SIG_DFL)
        signals.keep_reloads()
        self._selector.close()
        for end in (self._woken, self._waker, *(place.end for place in self._places)):
            if end is not None:
                end.close()

    def _bury(self) -> int | None:
        """Take note of workers that have ended; return the exit code where none can ever run."""
        for place in self._alive():
            assert place.pid is not None  # noqa: S101 — whoever lives has one
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if not pid:
                continue
            code = os.waitstatus_to_exitcode(status)
            began, was_ready = place.at, place.ready
            self._empty(place)
            if self._stops:
                self._count_end(pid, code, was_ready=was_ready)
            elif not self._ever_ready:
                return self._hopeless(pid, code)
            else:
                self._replace(place, pid, code, lived=self._clock.mono() - began)
        return None

    def _empty(self, place: _Place) -> None:
        if place.end is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(place.end)
            place.end.close()
        place.pid = place.end = None
        place.ready = place.reloading = False

    def _replace(self, place: _Place, pid: int, code: int, *, lived: float) -> None:
        place.losses = 1 if lived >= _SOUND_SECONDS else place.losses + 1
        seconds = restart_seconds(place.losses)
        place.at = self._clock.mono() + seconds
        self._tell(
            "worker_ended",
            {"pid": pid, **_end_of(code), "restart_seconds": seconds},
            f"worker (pid {pid}) {_how(code)}; another one takes its place in {seconds:.0f}s",
            level=logging.WARNING,
        )

    def _hopeless(self, pid: int, code: int) -> int:
        """Return with what the first worker ended with: it has said why."""
        if code >= 0:
            return code
        self._say(f"worker (pid {pid}) {_how(code)} before it could deliver: nothing runs", level=logging.ERROR)
        return Exit.FAILURE

    def _count_end(self, pid: int, code: int, *, was_ready: bool) -> None:
        """Remember the worst end. Whoever had not begun has nothing to lose by a signal."""
        if code < 0 and (was_ready or -code not in _STOPS):
            self._say(
                f"worker (pid {pid}) {_how(code)} while it stopped: another worker tries again what it was sending",
                level=logging.WARNING,
            )
            code = Exit.FAILURE
        self._worst = max(self._worst, code)

    def _ended(self) -> int:
        """Return the exit code: the worst of the workers'."""
        if self._left_alone:
            self._say("no worker was running when this was told to stop", level=logging.ERROR)
            return Exit.FAILURE
        self._tell("stopped", {"workers": len(self._places)}, f"all {len(self._places)} workers have stopped")
        return self._worst

    # What it tells

    def _announce(self) -> None:
        """Notify the service manager when all deliver, and when they have read their configuration again."""
        if not self._announced and all(place.ready for place in self._places):
            self._announced = True
            notify("READY")
            count, pid = len(self._places), os.getpid()
            self._tell("ready", {"workers": count, "pid": pid}, f"all {count} workers deliver (under pid {pid})")
        if self._announced and self._reloading and not any(place.reloading for place in self._places):
            self._reloading = False
            notify("READY")

    def _tell(self, event: str, row: dict[str, Any], sentence: str, *, level: int = logging.INFO) -> None:
        if self._rows:
            _put(sys.stdout, encoded({"event": event, **row}))
        else:
            self._say(sentence, level=level, extra={"event": event, **row})

    def _say(self, sentence: str, *, level: int = logging.INFO, extra: dict[str, Any] | None = None) -> None:
        if level < self._level:
            return
        if self._format == "json":
            record = log.makeRecord(log.name, level, "", 0, sentence, (), None, extra=extra)
            sentence = make_formatter("json").format(record)
        _put(sys.stderr, f"{visible(sentence)}\n".encode("utf-8", "backslashreplace"))


def _put(stream: IO[str] | None, line: bytes) -> None:
    """Write a line where somebody takes it at once: nobody who stands still keeps us from our workers."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        number = stream.fileno()
        if select.select((), (number,), (), 0)[1]:
            os.write(number, line)


def _how(code: int) -> str:
    return f"was killed by {_signal(-code)}" if code < 0 else f"ended with exit code {code}"


def _end_of(code: int) -> dict[str, Any]:
    return {"exit_code": None, "signal": _signal(-code)} if code < 0 else {"exit_code": code, "signal": None}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
