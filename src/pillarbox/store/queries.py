"""
Named SQL: reads ``-- name --`` blocks out of ``sql/<database>/*.sql``. All of the project's SQL lives there.

Only what reads other programs' databases does not: that lies beside its readers, in ``imports/sql/``.

A line of the form ``-- name --`` begins a statement; other comment lines belong to the statement they stand in.
``{fragment}`` is replaced from the fragments given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

_HEAD = re.compile(r"^-- ([a-z][a-z0-9_]*) --$", re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n?", re.MULTILINE)


def load(database: str, file: str, fragments: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read one file's statements for *database* by name. Raises as `load_from`."""
    return load_from("pillarbox.store", f"sql/{database}/{file}", fragments)


def load_from(package: str, file: str, fragments: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    Read one file's statements by name, comments removed. *file* is a path inside *package*.

    Raises:
        ValueError: A name stands twice, or text stands before the first name.
    """
    text = resources.files(package).joinpath(*file.split("/")).read_text(encoding="utf-8")
    pieces = _HEAD.split(text)
    if _COMMENT.sub("", pieces[0]).strip():
        msg = f"{file}: text before the first statement's name"
        raise ValueError(msg)
    statements: dict[str, str] = {}
    for name, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if name in statements:
            msg = f"{file}: {name} stands twice"
            raise ValueError(msg)
        sql = _COMMENT.sub("", body).strip()
        for key, value in (fragments or {}).items():
            sql = sql.replace("{" + key + "}", value)
        statements[name] = sql
    return statements
