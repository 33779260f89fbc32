"""
Writes the generated parts of the pages in docs/reference/: ``make docs-reference``.

One module draws the blocks of one page from the code; nothing about pillarbox itself is said here. A test fails when a
block is missing or out of date.
"""

from tools.reference import answers, api, command_line, errors, events, settings, states

PAGES = {
    "answers.md": answers.blocks,
    "api.md": api.blocks,
    "cli.md": command_line.blocks,
    "errors.md": errors.blocks,
    "events.md": events.blocks,
    "settings.md": settings.blocks,
    "states.md": states.blocks,
}
"""Every page that has generated parts, with what makes its blocks."""
