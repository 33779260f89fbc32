"""Which workers run: each says so with its commits, and from its silence others conclude that it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillarbox.store.steps.leased import lapsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.store.base import Lapsed
    from pillarbox.store.postgres.connection import Session

HEARD_MS: Final = 10_000
"""How often a worker that commits says that it is there."""
ALIVE_MS: Final = 60_000
"""How long after that it is taken to run. Afterwards that is not known."""
GONE_MS: Final = 600_000
"""And how long until it surely runs no more: by then its connection is gone, and whatever it sent was given up."""


def alive(session: Session) -> Callable[..., bool | None]:
    """Return what judges by a worker's row whether it runs; ``None`` where that is not known."""
    now_ms = session.lease_now

    def judge(_: int, heard_ms: int, closed: bool) -> bool | None:  # noqa: FBT001 — a column
        if closed or now_ms - heard_ms >= GONE_MS:
            return False
        return True if now_ms - heard_ms < ALIVE_MS else None

    return judge


def may_live(session: Session, worker: bytes) -> bool:
    """Return whether the process of that id is not known to be gone."""
    judge = alive(session)
    return any(judge(*owner) is not False for owner in session.many("worker", (worker,)))


def lapses(session: Session, limit: int) -> tuple[list[Lapsed], list[tuple[int, int]]]:
    """Find lapsed leases, and the workers that are gone and hold nothing any more, with when they were heard."""
    owners = {slot: marks for slot, *marks in session.many("owners")}
    gone = {slot for slot, (_, closed) in owners.items() if closed}
    found = lapsed(
        session,
        session.numbers,
        gone=lambda slot: slot not in owners or slot in gone,
        lease_now=session.lease_now,
        limit=limit,
    )
    judge = alive(session)
    dead = [slot for slot, marks in owners.items() if judge(slot, *marks) is False]
    # Seldom is anybody gone; and while somebody's transaction stays open, this walks over all that was leased.
    holding = {slot for (slot,) in session.many("leased_workers")} if dead else set()
    return found, [(slot, owners[slot][0]) for slot in dead if slot not in holding]
