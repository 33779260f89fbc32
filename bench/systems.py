"""
Whole lives a second, beside other queues on SQLite: each in a process and an environment of its own, in turns.

Every system does what it does for a message from its acceptance to its end, and says how durable that is: at ``power``
a message that was accepted survives a power cut, because an fsync stood behind it; at ``process`` it survives the end
of the process only. We have 1 000 producers in one process; the others have no way to share a commit between
producers, so one producer is as fast as many. What each program does is its docstring in ``bench/peers/``. A system
that cannot be installed here is named with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.harness import peers
from bench.harness.figure import Figure, Point
from bench.harness.peers import Absent, Peer
from bench.harness.processes import Program

if TYPE_CHECKING:
    from bench.harness.peers import Installed
    from bench.harness.plan import Plan

PLOT: Final = "systems"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One peer in one of its modes. *share* is how many of its lives are enough beside 1 000 of huey's."""

    peer: Peer
    mode: str
    durability: str
    setting: str = ""
    share: float = 1.0

    @property
    def name(self) -> str:
        """Peer and setting."""
        return f"{self.peer.name}, {self.setting}" if self.setting else self.peer.name


SYSTEMS: Final = (
    System(peer=peers.HUEY, mode="fsync", durability="power", setting="fsync"),
    System(peer=peers.HUEY, mode="none", durability="process", setting="no fsync", share=2),
    System(peer=peers.LITEQUEUE, mode="full", durability="power", setting="FULL"),
    System(peer=peers.LITEQUEUE, mode="normal", durability="process", setting="NORMAL"),
    System(peer=peers.PERSIST_QUEUE, mode="default", durability="power"),
    System(peer=peers.DBOS, mode="default", durability="power", share=0.1),
    System(peer=peers.OPENCLAW, mode="normal", durability="process", setting="NORMAL"),
    System(peer=peers.COMIS, mode="full", durability="power", setting="FULL"),
    System(peer=peers.COMIS, mode="normal", durability="process", setting="NORMAL", share=2),
)
_OURS: Final = ("power", "process")
_QUICK: Final = (peers.HUEY, peers.LITEQUEUE)


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(trial=1_000, quick=10_000, usual=20_000)
    few = plan.size(trial=20, quick=500, usual=1_000)
    wanted = plan.size(trial=(), quick=_QUICK, usual=tuple(dict.fromkeys(one.peer for one in SYSTEMS)))
    there, absent = peers.install(wanted, plan)
    ours: dict[str, list[float]] = {durability: [] for durability in _OURS}
    theirs: dict[System, list[float]] = {one: [] for one in SYSTEMS if one.peer.name in there}
    for _ in range(plan.rounds):
        for durability, rates in ours.items():
            rates.append(our_lives(plan, count, durability))
        for system, rates in list(theirs.items()):
            try:
                rates.append(_their_lives(there[system.peer.name], plan, system, few))
            except Absent as error:
                absent[system.name] = str(error)
                del theirs[system]
    versions = {name: installed.version for name, installed in there.items()}
    return _figures(ours, theirs, versions, absent)


def our_lives(plan: Plan, count: int, durability: str) -> float:
    """Run the same program that the others have, with pillarbox in it."""
    with plan.folder() as folder, Program("crowd", folder / "ours.db", count, "--durability", durability) as program:
        return float(program.hear()["rate"])


def _their_lives(installed: Installed, plan: Plan, system: System, few: int) -> float:
    return installed.lives(plan, max(1, int(few * system.share)), system.mode)


def _figures(
    ours: dict[str, list[float]],
    theirs: dict[System, list[float]],
    versions: dict[str, str],
    absent: dict[str, str],
) -> list[Figure]:
    figures = [
        Figure(
            name=f"pillarbox, {durability}",
            unit="lives/s",
            samples=tuple(rates),
            point=Point(plot=PLOT, series=durability, at="pillarbox"),
        )
        for durability, rates in ours.items()
    ]
    figures += [
        Figure(
            name=f"beside {system.name}",
            unit="lives/s",
            samples=tuple(ours[system.durability]),
            peer=f"{system.name}; {system.durability}",
            peer_samples=tuple(rates),
            point=Point(plot=PLOT, series=system.durability, at=system.peer.name, peer=True),
            note=f"version {versions[system.peer.name]}",
        )
        for system, rates in theirs.items()
    ]
    if absent:
        figures.append(
            Figure(
                name="systems that are absent",
                unit="",
                samples=(float(len(absent)),),
                note="; ".join(f"{name}: {why}" for name, why in absent.items()),
            )
        )
    return figures
