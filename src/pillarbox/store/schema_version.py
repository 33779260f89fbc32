"""
What a database's schema version means to this code, the same for every database.

``version`` is the newest step applied; ``usable_from`` the oldest code that may still work on the database, so that
machines can be upgraded one by one: code older than that refuses, code between works.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pillarbox.errors import StoreCorrupt, StoreTooNew, StoreTooOld

_STEP: Final = re.compile(r"version_(\d+)")


def steps_in(schema: Mapping[str, str]) -> dict[int, str]:
    """
    Return the SQL that brings a database from each version to the next, in their order.

    Args:
        schema: Statements by name. What brings a database to version 2 is called ``version_2``.

    Raises:
        ValueError: One is missing in between.
    """
    found = sorted(
        (int(name[1]), sql) for name, sql in ((_STEP.fullmatch(key), sql) for key, sql in schema.items()) if name
    )
    if [number for number, _ in found] != list(range(2, len(found) + 2)):
        raise ValueError(f"the schema's versions do not follow each other: {[number for number, _ in found]}")
    return {number - 1: sql for number, sql in found}


def steps_to(version: int, meta: Mapping[str, str], *, forward: bool, who: str) -> tuple[range, int]:
    """
    Return the versions from which a step is to be applied, in order, and the ``usable_from`` that the database has.

    Args:
        version: What this code knows.
        meta: What the database says of itself.
        forward: Whether an older one is brought up to date; others leave that to *who* does it (contract SG2).
        who: For people: whom they have to let do that.

    Raises:
        StoreTooNew: Its ``usable_from`` is above what this code knows.
        StoreTooOld: It is older, and *forward* is false.
        StoreCorrupt: It does not say what it is.
    """
    try:
        found, needed = int(meta["version"]), int(meta["usable_from"])
    except (KeyError, ValueError, TypeError) as exc:
        raise StoreCorrupt("the database does not say which schema it has") from exc
    if needed > version:
        raise StoreTooNew(
            f"the database has schema {found}, usable from {needed}; this pillarbox knows {version}: upgrade it"
        )
    if found < version and not forward:
        raise StoreTooOld(
            f"the database has schema {found}, this pillarbox works on {version}: {who}, which brings it up to date"
        )
    return range(found, version), needed
