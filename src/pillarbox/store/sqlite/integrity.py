"""Asks SQLite whether a file is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.store.sqlite.statements import DRIVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw


def damage(connection: apsw.Connection) -> Iterator[str]:
    """Yield what is damaged. Raises apsw.CorruptError where nothing more can be read."""
    for (said,) in connection.execute(DRIVER["integrity"]):
        if said != "ok":
            yield said
