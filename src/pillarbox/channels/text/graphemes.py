"""
Where one character, as a reader sees it, goes on: extended grapheme clusters (UAX #29, Unicode Text Segmentation).

Pure, and the only place that imports `regex`, which brings the Unicode tables. It loads when the first text beyond
ASCII has to be cut.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

_CRLF = re.compile(r"\r\n")

# Between two code points that are both none of these there is always a boundary (UAX #29 §3.1.1, GB3 to GB13), so
# only their neighbourhood is looked at: letters, ideographs and finished Hangul syllables are passed over.
_JOINING = (
    r"\r\n|[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}\p{GCB=Prepend}\p{GCB=Regional_Indicator}"
    r"\p{GCB=L}\p{GCB=V}\p{GCB=T}]++"
)
# ``\X`` alone counts the flags before each flag again (GB12, GB13), which is quadratic: 100 000 take half a minute.
_CLUSTER = r"\p{GCB=Regional_Indicator}{2}[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]*+|\X"


@cache
def _patterns() -> tuple[regex.Pattern[str], regex.Pattern[str]]:
    import regex

    return regex.compile(_JOINING), regex.compile(_CLUSTER)


def inside_clusters(text: str) -> bytearray:
    """
    Mark each position of *text* where a cut would tear a grapheme cluster apart.

    Returns:
        One byte a position, the end of the text included: 0 for a boundary, 1 for the inside of a cluster.
    """
    marks = bytearray(len(text) + 1)
    if text.isascii():
        for crlf in _CRLF.finditer(text):  # GB3; nothing else in ASCII joins
            marks[crlf.start() + 1] = 1
        return marks
    joining, cluster = _patterns()
    for run in joining.finditer(text):
        # One more on either side: what a mark stands on, and what a joiner or a prefix takes along.
        for found in cluster.finditer(text, max(run.start() - 1, 0), min(run.end() + 1, len(text))):
            first, last = found.span()
            marks[first + 1 : last] = b"\x01" * (last - first - 1)
    return marks
