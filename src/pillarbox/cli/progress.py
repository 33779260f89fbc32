"""A progress bar on stderr, for long work on a terminal. Rich draws it, and is loaded here."""

from __future__ import annotations

from types import TracebackType
from typing import IO, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from pillarbox.cli.output import console
from pillarbox.domain.plain_characters import visible


class Bar:
    """
    One bar. Use it as a context manager; it is gone afterwards.

    Args:
        stream: Where it is drawn, if not on stderr itself.
    """

    def __init__(self, label: str, *, total: int, stream: IO[str] | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console(stderr=True, stream=stream),
            transient=True,
        )
        self._task = self._progress.add_task(label, total=total)

    def update(self, *, done: int | None = None, label: str | None = None) -> None:
        """Advance by one, or to *done*."""
        if done is None:
            self._progress.advance(self._task)
        else:
            self._progress.update(self._task, completed=done)
        if label is not None:
            self._progress.update(self._task, description=label)

    def say(self, sentence: str) -> None:
        """Write a line above it."""
        self._progress.console.print(Text(visible(sentence)))

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._progress.stop()
