"""Makes drafts as an outbox does, for the tests of what is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pillarbox.domain.ids import message_id
from pillarbox.domain.outgoing import Outgoing
from pillarbox.domain.retry import CHAT, Policy
from pillarbox.outbox.checks import checked
from pillarbox.outbox.routes import Route

if TYPE_CHECKING:
    from pillarbox.channels.base import Channel
    from pillarbox.domain.message import Draft

NOW = 1_700_000_000_000
ID = message_id(NOW, bytes(10))
SIZE_MAX = 4096


def accept(
    *, policy: Policy = CHAT, by: Channel | None = None, ordered: bool = True, size_max: int = SIZE_MAX, **said: Any
) -> Draft:
    """Accept "hi" to ann, or what is *said* instead; *by* is the channel at hand."""
    usual = {"channel": "chat", "to": "ann"} | ({} if "payload" in said else {"text": "hi"})
    return checked(
        Outgoing(**(usual | said)),
        Route(channel=by, policy=policy, ordered=ordered),
        message_id=ID,
        now_ms=NOW,
        content_bytes_max=size_max,
    )
