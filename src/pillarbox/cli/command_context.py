"""One call of a command: its configuration, and an opened outbox for as long as it takes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from pillarbox.cli.exits import Exit, Stop
from pillarbox.cli.output import complain
from pillarbox.errors import StoreBusy, StoreCorrupt, StoreDiskFull, StoreError, StoreNotFound, StoreReadOnly

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pillarbox.outbox.outbox import Outbox
    from pillarbox.settings.load import Loaded
    from pillarbox.settings.model import Settings

T = TypeVar("T")
# Where the database is a file; a server's errors lead on themselves.
_REMEDIES: Final = (
    (StoreDiskFull, "nothing was written: make room there, and say it again"),
    (StoreReadOnly, "let this user write there, or name another database by --db"),
    (StoreCorrupt, "put a backup in its place, or name another database by --db"),
    (StoreBusy, "`pillarbox workers` lists who works on it"),
)
UNANSWERED: Final = "unanswered"
"""Under which a call notes which shards did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What every command knows. What is ``None``, the command line says nothing about."""

    ctx: click.Context
    db: str | None
    shard: int | None
    config: str | None
    json: bool

    def loaded(self) -> Loaded:
        """Read the configuration. Raises ConfigError."""
        from pillarbox import app
        from pillarbox.cli.program import variables

        return app.load(path=self.config, db=self.db, shard=self.shard, other_variables=variables(self.ctx))

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
        with naming(whole_of(settings), create=False):
            return asyncio.run(self._with(make(settings), use))

    async def _with(self, box: Outbox, use: Callable[[Outbox], Awaitable[T]]) -> T:
        from pillarbox.outbox.outbox import inside

        shards = inside(box).shards
        if shards is None:
            async with box:
                return await use(box)
        # What the others say is shown; the exit code tells that it is not all.
        shards.lenient = True
        async with box:
            found = await use(box)
        self.ctx.obj[UNANSWERED] = [f"{name} did not answer: {why}" for name, why in shards.unanswered.items()]
        for sentence in self.unanswered:
            complain(sentence)
        return found

    @property
    def unanswered(self) -> list[str]:
        """A sentence for each shard that did not answer this call."""
        found: list[str] = self.ctx.obj.get(UNANSWERED, [])
        return found


def whole_of(settings: Settings) -> str | None:
    """Return the one database that a command is for; ``None`` where it is for several, whose errors name them."""
    from pillarbox.settings.derived import several

    return None if several(settings) else settings.db


@contextlib.contextmanager
def naming(db: str | None, *, create: bool = True) -> Iterator[None]:
    """Name the database in errors about it; where this command would not make it, name the commands that would."""
    try:
        yield
    except StoreError as exc:
        if db is None:
            raise
        from pillarbox.settings.explain import mask_dsn
        from pillarbox.store.registry import file_of

        place = mask_dsn(exc.database or db)
        where = "" if place in str(exc) else f" (database {place})"
        hint = ""
        own = exc.database is None
        if own and isinstance(exc, StoreNotFound) and not create and not Path(db).exists():
            hint = "; the first `pillarbox send` makes it, --db or PILLARBOX_DB names another"
        elif file_of(db) is not None and "name another" not in str(exc):
            hint = next((f"; {said}" for kind, said in _REMEDIES if isinstance(exc, kind)), "")
        raise Stop(Exit.DATABASE, f"{exc}{where}{hint}") from exc


def actor() -> str:
    """Name who acts, for the audit: this user at the command line."""
    import pwd

    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    return f"{name} (command line)"
