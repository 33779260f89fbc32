"""Rewrites the generated parts of every page, in place."""

from __future__ import annotations

from pathlib import Path

from tools.reference import PAGES
from tools.reference.page import rewritten

if __name__ == "__main__":
    for name, blocks in PAGES.items():
        place = Path("docs/reference", name)
        place.write_text(rewritten(place.read_text("utf-8"), blocks()), "utf-8")
