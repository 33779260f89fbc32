"""The body of an answer that urllib leaves unread on its connection."""

from __future__ import annotations

import io
from typing import Final

from pillarbox.channels.exceptions.foreign_objects import attribute, chain, names_of
from pillarbox.channels.privacy.foreign_text import FOREIGN_LENGTH_MAX
from pillarbox.user_code import pass_on

_BODY_SECONDS: Final = 1.0


def read_waiting_body(exc: BaseException) -> None:
    """
    Read the beginning of the body that urllib leaves unread, for at most a second. Only for a thread: it waits.

    It is kept where `http_answers` finds it, beside the exception's own attributes.
    """
    for one in chain(exc):
        if "urllib.error.HTTPError" not in names_of(one) or attribute(one, "_content") is not None:
            continue
        response = attribute(one, "fp")
        try:
            if isinstance(response, io.BytesIO):
                body = response.getvalue()
            else:
                connection = response.fp.raw._sock  # noqa: SLF001 — it has no public name
                connection.settimeout(min(_BODY_SECONDS, connection.gettimeout() or _BODY_SECONDS))
                body = response.read1(FOREIGN_LENGTH_MAX)
            one._content = body  # type: ignore[attr-defined]  # noqa: SLF001 — as requests and httpx call it
            # Nobody else will: it has left the function. From Python 3.14 on it warns where it was not closed.
            one.close()  # type: ignore[attr-defined]
        except BaseException as worse:  # noqa: BLE001 — without a body the status is known all the same
            pass_on(worse)
