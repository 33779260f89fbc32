"""How large and how often to measure, and where."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What the command line asked for.

    Attributes:
        directory: Databases are made beneath it.
        quick: Only to see that everything runs.
        full: As large as the goals say, which takes minutes.
    """

    directory: Path
    quick: bool = False
    full: bool = False

    @property
    def rounds(self) -> int:
        """How often each side is measured."""
        return 3 if self.quick else 5

    def size(self, *, quick: T, usual: T, full: T | None = None) -> T:
        """Choose by how large the run is to be; *full* is *usual* where it is not given."""
        if self.full and full is not None:
            return full
        return quick if self.quick else usual

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Make a folder on the disk that is measured; it is gone afterwards, whatever happened."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix="run-", dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
