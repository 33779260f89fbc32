"""The page of the API: every public name with its signature, and what its docstring says."""

from __future__ import annotations

import inspect
import re
from enum import Enum
from typing import TYPE_CHECKING, Final

import pillarbox
from pillarbox.outbox.add_channel import ChannelOptions, FunctionOptions, TextOptions
from pillarbox.outbox.checks import Options
from tools.reference.page import code, prose, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECTION: Final = re.compile(r"^(?P<title>Args|Attributes|Raises|Returns):\n(?P<text>(?: {4}.*\n?|\n)+)", re.MULTILINE)
_ENTRY: Final = re.compile(r"^(?P<name>[\w.*]+): (?P<text>.*(?:\n[ ]+.*)*)", re.MULTILINE)
NAMES: Final = sorted(name for name in vars(pillarbox)["__all__"] if not name.startswith("_"))
_METHODS_OF: Final = ("Outbox", "Message")
"""Other classes are values, whose docstrings name their fields."""
KEYWORDS: Final[dict[str, type]] = {
    "Options": Options,
    "ChannelOptions": ChannelOptions,
    "TextOptions": TextOptions,
    "FunctionOptions": FunctionOptions,
}


def blocks() -> dict[str, str]:
    """Return a section for each public name, and one for what `send` and `channel` take as keywords."""
    return {
        "names": "\n".join("".join(_section(name)) for name in NAMES),
        "keywords": "\n".join(f"### {name}\n\n{_told(thing)}" for name, thing in KEYWORDS.items()),
    }


def _section(name: str) -> Iterator[str]:
    thing = getattr(pillarbox, name)
    yield f"## {name}\n\n`from pillarbox import {name}`\n\n"
    yield _told(thing)
    if issubclass(thing, Enum):
        yield f"\nOne of {', '.join(code(member.value) for member in thing)}.\n"
    elif name in _METHODS_OF:
        yield "".join(_method(name, one, vars(thing)[one]) for one in _public(thing))


def _public(thing: type) -> list[str]:
    return [name for name, value in vars(thing).items() if not name.startswith("_") and hasattr(value, "__doc__")]


def _method(owner: str, name: str, thing: object) -> str:
    if isinstance(thing, property) or not callable(thing):
        return f"\n### {owner}.{name}\n\n{_told(thing)}"
    return f"\n### {owner}.{name}\n\n```text\n{_signature(name, thing)}\n```\n\n{_told(thing)}"


def _signature(name: str, thing: Callable[..., object]) -> str:
    signature = inspect.signature(thing)
    kept = [one for one in signature.parameters.values() if one.name != "self"]
    awaited = "await " if inspect.iscoroutinefunction(inspect.unwrap(thing)) else ""
    return f"{awaited}{name}{signature.replace(parameters=kept)}".replace("'", "")


def _told(thing: object) -> str:
    """Return a docstring as Markdown: paragraphs, then a table for each of its sections."""
    doc = f"{inspect.cleandoc(thing.__doc__ or '')}\n"
    paragraphs = [prose(one) for one in _SECTION.sub("", doc).strip().split("\n\n")]
    tables = [_table(section["title"], section["text"]) for section in _SECTION.finditer(doc)]
    return "\n".join(f"{one.rstrip()}\n" for one in [*paragraphs, *tables])


def _table(title: str, text: str) -> str:
    text = inspect.cleandoc(text)
    rows = [(code(entry["name"]), prose(entry["text"])) for entry in _ENTRY.finditer(text)]
    return table((title, ""), rows) if rows and title != "Returns" else f"{title}: {prose(text)}"
