"""Tables: on a terminal their columns fit it, without cutting what tells rows apart; elsewhere nothing is cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

_GAP: Final = 2
# No name can be told from another in less, and no sentence can be read.
_LEAST: Final = 8
_LEAST_TEXT: Final = 16
NOTHING: Final = "-"
"""What is shown where there is nothing."""


def narrowed(widths: Sequence[int], room: int, *, whole: int) -> list[int]:
    """
    Return the widths of columns that have *room* together.

    The first *whole* columns, and narrow ones, stay as they are. The last one gives way first: it holds what is told
    in full elsewhere. Then the widest of the others do. Where that is not enough, they are wider than the room.
    """
    found = list(widths)
    over = sum(found) + _GAP * (len(found) - 1) - room
    last = len(found) - 1
    while over > 0:
        givers = [place for place in range(whole, len(found)) if found[place] > _LEAST]
        if not givers:
            break
        place = last if last in givers else max(givers, key=found.__getitem__)
        found[place] -= 1
        over -= 1
    return found


def cut(text: str, width: int) -> str:
    """Fit *text* into so many cells of a terminal; where it is too long, its end is left out."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(f"{set_cell_size(text, width - 1).rstrip()}…", width)


def cut_apart(cells: Sequence[str], width: int) -> list[str]:
    """Fit the cells of a column into a width; where their beginnings are the same, what differs is shown."""
    from rich.cells import cell_len

    ordered = sorted(set(cells))
    shared = dict.fromkeys(ordered, 0)
    for one, other in itertools.pairwise(ordered):
        length = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
        shared[one], shared[other] = max(shared[one], length), length
    plain = {cell for cell in ordered if cell_len(cell[: shared[cell]]) < width - 1 or cell_len(cell) <= width}
    return [cut(cell if cell in plain else f"…{cell[shared[cell] - 1 :]}", width) for cell in cells]


def drawn(columns: Sequence[str], rows: Sequence[Sequence[str]], *, room: int, whole: int) -> list[list[str]]:
    """
    Return a table for a terminal with *room* cells a line: the lines of each row, those of the columns' names first.

    Where nothing would be left of the last column, what it says stands beneath its row.
    """
    from rich.cells import cell_len

    everything = (columns, *rows)
    natural = [max(cell_len(row[place]) for row in everything) for place in range(len(columns))]
    widths = narrowed(natural, room, whole=whole)
    last = len(columns) - 1
    beneath = widths[last] < min(natural[last], _LEAST_TEXT)
    if beneath:
        widths = narrowed(natural[:last], room, whole=whole)
    fitted = [cut_apart([row[place] for row in rows], width) for place, width in enumerate(widths[:last])]
    if not beneath:
        fitted.append([cut(row[last], widths[last]) for row in rows])
    gap = " " * _GAP
    head = gap.join(cut(name, width) for name, width in zip(columns, widths, strict=False))
    found = [[head.rstrip()], *([gap.join(cells).rstrip()] for cells in zip(*fitted, strict=True))]
    for row, lines in zip(rows, found[1:], strict=True):
        if beneath and row[last] != NOTHING:
            lines.append(gap + cut(row[last], room - _GAP).rstrip())
    return found


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table for programs and files: nothing is cut."""
    everything = (columns, *rows)
    widths = [max(len(row[place]) for row in everything) for place in range(len(columns))]
    return [
        (" " * _GAP).join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    ]
