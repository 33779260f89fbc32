"""
The numbers that stand for queues and policies in the rows, and what is remembered of them.

They outlive a transaction; a caller that undoes one must forget them, because rows that they name were undone with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pillarbox.domain.retry import Policy
from pillarbox.store.steps.tx import Reader, Row

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Policy)


def decode_policy(spec: str) -> Policy:
    """Read a stored policy. Raises ValueError where it is not one."""
    return _DECODER.decode(spec)


class Numbers:
    """
    Knows the numbers that one connection has met.

    Attributes:
        made: Counts the rows that were made for new ones.
        queues: The numbers of queues that are known, by tenant and channel.
    """

    def __init__(self, tx: Reader) -> None:
        self.made = 0
        self.queues: dict[tuple[str, str], int] = {}
        self._tx = tx
        self._names: dict[int, tuple[str, str]] = {}
        self._policies: dict[Policy, int] = {}
        self._last: tuple[Policy, int] | None = None
        self._policy_by_id: dict[int, Policy] = {}

    def forget(self) -> None:
        """Ask the database anew from now on."""
        self.queues.clear()
        self._names.clear()
        self._policies.clear()
        self._last = None
        self._policy_by_id.clear()

    def learn(self, queues: Mapping[tuple[str, str], int], policies: Mapping[Policy, int]) -> None:
        """Take over numbers that are committed."""
        self.queues |= queues
        self._policies |= policies

    def queue(self, tenant: str, channel: str, now_ms: int) -> int:
        """Return the number of a queue, made on first use."""
        number = self.queues.get((tenant, channel))
        if number is None:
            number = self._number("queue", (tenant, channel), now_ms, first="queues_lock")
            self.queues[tenant, channel] = number
        return number

    def queue_name(self, number: int) -> tuple[str, str]:
        """Return a queue's tenant and channel."""
        name = self._names.get(number)
        if name is None:
            row = self._tx.one("queue_name", (number,))
            name = (row[0], row[1]) if row else ("", "")
            self._names[number] = name
        return name

    def policy(self, policy: Policy) -> int:
        """Return the number of a policy, stored on first use."""
        last = self._last
        if last is not None and last[0] is policy:
            # Nearly always: to find it by what it says takes all of it.
            return last[1]
        number = self._policies.get(policy)
        if number is None:
            number = self._number("policy", (_ENCODER.encode(policy).decode(),))
            self._policies[policy] = number
        self._last = policy, number
        return number

    def policy_by_id(self, number: int) -> Policy:
        """Read a stored policy. Raises ValueError or msgspec.MsgspecError where it cannot be read."""
        policy = self._policy_by_id.get(number)
        if policy is None:
            row = self._tx.one("policy_spec", (number,))
            policy = decode_policy(row[0]) if row else Policy()
            self._policy_by_id[number] = policy
        return policy

    def _number(self, kind: str, key: Row, *more: object, first: str | None = None) -> int:
        """Return the number of a row, made where there is none; *first*: a statement to be run before."""
        row = self._tx.one(f"{kind}_of", key)
        if row is None:
            self.made += 1
            if first is not None:
                self._tx.many(first)
            row = self._tx.one(f"{kind}_insert", (*key, *more))
        return int(row[0]) if row else 0
