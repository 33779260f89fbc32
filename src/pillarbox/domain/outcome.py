"""
What one attempt reports: seven values, no more (contract CL1).

An outcome is returned by an adapter, or raised by a channel that is a function; both mean the same.
Texts in outcomes are for operators: they never hold the message's text, a secret or a recipient. Each may carry
``answer``, the beginning of what the platform said, as text or as the bytes it came in; at most 1 KiB of it is kept,
without those, of an attempt that failed and, where a channel's history is ``full``, of one that did not.

Each field is checked, or converted, where an outcome is made, so that its author sees what was wrong with it. A
subclass, or whoever sets a field afterwards, gets around that: `plain` checks again before anything is done with it.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from numbers import Integral, Real
from typing import Any, ClassVar, Final, Literal, get_args

from pillarbox.domain.plain_characters import CONTROLS, CONTROLS_IN_LINES
from pillarbox.errors import InvalidOutcome

Scope = Literal["recipient", "channel"]
About = Literal["message", "recipient", "endpoint"]

UNCLASSIFIED_ATTEMPTS_MAX = 3
BOUNDED_LIMITS_MAX = 3

RECEIPT_LENGTH_MAX: Final = 1024
"""Characters. RFC 5322 §2.1.1 allows a line 998, and the longest ids of platforms (Message-IDs) stand on one."""
REASON_LENGTH_MAX: Final = 1000
"""Characters. What fits on an operator's screen; a whole page that a proxy answered with is no reason."""
ANSWER_BYTES_MAX: Final = 1024
"""Of UTF-8 (contract ST10)."""
RECIPIENT_LENGTH_MAX: Final = 2048
"""Characters, of the recipient of any message (contract EN13)."""

_CONTROLS: Final = re.compile(rf"[{CONTROLS}]++")
_CONTROLS_IN_LINES: Final = re.compile(rf"[{CONTROLS_IN_LINES}]++")
_SECONDS: Final = re.compile(r"[+-]?[0-9]{1,19}(?:\.[0-9]{0,19})?\Z")
_SECONDS_LENGTH_MAX: Final = 64
_INTEGER_BITS_MAX: Final = 1024  # no platform counts so far, and Python refuses to write what is far longer
_NAME_LENGTH_MAX: Final = 80
_EXACT: Final[Any] = int
_ERROR_CLASSES: Final = ("uncertain", "worker_lost")
_WAIT: Final = "seconds as a number, a timedelta, or a header's text such as '5' or '1.5'"


class Outcome(Exception):
    """Base of the seven. Not itself an outcome."""

    __slots__ = ()
    _beside: ClassVar[tuple[str, ...]] = ("answer",)

    def __eq__(self, other: object) -> bool:
        """Outcomes with the same fields are equal; what was answered to a failure stands beside them."""
        return type(self) is type(other) and self._fields() == other._fields()

    def __hash__(self) -> int:
        """Agree with ``__eq__``."""
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        """Show the fields."""
        return f"{type(self).__name__}{self._fields()!r}"

    def _fields(self) -> tuple[object, ...]:
        names = (name for cls in type(self).__mro__ for name in getattr(cls, "__slots__", ()))
        return tuple(getattr(self, name) for name in names if name not in self._beside)


class Delivered(Outcome):
    """
    The platform accepted it.

    ``receipt`` is its id there, if it gives one: text, or a whole number, of which the decimal text is the receipt. It
    is one line of at most 1024 characters; what is more is cut, because the message was delivered all the same.

    ``degraded`` says what had to be left out for the platform to take it, for operators; the attempt is then kept with
    those words (contract CH3).

    ``rest`` is how long the platform takes nothing more for this recipient, where it says so by itself: seconds, a
    timedelta, or a header's text. Its other messages wait for that, at no attempt (contract FL1).
    """

    __slots__ = ("answer", "degraded", "receipt", "rest")
    __match_args__ = ("receipt",)
    _beside = ()

    def __init__(
        self,
        receipt: str | int | None = None,
        *,
        degraded: str | int | None = None,
        rest: float | str | timedelta | None = None,
        answer: str | bytes | None = None,
    ) -> None:
        self.rest: float | None = None if rest is None else _seconds("Delivered", rest, "rest")
        self.receipt: str | None = None if receipt is None else _receipt(receipt)
        self.degraded: str | None = None if degraded is None else _reason("Delivered", degraded, "degraded") or None
        self.answer: str | None = None if answer is None else _answer("Delivered", answer)


class Deferred(Outcome):
    """
    Surely not sent; may work later. Costs one of the message's attempts.

    ``after`` is the least wait that the server asked for: seconds, a timedelta, or the number that a header holds as
    text. ``unclassified`` marks an answer no table knows: it is tried at most 3 times (contract CL5).

    ``outage`` says that nothing gets through the channel, whatever the message: no connection, no such name, a server
    that is not ready. A few such failures in a row pause the channel, and cost no attempt from then on (contract FL2).
    """

    __slots__ = ("after", "answer", "outage", "reason", "unclassified")
    __match_args__ = ("reason", "after")

    def __init__(
        self,
        reason: str | int | None = "",
        *,
        after: float | str | timedelta | None = None,
        unclassified: bool = False,
        outage: bool = False,
        answer: str | bytes | None = None,
    ) -> None:
        self.outage: bool = _flag("Deferred", "outage", outage)
        self.reason: str = _reason("Deferred", reason)
        self.after: float | None = None if after is None else _seconds("Deferred", after)
        self.unclassified: bool = _flag("Deferred", "unclassified", unclassified)
        self.answer: str | None = None if answer is None else _answer("Deferred", answer)


class RateLimited(Outcome):
    """
    Surely not sent, because too much was. Costs no attempt. ``after``: see `Deferred`; ``None``: not said.

    ``scope`` says what rests until then: with ``channel`` everything that goes through it, with ``recipient`` this
    message, and what stands behind it in its lane.

    ``bounded`` marks a limit that was answered as a refusal for good, and is one by its words only: a message is told
    so at most 3 times, then it is dead (contract CL5).
    """

    __slots__ = ("after", "answer", "bounded", "reason", "scope")
    __match_args__ = ("scope", "after")

    def __init__(
        self,
        reason: str | int | None = "",
        *,
        scope: Scope = "recipient",
        after: float | str | timedelta | None = None,
        bounded: bool = False,
        answer: str | bytes | None = None,
    ) -> None:
        self.reason: str = _reason("RateLimited", reason)
        self.scope: str = _one_of("RateLimited", "scope", scope, get_args(Scope))
        self.after: float | None = None if after is None else _seconds("RateLimited", after)
        self.bounded: bool = _flag("RateLimited", "bounded", bounded)
        self.answer: str | None = None if answer is None else _answer("RateLimited", answer)


class Rejected(Outcome):
    """
    Will never work.

    ``about`` says what is at fault. This ``message``: where only one part of it was refused, the others may still go
    (best effort). Its ``recipient``: no other part is tried, and later messages to it are dead without a call, until a
    person clears it. Or the ``endpoint``, which is then closed: its channel is
    paused until a person resumes it (HTTP 410, Standard Webhooks).
    """

    __slots__ = ("about", "answer", "reason")
    __match_args__ = ("reason", "about")

    def __init__(
        self, reason: str | int | None = "", *, about: About = "message", answer: str | bytes | None = None
    ) -> None:
        self.reason: str = _reason("Rejected", reason)
        self.about: str = _one_of("Rejected", "about", about, get_args(About))
        self.answer: str | None = None if answer is None else _answer("Rejected", answer)


class Redirected(Outcome):
    """
    The recipient has another address now; send there at once. Costs no attempt.

    ``recipient`` is held to what `send` asks of one (contract EN13): not empty, no control characters, at most 2048
    characters. A whole number becomes its decimal text.
    """

    __slots__ = ("answer", "reason", "recipient")
    __match_args__ = ("recipient",)

    def __init__(
        self, recipient: str | int, *, reason: str | int | None = "", answer: str | bytes | None = None
    ) -> None:
        self.recipient: str = checked_recipient("Redirected", recipient)
        self.reason: str = _reason("Redirected", reason)
        self.answer: str | None = None if answer is None else _answer("Redirected", answer)


class Unavailable(Outcome):
    """
    The channel cannot send at all (credentials, configuration). Costs no attempt; the channel pauses.

    It is tried with one message now and then. ``auth`` says that this is of no use: its credentials are refused, and it
    rests until a person resumes it, or gives it others.
    """

    __slots__ = ("after", "answer", "auth", "reason")
    __match_args__ = ("reason",)

    def __init__(
        self,
        reason: str | int | None = "",
        *,
        after: float | str | timedelta | None = None,
        auth: bool = False,
        answer: str | bytes | None = None,
    ) -> None:
        self.reason: str = _reason("Unavailable", reason)
        self.auth: bool = _flag("Unavailable", "auth", auth)
        self.after: float | None = None if after is None else _seconds("Unavailable", after)
        self.answer: str | None = None if answer is None else _answer("Unavailable", answer)


class Uncertain(Outcome):
    """
    The platform may have it. ``error_class`` tells a lost worker from a lost answer.

    ``covered`` says that the platform drops a second copy with the same token, so trying again is safe and the
    uncertain policy need not be asked (contract CL6).
    """

    __slots__ = ("after", "answer", "covered", "error_class", "reason")
    __match_args__ = ("reason",)

    def __init__(
        self,
        reason: str | int | None = "",
        *,
        after: float | str | timedelta | None = None,
        covered: bool = False,
        error_class: str = "uncertain",
        answer: str | bytes | None = None,
    ) -> None:
        self.reason: str = _reason("Uncertain", reason)
        self.after: float | None = None if after is None else _seconds("Uncertain", after)
        self.covered: bool = _flag("Uncertain", "covered", covered)
        self.error_class: str = _one_of("Uncertain", "error_class", error_class, _ERROR_CLASSES)
        self.answer: str | None = None if answer is None else _answer("Uncertain", answer)


class Misreported(Uncertain):
    """
    Stands for what an adapter returned instead of an outcome, or for an outcome with an invalid field.

    The platform may have the message, so it reads as `Uncertain`; the engine logs it as the adapter's bug.
    """

    __slots__ = ()


AnyOutcome = Delivered | Deferred | RateLimited | Rejected | Redirected | Unavailable | Uncertain
_SEVEN: Final[tuple[type[AnyOutcome], ...]] = get_args(AnyOutcome)


def plain(answer: object) -> AnyOutcome:
    """
    Return one of the seven outcomes, its fields checked again, for an answer that stands for one.

    Returns:
        A copy, so that nothing which its maker still holds can change it. A `Misreported` that names the field, for
        what cannot be one.
    """
    cls = type(answer)
    if cls is Delivered and (copy := _delivered_again(answer)) is not None:
        return copy
    kind = next((kind for kind in _SEVEN if issubclass(cls, kind)), None)
    if kind is None:
        return Misreported(f"the adapter gave {name_of(cls)} instead of an outcome")
    fields: dict[str, Any] = {}
    for name in kind.__slots__:
        try:
            fields[name] = getattr(answer, name)
        except Exception as exc:  # noqa: BLE001 — a subclass's own property may raise anything
            why = f"cannot be read ({name_of(type(exc))}); a subclass calls super().__init__()"
            return Misreported(f"{kind.__name__}.{name}: {why}")
    made = Misreported if cls is Misreported else kind
    try:
        return made(**fields)
    except InvalidOutcome as exc:
        return Misreported(str(exc))
    except Exception as exc:  # noqa: BLE001 — such as a number whose conversion raises
        return Misreported(f"{kind.__name__}: a field raised {name_of(type(exc))} when it was looked at")


def _delivered_again(answer: Any) -> Delivered | None:  # noqa: ANN401 — what nearly always comes
    """Copy a success; ``None`` where something is wrong with it, which `plain` puts into words."""
    try:
        if answer.receipt is answer.degraded is answer.rest is answer.answer is None:
            return Delivered()
        return Delivered(answer.receipt, degraded=answer.degraded, rest=answer.rest, answer=answer.answer)
    except Exception:  # noqa: BLE001 — as there
        return None


def name_of(cls: type) -> str:
    """Return a type's name, bounded and printable, whatever its metaclass makes of ``__name__``."""
    try:
        return _line(str.__str__(cls.__name__), _NAME_LENGTH_MAX)
    except Exception:  # noqa: BLE001 — it is only a name
        return "an object without a name"


def _receipt(value: object) -> str | None:
    if value is None:
        return None
    text = _text_or_digits("Delivered", "receipt", value, "expected text, a whole number or None")
    if text.isascii() and text.isprintable() and len(text) <= RECEIPT_LENGTH_MAX:
        return text or None
    return _line(text, RECEIPT_LENGTH_MAX) or None


def _reason(outcome: str, value: object, field: str = "reason") -> str:
    if value is None:
        return ""
    text = _text_or_digits(outcome, field, value, "expected text or a whole number")
    if text.isascii() and text.isprintable() and len(text) <= REASON_LENGTH_MAX:
        return text
    return _line(text, REASON_LENGTH_MAX)


def _answer(outcome: str, value: Any) -> str | None:  # noqa: ANN401 — whatever an adapter gives
    cls = type(value)
    if issubclass(cls, bytes | bytearray):
        text = bytes(value[:ANSWER_BYTES_MAX]).decode("utf-8", "ignore")
    elif issubclass(cls, str):
        text = str.__str__(value)[:ANSWER_BYTES_MAX]
    else:
        raise InvalidOutcome(outcome, "answer", f"expected text, bytes or None, not {name_of(cls)}")
    if not text.isascii() or not text.isprintable():
        text = _CONTROLS_IN_LINES.sub(" ", _whole(text)).encode()[:ANSWER_BYTES_MAX].decode("utf-8", "ignore")
    return text or None


def checked_recipient(outcome: str, value: object) -> str:
    """Return an address as `send` would take it (contract EN13). Raises InvalidOutcome in the name of *outcome*."""
    if (
        type(value) is str
        and value.isascii()
        and value.isprintable()
        and value.strip()
        and len(value) <= RECIPIENT_LENGTH_MAX
    ):
        return value  # what nearly always comes
    text = _text_or_digits(outcome, "recipient", value, "expected text or a whole number")
    if not text.strip():
        expected = "expected something, not an empty text"
    elif len(text) > RECIPIENT_LENGTH_MAX:
        expected = f"expected at most {RECIPIENT_LENGTH_MAX} characters, not {len(text)}"
    elif _CONTROLS.search(text):
        expected = "expected one line without control characters (CR, LF, NUL, …)"
    elif _whole(text) != text:
        expected = "expected valid Unicode, not half of a surrogate pair"
    else:
        return text
    raise InvalidOutcome(outcome, "recipient", expected)


def _seconds(outcome: str, value: Any, field: str = "after") -> float:  # noqa: ANN401 — whatever an adapter gives
    """What is absurd is bounded where it is used (`Policy.bounded_hint`); NaN is no wait at all (contract RE4)."""
    cls = type(value)
    if issubclass(cls, timedelta):
        seconds = timedelta.total_seconds(value)
    elif issubclass(cls, str):
        text = str.__str__(value)[:_SECONDS_LENGTH_MAX].strip()
        if not _SECONDS.match(text):
            raise InvalidOutcome(outcome, field, f"expected {_WAIT}; this text is no number")
        seconds = float(text)
    elif cls is not bool and (issubclass(cls, Real) or cls.__name__ == "Decimal"):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
    else:
        raise InvalidOutcome(outcome, field, f"expected {_WAIT}, not {name_of(cls)}")
    return 0.0 if math.isnan(seconds) else seconds


def _flag(outcome: str, field: str, value: object) -> bool:
    if value is True or value is False:
        return value
    raise InvalidOutcome(outcome, field, f"expected True or False, not {name_of(type(value))}")


def _one_of(outcome: str, field: str, value: Any, words: tuple[str, ...]) -> str:  # noqa: ANN401 — the same
    text = str.__str__(value) if issubclass(type(value), str) else None
    if text in words:
        return text
    got = name_of(type(value)) if text is None else repr(_line(text, 40))
    raise InvalidOutcome(outcome, field, f"expected one of {', '.join(words)}, not {got}")


def _text_or_digits(outcome: str, field: str, value: Any, expected: str) -> str:  # noqa: ANN401 — the same
    """Return exact text, also for a subclass of ``str`` or ``int`` that prints otherwise. Raises InvalidOutcome."""
    cls = type(value)
    if issubclass(cls, str):
        return str.__str__(value)
    if cls is bool or not issubclass(cls, Integral):
        raise InvalidOutcome(outcome, field, f"{expected}, not {name_of(cls)}")
    number = _EXACT.__int__(value) if issubclass(cls, _EXACT) else int(value)
    if number.bit_length() > _INTEGER_BITS_MAX:
        raise InvalidOutcome(outcome, field, f"{expected} of at most {_INTEGER_BITS_MAX} bits")
    return int.__repr__(number)


def _line(text: str, limit: int) -> str:
    """Make one printable line of *text*; what is cut ends in an ellipsis."""
    line = _CONTROLS.sub(" ", _whole(text[:limit])).strip()
    return line if len(text) <= limit else f"{line[: limit - 1]}…"


def _whole(text: str) -> str:
    """Make a platform's words storable: half a surrogate pair, which JSON may hold, is no text."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
