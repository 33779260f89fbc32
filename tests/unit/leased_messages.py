"""Claimed messages for the tests of what is decided about them."""

from __future__ import annotations

from typing import Any

from pillarbox.domain.envelope import Kind, Op
from pillarbox.domain.ids import LeaseId, message_id
from pillarbox.domain.message import Content, Leased, encode_content
from pillarbox.domain.retry import Policy

NOW = 1_700_000_000_000
STEADY = Policy(jitter=0.0)
LANE = "a lane"
BLOCK_KIND = 1


def leased(policy: Policy = STEADY, **fields: Any) -> Leased:
    """Give a message at its first attempt, with an hour to live; *fields* are those of `Leased`."""
    values: dict[str, Any] = dict.fromkeys(Leased.__struct_fields__)
    values |= {
        "seq": 1,
        "id": message_id(NOW, bytes(10)),
        "queue": 1,
        "lease": LeaseId(bytes(16)),
        "recipient": "ann",
        "account": "",
        "kind": Kind.FINAL,
        "op": Op.SEND,
        "priority": 1,
        "created_ms": NOW,
        "due_ms": NOW,
        "expires_ms": NOW + 3_600_000,
        "claims": 1,
        "charged": 0,
        "lost": 0,
        "max_attempts": policy.max_attempts,
        "policy": policy,
        "prepared": True,
        "part_count": 1,
        "part_next": 0,
        "token_epoch": 0,
        "claimed_ms": NOW,
        "first_claimed_ms": NOW,
        "content_size": 2,
        "free_returns": 0,
        "content": encode_content(Content(text="hi")),
        "tenant": "",
        "channel": "chat",
        "receipts": (),
        "bounded_limits": 0,
    }
    return Leased(**(values | fields))
