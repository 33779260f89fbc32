"""
The one grammar by which people pick messages: `parse` makes a `Query` of it. Command line, Python and HTTP share it.

    state=dead,held channel=ops error~"timed out" older=2h priority!=0

Terms are separated by blanks and all must hold; commas separate values, any of which will do. ``=`` is, ``!=`` is not,
``~`` contains, ``!~`` contains not; the case of ASCII letters counts only for ``=`` and ``!=``. A value with blanks,
commas or quotes is quoted, ``"…"`` or ``'…'``, with a backslash before a quote or a backslash inside; ``""`` is empty.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, TypeVar

import msgspec

from pillarbox.domain.envelope import Kind, Priority
from pillarbox.domain.filter_fields import Condition, Field, Replayed
from pillarbox.domain.message import STATES, State
from pillarbox.domain.moments import MS_MAX
from pillarbox.domain.plain_values import word_of
from pillarbox.domain.retry import parse_span
from pillarbox.errors import ConfigError, InvalidMessage
from pillarbox.store.base import Query

E = TypeVar("E", bound=Enum)
Where = str | Sequence[str]
"""A filter, or several that must all hold."""

_TERM: Final = re.compile(r"\s*(?P<field>[^\s=!~\"',]*)(?P<test>!=|!~|=|~)")
_VALUE: Final = re.compile(r"""(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<bare>[^\s,"'\\]+)""", re.DOTALL)
_NOTHING_MORE: Final = re.compile(r"\s*+\Z")
_TO_ESCAPE: Final = re.compile(r"[\\\"]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_STATE: Final = "state"
_TIMES: Final = ("older", "newer")
KNOWN: Final = (_STATE, *(str(field) for field in Field), *_TIMES)
"""The fields of the grammar, in the order of its documentation."""
_ARGUMENT: Final = "where"
_ELSEWHERE: Final = re.compile(r"(?P<field>\w+)(?P<sign>:|==|[<>]=?)(?P<value>[\w.-]+)")
STATE_WORDS: Final = {
    "failed": "dead", "error": "dead", "rejected": "dead", "queued": "scheduled", "pending": "scheduled",
    "waiting": "scheduled", "retrying": "scheduled", "sent": "delivered", "done": "delivered", "acked": "delivered",
    "sending": "leased", "running": "leased", "active": "leased", "uncertain": "held", "timeout": "expired",
}  # fmt: skip
"""Other systems' words for states: they are never taken, but errors name ours."""
# What `Query` has a field of its own for: looked at first, and where there is an index, looked up.
_DIRECT: Final = {
    Field.CHANNEL: "channel",
    Field.TENANT: "tenant",
    Field.TO: "recipient",
    Field.CORRELATION: "correlation_id",
    Field.COLLAPSE: "collapse_key",
}


class Term(msgspec.Struct, frozen=True):
    """One term as it was written."""

    field: str
    test: str
    values: tuple[str, ...]


def parse(where: Where, *, now_ms: int) -> Query:
    """
    Read a filter.

    Args:
        where: A text, or several, all of which must hold. Blank ones hold for everything.
        now_ms: What ``older`` and ``newer`` count from; both are about the time of acceptance.

    Raises:
        InvalidMessage: About ``where``: names the term, and what was expected.
    """
    return narrowed_by(Query(), where, now_ms=now_ms)


def narrowed_by(query: Query, where: Where, *, now_ms: int) -> Query:
    """Return *query* for what a filter picks of it. See `parse`."""
    texts: object = [where] if isinstance(where, str) else where
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise InvalidMessage(_ARGUMENT, "expected text such as 'state=dead channel=ops', or a list of such texts")
    for text in texts:
        for term in terms(word_of(_ARGUMENT, text)):
            query = _with_term(query, term, now_ms)
    return query


def written(field: str, *values: str) -> str:
    """Write a term that any one of *values* fits, whatever they hold."""
    return f"{field}=" + ",".join('"' + _TO_ESCAPE.sub(r"\\\g<0>", value) + '"' for value in values)


def _with_term(query: Query, term: Term, now_ms: int) -> Query:
    if term.field == _STATE:
        return with_states(query, _states(term))
    if term.field in _TIMES:
        return _with_time(query, term, now_ms)
    return _with_condition(query, _condition(term))


def with_states(query: Query, states: Sequence[State]) -> Query:
    """Return *query* for messages in one of *states* only, beside what it asks for already."""
    both = tuple(state for state in STATES if state in states and (not query.states or state in query.states))
    if both:
        return msgspec.structs.replace(query, states=both)
    # No state is in both, and no states at all would mean every one. No message has an empty id.
    return msgspec.structs.replace(query, where=(*query.where, Condition(field=Field.ID, values=("",))))


def terms(text: str) -> Iterator[Term]:
    """Take a filter apart. Raises InvalidMessage where it is no filter."""
    at = 0
    while not _NOTHING_MORE.match(text, at):
        term = _TERM.match(text, at)
        if term is None:
            raise InvalidMessage(
                _ARGUMENT,
                f"expected FIELD=VALUE, FIELD!=VALUE or FIELD~VALUE, not {_near(text, at)!r}{_meant(text[at:])}",
            )
        field = term["field"]
        if field not in KNOWN:
            raise InvalidMessage(_ARGUMENT, _unknown(field))
        values, at = _values(text, term.end(), field)
        yield Term(field, term["test"], values)


def _values(text: str, at: int, field: str) -> tuple[tuple[str, ...], int]:
    values = []
    while True:
        value = _VALUE.match(text, at)
        if value is None:
            raise InvalidMessage(
                _ARGUMENT, f'{field}: expected a value, not {_near(text, at)!r} ("" is empty, and quotes come in pairs)'
            )
        values.append(value["bare"] or _ESCAPED.sub(r"\1", value["quoted"][1:-1]))
        at = value.end()
        if at == len(text) or text[at].isspace():
            return tuple(values), at
        if text[at] != ",":
            raise InvalidMessage(_ARGUMENT, f"{field}: expected a comma or a blank before {_near(text, at)!r}")
        at += 1


def _meant(text: str) -> str:
    """Return a hint where a term is written as elsewhere: ``state:dead``, ``age>1h``, or a state alone."""
    words = text.split()
    word = words[0] if words else ""
    if word in STATES:
        return f"; did you mean state={word}?"
    other = _ELSEWHERE.fullmatch(word)
    if other is None:
        return ""
    field = other["field"].lower()
    if field in {"age", "created", "created_at"}:
        field = "newer" if "<" in other["sign"] else "older"
    return f"; did you mean {field}={other['value']}?" if field in KNOWN else ""


def _near(text: str, at: int) -> str:
    return text[at:].strip()[:30]


def _unknown(field: str) -> str:
    close = difflib.get_close_matches(field.lower(), KNOWN, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(KNOWN)}"
    return (
        f"there is no field {field!r}; {hint}" if field else f"expected a field before = or ~; known are {KNOWN[0]}, …"
    )


def _states(term: Term) -> list[State]:
    named = [_choice(term, value, State) for value in _exactly(term)]
    return [state for state in STATES if (state in named) is (term.test == "=")]


def _exactly(term: Term) -> tuple[str, ...]:
    if term.test not in {"=", "!="}:
        raise InvalidMessage(_ARGUMENT, f"{term.field}: expected = or !=, not {term.test}")
    return term.values


def _choice(term: Term, value: str, options: type[E]) -> E:
    for option in options:
        if value.lower() in {option.name.lower(), str(option.value)}:
            return option
    known = ", ".join(option.name.lower() for option in options)
    ours = STATE_WORDS.get(value.lower()) if options is State else None
    hint = f"; did you mean {ours!r}?" if ours else ""
    raise InvalidMessage(_ARGUMENT, f"{term.field}: expected one of {known}, not {value!r}{hint}")


def _with_time(query: Query, term: Term, now_ms: int) -> Query:
    if term.test != "=" or len(term.values) != 1:
        raise InvalidMessage(_ARGUMENT, f"{term.field}: expected = and one span, such as {term.field}=2h")
    try:
        span_ms = parse_span(term.values[0], field=term.field) * 1000
    except (ConfigError, OverflowError) as exc:
        expected = exc.expected if isinstance(exc, ConfigError) else "expected a shorter span"
        raise InvalidMessage(_ARGUMENT, f"{term.field}: {expected}") from None
    at_ms = max(0, now_ms - int(min(span_ms, MS_MAX)))
    if term.field == "older":
        earliest = at_ms if query.created_to_ms is None else min(at_ms, query.created_to_ms)
        return msgspec.structs.replace(query, created_to_ms=earliest)
    return msgspec.structs.replace(query, created_from_ms=max(at_ms, query.created_from_ms or 0))


def _condition(term: Term) -> Condition:
    field, values = Field(term.field), term.values
    contains = term.test.endswith("~")
    match field:
        case Field.KIND:
            values = tuple(str(_choice(term, value, Kind)) for value in _exactly(term))
        case Field.PRIORITY:
            values = tuple(str(int(_choice(term, value, Priority))) for value in _exactly(term))
        case Field.REPLAYED:
            values = tuple(str(_choice(term, value, Replayed)) for value in _exactly(term))
        case Field.LANE if not contains:
            # As a lane is shown, and a lane of one's own as it was named.
            values = tuple(shown for value in values for shown in (value, f"={value}"))
        case _:
            pass
    return Condition(field=field, values=values, contains=contains, negated=term.test.startswith("!"))


def _with_condition(query: Query, condition: Condition) -> Query:
    direct = _DIRECT.get(condition.field)
    plain = not (condition.contains or condition.negated) and len(condition.values) == 1
    # An empty correlation or collapse key means that there is none, which a look-up does not find.
    there = plain and (condition.values[0] or condition.field in {Field.CHANNEL, Field.TENANT, Field.TO})
    if direct is not None and there and getattr(query, direct) is None:
        return msgspec.structs.replace(query, **{direct: condition.values[0]})
    return msgspec.structs.replace(query, where=(*query.where, condition))
