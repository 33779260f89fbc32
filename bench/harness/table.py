"""Shows figures: as text for a terminal, as Markdown for a page, as JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.harness.figure import Figure, shown

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.machine import Machine

Found = Mapping[str, Sequence[Figure]]
_HEAD = ("question", "figure", "ours", "peer", "ratio", "goal", "met", "aim")
_BEGIN = "<!-- figures: begin; written by `python -m bench --page` -->"
_END = "<!-- figures: end -->"


def text(found: Found) -> str:
    """Draw a table for a terminal, and the notes beneath it."""
    rows = [_HEAD, *(_row(question, figure) for question, figures in found.items() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_notes(found)])


def markdown(found: Found, machine: Machine, pictures: Sequence[str] = ()) -> str:
    """Write the same for a page, with *pictures* beneath it, each a line that shows one."""
    lines = [
        (
            f"Measured {machine['at']} at commit `{machine['commit']}`: {machine['cores']} × {machine['processor']}, "
            f"{machine['system']}, {machine['file_system']}, Python {machine['python']}, SQLite {machine['sqlite']}, "
            f"fdatasync {machine['fdatasync_ms']} ms; load before the run {machine['load']}."
        ),
        "",
        _line(_HEAD),
        _line(["---"] * len(_HEAD)),
    ]
    lines += [_line(_row(question, figure)) for question, figures in found.items() for figure in figures]
    lines += ["", *(f"* {note}" for note in _notes(found))]
    for picture in pictures:
        lines += ["", picture]
    return "\n".join(lines)


def check_page(page: Path) -> None:
    """Look for the two marks of *page*. Raises ValueError where it has none."""
    _around(page)


def write_page(page: Path, found: Found, machine: Machine, pictures: Sequence[str] = ()) -> None:
    """Replace what stands between the two marks of *page*. Raises ValueError where it has none."""
    before, after = _around(page)
    page.write_text(f"{before}{_BEGIN}\n{markdown(found, machine, pictures)}\n{_END}{after}", "utf-8")


def _around(page: Path) -> tuple[str, str]:
    before, begin, rest = page.read_text("utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the figures: expected {_BEGIN} and {_END}")
    return before, after


def write_json(file: Path, found: Found, machine: Machine) -> None:
    """Write every sample."""
    values = {
        "machine": machine,
        "figures": [_values(question, figure) for question, figures in found.items() for figure in figures],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _row(question: str, figure: Figure) -> tuple[str, ...]:
    peer = f"{shown(figure.peer_value)} ({figure.peer})" if figure.peer else ""
    return (
        question,
        figure.name,
        f"{shown(figure.value)} {figure.unit}".rstrip(),
        peer,
        "" if figure.ratio is None else f"{shown(figure.ratio)} ×",
        "" if figure.goal is None else figure.goal.text(figure.unit, figure.peer),
        {None: "", True: "yes", False: "NO"}[figure.met],
        "" if figure.aim is None else f"{figure.aim.text(figure.unit, figure.peer)}{_tick(figure)}",
    )


def _tick(figure: Figure) -> str:
    return " (yes)" if figure.reached(figure.aim) else " (no)"


def _notes(found: Found) -> list[str]:
    return [
        f"{question}, {figure.name}: {figure.note}"
        for question, figures in found.items()
        for figure in figures
        if figure.note
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _values(question: str, figure: Figure) -> dict[str, Any]:
    return {
        "question": question,
        "name": figure.name,
        "unit": figure.unit,
        "statistic": str(figure.statistic),
        "value": _rounded(figure.value),
        "peer": figure.peer or None,
        "peer_value": _rounded(figure.peer_value),
        "ratio": _rounded(figure.ratio),
        "excess": _rounded(figure.excess),
        "goal": None if figure.goal is None else figure.goal.text(figure.unit, figure.peer),
        "met": figure.met,
        "aim": None if figure.aim is None else figure.aim.text(figure.unit, figure.peer),
        "aim_met": figure.reached(figure.aim),
        "note": figure.note or None,
        "plot": None if figure.point is None else figure.point.plot,
        "series": None if figure.point is None else figure.point.series,
        "at": None if figure.point is None else figure.point.at,
        "samples": [_rounded(sample) for sample in figure.samples],
        "peer_samples": [_rounded(sample) for sample in figure.peer_samples],
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.5g}")
