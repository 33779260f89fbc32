"""
Looks in a Matrix room whether an event stands there: by the token in its content, or in its transaction id.

spec.matrix.org, ``/messages``: from the newest event back. ``unsigned.transaction_id`` is shown to the device that sent
an event; a field of our own in its content everybody sees, also a device that came later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import msgspec

from pillarbox.channels.http.answers import Answer
from pillarbox.domain.outcome import AnyOutcome, Deferred, Delivered, RateLimited, Uncertain

Ask = Callable[[str], Awaitable[Answer | AnyOutcome]]
"""Gets what stands behind ``rooms/ID/``, and sends nothing."""

TOKEN: Final = "org.pillarbox.token"  # noqa: S105 — the name of a field
ASKING: Final = (
    "the homeserver says whether the room has a message, by the token in its content, to whatever device asks"
)
"""What a channel says of itself (contract UN5)."""

_MARGIN_MS: Final = 300_000  # by which the server's clock may differ from ours
_PAGES_MAX: Final = 10
_PAGE: Final = 100


class _Unsigned(msgspec.Struct):
    transaction_id: str | None = None


class _Event(msgspec.Struct):
    event_id: str = ""
    sender: str = ""
    origin_server_ts: int = 0
    content: dict[str, Any] = {}
    unsigned: _Unsigned | None = None


class _Answer(msgspec.Struct):
    chunk: list[_Event] = []
    end: str | None = None
    errcode: str = ""
    retry_after_ms: float | None = None


_ANSWER: Final = msgspec.json.Decoder(_Answer)


async def look_up(ask: Ask, *, sender: str, token: str, since_ms: int) -> AnyOutcome | None:
    """
    Return the delivery of the event with *token*; ``None`` where it is not there; else why that cannot be said.

    Args:
        sender: Whose events are looked at, also where the server gives those of others too.
        since_ms: When it may have arrived at the earliest.
    """
    wanted = quote(msgspec.json.encode({"types": ["m.room.message"], "senders": [sender]}).decode(), safe="")
    place = ""
    for _ in range(_PAGES_MAX):
        answer = await ask(f"messages?dir=b&limit={_PAGE}&filter={wanted}{place}")
        if not isinstance(answer, Answer):
            return answer
        try:
            page = _ANSWER.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Deferred(f"the homeserver could not be asked: HTTP {answer.status}")
        if answer.status == 429:
            after = None if page.retry_after_ms is None else page.retry_after_ms / 1000
            return RateLimited("the homeserver takes no more questions now", after=after, scope="channel")
        if answer.status >= 500:
            return Deferred(f"the homeserver could not be asked: HTTP {answer.status}")
        if answer.status != 200:
            return Uncertain(f"the homeserver does not say: {page.errcode or f'HTTP {answer.status}'}")
        # Everybody in the room reads the token of one part and could write the next one's. Their clocks may be wrong.
        own = [event for event in page.chunk if event.sender == sender]
        for event in own:
            shown = event.unsigned.transaction_id if event.unsigned is not None else None
            if token in (event.content.get(TOKEN), shown):
                return Delivered(event.event_id)
        if page.end is None or any(event.origin_server_ts < since_ms - _MARGIN_MS for event in own):
            return None
        place = f"&from={quote(page.end, safe='')}"
    return Uncertain(f"more than {_PAGES_MAX * _PAGE} events came since, which is as far as is looked back")
