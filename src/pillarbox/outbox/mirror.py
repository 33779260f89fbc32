"""`MirrorBook`: what a host reads of the deliveries in a session, to take it into its next turn (contract HO4)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from pillarbox.domain.clock_steps import shifted
from pillarbox.domain.mirror import ENTRIES_MAX, TEXT_MAX, MirrorEntry, capped
from pillarbox.domain.moments import shown, span_ms
from pillarbox.domain.plain_values import word_of
from pillarbox.errors import InvalidMessage
from pillarbox.outbox.lifetime import Lifetime
from pillarbox.store.base import Prune

_KEYS_MAX = 1000


class MirrorBook:
    """
    The records of one outbox.

    A message sent with ``mirror={"sessionKey": …}`` leaves one when it is delivered, in whatever process. Reading
    changes nothing; what the host has taken over it acknowledges. Either way a record goes 24 hours later
    (``retention.mirror``), counted from the acknowledgement or else from the delivery.
    """

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime

    async def pending(
        self, session_key: str, *, entries: int = ENTRIES_MAX, characters: int = TEXT_MAX
    ) -> list[MirrorEntry]:
        """
        Read what was delivered in a session and not acknowledged, the oldest first.

        Args:
            entries: At most so many, 1–10; the others come when these are acknowledged.
            characters: At most so many of text in all, 1–4000; a first record that is longer is cut.

        Raises:
            InvalidMessage: A limit out of its range.
        """
        _within("entries", entries, ENTRIES_MAX)
        _within("characters", characters, TEXT_MAX)
        ahead_ms = self._lifetime.clock.ahead_ms()
        pending = await (await self._lifetime.opened()).store.mirror_pending(
            word_of("session_key", session_key), limit=entries
        )
        found = [shifted(entry, ahead_ms) for entry in pending]
        return capped(found, entries_max=entries, text_max=characters)

    async def acknowledge(self, entries: Iterable[MirrorEntry | str]) -> int:
        """
        Mark records as taken over; return how many were still pending. Safe to repeat.

        Args:
            entries: Records, or their keys.
        """
        keys = keys_of(entries)
        runtime = await self._lifetime.opened()
        done = 0
        for start in range(0, len(keys), _KEYS_MAX):
            done += (await runtime.committer.acknowledge(keys[start : start + _KEYS_MAX])).acknowledged
        return done

    async def prune(self, age: timedelta) -> None:
        """
        Delete records that were acknowledged, or else delivered, longer ago than *age*.

        Raises:
            InvalidMessage: *age* is no timedelta of at least a millisecond; nothing was deleted.
        """
        given: object = age
        if not isinstance(given, timedelta):
            raise InvalidMessage("age", f"expected a timedelta, not {type(given).__name__}")
        age_ms = span_ms("age", given)
        runtime = await self._lifetime.opened()
        now_ms = self._lifetime.clock.wall_ms()
        before_ms = now_ms - age_ms
        request = Prune(before_ms={}, keys_until_ms=now_ms, audit_before_ms=0, mirror_before_ms=before_ms)
        while (await runtime.committer.prune(request)).more:
            pass


def keys_of(entries: Iterable[MirrorEntry | str]) -> list[str]:
    """Return the keys of records. Raises InvalidMessage for what is no list of them."""
    given: object = entries
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidMessage("entries", f"expected a list of records or keys, not {type(given).__name__}")
    return [entry.key if isinstance(entry, MirrorEntry) else word_of("entries", entry) for entry in entries]


def _within(field: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidMessage(field, f"expected a whole number 1–{most}, not {shown(value)}")
