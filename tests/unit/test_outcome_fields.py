"""What stands in an outcome's fields: converted where it is plain what is meant, else refused with the field named."""

from __future__ import annotations

import enum
import functools
import math
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.outcome import (
    ANSWER_BYTES_MAX,
    REASON_LENGTH_MAX,
    RECEIPT_LENGTH_MAX,
    RECIPIENT_LENGTH_MAX,
    AnyOutcome,
    Deferred,
    Delivered,
    Misreported,
    Outcome,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
    plain,
)
from pillarbox.domain.retry import Policy
from pillarbox.errors import InvalidOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

Make = Any  # a class of the seven: what is tried here, its signature forbids


class Word(enum.StrEnum):
    SEVEN = "id-7"


class Number(enum.IntEnum):
    SEVEN = 7


class Twisted(str):
    """A text that says something else of itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return "twisted"

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    __hash__ = str.__hash__


@pytest.mark.contract("CL1")
@pytest.mark.parametrize(
    ("given", "receipt"),
    [
        (4711, "4711"),
        (-1001234567890, "-1001234567890"),
        (1 << 64, "18446744073709551616"),
        (0, "0"),
        (Number.SEVEN, "7"),
        (Word.SEVEN, "id-7"),
        (Twisted("id"), "id"),
        ("", None),
        (None, None),
        ("id-7\r\n", "id-7"),
        ("a\x00b\u2028c", "a b c"),
        ("half \ud800", "half ?"),
        ("<token@example.org>", "<token@example.org>"),
    ],
)
def test_a_number_is_a_receipt_and_a_receipt_is_one_line(given: Any, receipt: str | None) -> None:
    made = Delivered(given)
    assert made.receipt == receipt
    assert type(made.receipt) in {str, type(None)}


@pytest.mark.contract("CL1")
@pytest.mark.parametrize("unit", ["x", "é", "\ud800", "\x00", "🙂"])
def test_texts_are_cut_at_their_limits(unit: str) -> None:
    long = unit * 3_000_000
    assert len(Delivered(long).receipt or "") <= RECEIPT_LENGTH_MAX
    assert len((Delivered("r", answer=long).answer or "").encode()) <= ANSWER_BYTES_MAX
    for outcome in (Rejected(long), Deferred(long), RateLimited(long), Unavailable(long), Uncertain(long)):
        assert len(outcome.reason) <= REASON_LENGTH_MAX
    assert Rejected("x" * REASON_LENGTH_MAX).reason == "x" * REASON_LENGTH_MAX
    assert Rejected("x" * (REASON_LENGTH_MAX + 1)).reason.endswith("…")


@pytest.mark.contract("CL1")
def test_a_reason_may_be_a_number_or_nothing() -> None:
    assert Rejected(404).reason == "404"
    assert Rejected(HTTPStatus.NOT_FOUND).reason == "404"
    assert Deferred(None).reason == ""
    assert Uncertain("a\x00b\nc").reason == "a b c"


@pytest.mark.contract("CH3")
def test_what_was_left_out_is_a_reason_or_nothing() -> None:
    assert Delivered("r").degraded is None
    assert Delivered("r", degraded="").degraded is None
    assert Delivered("r", degraded="a\nb").degraded == "a b"
    assert Delivered("r", degraded="x") != Delivered("r")
    assert plain(Delivered("r", degraded="x")) == Delivered("r", degraded="x")
    with pytest.raises(InvalidOutcome, match="degraded"):
        Delivered("r", degraded=b"x")  # type: ignore[arg-type]


@pytest.mark.contract("CL1")
def test_an_answer_may_be_the_bytes_it_came_in() -> None:
    assert Delivered("r", answer=b'{"ok": true}').answer == '{"ok": true}'
    assert Delivered("r", answer=b"\xff\x00one\ntwo").answer == " one\ntwo"


WAITING: list[Make] = [Deferred, RateLimited, Unavailable, Uncertain]


@pytest.mark.contract("CL1", "RE4")
@pytest.mark.parametrize("kind", WAITING)
@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("5", 5.0),
        ("5.0", 5.0),
        (" 5 ", 5.0),
        ("0.25", 0.25),
        (5, 5.0),
        (timedelta(seconds=5), 5.0),
        (Decimal("1.5"), 1.5),
        (Number.SEVEN, 7.0),
        (Twisted("5"), 5.0),
        (None, None),
        (math.nan, 0.0),
        (-3, -3.0),
        ("-3", -3.0),
        (10**400, math.inf),
    ],
)
def test_a_wait_is_seconds_however_it_is_said(kind: Make, given: Any, seconds: float | None) -> None:
    made = kind("later", after=given)
    assert made.after == seconds
    assert type(made.after) in {float, type(None)}


@pytest.mark.contract("RE4")
@pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf, -1, 1e300, 10**400, timedelta.max, "9" * 19])
def test_an_absurd_wait_is_bounded(given: Any) -> None:
    for policy in (Policy(), Policy(hint_seconds_max=math.inf)):
        assert 0 <= policy.bounded_hint(RateLimited(after=given).after) <= 3650 * 86400


ODD = [b"x", bytearray(b"x"), True, 1.5, ["a"], {"a": 1}, object(), math.nan, ValueError("x"), Rejected]
NOT_TEXT = [*ODD, 1 << 5000]
NO_WAIT = ["soon", "", "1e3", "5 seconds", "\u0665", "nan", "9" * 100, b"5", True, [5], object(), 5j]
NO_WORD = [None, "", "chanel", 1, True, b"channel", object(), "x" * 10_000_000, "\ud800"]
NO_FLAG = [1, 0, None, "false", b"", object()]
NO_RECIPIENT = [
    *NOT_TEXT,
    None,
    "",
    "  ",
    "a\r\nBcc: b",
    "a\nb",
    "a\x00b",
    "a\x85b",
    "a\u2028b",
    "\ud800",
    "x" * (RECIPIENT_LENGTH_MAX + 1),
]


def _waiting(kind: Make, after: Any) -> object:
    return kind("later", after=after)


def refusals() -> list[tuple[str, Callable[[Any], object], list[Any]]]:
    cases: list[tuple[str, Callable[[Any], object], list[Any]]] = [
        ("Delivered.receipt", Delivered, NOT_TEXT),
        ("Delivered.answer", lambda odd: Delivered("r", answer=odd), [1, True, {"ok": 1}, object()]),
        ("RateLimited.scope", lambda odd: RateLimited(scope=odd), NO_WORD),
        ("Rejected.about", lambda odd: Rejected(about=odd), NO_WORD),
        ("Redirected.recipient", Redirected, NO_RECIPIENT),
        ("Redirected.reason", lambda odd: Redirected("bob", reason=odd), NOT_TEXT),
        ("Deferred.unclassified", lambda odd: Deferred(unclassified=odd), NO_FLAG),
        ("Deferred.outage", lambda odd: Deferred(outage=odd), NO_FLAG),
        ("Uncertain.covered", lambda odd: Uncertain(covered=odd), NO_FLAG),
        ("Uncertain.error_class", lambda odd: Uncertain(error_class=odd), NO_WORD),
    ]
    for kind in WAITING:
        cases.append((f"{kind.__name__}.after", functools.partial(_waiting, kind), NO_WAIT))
        cases.append((f"{kind.__name__}.reason", kind, NOT_TEXT))
    return cases


@pytest.mark.contract("CL1", "EN13")
@pytest.mark.parametrize(("name", "make", "values"), refusals(), ids=[name for name, *_ in refusals()])
def test_what_is_no_such_thing_is_refused_with_its_field_named(
    name: str, make: Callable[[Any], object], values: list[Any]
) -> None:
    for odd in values:
        with pytest.raises(InvalidOutcome) as refused:
            make(odd)
        error = refused.value
        assert str(error).startswith(f"{name}: expected ")
        assert f"{error.outcome}.{error.field}" == name
        assert len(str(error)) < 300
        # Whoever checks types and values as Python does catches it too.
        assert isinstance(error, TypeError)
        assert isinstance(error, ValueError)


@pytest.mark.contract("CL1", "EN13")
def test_a_new_address_may_be_a_number() -> None:
    assert Redirected(-1001234567890).recipient == "-1001234567890"


class Forgetful(Rejected):
    """Does not call its parent."""

    def __init__(self) -> None:
        pass


class Lying(Delivered):
    @property
    def receipt(self) -> Any:
        return b"id"

    @receipt.setter
    def receipt(self, value: object) -> None:
        pass


class Raising(Delivered):
    @property
    def receipt(self) -> Any:
        raise ZeroDivisionError("token=hunter2")

    @receipt.setter
    def receipt(self, value: object) -> None:
        pass


class Posing:
    """Says that it is one of the seven."""

    __class__: Any = Delivered
    receipt = "r"


def changed(outcome: AnyOutcome, field: str, value: object) -> AnyOutcome:
    object.__setattr__(outcome, field, value)
    return outcome


@pytest.mark.contract("CL1")
@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (changed(Delivered("r"), "receipt", b"id"), "Delivered.receipt"),
        (changed(Delivered("r"), "receipt", True), "Delivered.receipt"),
        (changed(RateLimited(), "after", "soon"), "RateLimited.after"),
        (changed(RateLimited(), "scope", None), "RateLimited.scope"),
        (changed(Rejected("no"), "about", None), "Rejected.about"),
        (changed(Redirected("bob"), "recipient", "a\r\nb"), "Redirected.recipient"),
        (changed(Uncertain(), "error_class", "unheard_of"), "Uncertain.error_class"),
        (Forgetful(), "Rejected.about"),
        (Lying("r"), "Delivered.receipt"),
        (Raising("r"), "Delivered.receipt"),
        (Posing(), "Posing"),
        (Outcome("x"), "Outcome"),
        (Delivered, "type"),
        (None, "NoneType"),
        ({"ok": True}, "dict"),
        ("receipt", "str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_gets_around_the_check_is_found_before_it_counts(answer: object, names: str) -> None:
    outcome = plain(answer)
    assert type(outcome) is Misreported
    assert names in outcome.reason
    assert "hunter2" not in outcome.reason


class NoSuchPager(Rejected):
    """What an application may derive for itself."""

    def __init__(self, pager: str) -> None:
        super().__init__(f"no pager {pager}", about="recipient")
        self.pager = pager


@pytest.mark.contract("CL1")
def test_a_subclass_that_is_well_made_is_what_it_derives_from() -> None:
    outcome = plain(NoSuchPager("7"))
    assert type(outcome) is Rejected
    assert outcome == Rejected("no pager 7", about="recipient")


@pytest.mark.contract("CL1")
def test_what_its_maker_keeps_cannot_be_changed_under_us() -> None:
    said = Delivered("r")
    outcome = plain(said)
    said.receipt = "other"
    assert outcome == Delivered("r")


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers()),
    st.timedeltas(),
)


@pytest.mark.contract("CL1", "EN8")
@given(st.sampled_from([Delivered, Deferred, RateLimited, Rejected, Redirected, Unavailable, Uncertain]), st.data())
def test_whatever_an_outcome_is_given_it_is_storable_or_refused(kind: Make, data: st.DataObject) -> None:
    fields = {name: data.draw(anything) for name in kind.__slots__ if data.draw(st.booleans())}
    if kind is Redirected:
        fields.setdefault("recipient", "bob")
    try:
        made = kind(**fields)
    except InvalidOutcome:
        return
    assert plain(made) == made
    for value in made._fields():
        assert type(value) in {str, float, bool, type(None)}
        if isinstance(value, str):
            value.encode()
            assert "\x00" not in value
