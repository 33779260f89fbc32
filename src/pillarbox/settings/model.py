"""
Every setting there is: its name, type, default, range and what it is for, each defined once, here.

The dataclasses are what the rest of the program is given. A field's metadata holds a `Setting`, from which files and
variables are read, errors named, help written and documentation generated (`pillarbox.settings.lookup`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal, TypeVar

from pillarbox.domain import pace
from pillarbox.domain.retry import CHAT, MARK_LENGTH_MAX, ExpireAction, OnDead, OnHeld, PartsMode, UncertainAction
from pillarbox.settings.places import default_db
from pillarbox.settings.spans import NO_LIMIT, Rates, Schedule, Span
from pillarbox.settings.value_kinds import (
    Choice,
    Count,
    Dsn,
    Dsns,
    Flag,
    Kind,
    Line,
    Networks,
    Option,
    Ratio,
    Size,
    Url,
)

SETTING: Final = "setting"
SECTION: Final = "section"
EACH: Final = "each"
_KIB: Final = 1 << 10
_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Setting:
    """
    What is known about one setting besides its default.

    Attributes:
        reload: A running outbox takes a new value over (`Outbox.reload`, SIGHUP); otherwise it takes a restart.
        secret: Its value is never shown, in whole or in part, but through a mask.
        default_text: Describes a default that differs from machine to machine.
    """

    label: str
    help: str
    kind: Kind
    reload: bool = field(default=True, kw_only=True)
    secret: bool = field(default=False, kw_only=True)
    default_text: str | None = field(default=None, kw_only=True)


def _setting(label: str, about: str, kind: Kind, *, default: _T, reload: bool = True) -> _T:
    """Return the field of a setting that is no secret."""
    return field(default=default, metadata={SETTING: Setting(label, about, kind, reload=reload)})


def _retention(default: timedelta, label: str, about: str) -> timedelta:
    return _setting(label, about, Span(least_ms=1000), default=default)


# What the store's defaults and every channel may say about a message's policy.
_SCHEDULE = Setting(
    "Retry schedule", "How long to wait after the first, second, … failed attempt; the last wait repeats.", Schedule()
)
_MAX_ATTEMPTS = Setting(
    "Attempts", "A message that failed so many times is dead (retries_exhausted).", Count(most=10_000)
)
_TTL = Setting(
    "Time to live",
    "How long a message may wait for its delivery before it expires; 'none' for ever.",
    Span(word="none", meaning=NO_LIMIT),
)
_EXPIRE_ACTION = Setting(
    "At the end of the TTL", "Expire the message, or deliver it all the same.", Choice(ExpireAction)
)
_UNCERTAIN = Setting(
    "Uncertain sends",
    "What to do when the platform may have the message: send it again, send it again with a mark that says so, hold it"
    " for a person, ask the platform, or drop it.",
    Choice(UncertainAction),
)
_UNCERTAIN_MARK = Setting(
    "Mark of a possible copy",
    "The line that a copy begins with which may be a second one, where `uncertain` is resend_marked.",
    Line(MARK_LENGTH_MAX),
)
_ON_DEAD = Setting(
    "Behind a dead message", "Whether the messages behind it in its lane go on, or wait.", Choice(OnDead)
)
_ON_HELD = Setting(
    "Behind a held message", "Whether the messages behind it in its lane go on, or wait.", Choice(OnHeld)
)
_LANE_BLOCK_MAX = Setting(
    "Longest block of a lane",
    "How long a message that fails may keep those behind it in its lane waiting. One that would keep them longer steps"
    " aside: they go on, and it takes a place behind them when it is due. 'none' keeps the order whatever happens.",
    Span(word="none", meaning=NO_LIMIT),
)
_PARTS = Setting(
    "Rejected parts",
    "What a rejected part of a split message does to those behind it: stop, or let them go out all the same.",
    Choice(PartsMode),
)
_JITTER = Setting(
    "Jitter", "A wait of d is drawn from d to d × (1 + jitter), so that retries do not march in step.", Ratio()
)
_HINT_MAX = Setting(
    "Longest hint",
    "The longest wait that a platform may ask for (Retry-After); a longer one is cut to this.",
    Span(least_ms=1000),
)
_SUPPRESS = Setting(
    "Suppression",
    "Whether a recipient that the platform refused for good gets no more messages: later ones are dead without a call,"
    " until `pillarbox recipients clear`.",
    Flag(),
)


def _messages(default: int | None, label: str, about: str) -> int | None:
    return _setting(label, f"{about} More are refused with QueueFull.", Count(none="none"), default=default)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """How much may wait at once. ``None`` is no limit."""

    messages: int | None = _messages(1_000_000, "Messages", "Active messages in the store.")
    bytes: int | None = _setting(
        "Bytes",
        "Content of the active messages in the store. More is refused with QueueFull.",
        Size(most=1 << 44, none="none"),
        default=1 << 30,
    )
    channel_messages: int | None = _messages(None, "Messages of a channel", "Active messages of one channel.")
    recipient_messages: int | None = _messages(None, "Messages of a recipient", "Active messages to one recipient.")
    tenant_messages: int | None = _messages(None, "Messages of a tenant", "Active messages of one tenant.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultSettings:
    """The policy of messages whose channel and adapter say nothing else. ``ttl`` may be `NO_LIMIT`."""

    max_attempts: int = field(default=CHAT.max_attempts, metadata={SETTING: _MAX_ATTEMPTS})
    ttl: timedelta = field(
        default=NO_LIMIT if CHAT.ttl_seconds is None else timedelta(seconds=CHAT.ttl_seconds), metadata={SETTING: _TTL}
    )
    schedule: tuple[float, ...] = field(default=CHAT.schedule, metadata={SETTING: _SCHEDULE})
    uncertain: UncertainAction = field(default=CHAT.uncertain, metadata={SETTING: _UNCERTAIN})
    uncertain_mark: str = field(default=CHAT.uncertain_mark, metadata={SETTING: _UNCERTAIN_MARK})
    expire_action: ExpireAction = field(default=CHAT.expire_action, metadata={SETTING: _EXPIRE_ACTION})
    on_dead: OnDead = field(default=CHAT.on_dead, metadata={SETTING: _ON_DEAD})
    on_held: OnHeld = field(default=CHAT.on_held, metadata={SETTING: _ON_HELD})
    lane_block_max: timedelta = field(default=NO_LIMIT, metadata={SETTING: _LANE_BLOCK_MAX})
    parts: PartsMode = field(default=CHAT.parts, metadata={SETTING: _PARTS})
    jitter: float = field(default=CHAT.jitter, metadata={SETTING: _JITTER})
    hint_max: timedelta = field(default=timedelta(seconds=CHAT.hint_seconds_max), metadata={SETTING: _HINT_MAX})
    suppress: bool = field(default=CHAT.suppress, metadata={SETTING: _SUPPRESS})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """How long what has ended is kept, counted from its end."""

    delivered: timedelta = _retention(
        timedelta(hours=48), "Delivered messages", "How long they are kept, counted from their delivery."
    )
    cancelled: timedelta = _retention(
        timedelta(hours=48), "Cancelled messages", "How long they are kept, counted from their end."
    )
    expired: timedelta = _retention(
        timedelta(hours=48), "Expired messages", "How long they are kept, counted from their end."
    )
    dead: timedelta = _retention(
        timedelta(days=30), "Dead messages", "How long they are kept, so that they can be replayed."
    )
    mirror: timedelta = _retention(
        timedelta(hours=24),
        "Mirror entries",
        "How long what a session is told of its deliveries is kept, counted from the acknowledgement or delivery.",
    )
    content: timedelta = _setting(
        "Content",
        "How long what ended messages said is kept; their outcome stays until their own retention is over. 'none'"
        " keeps both equally long.",
        Span(least_ms=1000, word="none", meaning=NO_LIMIT),
        default=NO_LIMIT,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings:
    """What the guard at the way out lets through."""

    allow: tuple[str, ...] = _setting(
        "Allowed networks",
        "Private networks that addresses out of data (recipients, media) may lead to. Link-local and metadata"
        " addresses stay refused.",
        Networks(),
        default=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """
    One configured way out. ``None`` leaves a choice to the adapter, and what it leaves open to the defaults.

    ``url`` is ``None`` where the channel is a function or an object of the application. ``ttl`` may be `NO_LIMIT`.
    """

    url: str | None = field(
        default=None,
        repr=False,
        metadata={
            SETTING: Setting(
                "URL", "Where the channel leads; its scheme picks the adapter. May hold a secret.", Url(), secret=True
            )
        },
    )
    max_attempts: int | None = field(default=None, metadata={SETTING: _MAX_ATTEMPTS})
    ttl: timedelta | None = field(default=None, metadata={SETTING: _TTL})
    schedule: tuple[float, ...] | None = field(default=None, metadata={SETTING: _SCHEDULE})
    uncertain: UncertainAction | None = field(default=None, metadata={SETTING: _UNCERTAIN})
    uncertain_mark: str | None = field(default=None, metadata={SETTING: _UNCERTAIN_MARK})
    expire_action: ExpireAction | None = field(default=None, metadata={SETTING: _EXPIRE_ACTION})
    on_dead: OnDead | None = field(default=None, metadata={SETTING: _ON_DEAD})
    on_held: OnHeld | None = field(default=None, metadata={SETTING: _ON_HELD})
    lane_block_max: timedelta | None = field(default=None, metadata={SETTING: _LANE_BLOCK_MAX})
    parts: PartsMode | None = field(default=None, metadata={SETTING: _PARTS})
    jitter: float | None = field(default=None, metadata={SETTING: _JITTER})
    hint_max: timedelta | None = field(default=None, metadata={SETTING: _HINT_MAX})
    suppress: bool | None = field(default=None, metadata={SETTING: _SUPPRESS})
    concurrency: int | None = _setting(
        "Sends at once", "How many sends of this channel may run at once.", Count(most=10_000), default=None
    )
    rate: pace.Rates | None = _setting(
        "Rate",
        "How many messages may go through this channel in a time, of all workers together, such as '30/s'.",
        Rates(),
        default=None,
    )
    recipient_rate: pace.Rates | None = _setting(
        "Rate of a recipient",
        "How many messages one recipient may get in a time, such as '1/s, 20/m'.",
        Rates(),
        default=None,
    )
    timeout: timedelta | None = _setting(
        "Send timeout",
        "How long one send may take; then its outcome is uncertain.",
        Span(most_ms=_HOUR_MS),
        default=None,
    )
    lane: Literal["ordered", "none"] | None = _setting(
        "Order",
        "Whether messages to one recipient go out one after another.",
        Choice(("ordered", "none")),
        default=None,
    )
    limit_messages: int | None = _setting(
        "Messages",
        "Active messages of this channel, in place of limits.channel_messages. More are refused with QueueFull.",
        Count(),
        default=None,
    )
    history: Literal["outcomes", "full"] = _setting(
        "History",
        "'outcomes' keeps the attempts that did not simply succeed with their answers, 'full' every attempt.",
        Choice(("outcomes", "full")),
        default="outcomes",
    )
    options: Mapping[str, object] = field(
        default_factory=dict,
        repr=False,
        metadata={
            EACH: "OPTION",
            SETTING: Setting(
                "Adapter option",
                "A setting of the channel's adapter, such as the secret that signs webhooks; the adapter's page"
                " lists them.",
                Option(),
                secret=True,
            ),
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. ``lease_seconds`` ``None``: see `pillarbox.settings.derived.lease_seconds`."""

    db: str = field(
        default_factory=default_db,
        repr=False,
        metadata={
            SETTING: Setting(
                "Database",
                "Where messages are kept: a path, sqlite:///… (a file), or postgresql://…. May hold a secret.",
                Dsn(),
                reload=False,
                secret=True,
                default_text="outbox.db in your state directory",
            )
        },
    )
    shards: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata={
            SETTING: Setting(
                "Shards",
                "In place of db: several databases, among which tenants are divided. How many there are, and in which"
                " order, stays as it was at the first start. May hold a secret.",
                Dsns(),
                reload=False,
                secret=True,
            )
        },
    )
    shard: int | None = _setting(
        "Shard",
        "Work on this one of the shards alone, counted from 1; 'all' is every one.",
        Count(most=10_000, none="all"),
        default=None,
        reload=False,
    )
    enabled: bool = _setting(
        "Enabled",
        "Without it nothing is stored: sends pass straight to the channel.",
        Flag(),
        default=True,
        reload=False,
    )
    durability: Literal["power", "process"] = _setting(
        "Durability",
        "What an accepted message survives: a power cut, or the end of the process.",
        Choice(("power", "process")),
        default="power",
        reload=False,
    )
    fallback: Literal["memory"] | None = _setting(
        "Fallback",
        "Work in memory when the database cannot be opened. Nothing survives the process then.",
        Choice(("memory",), none="none"),
        default=None,
        reload=False,
    )
    limits: LimitSettings = field(default_factory=LimitSettings, metadata={SECTION: LimitSettings})
    defaults: DefaultSettings = field(default_factory=DefaultSettings, metadata={SECTION: DefaultSettings})
    content_bytes_max: int = _setting(
        "Largest content", "One message's content; a larger one is refused.", Size(most=64 << 20), default=256 * _KIB
    )
    files_bytes_max: int = _setting(
        "Largest files", "All files of one message together; more are refused.", Size(most=512 << 20), default=50 << 20
    )
    lease_seconds: float | None = _setting(
        "Lease",
        "How long a worker may keep a message without a sign of life. Longer than any send timeout; 'auto' is"
        " twice the longest, at least 60.",
        Span(unit="seconds", least_ms=1000, most_ms=_DAY_MS, word="auto"),
        default=None,
        reload=False,
    )
    concurrency: int = _setting(
        "Sends at once", "How many sends of a worker may run at once.", Count(most=10_000), default=256
    )
    drain_on_startup: bool = _setting(
        "Drain at start", "Send what is due when a worker starts.", Flag(), default=True, reload=False
    )
    drain_budget_ms: int = _setting(
        "Drain budget",
        "How long the drain at start may take; what is left goes to the worker. 0 drains nothing.",
        Span(unit="ms", least_ms=0),
        default=60_000,
        reload=False,
    )
    prune_interval_ms: int = _setting(
        "Prune interval", "How often what is past its retention is deleted.", Span(unit="ms"), default=300_000
    )
    retention: RetentionSettings = field(default_factory=RetentionSettings, metadata={SECTION: RetentionSettings})
    held_retention: timedelta = _retention(
        timedelta(days=30),
        "Held messages",
        "How long a held message waits for a person to decide; then it is dead (unresolved).",
    )
    key_retention: timedelta = _retention(
        timedelta(days=7), "Idempotency keys", "How long a key still counts as used after its message was deleted."
    )
    audit_retention: timedelta = _retention(
        timedelta(days=90), "Audit", "How long history and attempts are kept beyond their message."
    )
    stop_seconds: float = _setting(
        "Stop deadline",
        "How long a worker that was asked to stop waits for sends under way.",
        Span(unit="seconds", most_ms=_HOUR_MS),
        default=30.0,
    )
    log_recipients: bool = _setting(
        "Recipients in logs", "Log recipients as they are, not as a keyed hash.", Flag(), default=False
    )
    log_format: Literal["text", "json"] = _setting(
        "Log format", "Lines for people, or one JSON object a line.", Choice(("text", "json")), default="text"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "Log level",
        "The least important messages that are logged.",
        Choice(("debug", "info", "warning", "error")),
        default="info",
    )
    egress: EgressSettings = field(default_factory=EgressSettings, metadata={SECTION: EgressSettings})
    channels: Mapping[str, ChannelSettings] = field(
        default_factory=dict, metadata={EACH: "NAME", SECTION: ChannelSettings}
    )
