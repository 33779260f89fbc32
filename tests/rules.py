"""Rules about the repository as a whole, and the three tests that each of them gets."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import ClassVar

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "src/pillarbox"

Tree = Mapping[str, str]
"""The text of files, by their paths."""
Rule = Callable[[Tree], list[str]]
"""Returns a complaint about each breach in a tree."""
Planted = tuple[Rule, Tree, str, Tree]
"""A rule, a tree that breaks it, the complaint about that, and a tree that comes close and is fine."""


@lru_cache(maxsize=1)
def this_repository() -> Tree:
    """The text of every file that is, or is about to be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    tree = {}
    for path in sorted(filter(None, listed.stdout.split("\0"))):
        try:
            tree[path] = (ROOT / path).read_text("utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # a picture or a database; or deleted, and not yet recorded as such
    return tree


@cache
def parsed(text: str, path: str) -> ast.Module:
    """Every rule reads the same code: it is parsed once for all of them."""
    return ast.parse(text, path)


class RuleTests:
    """What each rule is tested by; a list of rules inherits it."""

    rules: ClassVar[list[Planted]]

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        names = [rule.__name__ for rule, *_ in cls.rules]
        metafunc.parametrize(("rule", "planted", "complaint", "close"), cls.rules, ids=names)

    @classmethod
    def teardown_class(cls) -> None:
        parsed.cache_clear()  # it is large

    def test_this_repository_keeps_it(self, rule: Rule, planted: Tree, complaint: str, close: Tree) -> None:
        found = rule(this_repository())
        assert not found, "\n".join(found)

    def test_a_planted_breach_is_found(self, rule: Rule, planted: Tree, complaint: str, close: Tree) -> None:
        assert rule(planted) == [complaint]

    def test_what_only_looks_like_a_breach_is_left_alone(
        self, rule: Rule, planted: Tree, complaint: str, close: Tree
    ) -> None:
        assert rule(close) == []
