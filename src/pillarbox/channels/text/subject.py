"""What a message says, with its subject as a first line. Pure."""

from __future__ import annotations

from pillarbox.channels.text.rich import Mark, Rich, Span
from pillarbox.domain.message import Content, Format


def rich_of(content: Content) -> Rich:
    """Return what *content* says, its subject as a first line in bold."""
    if content.format is Format.PLAIN:
        rich = Rich(content.text or "")
    else:
        from pillarbox.channels.text import markup

        rich = markup.rich_of(content)
    if not content.subject:
        return rich
    shift = len(content.subject) + 1
    spans = (span._replace(start=span.start + shift, stop=span.stop + shift) for span in rich.spans)
    return Rich(f"{content.subject}\n{rich.text}", (Span(0, shift - 1, Mark.BOLD), *spans))
