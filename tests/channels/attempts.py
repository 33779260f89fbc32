"""One attempt to send something, for tests of adapters."""

from __future__ import annotations

from typing import Any

from pillarbox.channels.base import Attempt
from pillarbox.domain.message import Content

TOKEN = "AZq0fV9xcRKaW3bQ0pYl2A000"


def an_attempt(
    to: str = "ann@example.net", *, content: Content | None = None, text: str = "Hello", **fields: Any
) -> Attempt:
    usual: dict[str, Any] = {"id": TOKEN[:22], "channel": "ops", "number": 1, "token": TOKEN}
    usual["created_ms"] = 1_767_323_045_678
    return Attempt(to=to, content=content or Content(text=text), **(usual | fields))
