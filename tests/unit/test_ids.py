"""Ids and dedupe tokens."""

from __future__ import annotations

import base64
import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.ids import EPOCHS_MAX, PARTS_MAX, dedupe_token, is_message_id, message_id

DISCORD_NONCE_MAX = 25
times = st.integers(0, 2**48 - 1)
randoms = st.binary(min_size=10, max_size=10)


@given(times, randoms)
def test_an_id_is_a_uuid_of_version_7_in_22_characters(wall_ms: int, random: bytes) -> None:
    made = message_id(wall_ms, random)
    assert len(made) == 22
    assert is_message_id(made)
    read = uuid.UUID(bytes=base64.urlsafe_b64decode(made + "=="))
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert int.from_bytes(read.bytes[:6], "big") == wall_ms


@given(st.lists(st.tuples(times, randoms), unique_by=lambda pair: pair[0], min_size=2))
def test_ids_sort_by_the_time_that_they_were_made(pairs: list[tuple[int, bytes]]) -> None:
    raw = [base64.urlsafe_b64decode(message_id(*pair) + "==") for pair in sorted(pairs)]
    assert all(earlier < later for earlier, later in pairwise(raw))


@given(times, randoms, randoms)
def test_ids_of_one_millisecond_differ_by_their_randomness(wall_ms: int, one: bytes, other: bytes) -> None:
    # 4 bits hold the version and 2 the variant.
    same = (
        bytes([one[0] & 0x0F, one[1], one[2] & 0x3F]) + one[3:]
        == bytes([other[0] & 0x0F, other[1], other[2] & 0x3F]) + other[3:]
    )
    assert (message_id(wall_ms, one) == message_id(wall_ms, other)) is same


@pytest.mark.parametrize(
    "text", ["", "x", "A" * 21, "A" * 23, "A" * 21 + "B", "A" * 21 + "=", "+" * 22, "A" * 21 + "A\n", "é" * 22]
)
def test_what_cannot_be_an_id_is_seen_at_once(text: str) -> None:
    assert not is_message_id(text)


@pytest.mark.contract("UN2")
@given(randoms, st.integers(0, PARTS_MAX - 1), st.integers(0, EPOCHS_MAX - 1))
def test_a_token_has_25_characters_and_begins_with_the_messages_id(random: bytes, part: int, epoch: int) -> None:
    made = message_id(1_700_000_000_000, random)
    token = dedupe_token(made, part, epoch)
    assert token.startswith(made)
    assert len(token) == DISCORD_NONCE_MAX
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.contract("UN2")
def test_every_part_and_every_epoch_has_a_token_of_its_own() -> None:
    made = message_id(1_700_000_000_000, bytes(10))
    parts = {dedupe_token(made, part, 0) for part in range(PARTS_MAX)}
    epochs = {dedupe_token(made, 0, epoch) for epoch in range(EPOCHS_MAX)}
    assert (len(parts), len(epochs)) == (PARTS_MAX, EPOCHS_MAX)


@pytest.mark.contract("UN2")
def test_what_has_no_token_of_its_own_is_refused_instead_of_sharing_one() -> None:
    made = message_id(1_700_000_000_000, bytes(10))
    with pytest.raises(IndexError):
        dedupe_token(made, PARTS_MAX, 0)
    with pytest.raises(IndexError):
        dedupe_token(made, 0, EPOCHS_MAX)
