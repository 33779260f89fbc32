"""
What `make docs` does beside MkDocs: pages and files that stand outside docs/ become part of the site.

Links are written so that they lead somewhere in a checkout. Here those that leave docs/ are made to lead to the copy in
the site: Markdown becomes a page, other files are shown as they are.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
BESIDE: Final = ("README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
"""Pages of the site that stand beside docs/."""
_WHOLE_MAX: Final = 32
"""The longest word of code that stays whole: about the width of a telephone."""
_BLOCKS: Final = re.compile(r"(<pre.*?</pre>)", re.DOTALL)
_CODE: Final = re.compile(r"<code>([^<]*)</code>")
_WORD: Final = re.compile(r"\S+")
_LINK: Final = re.compile(r"(?P<before>\]\()(?P<path>(?!\w+:)[^)#\s]+)")


def source_of(page: str) -> str:
    """Return where a page of the site stands in the repository."""
    return page if page in BESIDE else f"docs/{page}"


def place_of(path: str) -> str:
    """Return where a file of the repository stands in the site."""
    return path.removeprefix("docs/")


def links_of(page: str, text: str) -> list[str]:
    """Return the files of the repository to which a page's own links lead."""
    return [_target(page, link["path"]) for link in _LINK.finditer(text)]


def with_links_of_the_site(page: str, text: str) -> str:
    """Return a page's text with links that lead from where it stands in the site."""
    here = os.path.dirname(page)  # noqa: PTH120 — the path of a link, on no disk

    def led(link: re.Match[str]) -> str:
        return link["before"] + os.path.relpath(place_of(_target(page, link["path"])), here or ".")

    return _LINK.sub(led, text)


def _target(page: str, link: str) -> str:
    return os.path.normpath(Path(source_of(page)).parent / link)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what stands beside docs/, and each file outside it to which a page leads."""
    from mkdocs.structure.files import File

    for name in BESIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text("utf-8")))
    led_to = {path for file in files.documentation_pages() for path in links_of(file.src_uri, file.content_string)}
    for path in sorted(led_to - set(BESIDE)):
        if not path.startswith("docs/") and (ROOT / path).is_file():
            files.append(File.generated(config, path, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page's text with links that hold in the site; of the page of decisions, with a list of them."""
    del config
    text = with_links_of_the_site(page.file.src_uri, markdown)
    if page.file.src_uri == "decisions/README.md":
        found = [file for file in files.documentation_pages() if re.match(r"decisions/0", file.src_uri)]
        text += "\n" + "".join(f"- [{_title(file.content_string)}]({Path(file.src_uri).name})\n" for file in found)
    return text


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page as HTML in which the words of code stay whole."""
    del page, config, files
    return with_whole_words(html)


def with_whole_words(html: str) -> str:
    """Return a page in which every short word of code in its text is marked, so that a narrow one keeps it whole."""
    return "".join(
        part if part.startswith("<pre") else _CODE.sub(lambda code: f"<code>{_marked(code[1])}</code>", part)
        for part in _BLOCKS.split(html)
    )


def _marked(code: str) -> str:
    return _WORD.sub(
        lambda word: f'<span class="word">{word[0]}</span>' if len(word[0]) <= _WHOLE_MAX else word[0], code
    )


def _title(text: str) -> str:
    return text.partition("\n")[0].lstrip("# ")
