"""What is refused before anything is written, and by which name: nothing poisonous is ever stored."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillarbox.domain.envelope import Priority
from pillarbox.domain.message import File
from pillarbox.errors import InvalidMessage
from tests.unit.accepting import NOW, accept

if TYPE_CHECKING:
    from pillarbox.domain.message import Draft

CANARY = "opensesame"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

# Each would end a line, a header or a path, or hide in one.
CONTROLS = {
    "LF": "a\nb",
    "CR": "a\rb",
    "CRLF": "a\r\nb",
    "a header": "a\r\nBcc: eve@example.org",
    "a body": "a\r\n\r\nI am a body",
    "a folded header": "a\r\n b",
    "only LF": "\n",
    "LF at the end": "a\n",
    "LF at the beginning": "\na",
    "NUL": "a\x00b",
    "NUL at the end": "a\x00",
    "tab": "a\tb",
    "vertical tab": "a\x0bb",
    "form feed": "a\x0cb",
    "escape": "a\x1b[31mb",
    "backspace": "a\x08b",
    "bell": "a\x07b",
    "unit separator": "a\x1fb",
    "delete": "a\x7fb",
    "next line": "a\x85b",
    "C1": "a\x9bb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "half of a surrogate pair": "a\ud800b",
}
LINES = (
    "to", "thread", "tenant", "account", "subject", "reply_to", "key", "lane", "collapse", "origin", "correlation_id",
)  # fmt: skip


def refusal(**said: Any) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        accept(**said)
    return caught.value


def accepted(field: str, value: Any) -> Draft:
    said: dict[str, Any] = {field: value}
    return accept(**said)


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("value", CONTROLS.values(), ids=CONTROLS)
@pytest.mark.parametrize("field", LINES)
def test_a_control_character_is_refused_wherever_it_could_reach_a_header(field: str, value: str) -> None:
    error = refusal(**{field: value})
    assert error.field == field
    assert error.expected


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("value", CONTROLS.values(), ids=CONTROLS)
def test_a_control_character_is_refused_in_what_only_some_messages_have(value: str) -> None:
    assert refusal(payload=b"x", content_type=value).field == "content_type"
    assert refusal(files=[File(url=f"https://example.org/{value}")]).field == "files"
    assert refusal(traceparent=TRACE + value).field == "traceparent"


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("value", ["a\nb", "a\tb", "\x1b[31m", "a\u2028b", "a\x00b"])
def test_text_and_payload_may_say_anything(value: str) -> None:
    accept(text=value)
    accept(payload=value)
    accept(payload={"a": value})
    accept(extra={"a": value})


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("field", LINES)
def test_an_ordinary_line_passes(field: str) -> None:
    for value in ("a", "Ann <ann@example.org>", "-100123", "@ann", "日本語 👩\u200d🚀", "a  b", "é"):
        accepted(field, value)


@pytest.mark.contract("EN13")
@pytest.mark.parametrize("to", ["", " ", "\u2003", None, 5, b"ann", ["ann"], {"to": "ann"}, "x" * 2049])
def test_a_recipient_is_one_line_of_text(to: object) -> None:
    assert refusal(to=to).field == "to"


A_TIME = datetime.fromtimestamp(NOW / 1000, UTC)
SIMPLE: list[tuple[str, object]] = [
    ("text", None),
    ("text", b"hi"),
    ("text", 5),
    ("text", "\ud800"),
    ("format", "rtf"),
    ("format", None),
    ("format", 3),
    ("kind", "finale"),
    ("kind", None),
    ("uncertain", "maybe"),
    ("silent", "no"),
    ("priority", -1),
    ("priority", 4),
    ("priority", 1.0),
    ("priority", "1"),
    ("priority", True),
    ("priority", None),
    ("max_attempts", 0),
    ("max_attempts", -1),
    ("max_attempts", 10_001),
    ("max_attempts", 2.0),
    ("max_attempts", True),
    ("max_attempts", "5"),
    ("schedule", ""),
    ("schedule", "soon"),
    ("schedule", 5),
    ("schedule", b"5s"),
    ("schedule", ["5s"]),
    ("ttl", 0),
    ("ttl", -1),
    ("ttl", -0.001),
    ("ttl", math.nan),
    ("ttl", math.inf),
    ("ttl", -math.inf),
    ("ttl", "1 hour"),
    ("ttl", "0s"),
    ("ttl", True),
    ("ttl", timedelta(0)),
    ("ttl", timedelta(seconds=-1)),
    ("at", NOW),
    ("at", "tomorrow"),
    ("at", datetime(2030, 1, 1)),  # noqa: DTZ001 — without a timezone, to see it refused
    ("at", timedelta(seconds=-1)),
    ("at", timedelta.max),
    ("expires_at", A_TIME),
    ("expires_at", A_TIME - timedelta(days=1)),
    ("expires_at", datetime(2030, 1, 1)),  # noqa: DTZ001 — the same
    ("expires_at", "tomorrow"),
    ("lane", ""),
    ("lane", 5),
    ("lane", "x" * 256),
    ("key", 5),
    ("key", "x" * 256),
    ("thread", ""),
    ("thread", 7),
    ("tenant", 5),
    ("tenant", "x" * 256),
    ("subject", "x" * 999),
    ("traceparent", ""),
    ("traceparent", TRACE.upper()),
    ("traceparent", TRACE[:-1]),
    ("traceparent", 5),
    ("metadata", "a"),
    ("metadata", [1]),
    ("metadata", {"a": math.nan}),
    ("metadata", {"a": math.inf}),
    ("metadata", {"a": object()}),
    ("metadata", {"a": {1, 2}}),
    ("metadata", {"a": b"x"}),
    ("metadata", {1: "a"}),
    ("metadata", {"a": "\ud800"}),
    ("metadata", {"a": "x" * 17_000}),
    ("extra", "a"),
    ("extra", {"a": math.nan}),
    ("extra", {"a": A_TIME}),
    ("mirror", "a"),
    ("mirror", {"sessionKey": object()}),
    ("files", "https://example.org/a"),
    ("files", ["ftp://example.org/a"]),
    ("files", ["/etc/passwd"]),
    ("files", [b"x"]),
    ("files", {"a": 1}),
    ("files", [File()]),
    ("files", [File(digest="ab")]),
    ("files", [File(url="https://example.org/a", digest="ab")]),
    ("files", [File(url="file:///etc/passwd")]),
    ("files", [File(url="https://example.org/a", name="a\r\nb")]),
    ("payload", 5),
    ("payload", object()),
    ("payload", {"a": math.nan}),
    ("payload", {1: 2}),
    ("payload", "\ud800"),
    ("content_type", "text/html"),
]


@pytest.mark.contract("EN13", "EN10")
@pytest.mark.parametrize(("field", "value"), SIMPLE, ids=lambda value: value if isinstance(value, str) else None)
def test_a_value_that_does_not_fit_is_refused_by_its_field(field: str, value: object) -> None:
    error = refusal(**{field: value})
    assert error.field == field
    assert str(error).startswith(f"{field}: ")


@pytest.mark.contract("EN13")
def test_an_end_before_the_beginning_is_refused() -> None:
    later = A_TIME + timedelta(hours=1)
    assert refusal(at=later, expires_at=later).field == "expires_at"
    assert refusal(at=later, expires_at=A_TIME + timedelta(minutes=59)).field == "expires_at"


@pytest.mark.contract("CO1")
@pytest.mark.parametrize(
    "also",
    [{"text": "a"}, {"subject": "a"}, {"reply_to": "a"}, {"extra": {"a": 1}}, {"files": ["https://example.org/a"]},
     {"mirror": {"a": 1}}, {"silent": True}],
    ids=lambda also: next(iter(also)),
)  # fmt: skip
def test_nothing_goes_with_a_payload_that_could_not_be_sent_with_it(also: dict[str, Any]) -> None:
    assert refusal(payload=b"x", **also).field == next(iter(also))


def test_a_deep_document_is_refused_not_a_crash() -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    assert refusal(metadata={"a": deep}).field == "metadata"


@pytest.mark.contract("EV3")
def test_a_refusal_does_not_say_what_the_message_said() -> None:
    secret = f"{CANARY}\ud800"
    errors = [
        refusal(to=f"{CANARY}\n"),
        refusal(text=secret),
        refusal(payload=secret),
        refusal(payload={"a": secret}),
        refusal(subject=f"{CANARY}\n"),
        refusal(metadata={"a": secret}),
        refusal(extra={CANARY: object()}),
        refusal(text=CANARY * 1000),
        refusal(to=CANARY * 1000),
        refusal(files=[CANARY]),
        refusal(traceparent=CANARY),
        refusal(text=CANARY, extra=[CANARY]),
    ]
    assert [error for error in errors if CANARY in str(error)] == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = sorted({field for field, _ in SIMPLE} | set(LINES))


@pytest.mark.contract("EN13")
@settings(max_examples=500)
@given(st.sampled_from(FIELDS), anything)
def test_whatever_is_said_is_stored_or_refused_by_its_field(field: str, value: object) -> None:
    try:
        draft = accepted(field, value)
    except InvalidMessage as error:
        # Text and a payload exclude each other, and so do a payload and what cannot go with it.
        assert error.field.partition(".")[0] in {field, "text", "content_type"}  # noqa: PT017 — a refusal is one of two good ends
    else:
        assert draft.recipient
        assert 0 <= draft.priority <= Priority.URGENT
