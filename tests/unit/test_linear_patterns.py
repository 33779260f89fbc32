"""
Every regular expression of the package takes time in proportion to its text, whatever the text is.

They are collected from the modules, so that a new one is judged without being named here; that none escapes is a rule
of `tests/test_tidy.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import regex

import pillarbox
from tests.unit.linear_time import is_linear

Found = dict[str, "re.Pattern[Any] | regex.Pattern[Any]"]
ANCHORED: Final = {"match", "fullmatch"}
# The suites are tests, __main__ runs, and Django's own want a project that is configured; they have no pattern.
NO_CODE: Final = (
    "pillarbox.testing.store_suite", "pillarbox.testing.channel_suite", "pillarbox.__main__",
    "pillarbox.integrations.django.",
)  # fmt: skip

UNITS: Final = (
    "a", "A", "1", " ", "-", ".", "@", ":", "/", '"', "'", "\\", "\n", "\r", "\t", "<", ">", "(", "[", "{", ",", ";",
    "=", "?", "#", "&", "%", "+", "*", "`", "~", "_", "!", "\0", "é", "。", "」", "\u00a0", "\u0301",
    "a-", "a.", "a@", "a:", "a/", "a=", "a,", "a;", "1.", "1,", "1:", "1-", " a", "a\n", "\r\n", "\n\n", "://", "//a:",
    "x@y.", "x@y", 'a"', "a'", '\\"', "a b", "- ", "1. ", "* -", "/1a", "&a=", "?a-", ";a=1", "=?", "%41", "%3A",
    "a@a.a ", "+1234567 ", "é.", "1a", "[{", '"a', "<a ", "&#1", "http://a", "a://b:c",
)  # fmt: skip


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(pillarbox.__path__, "pillarbox."):
        if not found.name.startswith(NO_CODE):
            yield importlib.import_module(found.name)


def patterns_in(value: object, name: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Find the patterns that a module's name leads to."""
    if isinstance(value, re.Pattern | regex.Pattern):
        yield name, value
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    inside: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        inside = value.items()
    elif isinstance(value, tuple | list | set | frozenset):
        inside = enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inside = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, type) and value.__module__.startswith("pillarbox"):
        inside = vars(value).items()
    for key, item in inside:
        yield from patterns_in(item, f"{name}.{key}", seen)


@functools.cache
def collected() -> Found:
    found: Found = {}
    for module in modules():
        for name, value in vars(module).items():
            if not name.startswith("__"):
                found.update(patterns_in(value, f"{module.__name__}.{name}", set()))
    from pillarbox.channels.text import graphemes

    found.update(patterns_in(graphemes._patterns(), "pillarbox.channels.text.graphemes._patterns", set()))
    unique: Found = {}
    for name, pattern in found.items():
        if pattern not in unique.values():
            unique[name] = pattern
    return unique


@functools.cache
def source(module: str) -> str:
    folder = Path(pillarbox.__file__).parent
    named = folder.joinpath(*module.split(".")[1:]).with_suffix(".py")
    paths = [named] if named.is_file() else sorted(folder.rglob("*.py"))
    return "\n".join(path.read_text("utf-8") for path in paths)


METHODS = "match|fullmatch|search|sub|split|findall|finditer"


def uses(name: str) -> set[str]:
    """Which methods of a pattern the package calls; none, where it stands in a table."""
    module, _, last = name.rpartition(".")
    text = source(module if last.startswith("_") else "pillarbox")
    return set(re.findall(rf"(?<!\w){re.escape(last)}\.({METHODS})\b", text))


def words(pattern: str) -> list[str]:
    """The words that stand in a pattern, which texts that nearly fit it are made of."""
    plain = re.sub(r"\\[a-zA-Z]|\(\?P?<\w+>|\(\?[a-z:=!<]+|\{[\d,]*\}", "\n", pattern)
    return list(dict.fromkeys(re.findall(r"[A-Za-z][A-Za-z_ -]{2,40}", plain)))[:6]


def shapes(pattern: str) -> Iterator[Callable[[int], str]]:
    for unit in UNITS:
        yield functools.partial(_repeated, "", unit, "\0")
    for word in words(pattern):
        for unit in (word, f"{word} ", f"{word}=", f"/{word}"):
            yield functools.partial(_repeated, "", unit, "\0")
        for unit in (" ", "a", "1", "=", "a."):
            yield functools.partial(_repeated, word, unit, "\0")
            yield functools.partial(_repeated, f"{word}=", unit, "\0")


def _repeated(begin: str, unit: str, end: str, size: int) -> str:
    return begin + unit * (size // len(unit)) + end


@pytest.mark.contract("LA2", "EN8")
@pytest.mark.parametrize("name", sorted(collected()))
def test_a_pattern_takes_time_in_proportion_to_its_text(name: str) -> None:
    pattern = collected()[name]
    used = uses(name)
    run: Callable[[Any], object] = pattern.fullmatch if "fullmatch" in used else pattern.match
    if not used or not used <= ANCHORED:
        # Each of its matches, from wherever one may begin: that costs no less than a search.
        run = functools.partial(_all_found, pattern)
    fed = _fed(run, pattern)
    assert not [text_of(40) for text_of in shapes(str(pattern.pattern)) if not is_linear(fed, text_of)]


def _all_found(pattern: Any, text: Any) -> None:
    deque(pattern.finditer(text), maxlen=0)


def _fed(run: Callable[[Any], object], pattern: Any) -> Callable[[str], object]:
    if isinstance(pattern.pattern, str):
        return run
    return lambda text: run(text.encode())


@pytest.mark.parametrize("bad", [r"[\w-]*token=", r"\w+@\w+\.", r"(?<=//).*@", r"(?:a+)+b", r"\s+$"])
def test_what_is_not_linear_is_found(bad: str) -> None:
    run = functools.partial(_all_found, re.compile(bad))
    assert any(not is_linear(run, text_of) for text_of in shapes(bad))


def test_patterns_are_collected_from_everywhere() -> None:
    names = collected()
    assert len(names) > 60
    for name in (
        "pillarbox.channels.privacy.masking._ROWS.0.1",
        "pillarbox.channels.exceptions.text_patterns._COMPILED.0.0",
        "pillarbox.channels.mail.replies._TOO_MUCH",
        "pillarbox.channels.text.html._RAW_END.script",
        "pillarbox.channels.text.graphemes._patterns.1",
    ):
        assert name in names, name
