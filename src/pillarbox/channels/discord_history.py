"""
Looks in a Discord channel whether a message may stand there: by what it says.

A channel's history does not give a message's nonce back (discord.js documents ``Message.nonce`` as "lost if
re-fetched"). So it can be seen that a message is not there; where the bot said the same lately, a person has to look.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Final, TypeVar

import msgspec

from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.hints import retry_after_seconds
from pillarbox.domain.outcome import AnyOutcome, Deferred, RateLimited, Uncertain

Ask = Callable[[str, Mapping[str, str]], Awaitable[Answer | AnyOutcome]]
"""Gets what stands at a path of the API, and sends nothing."""

ASKING: Final = (
    "Discord says whether the bot said the same lately, where it has the permission READ_MESSAGE_HISTORY: what it did"
    " not say is surely not there; what it did say may be another message, and a person has to look"
)
"""What a channel says of itself (contract UN5)."""

_EPOCH_MS: Final = 1_420_070_400_000  # reference.mdx, "Snowflakes"
_MARGIN_MS: Final = 300_000  # by which Discord's clock may differ from ours
_PAGES_MAX: Final = 10
_PAGE: Final = 100  # the most that there are: resources/message.mdx, "Get Channel Messages"
_UNSEEN: Final = "Discord shows nothing of this channel: the bot may lack the permission READ_MESSAGE_HISTORY"


class _Author(msgspec.Struct):
    id: str = ""


class _Message(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(pattern="^[0-9]{1,20}$")]
    content: str = ""
    author: _Author = msgspec.field(default_factory=_Author)
    attachments: list[msgspec.Raw] = []


_T = TypeVar("_T", _Author, list[_Message])
_PAGE_OF: Final = msgspec.json.Decoder(list[_Message])
_ME: Final = msgspec.json.Decoder(_Author)


async def look_up(ask: Ask, *, channel: str, content: str, files: int, since_ms: int) -> AnyOutcome | None:
    """
    Return ``None`` where the bot has surely not said *content* since; else why that cannot be said.

    Args:
        files: How many went with it.
        since_ms: When it may have arrived at the earliest.
    """
    me = _read(await ask("users/@me", {}), _ME)
    if not isinstance(me, _Author):
        return me
    first = max(since_ms - _MARGIN_MS - _EPOCH_MS, 0) << 22
    before: dict[str, str] = {}
    for _ in range(_PAGES_MAX):
        page = _read(await ask(f"channels/{channel}/messages", {"limit": str(_PAGE), **before}), _PAGE_OF)
        if not isinstance(page, list):
            return page
        if not page:
            # Without the permission there is no error, but an empty list.
            return None if before else Uncertain(_UNSEEN)
        for message in page:
            says_it = message.content.strip() == content.strip()
            # By their number: Discord may give a file another name than it was sent with.
            as_many = len(message.attachments) == files
            if message.author.id == me.id and int(message.id) >= first and says_it and as_many:
                return Uncertain(f"the bot said the same there since: look whether message {message.id} is it")
        oldest = min(int(message.id) for message in page)
        if oldest < first or len(page) < _PAGE:
            return None
        before = {"before": str(oldest)}
    return Uncertain(f"more than {_PAGES_MAX * _PAGE} messages came since, which is as far as is looked back")


def _read(answer: Answer | AnyOutcome, decoder: msgspec.json.Decoder[_T]) -> _T | AnyOutcome:
    if not isinstance(answer, Answer):
        return answer
    if answer.status == 429:
        after = retry_after_seconds(answer.headers.get("Retry-After"), now_ms=0)
        return RateLimited("Discord takes no more questions now", after=after)
    if answer.status in {401, 403, 404}:
        return Uncertain(f"Discord does not say: HTTP {answer.status}")
    try:
        if answer.status == 200:
            return decoder.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return Deferred(f"Discord could not be asked: HTTP {answer.status}")
