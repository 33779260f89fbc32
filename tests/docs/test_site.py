"""The pages as a site: each is in its navigation once, and every link leads to a file and a heading that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import site

ROOT = Path(__file__).parents[2]
NAVIGATION = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
LISTED_BY_THEIR_PAGE = re.compile(r"decisions/\d")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def text_of(page: str) -> str:
    return FENCED.sub("", (ROOT / site.source_of(page)).read_text("utf-8"))


def headings_of(path: str) -> set[str]:
    """What the links to a page's headings end in, by the rule of the hosts of code and of the site."""
    text = FENCED.sub("", (ROOT / path).read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([^"]+)">', text))


def test_every_page_is_in_the_navigation_once() -> None:
    named = re.findall(r"([\w/.-]+\.md)$", NAVIGATION, re.MULTILINE)
    expected = {page for page in PAGES if not LISTED_BY_THEIR_PAGE.match(page)}
    assert sorted(named) == sorted(expected | set(site.BESIDE))


@pytest.mark.parametrize("page", [*site.BESIDE, *PAGES])
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    text = text_of(page)
    assert [path for path in site.links_of(page, text) if not (ROOT / path).is_file()] == []
    for path, heading in re.findall(r"\]\((?!\w+:)([^)#\s]*)#([^)]+)\)", text):
        (target,) = site.links_of(page, f"[]({path})") if path else [site.source_of(page)]
        assert heading in headings_of(target), f"{target} has no heading #{heading}"


@pytest.mark.parametrize("page", [*site.BESIDE, *PAGES])
def test_a_list_begins_after_an_empty_line(page: str) -> None:
    """Else the site shows it as part of the paragraph; where the code is hosted it is a list all the same."""
    assert re.findall(r"^(?![*-] |\d+\. |\s|$).+\n(?:[*-]|\d+\.) .*", text_of(page), re.MULTILINE) == []


@pytest.mark.parametrize(
    ("page", "link", "in_the_site"),
    [
        ("README.md", "docs/how-to/agents.md#hooks", "how-to/agents.md#hooks"),
        ("how-to/agents.md", "../../examples/turn.py", "../examples/turn.py"),
        ("how-to/agents.md", "changes.md", "changes.md"),
        ("how-to/agents.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("how-to/agents.md", "#hooks", "#hooks"),
    ],
)
def test_a_link_leads_to_the_same_in_the_site(page: str, link: str, in_the_site: str) -> None:
    assert site.with_links_of_the_site(page, f"[it]({link})") == f"[it]({in_the_site})"


def test_words_of_code_stay_whole_but_for_long_ones_and_blocks() -> None:
    assert site.with_whole_words("<p>Say <code>ls --db</code></p>") == (
        '<p>Say <code><span class="word">ls</span> <span class="word">--db</span></code></p>'
    )
    for kept in (f"<code>{'a' * 33}</code>", "<pre><span></span><code>a-b</code></pre>", "<pre><code>a-b</code></pre>"):
        assert site.with_whole_words(kept) == kept
    style = (ROOT / "docs/site.css").read_text("utf-8")
    assert re.search(r"\.word \{\s+white-space: nowrap;", style)
