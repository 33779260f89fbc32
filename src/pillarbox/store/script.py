"""
What is run on a connection that is somebody else's, and perhaps one that is awaited.

A `Script` yields statements and is sent their rows: so the same one runs on connections that block and on those that
are awaited. Steps ask and go on at once; `answered` makes a script of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from typing import Any, Final, TypeVar

from pillarbox.domain.message import Draft
from pillarbox.store.steps.tx import Row

T = TypeVar("T")
_PIECE: Final = 32
Values = Sequence[Any]
Ask = Callable[[str, Values], list[Row]]
"""Runs a statement with its values, and returns its rows."""
Script = Generator[tuple[str, Values], list[Row], T]


def run(script: Script[T], ask: Ask) -> T:
    """Run a script to its end. What *ask* raises is raised inside the script."""
    try:
        question = next(script)
        while True:
            try:
                rows = ask(*question)
            except BaseException as exc:  # noqa: BLE001 — the script says what follows
                question = script.throw(exc)
            else:
                question = script.send(rows)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def run_awaited(script: Script[T], ask: Callable[[str, Values], Awaitable[list[Row]]]) -> T:
    """As `run`, where answers are awaited."""
    try:
        question = next(script)
        while True:
            try:
                rows = await ask(*question)
            except BaseException as exc:  # noqa: BLE001 — the script says what follows
                question = script.throw(exc)
            else:
                question = script.send(rows)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def answered(steps: Callable[[Ask], T]) -> Script[T]:
    """
    Make a script of *steps*, which ask and go on with the answer.

    They are run from the start for each answer, with all that are known by then: so they must ask the same each time.
    """
    known: list[list[Row] | Exception] = []
    while True:
        try:
            return steps(_Known(known).ask)
        except _Open as question:
            asked = question.asked
        try:
            known.append((yield asked))
        except Exception as exc:  # noqa: BLE001 — it is raised where it was asked
            known.append(exc)


def pieces(drafts: Sequence[Draft]) -> Iterator[Sequence[Draft]]:
    """Yield so many at a time, fan-outs whole: each large content is a question, for which a piece is gone through."""
    start = 0
    for end in range(1, len(drafts) + 1):
        group = drafts[end].group_id if end < len(drafts) else None
        inside = group is not None and group == drafts[end - 1].group_id
        if end == len(drafts) or (end - start >= _PIECE and not inside):
            yield drafts[start:end]
            start = end


class _Open(BaseException):  # no Exception: steps must not handle it
    def __init__(self, asked: tuple[str, Values]) -> None:
        self.asked = asked


class _Known:
    def __init__(self, answers: Sequence[list[Row] | Exception]) -> None:
        self._answers = iter(answers)

    def ask(self, sql: str, values: Values) -> list[Row]:
        answer = next(self._answers, None)
        if answer is None:
            raise _Open((sql, values))
        if isinstance(answer, Exception):
            raise answer
        return answer
