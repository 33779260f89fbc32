"""Columns of values as PostgreSQL reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.store.postgres.values import array

TEXTS = st.text(alphabet=st.sampled_from('a"\\,{} é\0NULL\n'), max_size=5)
COLUMNS = {
    "text": st.one_of(st.none(), TEXTS),
    "bigint": st.one_of(st.none(), st.integers(), st.booleans()),
    "boolean": st.one_of(st.none(), st.booleans(), st.integers(0, 1)),
    "bytea": st.one_of(st.none(), st.binary(max_size=3)),
}


@given(data=st.data(), kind=st.sampled_from(sorted(COLUMNS)), alike=st.booleans())
def test_a_column_is_written_as_its_values_are_one_by_one(data: st.DataObject, kind: str, *, alike: bool) -> None:
    value = COLUMNS[kind]
    column = [data.draw(value)] * data.draw(st.integers(1, 4)) if alike else data.draw(st.lists(value, min_size=1))
    alone = [array([one], kind)[1:-1] for one in column]
    assert array(column, kind) == "{" + ",".join(alone) + "}"


def test_texts_are_quoted() -> None:
    assert array(['a"b', "c\\d", "", "NULL"], "text") == r'{"a\"b","c\\d","","NULL"}'


@pytest.mark.parametrize(("kind", "value"), [("bigint", "1"), ("text", 1), ("boolean", "t"), ("bytea", "x")])
@pytest.mark.parametrize("count", [1, 3])
def test_what_a_column_does_not_hold_is_refused(kind: str, value: Any, count: int) -> None:
    with pytest.raises(TypeError, match="expected"):
        array([value] * count, kind)
