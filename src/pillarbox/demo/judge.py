"""
Judges a demonstration from what the receiver's ledger says and what the database says. Pure: values in, verdict out.

The two are kept by different processes, and the judge believes a thing only where both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that was accepted: the *place*-th of its lane, counted from 0."""

    id: str
    lane: int
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger. ``number`` counts requests; an answer carries its request's."""

    event: str
    number: int
    at_ms: int = 0
    id: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the database says of one message. ``claims``: when each attempt, by its number, was committed."""

    delivered: bool
    claims: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What came of it.

    Attributes:
        lost: Accepted, and not both received and recorded as delivered.
        duplicates: Requests beyond the first of their message.
        unexplained_duplicates: Requests without an attempt of their own that was committed before they were sent.
        out_of_order: Requests that came before an earlier message of their lane was answered, or after a later one.
        findings: The first of each kind, in words.
    """

    sent: int
    delivered: int
    lost: int
    duplicates: int
    unexplained_duplicates: int
    out_of_order: int
    findings: tuple[str, ...] = field(default=())

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.unexplained_duplicates or self.out_of_order)


def judge(sent: Sequence[Sent], ledger: Sequence[Entry], told: Mapping[str, Told]) -> Verdict:
    """
    Compare what was accepted, what arrived, and what was recorded.

    Args:
        ledger: In the order in which it was written.
        told: By message id.
    """
    reads = [entry for entry in ledger if entry.event == "read"]
    arrived = {entry.id for entry in reads}
    lost = [item for item in sent if item.id not in arrived or not _delivered(told.get(item.id))]
    unexplained = _unexplained(sent, reads, told)
    disorder = _out_of_order(sent, ledger)
    findings = [
        *(f"lost: message {item.id}, number {item.place} of lane {item.lane}" for item in lost[:1]),
        *(f"unexplained: request {entry.number}, attempt {entry.attempt} of {entry.id}" for entry in unexplained[:1]),
        *(f"out of order: request {entry.number}, attempt {entry.attempt} of {entry.id}" for entry in disorder[:1]),
    ]
    return Verdict(
        sent=len(sent),
        delivered=len(sent) - len(lost),
        lost=len(lost),
        duplicates=len(reads) - len(arrived),
        unexplained_duplicates=len(unexplained),
        out_of_order=len(disorder),
        findings=tuple(findings),
    )


def _delivered(told: Told | None) -> bool:
    return told is not None and told.delivered


def _unexplained(sent: Sequence[Sent], reads: Sequence[Entry], told: Mapping[str, Told]) -> list[Entry]:
    """List unexplained copies: each needs a claim of its own, committed before it arrived; unknown ones have none."""
    accepted = {item.id for item in sent}
    used: set[tuple[str, int]] = set()
    found = []
    for entry in reads:
        story = told.get(entry.id)
        committed_ms = None if story is None or entry.id not in accepted else story.claims.get(entry.attempt)
        if committed_ms is None or committed_ms > entry.at_ms or (entry.id, entry.attempt) in used:
            found.append(entry)
        used.add((entry.id, entry.attempt))
    return found


def _out_of_order(sent: Sequence[Sent], ledger: Sequence[Entry]) -> list[Entry]:
    """Return what was sent before all that was ahead of it in its lane was answered, or after its heir."""
    where = {item.id: item for item in sent}
    requests = {entry.number: entry for entry in ledger if entry.event == "read"}
    # What never arrived is lost; its successors are not to blame.
    arrived = {(where[entry.id].lane, where[entry.id].place) for entry in requests.values() if entry.id in where}
    answered: dict[int, set[int]] = {}
    furthest: dict[int, int] = {}
    found = []
    for entry in ledger:
        item = where.get(requests[entry.number].id) if entry.number in requests else None
        if item is None:
            continue
        done = answered.setdefault(item.lane, set())
        if entry.event == "answered":
            done.add(item.place)
        elif entry.event == "read":
            ahead = {place for place in range(item.place) if (item.lane, place) in arrived}
            if item.place < furthest.get(item.lane, 0) or not ahead <= done:
                found.append(entry)
            furthest[item.lane] = max(item.place, furthest.get(item.lane, 0))
    return found
