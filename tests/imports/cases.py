"""The recorded queues of other systems, staged for one test, and what runs an import on them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pillarbox.imports.entry import System, Terms
from pillarbox.imports.importer import ImportOptions, read, run_import
from pillarbox.store.base import Query
from pillarbox.store.registry import open_store
from pillarbox.testing.fakes import FakeClock, SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pillarbox.domain.ids import MessageId
    from pillarbox.domain.message import MessageView
    from pillarbox.imports.entry import SourceEntry, SourceReport
    from pillarbox.imports.importer import Checkpoint
    from pillarbox.store.base import Store

FIXTURES: Final = Path(__file__).parent.parent / "fixtures"
NAMES: Final = sorted(str(path.parent.relative_to(FIXTURES)) for path in FIXTURES.glob("*/*/expected.json"))
FILES: Final = "openclaw-files/2026.3.13-mixed"
LIVE_LOG: Final = "openclaw-sqlite/2026.6.1-live-log"
LONG: Final = "c0ffee00-0000-4000-8000-000000000009.json"
LINK: Final = "c0ffee00-0000-4000-8000-000000000900.json"
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A copy of a recorded queue. *expected* is its ``expected.json``."""

    system: System
    path: Path
    now_ms: int
    expected: dict[str, Any]

    @property
    def entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self.expected["entries"]
        return entries


def stage(name: str, directory: Path) -> Case:
    """Copy a case, links as links, and make what is too large to be kept with the tests."""
    shutil.copytree(FIXTURES / name, directory, symlinks=True)
    expected = json.loads((directory / "expected.json").read_text("utf-8"))
    path = directory / expected["source"]
    if name == FILES:
        long = {
            "id": LONG.removesuffix(".json"),
            "enqueuedAt": 1773575691000,
            "channel": "telegram",
            "to": "9009",
            "payloads": [{"text": "The long bread recipe, line by line. " * 60_000}],
            "retryCount": 0,
        }
        (path / LONG).write_text(json.dumps(long), "utf-8")
        # An archive may have made a file out of the link.
        (path / LINK).unlink()
        (path / LINK).symlink_to("../../outside/target.json")
    return Case(system=System(expected["system"]), path=path, now_ms=expected["now"], expected=expected)


def entries_of(case: Case, **options: Any) -> dict[str, SourceEntry]:
    """Read a source, without any store."""
    terms = Terms(now_ms=case.now_ms, **options)
    return {entry.source_id: entry for entry in read(case.system, case.path, terms)}


class Importing:
    """A store on disk, and imports into it at a case's time."""

    def __init__(self, path: Path, now_ms: int) -> None:
        self.path = path
        self.clock = FakeClock(wall_ms=now_ms)
        self.store: Store = open_store(path, clock=self.clock)

    async def run(self, case: Case, *, checkpoint: Checkpoint | None = None, **options: Any) -> SourceReport:
        chosen = replace(ImportOptions(now_ms=case.now_ms), **options)
        watched = {} if checkpoint is None else {"checkpoint": checkpoint}
        # Another seed each time: no id comes twice.
        entropy = SeededEntropy(self.clock.wall_ms() + self.clock.boot_ms())
        self.clock.advance(1)
        return await run_import(
            self.store, case.system, case.path, chosen, clock=self.clock, entropy=entropy, **watched
        )

    async def messages(self) -> dict[str, MessageView]:
        """Every stored message by its key, whole."""
        found = {}
        for listed in await self.store.list_messages(Query(limit=10_000)):
            view = await self.view(listed.id)
            assert view.key is not None
            assert view.key not in found, f"{view.key} is stored twice"
            found[view.key] = view
        return found

    async def view(self, identity: MessageId) -> MessageView:
        view = await self.store.get(identity)
        assert view is not None
        return view


def tree(path: Path) -> dict[str, bytes | str | None]:
    """Everything beneath a directory, by its path: bytes of files, targets of links, nothing of directories."""
    return dict(_tree(path, path))


def _tree(root: Path, path: Path) -> Iterator[tuple[str, bytes | str | None]]:
    for child in sorted(path.iterdir()):
        name = str(child.relative_to(root))
        if child.is_symlink():
            yield name, str(child.readlink())
        elif child.is_dir():
            yield name, None
            yield from _tree(root, child)
        else:
            yield name, child.read_bytes() if child.is_file() else "no file"
