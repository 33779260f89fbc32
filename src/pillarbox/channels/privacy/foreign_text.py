"""
What is hidden in texts that others wrote, before they become a reason: secrets, recipients, the message itself.

Outcomes are shown to operators and end up in logs, so they hold none of these (contract EV3).

A platform may answer with a page of any length and shape, and all of this happens on the loop that sends everybody
else's messages: a text is cut to a few kilobytes before anything looks at it, and each look takes time in proportion to
its length.
"""

from __future__ import annotations

import re
from typing import Final

from pillarbox.channels.privacy.escapes import levels
from pillarbox.channels.privacy.known_secrets import NOTHING_KNOWN, KnownSecrets
from pillarbox.channels.privacy.masking import Kind, hide_secrets
from pillarbox.domain.casefold import folded, found, put
from pillarbox.domain.outcome import ANSWER_BYTES_MAX
from pillarbox.domain.plain_characters import CONTROLS, CONTROLS_IN_LINES, SURROGATES
from pillarbox.domain.url_schemes import MASK, SCHEME

LINE_LENGTH_MAX: Final = 200
FOREIGN_LENGTH_MAX: Final = 4096
"""How much of somebody else's text is looked at, in characters."""

# A value this short would blank out half of an ordinary sentence, and tells nothing by itself.
_VALUE_LENGTH_MIN: Final = 4
_LINES_MAX: Final = 100
_VALUE_LENGTH_MAX: Final = 1 << 16
# Where a text was cut, so much of a value's beginning stands for all of it; what is shorter is cut off with the end.
_BEGINNING: Final = 16

_CONTROL = re.compile(rf"[{CONTROLS}{SURROGATES}]++")
_CONTROL_IN_LINES = re.compile(rf"[{CONTROLS_IN_LINES}{SURROGATES}]++")
# What may be the beginning of a secret whose end was cut off: the last word, and what stands before an "@" to come.
_UNFINISHED_URL = re.compile(rf"\b({SCHEME}://)[^/\s@]++\Z", re.IGNORECASE)
_WORD_ENDS: Final = " \t\r\n<>\"'(),;:="


def masked(text: str, *values: str, known: KnownSecrets = NOTHING_KNOWN, limit: int = LINE_LENGTH_MAX) -> str:
    """
    Make one line of *text* that may be shown and logged.

    Args:
        values: What else must not appear: the recipient, the message's text. Whole words only, without regard to
            case, all of it and line by line; shorter than 4 characters they are left alone.
        known: The channel's own secrets, in all their forms.
        limit: Longest result, in characters; what is cut ends in an ellipsis.
    """
    was_cut = len(text) > FOREIGN_LENGTH_MAX
    text = hide_secrets(without(text, *values, known=known))
    line = " ".join(_CONTROL.sub(" ", text).split())
    if len(line) <= limit and not was_cut:
        return line
    return f"{line[: limit - 1]}…"


def excerpt(said: str | bytes, *values: str, known: KnownSecrets = NOTHING_KNOWN, was_cut: bool = False) -> str | None:
    """
    Keep the beginning of an answer for people, its lines as they are: at most 1 KiB of UTF-8 (contract ST10).

    Args:
        values: As for `masked`; ``known`` likewise.
        was_cut: *said* is a beginning already, so that at its end something to hide may begin.
    """
    if isinstance(said, bytes):
        # Enough that the cut below is the one that counts.
        said = said[: 4 * FOREIGN_LENGTH_MAX + 1].decode("utf-8", "replace")
    text = hide_secrets(without(said, *values, known=known, was_cut=was_cut))
    text = _CONTROL_IN_LINES.sub(" ", text).strip()
    kept = text.encode("utf-8", "replace")
    if len(kept) > ANSWER_BYTES_MAX:
        return f"{kept[: ANSWER_BYTES_MAX - 3].decode('utf-8', 'ignore')}…"
    return text or None


def shown_id(said: str, *, known: KnownSecrets = NOTHING_KNOWN) -> str:
    """Hide in a platform's own id of a message only what surely is a secret: ids look random, and like addresses."""
    return hide_secrets(without(said, known=known), up_to=Kind.SECRET)


def without(text: str, *values: str, known: KnownSecrets = NOTHING_KNOWN, was_cut: bool = False) -> str:
    """
    Mask only *values* and *known*, as `masked` does.

    Of a text over 4096 characters, only what stands before is given, without what may be the beginning of a value or a
    secret that goes on behind.
    """
    window = text[:FOREIGN_LENGTH_MAX]
    was_cut = was_cut or len(text) > FOREIGN_LENGTH_MAX
    pieces = [(folded(piece), False) for piece in _pieces(values)] + list(known.pieces)
    window = _hidden(window, pieces)
    return _safe_end(window, [piece for piece, _ in pieces]) if was_cut else window


def _hidden(text: str, pieces: list[tuple[str, bool]]) -> str:
    """Hide each of *pieces*, inside of words too or not; what stands inside of another one is hidden with it."""
    spans: list[tuple[int, int]] = []
    for read, starts in levels(text):
        flat = folded(read)
        for piece, anywhere in pieces:
            # Asked first, because of most of them nothing is there.
            if piece in flat:
                spans += [
                    (starts[first], starts[last])
                    for first, last in found(flat, piece)
                    if anywhere or _is_whole(flat, first, last)
                ]
    return put(text, spans, MASK) if spans else text


def _is_whole(flat: str, first: int, last: int) -> bool:
    """Whether it is not inside of a word, as "grey" is of "greylisted". An edge that is no word needs no such care."""
    opens = first > 0 and _in_word(flat[first]) and _in_word(flat[first - 1])
    goes_on = last < len(flat) and _in_word(flat[last - 1]) and _in_word(flat[last])
    return not opens and not goes_on


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _safe_end(window: str, pieces: list[str]) -> str:
    """Take away from a text that was cut what may be the beginning of something to hide."""
    long = [piece[:_BEGINNING] for piece in pieces if len(piece) > _BEGINNING]
    first = len(window)
    for read, starts in levels(window):
        flat = folded(read)
        first = min((first, *(starts[at] for beginning in long if (at := flat.find(beginning)) >= 0)))
    if first < len(window) - _BEGINNING:
        return f"{window[:first]}{MASK}"
    kept = window[:-_BEGINNING]
    last_end = max(kept.rfind(end) for end in _WORD_ENDS)
    return _UNFINISHED_URL.sub(rf"\1{MASK}", kept[: last_end + 1]) + MASK


def _pieces(values: tuple[str, ...]) -> list[str]:
    """Return them longest first, so that what stands inside of another piece is hidden with it."""
    pieces = {value for value in values if _VALUE_LENGTH_MIN <= len(value) <= FOREIGN_LENGTH_MAX}
    for value in values:
        # A longer one can only stand in a text that was cut, which looks for its beginning.
        lines = (line.strip() for line in value[:_VALUE_LENGTH_MAX].splitlines()[:_LINES_MAX])
        pieces.update(line for line in lines if len(line) >= _VALUE_LENGTH_MIN)
        if len(value) > FOREIGN_LENGTH_MAX:
            pieces.add(value[: FOREIGN_LENGTH_MAX + 1])
    return sorted(pieces, key=len, reverse=True)
