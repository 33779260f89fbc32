"""Where an exception was raised, and nothing of what was in the variables there, nor of the source lines."""

from __future__ import annotations

import traceback
from typing import Final

from pillarbox.user_code import pass_on

FRAMES_MAX: Final = 30
_DEPTH_MAX: Final = 10_000


def frames_of(error: BaseException) -> list[str]:
    """
    Return file, line and function of each frame, the outermost first; at most the last 30.

    Source lines are left out: a token may be written into one.
    """
    try:
        frames = list(traceback.walk_tb(error.__traceback__))[-FRAMES_MAX:]
        return [
            f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_qualname}' for frame, line in frames
        ]
    except BaseException as exc:  # noqa: BLE001 — an exception's attributes may be anybody's code
        pass_on(exc)
        return []


def place_of_error(error: BaseException) -> tuple[object, ...]:
    """Return what tells one place of an error from another: its type, and the file and line where it was raised."""
    last = error.__traceback__
    for _ in range(_DEPTH_MAX):
        if last is None or last.tb_next is None:
            break
        last = last.tb_next
    where = ("", 0) if last is None else (last.tb_frame.f_code.co_filename, last.tb_lineno)
    return (type(error).__qualname__, *where)
