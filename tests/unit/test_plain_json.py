"""What a caller passes as JSON is stored as plain values, or refused by name (contract EN2, EN13)."""

from __future__ import annotations

import decimal
import enum
import math
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.plain_json import DEPTH_MAX, plain, plain_object, plain_text
from pillarbox.errors import InvalidMessage

pytestmark = pytest.mark.contract("EN2", "EN13")


class Safe(str):
    """As Django's SafeString: it stays what it is whatever is done to it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Liar(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another text"

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Number(enum.IntEnum):
    TWO = 2


class Word(enum.StrEnum):
    WORD = "word"


class Half(float):
    pass


def nested(levels: int) -> Any:
    value: Any = "v"
    for _ in range(levels):
        value = {"a": value}
    return value


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)  # fmt: skip


@given(values)
def test_plain_values_stay_as_they_are(value: object) -> None:
    assert plain("extra", value) == value
    assert msgspec.json.decode(msgspec.json.encode(plain("extra", value))) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Safe("x"), "x"), (Liar("x"), "x"), (Word.WORD, "word"), (Number.TWO, 2), (Half(0.5), 0.5), ((1, 2), [1, 2]),
        ({Safe("k"): [Safe("v")]}, {"k": ["v"]}), (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": True}), {"a": True}),
    ],
)  # fmt: skip
def test_subclasses_are_what_they_hold(value: object, expected: object) -> None:
    found = plain("extra", value)
    assert msgspec.json.encode(found) == msgspec.json.encode(expected)
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", ["plain", Safe("plain"), Liar("plain"), Word.WORD])
def test_a_text_is_exactly_a_text(value: str) -> None:
    found = plain_text(value)
    assert type(found) is str
    assert found.encode() == bytes(value, "utf-8")


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, b"x", {1: 2}, {None: 1}, {1, 2}, object(), decimal.Decimal(1), 1 << 64,
        -(1 << 63) - 1, 10**500, 10**5000, "\ud800", {"\udfff": 1}, [["\ud800"]], nested(DEPTH_MAX + 1),
        nested(450), nested(990), nested(50_000),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_plain_json_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidMessage, match=r"^extra: expected "):
        plain("extra", value)


def test_so_deep_and_no_deeper() -> None:
    assert plain("extra", nested(DEPTH_MAX)) == nested(DEPTH_MAX)


def test_what_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidMessage, match="levels of nesting"):
        plain("extra", loop)


def test_what_shares_itself_a_thousand_times_over_is_refused_soon() -> None:
    bomb: Any = []
    for _ in range(60):
        bomb = [bomb, bomb]
    with pytest.raises(InvalidMessage, match="values"):
        plain("extra", bomb)


def test_near_the_end_of_the_stack_it_is_still_refused_by_name() -> None:
    def down(value: object) -> None:
        try:
            down(value)
        except RecursionError:
            plain("extra", value)

    with pytest.raises((InvalidMessage, RecursionError)) as caught:
        down(nested(DEPTH_MAX))
    assert caught.type is InvalidMessage or "maximum recursion" in str(caught.value)


@pytest.mark.parametrize("value", [[], "x", 1, None])
def test_an_object_is_asked_for(value: object) -> None:
    with pytest.raises(InvalidMessage, match=r"^metadata: expected an object"):
        plain_object("metadata", value)
