"""How channels are given wrongly in a program: each mistake is refused where it is made, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import ConfigError, Outbox

if TYPE_CHECKING:
    from pathlib import Path

    from pillarbox.channels.base import Attempt


def test_channels_that_are_no_mapping_are_refused_by_their_name(tmp_path: Path) -> None:
    odd: Any = ["https://example.org/hook"]
    with pytest.raises(ConfigError, match=r"^channels: expected ways out by name, as in \{.*\}, not list$"):
        Outbox(tmp_path / "outbox.db", channels=odd)


def test_a_decorator_without_its_name_is_refused_at_once(tmp_path: Path) -> None:
    """It would make of the function below it what adds a channel of that name, and nobody would notice."""
    box: Any = Outbox(tmp_path / "outbox.db")

    def pager(attempt: Attempt) -> str:
        return attempt.to

    with pytest.raises(ConfigError, match=r"^channel: expected a name: @box\.channel\(\"pager\"\)"):
        box.channel(pager)
