"""
What may be shown of an outcome: neither what its message says, nor for whom it is, nor a secret (contract EV3, CH8).

Every outcome of every channel passes through here before anybody else sees it, those too that a function makes itself.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

import msgspec

from pillarbox.channels.privacy.foreign_text import excerpt, masked, shown_id
from pillarbox.channels.privacy.known_secrets import NOTHING_KNOWN, KnownSecrets
from pillarbox.domain.outcome import ANSWER_BYTES_MAX, REASON_LENGTH_MAX, AnyOutcome, Delivered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.channels.base import Attempt

_LEAVES_MAX: Final = 200
_PAYLOAD_BYTES_MAX: Final = 1 << 16
_DEPTH_MAX: Final = 20
# What an adapter gives as an answer is cut already: from here on its end may be the beginning of something to hide.
_CUT_FROM_BYTES: Final = ANSWER_BYTES_MAX - 3


def values_of(attempt: Attempt) -> tuple[str, ...]:
    """Return what must not be repeated of a message: recipient, text, subject, and the texts beside them."""
    content = attempt.content
    values = [attempt.to, attempt.text, content.subject, attempt.thread, content.reply_to, attempt.target]
    values += [file.url for file in content.files]
    values += _leaves(content.extra)
    values += _leaves(attempt.metadata)
    if content.payload is not None and len(content.payload) <= _PAYLOAD_BYTES_MAX:
        values.append(content.payload.decode("utf-8", "replace"))
        # What is no JSON is hidden as a whole and line by line.
        with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
            values += _leaves(msgspec.json.decode(content.payload))
    said = [value[:_PAYLOAD_BYTES_MAX] for value in values if value]
    # As it stands in the JSON that we sent, which a receiver may repeat.
    said += [json.dumps(value)[1:-1] for value in said] + [
        json.dumps(value, ensure_ascii=False)[1:-1] for value in said
    ]
    return tuple(dict.fromkeys(said))


def _leaves(value: object) -> list[str]:
    """List the texts in a value of JSON, so many at most."""
    found: list[str] = []
    for leaf in _texts_in(value, 0):
        found.append(leaf)
        if len(found) == _LEAVES_MAX:
            break
    return found


def _texts_in(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < _DEPTH_MAX and isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(item, depth + 1)


def fit_to_show(
    outcome: AnyOutcome, attempt: Attempt, known: object = NOTHING_KNOWN, *, keep_answer: bool
) -> AnyOutcome:
    """
    Return *outcome* without what nobody may read.

    Args:
        known: The channel's own secrets.
        keep_answer: Keep what was said to a success too (history ``full``).
    """
    if not isinstance(known, KnownSecrets):
        known = NOTHING_KNOWN  # an adapter's own bug
    if isinstance(outcome, Delivered):
        if outcome.receipt is not None:
            outcome.receipt = shown_id(outcome.receipt, known=known) or None
        if not keep_answer:
            outcome.answer = None
        if outcome.answer is None and outcome.degraded is None:
            return outcome
    values = values_of(attempt)
    if not isinstance(outcome, Delivered) and outcome.reason:
        outcome.reason = masked(outcome.reason, *values, known=known, limit=REASON_LENGTH_MAX)
    if isinstance(outcome, Delivered) and outcome.degraded is not None:
        outcome.degraded = masked(outcome.degraded, *values, known=known, limit=REASON_LENGTH_MAX)
    if outcome.answer is not None:
        was_cut = len(outcome.answer.encode("utf-8", "replace")) >= _CUT_FROM_BYTES and not outcome.answer.endswith("…")
        outcome.answer = excerpt(outcome.answer, *values, known=known, was_cut=was_cut)
    return outcome
