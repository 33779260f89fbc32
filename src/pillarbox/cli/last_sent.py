"""
What ``LAST`` means: what this user sent, replayed or imported last, in this database, from the command line.

It is remembered in a small file in the user's state directory, one for each database. A newer message of somebody
else in the same database is never ``LAST``: what is cancelled by that word should be one's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import TYPE_CHECKING, Final

from pillarbox.cli.exits import Exit, Stop
from pillarbox.domain.ids import is_message_id

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.outbox.message import Message
    from pillarbox.outbox.outbox import Outbox
    from pillarbox.settings.model import Settings

LAST: Final = "LAST"


async def find(box: Outbox, text: str) -> Message:
    """
    Find a message by its id, the id's beginning or end, or ``LAST``.

    Raises:
        NotFound: There is none.
        Stop: Nothing was sent yet.
        InvalidMessage: There are several.
    """
    if text != LAST:
        return await box.find(text)
    remembered = recall(box.settings)
    if remembered is None:
        raise Stop(Exit.NOT_FOUND, "LAST: you have sent, replayed or imported nothing in this database from here")
    return await box.find(remembered)


def remember(settings: Settings, message_id: str) -> None:
    """Note a message that was just stored. What cannot be noted is not worth an error."""
    place = _place(settings)
    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_suffix(f".{os.getpid()}")
        draft.write_text(f"{message_id}\n", "ascii")
        draft.chmod(0o600)
        draft.replace(place)


def recall(settings: Settings) -> str | None:
    """Return the id noted last for their database, or their shards; ``None`` where there is none."""
    try:
        noted = _place(settings).read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return noted if is_message_id(noted) else None


def _place(settings: Settings) -> Path:
    from pillarbox.app import state_directory

    # All shards together are one queue, whichever of them a command is for.
    names = settings.shards or (settings.db,)
    files = (name.removeprefix("sqlite:///").removeprefix("sqlite3:///") for name in names)
    whole = "\n".join(os.path.realpath(file) for file in files)
    return state_directory() / "last" / hashlib.sha256(os.fsencode(whole)).hexdigest()[:16]
