"""
Every exception pillarbox raises, grouped by what a caller can do about it.

PillarboxError
├── InvalidMessage            fix the input: names the field and what was expected; nothing was written
│   ├── KeyConflict           the key belongs to a message with other content
│   └── ValueRefused          the database cannot hold a value; nothing was written, and its neighbours are not harmed
├── InvalidOutcome            fix the channel: a field of the outcome it makes is not what it must be
├── NotFound                  no message, channel or worker has that name
├── Refused                   the message's state does not allow it; nothing changed
│   └── OtherDatabase         a connection does not lead to the outbox's own database
├── ConfigError               fix the configuration: names the setting
│   └── UnknownChannel        no channel of that name is configured
├── QueueFull                 retry later: a limit on waiting messages is reached
├── NotStarted                start() was not awaited, or close() was
├── EgressRefused             an address out of data that must not be dialled
└── StoreError                the database
    ├── StoreUnavailable      retry later: it did not answer, and nothing was written
    │   ├── StoreBusy         another process holds the write lock for longer than the busy timeout
    │   ├── StoreOutcomeUnknown  look before you try again: it may have been written; names the messages
    │   └── ShardsUnavailable  some of several databases did not answer: says which, and has what the others said
    ├── StoreDiskFull         free space on the disk; nothing was written
    ├── StoreReadOnly         file or directory cannot be written
    ├── StoreNotFound         no such file, or its directory is missing
    ├── StoreCorrupt          not a pillarbox database, or damaged
    ├── StoreReplaced         its files were deleted, moved or replaced while open: put them in order, start again
    ├── StoreTooNew           written by a newer version that this one must not work on
    ├── StoreTooOld           written by an older version, and not everybody brings it up to date
    └── StoreUnsafe           the SQLite library, the file's owner or its kind cannot be trusted

Messages of these errors never hold a message's text, a secret or a recipient.
"""

from __future__ import annotations

from collections.abc import Mapping


class PillarboxError(Exception):
    """Base of everything raised on purpose."""


class InvalidMessage(PillarboxError):
    """
    A value was refused before anything was written.

    ``field`` is the argument's name as the caller wrote it, ``expected`` a sentence about what would do.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = expected


class KeyConflict(InvalidMessage):
    """The idempotency key was used for other content; ``message_id`` is the message that has it."""

    def __init__(self, key: str, message_id: str) -> None:
        super().__init__("key", f"{key!r} belongs to message {message_id}, which has other content or another route")
        self.key = key
        self.message_id = message_id


class ValueRefused(InvalidMessage, ValueError):
    """
    The database cannot hold one of the values; nothing was written.

    The same values would be refused again: this is no outage, and there is no use in waiting.
    """

    def __init__(self, expected: str) -> None:
        super().__init__("value", expected)


class InvalidOutcome(PillarboxError, TypeError, ValueError):
    """
    A channel made an outcome of a value that does not fit its field.

    ``outcome`` is the outcome's name, ``field`` the argument's, ``expected`` a sentence about what would do.
    """

    def __init__(self, outcome: str, field: str, expected: str) -> None:
        super().__init__(f"{outcome}.{field}: {expected}")
        self.outcome = outcome
        self.field = field
        self.expected = expected


class NotFound(PillarboxError):
    """Nothing has that id or name."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"no {what} {name!r}")
        self.what = what
        self.name = name


class Refused(PillarboxError):
    """The message is in a state that does not allow this; nothing was changed."""


class OtherDatabase(Refused):
    """The outbox's tables are not to be found on a caller's connection; its transaction stands as before."""


class ConfigError(PillarboxError):
    """A setting is missing or wrong. ``field`` names it, as a dotted path."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")
        self.field = field
        self.expected = expected


class UnknownChannel(ConfigError):
    """No channel of that name; ``known`` lists those there are."""

    def __init__(self, channel: str, known: tuple[str, ...]) -> None:
        names = ", ".join(known) if known else "none; `pillarbox init` writes a configuration to begin with"
        super().__init__("channel", f"no channel {channel!r} is configured (configured: {names})")
        self.channel = channel
        self.known = known


class QueueFull(PillarboxError):
    """
    A limit on active messages is reached; nothing was written.

    ``scope`` is ``store``, ``channel``, ``recipient`` or ``tenant``; ``unit`` is ``messages`` or ``bytes``.
    """

    def __init__(self, scope: str, unit: str, limit: int) -> None:
        super().__init__(f"queue full: the {scope} holds its limit of {limit} {unit}")
        self.scope = scope
        self.unit = unit
        self.limit = limit


class NotStarted(PillarboxError):
    """The outbox is not open."""


class EgressRefused(PillarboxError):
    """An address was refused by the egress guard. ``setting`` names what would allow it."""

    def __init__(self, reason: str, *, setting: str | None = None) -> None:
        hint = f" ({setting} would allow it)" if setting else ""
        super().__init__(f"{reason}{hint}")
        self.setting = setting


class StoreError(PillarboxError):
    """
    Base of what can go wrong with the database.

    ``database`` is the one that it is about, where a call was given another one than the outbox's own. It may hold a
    password.
    """

    database: str | None = None


class StoreUnavailable(StoreError):
    """The database did not answer; safe to call again."""


class StoreOutcomeUnknown(StoreUnavailable):
    """
    The answer to a commit was lost, and nothing could be read back: what was asked for was written, or was not.

    ``message_ids`` names the messages that were to be stored, in order; empty where it was about something else. Once
    the store answers, ``get(id)`` finds each; a caller that sends again without looking may make a second one, unless a
    ``key`` was given.
    """

    def __init__(self, reason: str, *, message_ids: tuple[str, ...] = ()) -> None:
        ids = ", ".join(message_ids)
        look = f"; whether {ids} is stored is not known: get it by its id before you send again" if ids else ""
        super().__init__(f"{reason}{look}")
        self.reason = reason
        self.message_ids = message_ids


class ShardsUnavailable(StoreUnavailable):
    """
    Some shards did not answer. An order was carried out on the others.

    Attributes:
        partial: What the others answered, in the form of a whole answer; ``None`` where none did.
        reasons: By the name of each shard that did not answer, why.
    """

    def __init__(self, reasons: Mapping[str, str], *, partial: object = None) -> None:
        super().__init__("; ".join(f"{name} did not answer: {why}" for name, why in reasons.items()))
        self.partial = partial
        self.reasons = dict(reasons)


class StoreBusy(StoreUnavailable):
    """Another process kept the write lock for longer than the busy timeout; nothing was written."""


class StoreDiskFull(StoreError):
    """The disk is full; nothing was written."""


class StoreReadOnly(StoreError):
    """The database file or its directory cannot be written."""


class StoreNotFound(StoreError):
    """The database file, or the directory it should be in, does not exist or is not a file."""


class StoreCorrupt(StoreError):
    """The file is damaged, or is no pillarbox database."""


class StoreReplaced(StoreError):
    """
    The database file, or one of those beside it, was deleted, moved, replaced or overwritten while it was open.

    Nothing is acknowledged any more. What was being written at that moment may be in the file that is gone.
    """


class StoreTooNew(StoreError):
    """The schema was written by a newer version, which says that this one must not work on it."""


class StoreTooOld(StoreError):
    """The schema is older than this version's, and this is not who brings it up to date; the text says who does."""


class StoreUnsafe(StoreError):
    """Something about the file or the SQLite library makes durable work on it impossible; the text says what to do."""
