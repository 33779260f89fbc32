"""
What a command writes: data on stdout, talk on stderr.

Everything that came from elsewhere is made visible before it reaches a terminal, because some characters give orders
to one. Rich is loaded only where stdout is a terminal; it honours NO_COLOR by itself.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
from typing import IO, TYPE_CHECKING, Any

import click

from pillarbox.cli.columns import NOTHING, aligned, drawn
from pillarbox.domain.plain_characters import escaped, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

Cell = str | int | None
Row = dict[str, Any]


def emit(line: str) -> None:
    """Write a line of data for people."""
    click.echo(visible(line))


def emit_json(value: object) -> None:
    """Write one value as one line of JSON, in UTF-8 whatever the locale."""
    click.echo(encoded(value), nl=False)


def encoded(value: object) -> bytes:
    """Return a value as one line of JSON, in UTF-8."""
    return json_of(value) + b"\n"


def json_of(value: object) -> bytes:
    """Return one value as JSON in which nothing controls a terminal."""
    import msgspec

    return escaped(msgspec.json.encode(value))


def talk(line: str) -> None:
    """
    Write a line that is not data, to stderr, unless --quiet is given.

    Where that cannot be written, nothing is raised: it decides nothing.
    """
    running = click.get_current_context(silent=True)
    # Errors are written when the command is over.
    if running is None or not running.obj.get("quiet"):
        complain(line)


def complain(line: str) -> None:
    """Write a line to stderr that is read whether or not --quiet is given."""
    try:
        click.echo(visible(line), err=True)
    except (OSError, ValueError):
        hush(sys.stderr)


@contextlib.contextmanager
def reporting(done: str) -> Iterator[None]:
    """Report what was done: where the report cannot be written, that is said, and it stays done (exit code 0)."""
    try:
        yield
        sys.stdout.flush()
    except OSError as exc:
        hush(sys.stdout)
        complain(f"{done}, but that could not be written to stdout: {exc.strerror or type(exc).__name__}")


class _Whole(io.TextIOWrapper):
    """Hands on at once what is written, as whoever lets Python buffer nothing wants it."""

    def write(self, text: str, /) -> int:
        """Write all of it."""
        written = super().write(text)
        self.flush()
        return written


@contextlib.contextmanager
def whole_stdout() -> Iterator[None]:
    """
    Let everything that is written to stdout be there whole, or fail.

    Where Python buffers nothing (PYTHONUNBUFFERED, as most images of containers say), what the system takes only a part
    of is cut short without a word: on a disk that gets full, or by Ctrl-Z while a reader is slow.
    """
    stdout = sys.stdout
    if not isinstance(getattr(stdout, "buffer", None), io.RawIOBase):
        yield
        return
    buffer = io.BufferedWriter(io.FileIO(stdout.fileno(), "w", closefd=False))
    whole = _Whole(buffer, encoding=stdout.encoding, errors=stdout.errors)
    sys.stdout = whole
    try:
        yield
    finally:
        sys.stdout = stdout
        # What can be said of a failure has been said.
        with contextlib.suppress(OSError):
            whole.close()


def on_terminal(stream: IO[str] | None = None) -> bool:
    """Whether people look at *stream*, stdout by default."""
    stream = sys.stdout if stream is None else stream
    return stream is not None and stream.isatty()


def hush(*streams: IO[str] | None) -> None:
    """Discard what is written there from now on, and what could not be written; by default on both."""
    for stream in streams or (sys.stdout, sys.stderr):
        if stream is None:
            continue
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def console(*, stderr: bool = False, stream: IO[str] | None = None) -> Console:
    """Return rich's console for a terminal; on *stream*, which stands for stdout or stderr, if it is given."""
    from rich.console import Console

    return Console(file=stream, stderr=stderr, highlight=False, markup=False, emoji=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, whole: int = 1) -> None:
    """
    Write a table: drawn on a terminal, in aligned columns elsewhere. ``None`` is shown as a dash.

    Args:
        whole: So many columns from the left stay whole on a narrow terminal; the others give way.
    """
    cells = [[visible(_shown(cell)) for cell in row] for row in rows]
    if not on_terminal():
        click.echo("\n".join(aligned(columns, cells)))
        return
    screen = console()
    (head, *_), *lines = drawn(columns, cells, room=screen.width, whole=whole)
    # NO_COLOR asks for no colour; whoever sets it is better off without bold letters too.
    click.echo(head if screen.no_color else click.style(head, bold=True))
    for line in itertools.chain.from_iterable(lines):
        click.echo(line)


def listing(
    rows: Sequence[Row],
    columns: Sequence[str],
    cells: Callable[[Row], Sequence[Cell]],
    *,
    as_json: bool,
    whole: int = 1,
) -> None:
    """Write *rows*: as JSON, or for people as a table, in which each stands as its *cells*."""
    if as_json:
        emit_json(rows)
    else:
        table(columns, [cells(row) for row in rows], whole=whole)


def pairs(rows: Sequence[tuple[str, Cell]]) -> None:
    """Write names and values, one pair a line; what is ``None`` is left out."""
    there = [(name, visible(str(value))) for name, value in rows if value is not None]
    width = max((len(name) for name, _ in there), default=0)
    for name, value in there:
        click.echo(f"{name.ljust(width)}  {value}")


def counted(count: int, what: str) -> str:
    """Write how many there are of something: ``1 error``, ``2 errors``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def messages(count: int) -> str:
    """Write how many messages, in words."""
    return counted(count, "message")


def to_second(stamp: object) -> str | None:
    """Leave out the milliseconds: people they only disturb."""
    return None if stamp is None else f"{str(stamp)[:19]}Z"


def _shown(cell: Cell) -> str:
    return NOTHING if cell is None or cell == "" else str(cell)
