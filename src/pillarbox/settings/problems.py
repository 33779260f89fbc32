"""
What is allowed and probably not meant: settings that contradict each other, or that give something away.

None of this stops a program; ``pillarbox config check`` and ``doctor`` print it.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from pillarbox.domain.url_schemes import WITH_A_HOST, scheme_of
from pillarbox.settings.derived import policy_for
from pillarbox.settings.model import Settings

_OF_THIS_MACHINE: Final = frozenset({"console", "file"})
_PLATFORMS: Final = {
    "hooks.slack.com": ("Slack", "slack://T…/B…/SECRET"),
    "discord.com": ("Discord", "discord://ID/TOKEN"),
    "discordapp.com": ("Discord", "discord://ID/TOKEN"),
    "api.telegram.org": ("Telegram", "tgram://TOKEN"),
}
_OF_A_PLATFORM: Final = re.compile(
    rf"https://(?P<host>{'|'.join(map(re.escape, _PLATFORMS))})(?::443)?(?:[/?#]|\Z)", re.IGNORECASE
)
_HOST_ALONE: Final = re.compile(r"[^:]+://[^/?#@\s]*/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding: the setting it is about, and a sentence that says what to do. It holds no secret."""

    field: str
    advice: str


Check = Callable[[Settings, Path | None], Iterator[Problem]]


def check(settings: Settings, file: Path | None) -> list[Problem]:
    """Look for problems. *file* is the configuration file, ``None`` if there is none. Only its mode is looked at."""
    return [problem for one in _CHECKS for problem in one(settings, file)]


def _a_lease_that_is_too_short(settings: Settings, _file: Path | None) -> Iterator[Problem]:
    for name, channel in settings.channels.items():
        timeout = channel.timeout
        if settings.lease_seconds and timeout and timeout.total_seconds() >= settings.lease_seconds:
            yield Problem(
                field=f"channels.{name}.timeout",
                advice=f"is not shorter than lease_seconds ({settings.lease_seconds:g}): raise that, or set it to auto",
            )


def _a_promise_given_up(settings: Settings, _file: Path | None) -> Iterator[Problem]:
    if settings.fallback == "memory" and settings.durability == "power":
        yield Problem(
            field="fallback",
            advice="memory gives up durability 'power' whenever the database cannot be opened: remove one of the two",
        )


def _limits_that_never_count(settings: Settings, _file: Path | None) -> Iterator[Problem]:
    limits = settings.limits
    if limits.bytes is not None and settings.content_bytes_max > limits.bytes:
        yield Problem(field="content_bytes_max", advice="is more than limits.bytes, which refuses such a message")
    whole = limits.messages
    if whole is None:
        return
    parts = {
        "limits.channel_messages": limits.channel_messages,
        "limits.recipient_messages": limits.recipient_messages,
        "limits.tenant_messages": limits.tenant_messages,
        **{f"channels.{name}.limit_messages": one.limit_messages for name, one in settings.channels.items()},
    }
    for field, part in parts.items():
        if part is not None and part > whole:
            yield Problem(field=field, advice=f"is never reached: limits.messages is {whole}")


def _attempts_after_the_end(settings: Settings, _file: Path | None) -> Iterator[Problem]:
    """Judge only what was written down: adapters know what they do."""
    written = [("defaults", None)] + [
        (f"channels.{name}", name)
        for name, channel in settings.channels.items()
        if channel.schedule is not None or (channel.ttl is not None and channel.max_attempts is not None)
    ]
    for field, name in written:
        policy = policy_for(settings, name or "")
        waits = sum(policy.delay_seconds(charged, 0.0) for charged in range(1, policy.max_attempts))
        if policy.ttl_seconds is not None and waits > policy.ttl_seconds:
            yield Problem(
                field=f"{field}.ttl",
                advice=f"is over before the last of {policy.max_attempts} attempts,"
                f" {timedelta(seconds=round(waits))} after the first",
            )


def _an_open_guard(settings: Settings, _file: Path | None) -> Iterator[Problem]:
    for network in settings.egress.allow:
        if network.endswith("/0"):
            yield Problem(field="egress.allow", advice=f"{network} allows every private address: name networks")


def _a_channel_without_a_way_out(settings: Settings, _file: Path | None) -> Iterator[Problem]:
    for name, channel in settings.channels.items():
        if channel.url is None:
            yield Problem(
                field=f"channels.{name}.url",
                advice="is not set: nothing is sent through it but by a program that gives it a function",
            )


def _a_platform_taken_for_a_webhook(settings: Settings, _file: Path | None) -> Iterator[Problem]:
    for name, channel in settings.channels.items():
        found = None if channel.url is None else _OF_A_PLATFORM.match(channel.url.strip())
        if found is not None:
            platform, better = _PLATFORMS[found["host"].lower()]
            yield Problem(
                field=f"channels.{name}.url",
                advice=f"leads to {platform}, which takes no plain webhook's body: write {better}",
            )


def _tells(url: str | None) -> bool:
    """Whether a URL may hold a secret: beside the host, or because its host is a token."""
    scheme = None if url is None else scheme_of(url)
    if url is None or scheme in _OF_THIS_MACHINE:
        return False
    return scheme not in WITH_A_HOST or not _HOST_ALONE.fullmatch(url.strip())


def _a_file_others_can_read(settings: Settings, file: Path | None) -> Iterator[Problem]:
    secrets = any("@" in dsn for dsn in (settings.db, *settings.shards)) or any(
        one.options or _tells(one.url) for one in settings.channels.values()
    )
    if file is None or not secrets:
        return
    try:
        mode = file.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Problem(
            field=str(file),
            advice="can be read by others and may hold secrets: chmod 600, or put them into …_FILE variables",
        )


_CHECKS: tuple[Check, ...] = (
    _a_lease_that_is_too_short,
    _a_promise_given_up,
    _limits_that_never_count,
    _attempts_after_the_end,
    _an_open_guard,
    _a_channel_without_a_way_out,
    _a_platform_taken_for_a_webhook,
    _a_file_others_can_read,
)
