"""The README: its links lead somewhere, and the source package holds what they lead to. Its lines: `test_wheel`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
LINKS = re.findall(r"\]\((?!https?:)([^)#]+)", README)


def test_every_link_leads_to_a_file_that_the_source_package_holds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packed = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert LINKS
    for link in LINKS:
        assert (ROOT / link).is_file(), link
        assert any(f"/{link}".startswith(place) for place in packed), link
