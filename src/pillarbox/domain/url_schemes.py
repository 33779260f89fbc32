"""The scheme of a URL, which is all that may be shown of one whose host may be a token (``tgram://TOKEN``). Pure."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"
"""Stands for what is hidden."""
SCHEME: Final = r"[a-z][a-z0-9+.-]{0,30}+"
"""A scheme (RFC 3986 §3.1), to stand in a pattern that does not look at case."""
WITH_A_HOST: Final = frozenset({"http", "https", "smtp", "smtps"})
"""Of these the host says where, not who. Elsewhere it may be the secret itself."""

_SCHEME: Final = re.compile(rf"\s*+({SCHEME}):", re.IGNORECASE)


def scheme_of(url: str) -> str | None:
    """Return the scheme in lower case; ``None`` for a text without one."""
    found = _SCHEME.match(url)
    return None if found is None else found[1].lower()


def mask_url(url: str) -> str:
    """Show a URL's scheme and nothing else; of a text without one nothing."""
    found = _SCHEME.match(url)
    return MASK if found is None else f"{found[1]}://{MASK}"
