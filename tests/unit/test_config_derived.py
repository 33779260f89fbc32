"""What follows from the settings: defaults, a channel's policy, the lease."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pillarbox.domain.retry import CHAT, SMTP, WEBHOOK, OnDead, Policy, UncertainAction
from pillarbox.errors import ConfigError
from pillarbox.settings.derived import lease_seconds, policy_for
from pillarbox.settings.model import Settings
from pillarbox.settings.overrides import override


@pytest.mark.contract("EN6")
def test_the_defaults_are_the_contract_s() -> None:
    defaults = override(None, {}).defaults
    assert defaults.max_attempts == 5
    assert defaults.ttl == timedelta(hours=1)
    assert defaults.schedule == (5.0, 25.0, 120.0, 600.0)
    assert (defaults.uncertain, defaults.expire_action) == ("resend", "fail")
    assert (defaults.on_dead, defaults.on_held) == ("skip", "skip")


@pytest.mark.contract("EN6")
def test_the_other_defaults_are_the_contract_s() -> None:
    settings = override(None, {})
    assert (settings.enabled, settings.durability, settings.fallback) == (True, "power", None)
    assert (settings.limits.messages, settings.limits.bytes) == (1_000_000, 1 << 30)
    limits = settings.limits
    assert (limits.channel_messages, limits.recipient_messages, limits.tenant_messages) == (None, None, None)
    assert (settings.content_bytes_max, settings.concurrency) == (262_144, 256)
    assert (settings.drain_on_startup, settings.drain_budget_ms, settings.prune_interval_ms) == (True, 60_000, 300_000)
    kept = settings.retention
    assert {kept.delivered, kept.cancelled, kept.expired} == {timedelta(hours=48)}
    assert (kept.dead, settings.held_retention) == (timedelta(days=30), timedelta(days=30))
    assert (settings.key_retention, settings.audit_retention) == (timedelta(days=7), timedelta(days=90))
    assert (settings.stop_seconds, settings.log_recipients) == (30.0, False)
    assert (settings.log_format, settings.log_level) == ("text", "info")
    assert settings.db.endswith("pillarbox/outbox.db")
    assert settings == Settings(db=settings.db)


@pytest.mark.contract("EN6", "RE7")
def test_without_any_setting_chat_keeps_its_policy_and_adapters_theirs() -> None:
    settings = override(None, {})
    assert policy_for(settings, "ops") == CHAT == Policy()
    assert policy_for(settings, "ops", CHAT) == CHAT
    assert policy_for(settings, "hook", WEBHOOK) == WEBHOOK
    assert policy_for(settings, "mail", SMTP) == SMTP


@pytest.mark.contract("EN6", "RE7")
def test_a_channel_s_word_counts_before_its_adapter_s_and_that_before_the_defaults() -> None:
    settings = override(
        None,
        {
            "defaults": {"max_attempts": 7, "ttl": "30m", "jitter": 0, "uncertain": "hold", "hint_max": "1h"},
            "channels": {"ops": {"max_attempts": 9, "schedule": "1s", "on_dead": "block"}},
        },
    )
    by_default = policy_for(settings, "other")
    assert (by_default.max_attempts, by_default.ttl_seconds, by_default.jitter) == (7, 1800.0, 0.0)
    assert (by_default.uncertain, by_default.hint_seconds_max) == (UncertainAction.HOLD, 3600.0)
    assert by_default.schedule == CHAT.schedule
    chat = policy_for(settings, "ops")
    assert (chat.max_attempts, chat.ttl_seconds, chat.schedule, chat.on_dead) == (9, 1800.0, (1.0,), OnDead.BLOCK)
    webhook = policy_for(settings, "ops", WEBHOOK)
    assert (webhook.max_attempts, webhook.schedule) == (9, (1.0,))
    assert (webhook.ttl_seconds, webhook.uncertain) == (WEBHOOK.ttl_seconds, WEBHOOK.uncertain)
    assert policy_for(settings, "other", WEBHOOK) == WEBHOOK


@pytest.mark.contract("RE7", "EX1")
def test_every_part_of_a_policy_can_be_set_for_one_channel() -> None:
    said = {
        "schedule": "1s, 2s",
        "max_attempts": 2,
        "ttl": "none",
        "expire_action": "deliver",
        "uncertain": "drop",
        "on_dead": "block",
        "on_held": "block",
        "lane_block_max": "10m",
        "uncertain_mark": "twice?",
        "parts": "best_effort",
        "jitter": 0.0,
        "hint_max": "5s",
        "suppress": True,
    }
    policy = policy_for(override(None, {"channels": {"ops": said}}), "ops", SMTP)
    assert policy.ttl_seconds is None
    assert policy.hint_seconds_max == 5.0
    assert all(getattr(policy, name) != getattr(SMTP, name) for name in Policy.__struct_fields__)


def test_no_time_limit_by_default_is_none_for_the_engine() -> None:
    assert policy_for(override(None, {"defaults": {"ttl": "none"}}), "ops").ttl_seconds is None


@pytest.mark.contract("LE3")
def test_a_lease_outlasts_every_send() -> None:
    assert lease_seconds(override(None, {}), []) == 60.0
    assert lease_seconds(override(None, {}), [5.0, 30.0]) == 60.0
    assert lease_seconds(override(None, {}), [5.0, 40.0]) == 80.0
    assert lease_seconds(override(None, {"lease_seconds": 41}), [5.0, 40.0]) == 41.0
    with pytest.raises(ConfigError, match="lease_seconds: expected more than the longest send timeout, 40 seconds"):
        lease_seconds(override(None, {"lease_seconds": 40}), [5.0, 40.0])
