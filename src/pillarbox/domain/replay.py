"""Whether what has ended may be sent once more, and how much of it (contract ST2). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from pillarbox.domain.message import State
from pillarbox.errors import Refused

_NO_CONTENT: Final = "what it says was deleted: there is nothing left to send"
_ALL_PARTS: Final = (
    "every part of it was delivered: only a fresh replay, which sends all of them again, has something to send"
)


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """
    A replay that is allowed.

    Attributes:
        own_token: Under a dedupe token of its own. A token names its part by number: where parts get new numbers, the
            old tokens would name the wrong ones.
        anew: Every part goes once more.
        done: Parts that need not go again.
    """

    own_token: bool
    anew: bool
    done: int = 0


def copied(
    state: State,
    *,
    fresh: bool,
    has_content: bool,
    earlier: Sequence[str],
    part_count: int,
    parts_done: int,
    behind: int,
) -> Copy:
    """
    Judge one replay. A delivered message is always replayed anew.

    Args:
        state: Of the original.
        fresh: A copy on purpose.
        has_content: What it says is still there.
        earlier: What earlier replays have made of it, on its way or delivered.
        parts_done: How many of its *part_count* parts are delivered; *behind* is the number behind the last of them.

    Raises:
        Refused: There must be none.
    """
    if not has_content:
        raise Refused(_NO_CONTENT)
    if earlier and not fresh:
        raise Refused(f"it was replayed already, as {earlier[0]}; a fresh replay is a copy on purpose")
    anew = fresh or state is State.DELIVERED
    if anew or part_count == 1:
        return Copy(own_token=anew, anew=anew)
    if parts_done >= part_count:
        raise Refused(_ALL_PARTS)
    return Copy(own_token=behind != parts_done, anew=False, done=parts_done)
