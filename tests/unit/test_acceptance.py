"""What a caller says, and what is stored of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox.channels.base import Attempt, Channel
from pillarbox.domain.envelope import Kind, Priority
from pillarbox.domain.message import Admission, Content, File, Format, decode_content, encode_content
from pillarbox.domain.outcome import AnyOutcome, Delivered
from pillarbox.domain.outgoing import DEFAULT, Outgoing, is_empty
from pillarbox.domain.retry import CHAT, ExpireAction, Policy, UncertainAction
from pillarbox.errors import InvalidMessage
from tests.unit.accepting import ID, NOW, SIZE_MAX, accept

if TYPE_CHECKING:
    from pillarbox.domain.message import Draft

HOUR_MS = 3_600_000


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def content(draft: Draft) -> Content:
    return decode_content(draft.content)


@pytest.mark.contract("EN2", "EN10", "CO1")
def test_every_option_is_in_the_draft_as_it_was_said() -> None:
    draft = accept(
        channel="mail",
        to="ann@example.org",
        text="Grüße 👋\n\tzwei Zeilen",
        format="markdown",
        subject="Überraschung",
        reply_to="<1@example.org>",
        thread="7",
        silent=True,
        files=[File(url="https://example.org/a.png")],
        extra={"buttons": [[{"text": "ja", "n": 1.5}]]},
        mirror={"sessionKey": "s"},
        key="invoice-7",
        at=timedelta(minutes=10),
        ttl=60,
        lane="invoices",
        priority=3,
        max_attempts=9,
        schedule="1m, 5m*2",
        uncertain="hold",
        kind="tool",
        collapse="status",
        correlation_id="turn-1",
        origin="agent:main",
        tenant="acme",
        account="bot-2",
        metadata={"trace": [1, None, True]},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert content(draft) == Content(
        text="Grüße 👋\n\tzwei Zeilen",
        format=Format.MARKDOWN,
        subject="Überraschung",
        reply_to="<1@example.org>",
        silent=True,
        files=(File(url="https://example.org/a.png"),),
        extra={"buttons": [[{"text": "ja", "n": 1.5}]]},
        mirror={"sessionKey": "s"},
    )
    assert msgspec.structs.replace(draft, content=b"", digest=None) == msgspec.structs.replace(
        draft,
        id=ID,
        channel="mail",
        recipient="ann@example.org",
        content=b"",
        thread="7",
        key="invoice-7",
        digest=None,
        not_before_ms=NOW + 600_000,
        due_ms=NOW + 600_000,
        expires_ms=NOW + 660_000,
        lane="acme\x1f=invoices",
        priority=3,
        max_attempts=9,
        kind=Kind.TOOL,
        collapse_key="status",
        correlation_id="turn-1",
        origin="agent:main",
        tenant="acme",
        account="bot-2",
        metadata=b'{"trace":[1,null,true]}',
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert draft.policy == msgspec.structs.replace(
        CHAT,
        max_attempts=9,
        schedule=(60.0, 300.0, 300.0),
        ttl_seconds=60.0,
        uncertain=UncertainAction.HOLD,
    )


@pytest.mark.contract("EN6")
def test_what_is_not_said_is_taken_from_the_channels_policy() -> None:
    policy = Policy(max_attempts=7, ttl_seconds=120.0, uncertain=UncertainAction.DROP)
    draft = accept(policy=policy)
    assert (draft.policy, draft.max_attempts, draft.expires_ms) == (policy, 7, NOW + 120_000)
    assert (draft.not_before_ms, draft.due_ms, draft.created_ms) == (None, NOW, NOW)
    assert (draft.kind, draft.priority, draft.key, draft.digest) == (Kind.FINAL, 1, None, None)


@pytest.mark.contract("EN6", "RE7")
@pytest.mark.parametrize(
    ("said", "expected"),
    [({"max_attempts": 1}, (1, NOW + 120_000)), ({"ttl": 5}, (7, NOW + 5_000)), ({"ttl": None}, (7, None))],
)
def test_an_explicit_value_wins(said: dict[str, Any], expected: tuple[int, int | None]) -> None:
    draft = accept(policy=Policy(max_attempts=7, ttl_seconds=120.0), **said)
    assert (draft.max_attempts, draft.expires_ms) == expected


@pytest.mark.contract("EN13", "EX1")
def test_the_ttl_counts_from_the_time_the_message_may_first_go() -> None:
    draft = accept(at=at(NOW + HOUR_MS), ttl=timedelta(minutes=1))
    assert (draft.not_before_ms, draft.expires_ms) == (NOW + HOUR_MS, NOW + HOUR_MS + 60_000)


def test_a_time_that_is_over_already_means_now_and_shortens_no_life() -> None:
    draft = accept(at=at(NOW - HOUR_MS), ttl=60)
    assert (draft.due_ms, draft.expires_ms) == (NOW, NOW + 60_000)


@pytest.mark.contract("EX1")
def test_a_message_may_name_its_end() -> None:
    assert accept(expires_at=at(NOW + 5_000)).expires_ms == NOW + 5_000
    assert accept(at=at(NOW + 5_000), expires_at=at(NOW + 5_001)).expires_ms == NOW + 5_001


@pytest.mark.contract("EX2")
def test_where_expiry_delivers_there_is_no_end() -> None:
    policy = Policy(expire_action=ExpireAction.DELIVER)
    assert accept(policy=policy).expires_ms is None
    assert accept(policy=policy, expires_at=at(NOW + 5_000)).expires_ms is None


@pytest.mark.contract("EX2")
def test_the_shortest_life_still_has_a_first_millisecond() -> None:
    assert accept(ttl=0.0001).expires_ms == NOW + 1


def test_spans_are_written_as_everywhere_else() -> None:
    assert accept(ttl="1.5h") == accept(ttl=5400)
    assert accept(ttl="none") == accept(ttl=None)
    assert accept(at="10m") == accept(at=timedelta(minutes=10))
    assert accept(expires_at="2030-01-31T09:00+01:00").expires_ms == 1_896_076_800_000


@pytest.mark.parametrize("ttl", [1e300, 10**400, timedelta.max])
def test_a_life_beyond_the_calendar_ends_with_it(ttl: float | timedelta) -> None:
    assert accept(ttl=ttl).expires_ms == 253_402_300_799_999


# Lanes


@pytest.mark.contract("LA1")
def test_the_default_lane_is_the_route() -> None:
    usual = accept().lane
    assert usual is not None
    others: list[dict[str, Any]] = [
        {"channel": "mail"}, {"to": "bob"}, {"thread": "1"}, {"account": "b"}, {"tenant": "t"},
    ]  # fmt: skip
    for other in others:
        assert accept(**other).lane not in {usual, None}
    assert accept(text="another", priority=3, key="k").lane == usual


@pytest.mark.contract("LA1")
def test_two_routes_never_share_a_lane() -> None:
    assert accept(to="a", thread="b").lane != accept(to="a", account="b").lane
    assert accept(lane="chat").lane != accept(channel="chat").lane
    assert accept(tenant="t", lane="x").lane != accept(lane="t=x").lane


@pytest.mark.contract("LA1", "RE7")
def test_a_channel_without_order_has_no_lane_unless_one_is_named() -> None:
    assert accept(ordered=False).lane is None
    assert accept(ordered=False, lane="x").lane is not None
    assert accept(ordered=True, lane=None).lane is None
    assert accept(ordered=True, lane=DEFAULT).lane is not None


@pytest.mark.contract("LA1")
def test_a_named_lane_is_one_for_all_channels_of_a_tenant() -> None:
    assert accept(lane="x", channel="mail").lane == accept(lane="x", to="bob").lane
    assert accept(lane="x", tenant="a").lane != accept(lane="x", tenant="b").lane


# What a key stands for


@pytest.mark.contract("EN7")
@pytest.mark.parametrize(
    "other",
    [
        {"channel": "mail"}, {"to": "bob"}, {"thread": "1"}, {"kind": "block"}, {"text": "ho"}, {"subject": "s"},
        {"format": "html"}, {"extra": {"a": 1}}, {"text": None, "payload": b"hi"}, {"reply_to": "x"}, {"silent": True},
        {"files": [File(url="https://example.org/a")]},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_another_route_or_content_is_another_message_to_a_key(other: dict[str, Any]) -> None:
    assert accept(key="k").digest != accept(key="k", **other).digest


@pytest.mark.contract("EN7")
@pytest.mark.parametrize(
    "other",
    [
        {"at": timedelta(hours=1)}, {"ttl": 5}, {"priority": 3}, {"metadata": {"a": 1}}, {"max_attempts": 2},
        {"correlation_id": "c"}, {"origin": "o"}, {"lane": None}, {"schedule": "1s"}, {"uncertain": "drop"},
        {"collapse": "c"}, {"expires_at": at(NOW + 1)}, {"account": "b"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_times_and_priorities_are_the_same_message_to_a_key(other: dict[str, Any]) -> None:
    assert accept(key="k").digest == accept(key="k", **other).digest


@pytest.mark.contract("EN7")
def test_no_two_contents_have_one_digest_because_they_run_together() -> None:
    assert accept(key="k", to="ab", thread="c").digest != accept(key="k", to="a", thread="bc").digest


@pytest.mark.contract("EN7")
def test_a_key_stands_for_what_was_given_not_for_what_a_channel_makes_of_it() -> None:
    assert accept(key="k").digest == accept(key="k", by=Shouting()).digest


# Payloads


@pytest.mark.contract("CO1", "EN2")
@pytest.mark.parametrize(
    ("payload", "raw", "content_type"),
    [
        (b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        (bytearray(b"ab"), b"ab", "application/octet-stream"),
        ("Grüße", "Grüße".encode(), "text/plain; charset=utf-8"),
        ({"a": [1, 2.5, None]}, b'{"a":[1,2.5,null]}', "application/json"),
        ([1, "x"], b'[1,"x"]', "application/json"),
        (b"", b"", "application/octet-stream"),
    ],
)
def test_a_payload_is_stored_as_it_is(payload: object, raw: bytes, content_type: str) -> None:
    stored = content(accept(payload=payload))
    assert (stored.payload, stored.content_type, stored.text) == (raw, content_type, None)


@pytest.mark.contract("CO1")
def test_a_payload_may_name_its_type() -> None:
    assert content(accept(payload=b"<a/>", content_type="application/xml")).content_type == "application/xml"


@pytest.mark.contract("CO1")
def test_content_has_a_version_and_comes_back_as_it_was() -> None:
    stored = Content(text="a\u2028b", extra={"k": [1, {"n": None}]})
    assert decode_content(encode_content(stored)) == stored
    assert stored.version == 1


@pytest.mark.contract("EN13", "EN5")
def test_content_may_fill_its_limit_to_the_last_byte() -> None:
    frame = len(accept(text="x").content) - 1
    assert len(accept(text="x" * (SIZE_MAX - frame)).content) == SIZE_MAX
    with pytest.raises(InvalidMessage, match="text: expected at most 4096 bytes"):
        accept(text="x" * (SIZE_MAX - frame + 1))
    with pytest.raises(InvalidMessage, match="payload: expected at most 4096 bytes"):
        accept(payload=b"x" * SIZE_MAX)


# Nothing to say


@pytest.mark.contract("EN14")
@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u2003"])
def test_blank_text_says_nothing(text: str) -> None:
    assert is_empty(Outgoing(channel="chat", to="ann", text=text))


@pytest.mark.contract("EN14")
@pytest.mark.parametrize(
    "said", [{"text": "x"}, {"payload": b""}, {"text": "", "files": ["https://example.org/a"]}, {}]
)
def test_anything_else_says_something(said: dict[str, Any]) -> None:
    assert not is_empty(Outgoing(channel="chat", to="ann", **said))


# Admission


class Shouting(Channel):
    """Writes recipients in its own spelling, and knows only letters."""

    async def send(self, attempt: Attempt) -> AnyOutcome:
        return Delivered()

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:
        if not to.isalpha():
            raise InvalidMessage("to", "expected letters")
        return Admission(recipient=to.upper())


@pytest.mark.contract("EN16")
def test_a_channel_at_hand_admits_at_once() -> None:
    draft = accept(by=Shouting())
    assert draft.admission == Admission(recipient="ANN")
    assert draft.recipient == "ann"


@pytest.mark.contract("EN16")
def test_without_its_channel_a_message_waits_to_be_admitted() -> None:
    assert accept(channel="elsewhere").admission is None


@pytest.mark.contract("EN16", "EN13")
def test_what_its_channel_does_not_admit_is_refused_by_its_field() -> None:
    with pytest.raises(InvalidMessage) as caught:
        accept(by=Shouting(), to="ann@example.org")
    assert caught.value.field == "to"


class Count(int):
    """A number of somebody's own."""


@pytest.mark.contract("EN6", "EN13")
def test_a_number_of_ones_own_is_the_number_it_holds() -> None:
    draft = accept(max_attempts=Count(3), priority=Count(2), ttl=Count(60), metadata={"n": Count(4)})
    assert (draft.max_attempts, draft.priority, draft.expires_ms, draft.metadata) == (3, 2, NOW + 60_000, b'{"n":4}')
    kept = (draft.policy.max_attempts, draft.max_attempts, draft.priority, draft.expires_ms)
    assert {type(number) for number in kept} <= {int, Priority}
