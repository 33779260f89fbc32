"""
Whole lives a second by the size of what is sent, from 100 bytes to 256 KiB, the largest that is taken by default.

100 producers; as many bytes for each size, within bounds. The larger ones show what the disk writes in a second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bench.harness.figure import Figure, Point
from bench.programs.crowd import lives

if TYPE_CHECKING:
    from bench.harness.plan import Plan

_PRODUCERS: Final = 100
_AROUND: Final = len('{"text":""}')
_KIB: Final = 1024


def measure(plan: Plan) -> list[Figure]:
    sizes = plan.size(
        trial=(100,), quick=(100, 16 * _KIB), usual=(100, _KIB, 4 * _KIB, 16 * _KIB, 64 * _KIB, 256 * _KIB)
    )
    most, megabytes = plan.size(trial=(100, 1), quick=(2_000, 16), usual=(10_000, 64))
    samples: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(plan.rounds):
        for size, rates in samples.items():
            count = max(_PRODUCERS, min(most, megabytes * 1_000_000 // size))
            with plan.folder() as folder:
                found = lives(folder / "ours.db", count, producers=_PRODUCERS, text="x" * (size - _AROUND))
                rates.append(asyncio.run(found).rate)
    return [
        Figure(
            name=f"{size} bytes" if size < _KIB else f"{size // _KIB} KiB",
            unit="lives/s",
            samples=tuple(rates),
            point=Point(plot="payload", series="pillarbox", at=size),
            note=f"{max(rates) * size / 1e6:.1f} MB of content a second at best",
        )
        for size, rates in samples.items()
    ]
