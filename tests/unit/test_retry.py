"""The schedule grammar, the declared policies, and where jitter comes from."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.domain.retry import CHAT, SMTP, WEBHOOK, Policy, parse_schedule, parse_span
from pillarbox.errors import ConfigError
from pillarbox.testing.fakes import SeededEntropy

HOUR, DAY = 3600, 86_400


@pytest.mark.contract("RE3")
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s, 25s, 2m, 10m", (5, 25, 120, 600)),
        ("1m, 5m*2, 1h*3", (60, 300, 300, 3600, 3600, 3600)),
        ("250ms", (0.25,)),
        ("1.5h", (5400,)),
        ("1d", (DAY,)),
        ("  5s ,25s  ", (5, 25)),
        ("10h * 6", (36_000,) * 6),
        ("3650d", (3650 * DAY,)),
        ("1s*1000", (1,) * 1000),
    ],
)
def test_a_schedule_is_read_into_seconds(text: str, seconds: tuple[float, ...]) -> None:
    assert parse_schedule(text) == seconds


@pytest.mark.contract("RE3")
@pytest.mark.parametrize(
    "text",
    [
        "", " ", ",", "5s,", ",5s", "5", "5 s", "s", "-5s", "+5s", "0s", "0.0m", "5s*0", "5s*-1", "5s*1001", "5s*",
        "5s**2", "5s*1.5", "*3", "5sec", "5S", "5s;25s", "5s 25s", "nan", "infs", "1e3s", "\u0665s", "3651d",
        "9" * 400 + "s",        "1h30m", "5s*2*2", "5s\x00", "5s, 25x",
    ],
)  # fmt: skip
def test_a_schedule_that_means_nothing_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schedule(text, field="channels.ops.schedule")
    assert caught.value.field == "channels.ops.schedule"


@pytest.mark.contract("RE3")
@given(st.text(max_size=20))
def test_whatever_is_read_as_a_schedule_is_a_schedule(text: str) -> None:
    try:
        delays = parse_schedule(text)
    except ConfigError:
        return
    assert delays
    assert all(0 < delay <= 3650 * DAY for delay in delays)


@pytest.mark.parametrize("text", ["", "5", "five s", "-1s", "1 h", "1h2m", "∞s"])
def test_a_span_that_means_nothing_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        parse_span(text, field="timeout")


@pytest.mark.contract("RE3")
def test_a_seed_draws_the_same_jitter_again() -> None:
    policy = Policy(schedule=(5.0, 25.0), jitter=0.2)

    def delays(seed: int) -> list[float]:
        entropy = SeededEntropy(seed)
        return [policy.delay_seconds(charged, entropy.fraction()) for charged in range(1, 20)]

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)
    assert len(set(delays(1))) == 19


@pytest.mark.contract("RE3")
def test_jitter_spreads_over_its_whole_range() -> None:
    policy = Policy(schedule=(10.0,), jitter=0.2)
    draw = random.Random(1)
    delays = [policy.delay_seconds(1, draw.random()) for _ in range(1000)]
    assert 10.0 <= min(delays) < 10.05
    assert 11.95 < max(delays) < 12.0


@pytest.mark.contract("RE1", "RE2", "RE7", "EX1")
def test_chat_declares_what_the_seeds_did() -> None:
    assert list(CHAT.schedule) == [5, 25, 120, 600]
    assert (CHAT.max_attempts, CHAT.ttl_seconds) == (5, HOUR)


@pytest.mark.contract("RE7")
def test_webhooks_and_mail_declare_longer_lives() -> None:
    assert list(WEBHOOK.schedule) == [5, 300, 1800, 2 * HOUR, 5 * HOUR] + [10 * HOUR] * 6
    assert WEBHOOK.ttl_seconds == 3 * DAY
    assert list(SMTP.schedule) == [60, 900, 1800] + [HOUR] * 4 + [4 * HOUR] * 28
    assert SMTP.ttl_seconds == 5 * DAY


@pytest.mark.contract("RE7")
@pytest.mark.parametrize("policy", [WEBHOOK, SMTP])
def test_every_delay_of_a_declared_schedule_is_used(policy: Policy) -> None:
    assert policy.max_attempts == len(policy.schedule) + 1
