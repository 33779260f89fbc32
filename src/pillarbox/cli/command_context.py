"""One call of a command: its configuration, and an opened outbox for as long as it takes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from pillarbox.cli.exits import Exit, Stop
from pillarbox.errors import StoreError, StoreNotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pillarbox.outbox.outbox import Outbox
    from pillarbox.settings.load import Loaded
    from pillarbox.settings.model import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What every command knows. ``db`` and ``config`` are ``None`` where the command line says nothing."""

    ctx: click.Context
    db: str | None
    config: str | None
    json: bool

    def loaded(self) -> Loaded:
        """Read the configuration. Raises ConfigError."""
        from pillarbox import app
        from pillarbox.cli.program import variables

        return app.load(path=self.config, db=self.db, other_variables=variables(self.ctx))

    def observe(self, use: Callable[[Outbox], Awaitable[T]], *, settings: Settings | None = None) -> T:
        """
        Open the database, which must exist, look, and close it. Raises Stop, PillarboxError.

        *settings*: where the configuration was read already.
        """
        from pillarbox import app

        return self._use(app.observer, use, settings)

    def operate(self, use: Callable[[Outbox], Awaitable[T]]) -> T:
        """Open the database, which must exist, act, and close it. Raises Stop, PillarboxError."""
        from pillarbox import app

        return self._use(app.operator, use)

    def migrate(self, use: Callable[[Outbox], Awaitable[T]]) -> T:
        """Make the database or bring it up to date, look, and close it. Raises PillarboxError."""
        from pillarbox import app

        return self._use(app.migrator, use)

    def _use(
        self,
        make: Callable[[Settings], Outbox],
        use: Callable[[Outbox], Awaitable[T]],
        settings: Settings | None = None,
    ) -> T:
        settings = settings or self.loaded().settings
        with naming(settings.db, create=False):
            return asyncio.run(_with(make(settings), use))


async def _with(box: Outbox, use: Callable[[Outbox], Awaitable[T]]) -> T:
    async with box:
        return await use(box)


@contextlib.contextmanager
def naming(db: str, *, create: bool = True) -> Iterator[None]:
    """Name the database in errors about it; where this command would not make it, name the commands that would."""
    try:
        yield
    except StoreError as exc:
        from pillarbox.settings.explain import mask_dsn

        place = mask_dsn(db)
        where = "" if place in str(exc) else f" (database {place})"
        hint = ""
        if isinstance(exc, StoreNotFound) and not create and not Path(db).exists():
            hint = "; the first `pillarbox send` makes it, --db or PILLARBOX_DB names another"
        raise Stop(Exit.DATABASE, f"{exc}{where}{hint}") from exc


def actor() -> str:
    """Name who acts, for the audit: this user at the command line."""
    import pwd

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    return f"{name} (command line)"
