"""
pillarbox: durable outbound delivery.

A message is on disk before anyone tries to send it, and it stays somebody's responsibility until it is delivered or a
person can read why it was not.

    >>> async with Outbox("outbox.db", channels={"hooks": "https://example.org/hook"}) as box:
    ...     message = await box.send("hooks", to="ann", text="Deploy done", key="deploy-812")

Names are loaded when they are used, so that ``pillarbox --version`` does not wait for what it does not need.
"""

from typing import TYPE_CHECKING

from pillarbox.__about__ import __version__

if TYPE_CHECKING:
    from pillarbox.abort import AbortSignal
    from pillarbox.channels.base import Attempt, Capabilities, Channel
    from pillarbox.domain.lifecycle import Verdict
    from pillarbox.domain.message import Content, State
    from pillarbox.domain.outcome import Deferred, Delivered, RateLimited, Redirected, Rejected, Unavailable, Uncertain
    from pillarbox.domain.outgoing import Outgoing
    from pillarbox.engine.hooks import Cancelled, Defer, Withdraw
    from pillarbox.errors import (
        ConfigError,
        InvalidMessage,
        InvalidOutcome,
        KeyConflict,
        NotFound,
        NotStarted,
        PillarboxError,
        QueueFull,
        Refused,
        StoreError,
        UnknownChannel,
        ValueRefused,
    )
    from pillarbox.outbox.bulk import BulkItem, BulkReport
    from pillarbox.outbox.message import Message
    from pillarbox.outbox.outbox import Outbox

__all__ = [
    "AbortSignal",
    "Attempt",
    "BulkItem",
    "BulkReport",
    "Cancelled",
    "Capabilities",
    "Channel",
    "ConfigError",
    "Content",
    "Defer",
    "Deferred",
    "Delivered",
    "InvalidMessage",
    "InvalidOutcome",
    "KeyConflict",
    "Message",
    "NotFound",
    "NotStarted",
    "Outbox",
    "Outgoing",
    "PillarboxError",
    "QueueFull",
    "RateLimited",
    "Redirected",
    "Refused",
    "Rejected",
    "State",
    "StoreError",
    "Unavailable",
    "Uncertain",
    "UnknownChannel",
    "ValueRefused",
    "Verdict",
    "Withdraw",
    "__version__",
]

if not TYPE_CHECKING:  # a type checker would take any name for one of ours
    _HOMES = {
        "outbox.bulk": ("BulkItem", "BulkReport"),
        "channels.base": ("Attempt", "Capabilities", "Channel"),
        "domain.lifecycle": ("Verdict",),
        "domain.message": ("Content", "State"),
        "domain.outcome": (
            "Deferred", "Delivered", "RateLimited", "Redirected", "Rejected", "Unavailable", "Uncertain",
        ),
        "abort": ("AbortSignal",),
        "domain.outgoing": ("Outgoing",),
        "engine.hooks": ("Cancelled", "Defer", "Withdraw"),
        "errors": (
            "ConfigError", "InvalidMessage", "InvalidOutcome", "KeyConflict", "NotFound", "NotStarted",
            "PillarboxError", "QueueFull", "Refused", "StoreError", "UnknownChannel", "ValueRefused",
        ),
        "outbox.message": ("Message",),
        "outbox.outbox": ("Outbox",),
    }  # fmt: skip
    _HOME_OF = {name: f"pillarbox.{home}" for home, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> object:
        """Load a public name at its first use."""
        if name not in _HOME_OF:
            raise AttributeError(f"module 'pillarbox' has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """List the public names, loaded or not."""
        return sorted({*globals(), *__all__})
