"""
At which of several databases a tenant is at home. Pure.

Jump consistent hashing (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014): no table that
would have to be kept, every shard gets the same share, and of n shards to n + 1 only one tenant in n + 1 would move, to
the new one. Shards are known by their place in the list, so neither a new password nor another server moves anybody.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, Self

import msgspec

_STEP: Final = 2862933555777941757  # the generator of the paper
_WORD: Final = (1 << 64) - 1
_UPPER: Final = 1 << 31
_LABEL: Final = re.compile(r"shard ([1-9][0-9]{0,5}) of ([1-9][0-9]{0,5})")


def home_of(tenant: str, count: int) -> int:
    """
    Return the number, from 1 to *count*, of the shard where *tenant* is at home: the same in every process, for ever.

    The messages of no tenant are those of the tenant '', which has a home like every other.
    """
    return jump(int.from_bytes(hashlib.blake2b(tenant.encode(), digest_size=8).digest(), "big"), count) + 1


def jump(key: int, count: int) -> int:
    """Return the bucket, from 0 to below *count*, of a key of 64 bits: the function of the paper."""
    bucket, further = -1, 0
    while further < count:
        bucket = further
        key = (key * _STEP + 1) & _WORD
        further = int((bucket + 1) * (_UPPER / ((key >> 33) + 1)))
    return bucket


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Which shard a database is, from 1, and of how many. Its text is what the database is labelled with."""

    number: int
    count: int

    def has(self, tenant: str) -> bool:
        """Return whether *tenant* is at home there."""
        return home_of(tenant, self.count) == self.number

    def __str__(self) -> str:
        """Return the label."""
        return f"shard {self.number} of {self.count}"

    @classmethod
    def of(cls, label: str) -> Self | None:
        """Read a label; ``None`` where it is none of ours."""
        found = _LABEL.fullmatch(label)
        return None if found is None else cls(number=int(found[1]), count=int(found[2]))
