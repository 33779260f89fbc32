"""How large and how often to measure, and where."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
CACHE: Final = Path(platformdirs.user_cache_dir("pillarbox-bench"))


class Scale(IntEnum):
    """How large a run is."""

    TRIAL = 0  # whether it runs at all: what the tests do
    QUICK = 1  # the main ratios, roughly, in two minutes
    USUAL = 2  # the page
    FULL = 3  # as large as the goals say, however long it takes


_ROUNDS = {Scale.TRIAL: 1, Scale.QUICK: 3, Scale.USUAL: 5, Scale.FULL: 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What the command line asked for.

    Attributes:
        directory: Databases are made beneath it.
        cache: Peers and interpreters are installed beneath it, outside of the source tree, and stay there.
    """

    directory: Path
    scale: Scale = Scale.USUAL
    cache: Path = CACHE

    @property
    def rounds(self) -> int:
        """How often each side is measured."""
        return _ROUNDS[self.scale]

    def size(self, *, quick: T, usual: T, trial: T | None = None, full: T | None = None) -> T:
        """Choose by how large the run is to be; *trial* is *quick* and *full* is *usual* where it is not given."""
        match self.scale:
            case Scale.TRIAL if trial is not None:
                return trial
            case Scale.TRIAL | Scale.QUICK:
                return quick
            case Scale.FULL if full is not None:
                return full
            case _:
                return usual

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Make a folder on the disk that is measured; it is gone afterwards, whatever happened."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix="run-", dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
