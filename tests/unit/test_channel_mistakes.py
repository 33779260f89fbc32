"""How channels are given wrongly in a program: each mistake is refused where it is made, by its name."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import ConfigError, Outbox
from pillarbox.sync import Outbox as Blocking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
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


async def no_argument() -> str:
    return "1"


def two_arguments(to: str, text: str) -> str:
    return to + text


async def generator(attempt: Attempt) -> AsyncIterator[str]:
    yield attempt.to


class Pager:
    def __call__(self, attempt: Attempt) -> str:
        return attempt.to


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (no_argument, "of one argument, the attempt, not no_argument() -> 'str'"),
        (two_arguments, "of one argument, the attempt, not two_arguments(to: 'str', text: 'str') -> 'str'"),
        (generator, "of one argument, the attempt, not a generator, which returns no receipt"),
        (Pager, "expected an object, a URL or a function, not a class: Pager(…)"),
    ],
)
def test_what_cannot_be_called_with_an_attempt_is_refused_at_once(tmp_path: Path, given: Any, said: str) -> None:
    """Not by each message, which would be tried again and again."""
    box = Outbox(tmp_path / "outbox.db")
    with pytest.raises(ConfigError) as refused:
        box.channel("pager", given)
    assert said in str(refused.value)


def test_what_can_be_called_with_an_attempt_is_a_channel(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db")
    bound: Any = functools.partial(two_arguments, text="x")
    for number, given in enumerate((Pager(), bound, lambda attempt, *more: "1", print)):
        box.channel(f"pager-{number}", given)
    assert len(box.channels) == 4


def test_an_option_by_another_library_s_name_leads_to_ours(tmp_path: Path) -> None:
    box: Any = Outbox(tmp_path / "outbox.db")
    with pytest.raises(ConfigError, match=r"unknown option 'retries'; did you mean 'max_attempts'\?"):
        box.channel("ops", "https://example.org/", retries=3)


@pytest.mark.parametrize("given", ["pillarbox.toml", {"ttl": "1h"}])
def test_settings_that_are_none_are_refused_by_their_name(tmp_path: Path, given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^settings: expected Settings, as .*, not (str|dict); single ones are"):
        Outbox(tmp_path / "outbox.db", settings=given)


async def test_the_other_kind_of_with_is_named(tmp_path: Path) -> None:
    box: Any = Outbox(tmp_path / "outbox.db")
    with pytest.raises(TypeError, match="opened by `async with`"), box:
        pass
    blocking: Any = Blocking(tmp_path / "outbox.db")
    with pytest.raises(TypeError, match="opened by `with`"):
        async with blocking:
            pass
    assert not (tmp_path / "outbox.db").exists()
