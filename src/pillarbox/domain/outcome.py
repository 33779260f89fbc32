"""
What one attempt reports: seven values, no more (contract CL1).

An outcome is returned by an adapter, or raised by a channel that is a function; both mean the same.
Texts in outcomes are for operators: they never hold the message's text, a secret or a recipient.
"""

from __future__ import annotations

from typing import Literal

Scope = Literal["recipient", "route", "channel"]
About = Literal["message", "recipient", "endpoint"]

UNCLASSIFIED_ATTEMPTS_MAX = 3
BOUNDED_LIMITS_MAX = 3


class Outcome(Exception):
    """Base of the seven. Not itself an outcome."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Outcomes with the same fields are equal."""
        return type(self) is type(other) and self._fields() == other._fields()

    def __hash__(self) -> int:
        """Agree with ``__eq__``."""
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        """Show the fields."""
        return f"{type(self).__name__}{self._fields()!r}"

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for cls in type(self).__mro__ for name in getattr(cls, "__slots__", ()))


class Delivered(Outcome):
    """The platform accepted it. ``receipt`` is its id there, if it gives one; ``answer`` ≤ 1 KiB of what it said."""

    __slots__ = ("answer", "receipt")
    __match_args__ = ("receipt",)

    def __init__(self, receipt: str | None = None, *, answer: str | None = None) -> None:
        self.receipt = receipt
        self.answer = answer


class Deferred(Outcome):
    """
    Surely not sent; may work later. Costs one of the message's attempts.

    ``after`` is the least wait in seconds the server asked for. ``unclassified`` marks an answer no table knows:
    it is tried at most 3 times (contract CL5).
    """

    __slots__ = ("after", "reason", "unclassified")
    __match_args__ = ("reason", "after")

    def __init__(self, reason: str = "", *, after: float | None = None, unclassified: bool = False) -> None:
        self.reason = reason
        self.after = after
        self.unclassified = unclassified


class RateLimited(Outcome):
    """
    Surely not sent, because too much was. Costs no attempt. ``after``: seconds; ``None``: the server did not say.

    ``bounded`` marks a limit that was answered as a refusal for good, and is one by its words only: a message is told
    so at most 3 times, then it is dead (contract CL5).
    """

    __slots__ = ("after", "bounded", "reason", "scope")
    __match_args__ = ("scope", "after")

    def __init__(
        self, reason: str = "", *, scope: Scope = "recipient", after: float | None = None, bounded: bool = False
    ) -> None:
        self.reason = reason
        self.scope = scope
        self.after = after
        self.bounded = bounded


class Rejected(Outcome):
    """
    Will never work.

    ``about`` says what is at fault: this ``message``, its ``recipient``, or the ``endpoint``, which is then closed:
    its channel is paused until a person resumes it (HTTP 410, Standard Webhooks).
    """

    __slots__ = ("about", "reason")
    __match_args__ = ("reason", "about")

    def __init__(self, reason: str = "", *, about: About = "message") -> None:
        self.reason = reason
        self.about = about


class Redirected(Outcome):
    """The recipient has another address now; send there at once. Costs no attempt."""

    __slots__ = ("reason", "recipient")
    __match_args__ = ("recipient",)

    def __init__(self, recipient: str, *, reason: str = "") -> None:
        self.recipient = recipient
        self.reason = reason


class Unavailable(Outcome):
    """The channel cannot send at all (credentials, configuration). Costs no attempt; the channel pauses."""

    __slots__ = ("after", "reason")
    __match_args__ = ("reason",)

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        self.reason = reason
        self.after = after


class Uncertain(Outcome):
    """
    The platform may have it. ``error_class`` tells a lost worker from a lost answer.

    ``covered`` says that the platform drops a second copy with the same token, so trying again is safe and the
    uncertain policy need not be asked (contract CL6).
    """

    __slots__ = ("after", "covered", "error_class", "reason")
    __match_args__ = ("reason",)

    def __init__(
        self,
        reason: str = "",
        *,
        after: float | None = None,
        covered: bool = False,
        error_class: str = "uncertain",
    ) -> None:
        self.reason = reason
        self.after = after
        self.covered = covered
        self.error_class = error_class


AnyOutcome = Delivered | Deferred | RateLimited | Rejected | Redirected | Unavailable | Uncertain
