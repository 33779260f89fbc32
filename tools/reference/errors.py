"""The page of errors: what each means, what it holds, and how a command ends that meets it."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Final

from pillarbox import errors
from pillarbox.cli.exits import code_of
from pillarbox.errors import PillarboxError
from tools.reference.page import about, code, table

if TYPE_CHECKING:
    from collections.abc import Iterator

_SET: Final = re.compile(r"\bself\.(\w+) = ")


def blocks() -> dict[str, str]:
    """Return the tree, as errors.py draws it, the table of errors, and the exit codes."""
    return {
        "tree": f"```text\n{inspect.cleandoc(errors.__doc__ or '').split(chr(10) * 2)[1]}\n```\n",
        "errors": table(("Error", "What it means", "Attributes", "Exit code"), map(_row, kinds())),
    }


def kinds(base: type[PillarboxError] = PillarboxError) -> Iterator[type[PillarboxError]]:
    """Yield *base* and what is derived from it in errors.py, each before its own."""
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


def _row(kind: type[PillarboxError]) -> tuple[str, str, str, str]:
    attributes = ", ".join(code(name) for name in _attributes(kind))
    exit_code = code_of(kind.__new__(kind))
    return code(kind.__name__), about(kind), attributes, f"{int(exit_code)} {code(exit_code.name)}"


def _attributes(kind: type[PillarboxError]) -> list[str]:
    """Return what the constructors of *kind* and its bases set, those of the base first."""
    ours = [one for one in reversed(kind.__mro__) if one.__module__ == errors.__name__]
    made = [vars(one)["__init__"] for one in ours if "__init__" in vars(one)]
    return list(dict.fromkeys(name for one in made for name in _SET.findall(inspect.getsource(one))))
