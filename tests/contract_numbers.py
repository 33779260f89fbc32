"""
The numbered promises, in a few words each, and the rules for naming them.

A test names what it shows with ``@pytest.mark.contract("EN7")``; `python -m tests.contract_table` prints who
keeps which promise. A number that does not exist is an error, and so is a required one that no test names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MARKER: Final = "contract"

_GROUPS: Final[dict[str, tuple[str, ...]]] = {
    # Enqueue
    "EN": (
        "committed when send returns",
        "everything comes back byte for byte",
        "committed before the channel is called",
        "what cannot be committed raises",
        "limits on depth and bytes",
        "defaults for attempts and TTL",
        "one key, one message",
        "send_many is all or nothing",
        "enqueue joins the caller's transaction",
        "options of one message",
        "the enqueued event follows the commit",
        "disabled: sends pass straight through",
        "poison is refused with its field named",
        "empty text is skipped",
        "one message for each recipient",
        "accepting, then admission",
    ),
    # States
    "ST": (
        "only the table's moves exist",
        "terminal is terminal",
        "fail or bury on a terminal message changes nothing",
        "bury on a delivered message changes nothing",
        "ack of an unknown id is a reported no-op",
        "a late ack finds its attempt",
        "every guard is in the UPDATE's WHERE",
        "a permanent failure counts its attempt",
        "an unreadable payload is dead, the others go on",
        "history shows every transition",
        "retry, replay and resolve",
    ),
    # Content
    "CO": (
        "content is one versioned value",
        "a fan-out stores its content once",
        "a reply to one of our ids",
        "files are copied into the store",
        "send, edit and delete",
    ),
    # Claims and leases
    "LE": (
        "exactly one worker claims a message",
        "a claim takes what can start now",
        "every write presents its lease",
        "a killed worker's messages are claimed again",
        "live path and recovery never both send",
        "clock steps lose and repeat nothing",
        "a poison row stalls nobody",
        "each worker keeps a row",
        "a fork opens handles of its own",
    ),
    # Retry
    "RE": (
        "the default delays, kept in the row",
        "n attempts are n calls, then dead",
        "jitter, policies and their grammar",
        "a server's hint is never undercut",
        "rate limits and outages are free",
        "what waits blocks nothing that is due",
        "which policy wins",
    ),
    # Classification
    "CL": (
        "seven outcomes",
        "structure first, text last",
        "text patterns that are permanent",
        "what is transient",
        "HTTP statuses",
        "surely not sent, or uncertain",
        "no adapter: the message waits",
    ),
    # Uncertain sends
    "UN": (
        "resend (marked), hold, reconcile or drop",
        "one dedupe token for each part",
        "a person resolves what is held",
        "a store failure is no send failure",
        "channels declare what they can do",
    ),
    # Expiry
    "EX": (
        "past its TTL, never sent",
        "fail or deliver at the end",
        "never expired beneath its sender",
    ),
    # Kinds
    "DK": (
        "non-final messages are not replayed",
        "the summary of a turn",
    ),
    # Parts
    "PA": (
        "split at the channel's limit",
        "the split is committed first",
        "after a crash, only what remains",
        "all_or_abort and best_effort",
        "abort before a part",
    ),
    # Lanes
    "LA": (
        "one at a time, in order",
        "a slow channel delays no other",
        "a blocked backlog costs nothing",
        "channels take turns",
        "a head may step aside",
    ),
    # Flow control
    "FL": (
        "limits and pauses, shared by all workers",
        "a breaker for each channel",
        "pause, resume and readiness",
        "a newer message takes the older one's place",
    ),
    # Hooks
    "HO": (
        "before_delivery may rewrite or cancel",
        "after_delivery follows",
        "revalidate just before the send",
        "the mirror for a host",
    ),
    # Events and logs
    "EV": (
        "typed events and their names",
        "seven log lines",
        "no text and no secret in a log",
        "a failed record is surfaced",
    ),
    # Drain and worker
    "DR": (
        "the drain at start",
        "new and due messages go out without a restart",
        "start and stop are awaited and repeatable",
        "recovery enqueues nothing anew",
    ),
    # Import
    "IM": (
        "everything is kept, once",
        "a source is retired after the commit",
        "what is malformed stays",
        "what is too old is not sent",
        "dry run, report and other sources",
    ),
    # Prune and retention
    "PR": (
        "a meaningless age is refused",
        "only what is terminal, by itself",
        "longer retention for the dead",
    ),
    # Storage
    "SG": (
        "a store that cannot open says so",
        "safe settings and forward migrations",
        "named durability, distinct errors",
        "private files",
        "close releases everything",
        "payload encryption",
        "online backup and integrity check",
        "a copied store opens paused",
        "what was committed outlives foreign closes and exchanged files",
        "only the default location is made with its parents",
    ),
    # Configuration
    "CF": (
        "the older systems' sections are accepted",
        "a wrong key or value is named",
        "file, environment, flag, in that order",
        "every setting is explained",
    ),
    # Platforms
    "CH": (
        "every adapter passes one suite",
        "rules are data, with their sources",
        "what was changed to get through is recorded",
        "what one really gets is said, and shown",
        "no SDK resends by itself",
        "a copy may be marked as one",
        "edits collapse to the newest",
        "no secret of a channel is anywhere",
    ),
    # Operation
    "OP": (
        "the operator's verbs",
        "explain says why not yet",
        "cancel before send",
    ),
}

TITLES: Final[dict[str, str]] = {
    f"{group}{place}": title for group, titles in _GROUPS.items() for place, title in enumerate(titles, start=1)
}
"""Every promise by its number, in the contract's order."""

REQUIRED: Final[tuple[str, ...]] = (
    "EN1", "EN2", "EN3", "EN4", "EN5", "EN6", "EN7", "EN8", "EN9", "EN10", "EN11", "EN12", "EN13", "EN14",
    "EN15", "EN16",
    "ST1", "ST2", "ST3", "ST4", "ST5", "ST6", "ST7", "ST8", "ST9", "ST10", "ST11",
    "CO1", "CO2", "CO3", "CO4", "CO5",
    "LE1", "LE2", "LE3", "LE4", "LE5", "LE6", "LE7", "LE8", "LE9",
    "RE1", "RE2", "RE3", "RE4", "RE5", "RE6", "RE7",
    "CL1", "CL2", "CL3", "CL4", "CL5", "CL6", "CL7",
    "UN1", "UN2", "UN3", "UN4", "UN5",
    "EX1", "EX2", "EX3",
    "DK1", "DK2",
    "PA1", "PA2", "PA3", "PA4", "PA5",
    "LA1", "LA2", "LA3", "LA4", "LA5",
    "FL1", "FL2", "FL3", "FL4",
    "HO1", "HO2", "HO3", "HO4",
    "EV1", "EV2", "EV3", "EV4",
    "DR1", "DR2", "DR3", "DR4",
    "IM1", "IM2", "IM3", "IM4", "IM5",
    "PR1", "PR2", "PR3",
    "SG1", "SG2", "SG3", "SG4", "SG5", "SG7", "SG9", "SG10",
    "CF1", "CF2", "CF3", "CF4",
    "CH1", "CH2", "CH3", "CH4", "CH5", "CH7", "CH8",
    "OP1", "OP2", "OP3",
)  # fmt: skip
"""The promises that some test must name; a promise that has been kept is added here."""

FROM_SEEDS: Final[tuple[str, ...]] = (
    "EN1", "EN2", "EN3", "EN5", "EN6", "EN10", "EN11", "EN12", "EN14",
    "ST1", "ST2", "ST3", "ST4", "ST5", "ST7", "ST8", "ST9",
    "CO1",
    "LE1", "LE5",
    "RE1", "RE2", "RE6",
    "CL3", "CL4",
    "EX1", "EX2", "EX3",
    "DK1", "DK2",
    "PA1", "PA4", "PA5",
    "HO1", "HO2", "HO4",
    "EV1", "EV2",
    "DR1", "DR3", "DR4",
    "IM1", "IM2", "IM3", "IM4",
    "PR1", "PR2",
    "SG1", "SG2", "SG4", "SG5",
    "CF1", "CF2",
)  # fmt: skip
"""The promises that OpenClaw's outbox, its reviewers or Comis's queue made before; docs/reference/seeds.md has each."""


def problems(named: Mapping[str, Iterable[str]], *, required: Iterable[str] = REQUIRED) -> list[str]:
    """
    Say what is wrong with *named*, the tests by the number that they name.

    Returns:
        One sentence a problem; empty when every number exists and every *required* one has a test.
    """
    found = [
        f"{number!r} is no number of the contract; it is named by {', '.join(sorted(tests))}"
        for number, tests in named.items()
        if number not in TITLES
    ]
    found += [f"{number!r} is required and is no number of the contract" for number in required if number not in TITLES]
    found += [
        f"{number} ({TITLES[number]}) is required, and no test names it"
        for number in required
        if number in TITLES and number not in named
    ]
    return found
