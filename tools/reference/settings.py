"""The page of settings: every one with its default, what it accepts, its variable, and when a new value counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.settings.explain import explanation
from pillarbox.settings.lookup import TABLE, Definition
from tools.reference.page import code, table

if TYPE_CHECKING:
    from collections.abc import Iterable

_TITLES = ("Setting", "What it is for", "Type", "Default", "Accepts", "Variable", "A new value counts")


def blocks() -> dict[str, str]:
    """Return one table for each section."""
    sections: dict[str, list[Definition]] = {}
    for one in TABLE:
        sections.setdefault(_section(one), []).append(one)
    return {name: table(_TITLES, map(_row, inside)) for name, inside in sections.items()}


def _section(one: Definition) -> str:
    depth = 2 if len(one.path) > 2 else 1  # noqa: PLR2004 — a channel's settings stand below the channel's name
    return ".".join(one.path[:depth]) if len(one.path) > 1 else "the outbox"


def _row(one: Definition) -> Iterable[str]:
    said = explanation(one)
    secret = " Its variable may end in `_FILE`." if said.secret else ""
    return (
        code(said.key),
        said.help + secret,
        type_name(one),
        said.default if one.setting.default_text or said.default in {"not set", "empty"} else code(said.default),
        said.range,
        code(said.env),
        "at once" if said.reload else "after a restart",
    )


def type_name(one: Definition) -> str:
    """Return the word for the kind of value that a setting has."""
    return type(one.kind).__name__.lower()
