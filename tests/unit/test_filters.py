"""The grammar of filters: what a text means, and what is said of one that means nothing (contract OP1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.filter_fields import Condition, Field
from pillarbox.domain.message import State
from pillarbox.errors import InvalidMessage
from pillarbox.outbox.filters import KNOWN, parse, terms, written
from pillarbox.store.base import Query

NOW = 1_700_000_000_000
HOUR = 3_600_000


def condition(field: Field, *values: str, contains: bool = False, negated: bool = False) -> Condition:
    return Condition(field=field, values=values, contains=contains, negated=negated)


MEANINGS: dict[str, Query] = {
    "": Query(),
    "   ": Query(),
    "state=dead": Query(states=(State.DEAD,)),
    "state=dead,held": Query(states=(State.HELD, State.DEAD)),
    "state!=dead,held,leased,scheduled,expired": Query(states=(State.DELIVERED, State.CANCELLED)),
    "state=dead,held state!=held": Query(states=(State.DEAD,)),
    "channel=ops tenant=acme to=ann@example.org": Query(channel="ops", tenant="acme", recipient="ann@example.org"),
    "correlation=turn-1 collapse=status": Query(correlation_id="turn-1", collapse_key="status"),
    'tenant=""': Query(tenant=""),
    "channel=ops,mail": Query(where=(condition(Field.CHANNEL, "ops", "mail"),)),
    "channel=ops channel=mail": Query(channel="ops", where=(condition(Field.CHANNEL, "mail"),)),
    "channel!=ops": Query(where=(condition(Field.CHANNEL, "ops", negated=True),)),
    'correlation=""': Query(where=(condition(Field.CORRELATION, ""),)),
    "error~timeout": Query(where=(condition(Field.ERROR, "timeout", contains=True),)),
    'error~"timed out",reset': Query(where=(condition(Field.ERROR, "timed out", "reset", contains=True),)),
    "error!~timeout": Query(where=(condition(Field.ERROR, "timeout", contains=True, negated=True),)),
    "reason=rejected": Query(where=(condition(Field.REASON, "rejected"),)),
    "kind=FINAL": Query(where=(condition(Field.KIND, "final"),)),
    "priority=high,0": Query(where=(condition(Field.PRIORITY, "2", "0"),)),
    "lane=orders": Query(where=(condition(Field.LANE, "orders", "=orders"),)),
    "older=2h": Query(created_to_ms=NOW - 2 * HOUR),
    "newer=1d older=1.5h": Query(created_from_ms=NOW - 24 * HOUR, created_to_ms=NOW - HOUR * 3 // 2),
    "older=2h older=1h newer=3h newer=1d": Query(created_to_ms=NOW - 2 * HOUR, created_from_ms=NOW - 3 * HOUR),
    "older=9999999d": Query(created_to_ms=0),
    "replayed=no": Query(where=(condition(Field.REPLAYED, "no"),)),
    'to=\'it\\\'s, "so"\' origin="a\\\\b"': Query(recipient='it\'s, "so"', where=(condition(Field.ORIGIN, "a\\b"),)),
    "account=a\n\tthread=b": Query(where=(condition(Field.ACCOUNT, "a"), condition(Field.THREAD, "b"))),
    "error=a=b~c!": Query(where=(condition(Field.ERROR, "a=b~c!"),)),
}

MISTAKES: dict[str, str] = {
    "staet=dead": "there is no field 'staet'; did you mean 'state'?",
    "recipient=x": "there is no field 'recipient'; ",
    "zzz=1": "there is no field 'zzz'; known are state, id, channel,",
    "state=deadd": "state: expected one of scheduled, leased, held, delivered, dead, expired, cancelled, not 'deadd'",
    "state~de": "state: expected = or !=, not ~",
    "replayed=maybe": "replayed: expected one of yes, no, not 'maybe'",
    "replayed~yes": "replayed: expected = or !=, not ~",
    "kind=text": "kind: expected one of final, block, tool, not 'text'",
    "priority=9": "priority: expected one of bulk, normal, high, urgent, not '9'",
    "older=soon": "older: expected a span such as",
    "older=-1h": "older: expected a span such as",
    "older=1h,2h": "older: expected = and one span",
    "newer!=1h": "newer: expected = and one span",
    "dead": "expected FIELD=VALUE, FIELD!=VALUE or FIELD~VALUE, not 'dead'",
    "state=dead held": "not 'held'",
    "=dead": "expected a field before",
    "to=": "to: expected a value, not ''",
    "to=a,": "to: expected a value, not ''",
    "to=,a": "to: expected a value, not ',a'",
    'to="a': "to: expected a value, not '\"a'",
    'to="a"b': "to: expected a comma or a blank before 'b'",
    "to=a\\b": "to: expected a comma or a blank before",
}


@pytest.mark.contract("OP1")
@pytest.mark.parametrize(("text", "meaning"), MEANINGS.items(), ids=repr)
def test_a_filter_means_what_it_says(text: str, meaning: Query) -> None:
    assert parse(text, now_ms=NOW) == meaning


@pytest.mark.contract("OP1")
@pytest.mark.parametrize(("text", "said"), MISTAKES.items(), ids=repr)
def test_a_mistake_is_named_with_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        parse(text, now_ms=NOW)
    assert refused.value.field == "where"
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.contract("OP1")
@pytest.mark.parametrize("where", [5, b"state=dead", ["state=dead", 5], {"state": "dead"}], ids=repr)
def test_what_is_no_text_is_refused(where: Any) -> None:
    with pytest.raises(InvalidMessage, match="where: expected text"):
        parse(where, now_ms=NOW)


@pytest.mark.contract("OP1")
def test_several_filters_must_all_hold_and_two_that_contradict_pick_nothing() -> None:
    assert parse(["state=dead", "", "to=ann"], now_ms=NOW) == parse("state=dead to=ann", now_ms=NOW)
    nothing = parse("state=dead state=held", now_ms=NOW)
    assert nothing.where == (condition(Field.ID, ""),)


@pytest.mark.contract("OP1")
@given(st.sampled_from(sorted(Field)), st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_whatever_a_value_holds_it_comes_through_what_is_written(field: Field, values: list[str]) -> None:
    (term,) = terms(written(field, *values))
    assert (term.field, term.test, term.values) == (field, "=", tuple(values))


@pytest.mark.contract("OP1")
@given(st.text(alphabet=st.sampled_from("state=deo\"'\\~!,\n xé"), max_size=30))
def test_no_text_does_more_than_name_its_mistake(text: str) -> None:
    try:
        query = parse(text, now_ms=NOW)
    except InvalidMessage as exc:
        assert exc.field == "where"  # noqa: PT017 — most of these texts are mistakes, a few are not
    else:
        assert isinstance(query, Query)


def test_every_field_is_known_once() -> None:
    assert len(set(KNOWN)) == len(KNOWN) == len(Field) + 3
