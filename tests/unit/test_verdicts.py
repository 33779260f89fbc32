"""What follows from a person's verdict on a held message, and how long a new beginning lasts (contract UN3, EX1)."""

from __future__ import annotations

import pytest

from pillarbox.domain.lifecycle import MOVES, Verdict, new_expiry_ms, resolved
from pillarbox.domain.message import State
from pillarbox.domain.retry import ExpireAction, Policy
from pillarbox.domain.transition import Reason

NOW = 1_700_000_000_000


@pytest.mark.contract("UN3", "ST1")
@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dead", [0, 1])
def test_every_verdict_makes_a_move_of_the_table(verdict: Verdict, count: int, dead: int) -> None:
    for part in range(count):
        after = resolved(verdict, part_next=part, part_count=count, parts_dead=min(dead, part))
        assert (State.HELD, after.to) in MOVES
        assert after.advance is (verdict is Verdict.DELIVERED and part + 1 < count)
        assert after.to_tail is (verdict is not Verdict.DELIVERED)


@pytest.mark.contract("UN3", "PA4")
def test_delivered_ends_a_message_by_its_last_part_alone() -> None:
    assert resolved(Verdict.DELIVERED, part_next=0, part_count=1, parts_dead=0).to is State.DELIVERED
    assert resolved(Verdict.DELIVERED, part_next=1, part_count=3, parts_dead=0).to is State.SCHEDULED
    partial = resolved(Verdict.DELIVERED, part_next=2, part_count=3, parts_dead=2)
    assert (partial.to, partial.reason, partial.error) == (State.DEAD, Reason.PARTIAL, "2 of 3 parts were rejected")


@pytest.mark.contract("EX1", "EX2")
def test_a_new_time_to_live_is_the_one_given_or_the_policy_s_whole_one() -> None:
    assert new_expiry_ms(Policy(ttl_seconds=1.0001), NOW) == NOW + 1001
    assert new_expiry_ms(Policy(ttl_seconds=60), NOW, ttl_ms=5) == NOW + 5
    assert new_expiry_ms(Policy(ttl_seconds=None), NOW) is None
    assert new_expiry_ms(Policy(ttl_seconds=None), NOW, ttl_ms=5) == NOW + 5
    assert new_expiry_ms(Policy(expire_action=ExpireAction.DELIVER), NOW, ttl_ms=5) is None
    assert new_expiry_ms(Policy(ttl_seconds=1e12), NOW) == 253_402_300_799_999
