"""The page of states: what each means, a diagram of the legal moves, and the words for what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from pillarbox.domain.lifecycle import MOVES
from pillarbox.domain.message import State
from pillarbox.domain.outcome import AnyOutcome
from pillarbox.domain.transition import ErrorClass, Reason
from tools.reference.page import about, code, members, table

if TYPE_CHECKING:
    from collections.abc import Iterator


def blocks() -> dict[str, str]:
    """Return the tables and the diagram."""
    states, reasons, classes = members(State), members(Reason), members(ErrorClass)
    return {
        "states": table(
            ("State", "Kind", "Meaning"),
            ((code(state), "terminal" if state.terminal else "active", said) for state, said in states.items()),
        ),
        "diagram": "".join(f"{line}\n" for line in _diagram()),
        "moves": table(
            ("From", "To", "By"), ((code(before), code(after), by) for (before, after), by in sorted_moves())
        ),
        "reasons": table(("Reason", "What happened"), ((code(reason), said) for reason, said in reasons.items())),
        "outcomes": table(
            ("Outcome", "What the channel says with it"),
            ((code(one.__name__), about(one)) for one in get_args(AnyOutcome)),
        ),
        "error classes": table(("Class", "What went wrong"), ((code(one), said) for one, said in classes.items())),
    }


def sorted_moves() -> list[tuple[tuple[State, State], str]]:
    """Return the moves in the order of their states."""
    return sorted(MOVES.items(), key=lambda move: (move[0][0].code, move[0][1].code))


def _diagram() -> Iterator[str]:
    """Yield the lines of the diagram; a move into it is an acceptance, a move out of it a deletion."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {State.SCHEDULED}: accepted"
    for (before, after), by in sorted_moves():
        yield f"    {before} --> {after}: {by}"
    for state in State:
        if state.terminal:
            yield f"    {state} --> [*]"
    yield "```"
