"""Whom an HTTP client trusts that was told nothing else: the certificates of the system."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def system_trust(_: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    """Return what trusts the certificates of the system; made once for where they are said to be."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
