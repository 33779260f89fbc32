"""
The form of a page: generated text stands between ``<!-- begin NAME -->`` and ``<!-- end -->``.

The rest of a page is written by hand. Docstrings become Markdown here.
"""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise
from textwrap import dedent
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from enum import StrEnum

_BLOCK: Final = re.compile(r"(?P<begin><!-- begin (?P<name>[^>]+?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
_LITERAL: Final = re.compile(r"``([^`]++)``")
_CONTRACT: Final = re.compile(r" \((?:contract|lanes\.md|decision)[^)]*+\)")
_Member = TypeVar("_Member", bound="StrEnum")


def rewritten(page: str, blocks: Mapping[str, str]) -> str:
    """Return *page* with every block as it should be. Raise KeyError for a block of an unknown name."""
    return _BLOCK.sub(lambda block: f"{block['begin']}{blocks[block['name']]}{block['end']}", page)


def names_in(page: str) -> list[str]:
    """Return the names of the blocks of *page*."""
    return [block["name"] for block in _BLOCK.finditer(page)]


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(titles)
    lines = [head, ["---"] * len(head), *(list(map(cell, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("| --- ", "|---").replace("--- |\n", "---|\n")


def cell(text: str) -> str:
    """Return *text* so that it stays within its cell."""
    return text.replace("|", "\\|")


def code(text: str) -> str:
    """Return *text* as code; no text, no code."""
    return f"`{text}`" if text else ""


def about(documented: type) -> str:
    """
    Return what a class's docstring says to users, as one paragraph of Markdown.

    Sections such as "Attributes:" and the numbers of promises are left out.
    """
    return prose(inspect.cleandoc(documented.__doc__ or "").partition("Attributes:")[0])


def prose(docstring: str) -> str:
    """Return a docstring's text as one paragraph of Markdown."""
    return _CONTRACT.sub("", _LITERAL.sub(r"`\1`", " ".join(docstring.split())))


def members(enum: type[_Member]) -> dict[_Member, str]:
    """Return each member of *enum* with the docstring below it. Raise KeyError where one has none."""
    (body,) = (node.body for node in ast.parse(dedent(inspect.getsource(enum))).body if isinstance(node, ast.ClassDef))
    told = {
        target.id: prose(inspect.cleandoc(below.value.value))
        for node, below in pairwise(body)
        if isinstance(node, ast.Assign) and isinstance(below, ast.Expr)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }
    return {member: told[member.name] for member in enum}
