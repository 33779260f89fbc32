"""
pillarbox: durable outbound delivery.

A message is on disk before anyone tries to send it, and it stays somebody's responsibility until it is delivered or a
person can read why it was not.

    >>> async with Outbox("outbox.db", channels={"hooks": "https://example.org/hook"}) as box:
    ...     message = await box.send("hooks", to="ann", text="Deploy done", key="deploy-812")

Names are loaded when they are used, so that ``pillarbox --version`` does not wait for what it does not need.
"""

from typing import TYPE_CHECKING

from pillarbox.__about__ import __version__ as __version__

if TYPE_CHECKING:
    from pillarbox.abort import AbortSignal as AbortSignal
    from pillarbox.channels.base import Attempt as Attempt
    from pillarbox.channels.base import Capabilities as Capabilities
    from pillarbox.channels.base import Channel as Channel
    from pillarbox.domain.lifecycle import Verdict as Verdict
    from pillarbox.domain.message import Content as Content
    from pillarbox.domain.message import File as File
    from pillarbox.domain.message import State as State
    from pillarbox.domain.outcome import Deferred as Deferred
    from pillarbox.domain.outcome import Delivered as Delivered
    from pillarbox.domain.outcome import RateLimited as RateLimited
    from pillarbox.domain.outcome import Redirected as Redirected
    from pillarbox.domain.outcome import Rejected as Rejected
    from pillarbox.domain.outcome import Unavailable as Unavailable
    from pillarbox.domain.outcome import Uncertain as Uncertain
    from pillarbox.domain.outgoing import Outgoing as Outgoing
    from pillarbox.engine.hooks import Cancelled as Cancelled
    from pillarbox.engine.hooks import Defer as Defer
    from pillarbox.engine.hooks import Withdraw as Withdraw
    from pillarbox.errors import ConfigError as ConfigError
    from pillarbox.errors import InvalidMessage as InvalidMessage
    from pillarbox.errors import InvalidOutcome as InvalidOutcome
    from pillarbox.errors import KeyConflict as KeyConflict
    from pillarbox.errors import NotFound as NotFound
    from pillarbox.errors import NotStarted as NotStarted
    from pillarbox.errors import PillarboxError as PillarboxError
    from pillarbox.errors import QueueFull as QueueFull
    from pillarbox.errors import Refused as Refused
    from pillarbox.errors import StoreError as StoreError
    from pillarbox.errors import UnknownChannel as UnknownChannel
    from pillarbox.errors import ValueRefused as ValueRefused
    from pillarbox.outbox.bulk import BulkItem as BulkItem
    from pillarbox.outbox.bulk import BulkReport as BulkReport
    from pillarbox.outbox.message import Message as Message
    from pillarbox.outbox.outbox import Outbox as Outbox
else:  # a type checker would take any name for one of ours
    _HOMES = {
        "outbox.bulk": ("BulkItem", "BulkReport"),
        "channels.base": ("Attempt", "Capabilities", "Channel"),
        "domain.lifecycle": ("Verdict",),
        "domain.message": ("Content", "File", "State"),
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
    __all__ = ["__version__"]
    __all__ += list(_HOME_OF)

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
