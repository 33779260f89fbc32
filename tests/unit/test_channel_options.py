"""The options of `box.channel` that a type checker knows are those that there are."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest

from pillarbox.channels import registry
from pillarbox.channels.function import FunctionChannel
from pillarbox.channels.text import limits
from pillarbox.domain import retry
from pillarbox.outbox import add_channel
from pillarbox.outbox.add_channel import ChannelOptions, FunctionOptions, TextOptions, UrlOptions
from pillarbox.settings.model import ChannelSettings

# What is said of every channel, in the word of its settings.
SAID_OTHERWISE = {"send_timeout_seconds", "policy"}
OF_EVERY_CHANNEL = set(ChannelOptions.__annotations__)
OF_TEXT = set(TextOptions.__annotations__) - OF_EVERY_CHANNEL


def test_every_setting_of_a_channel_is_an_option() -> None:
    assert {field.name for field in fields(ChannelSettings)} - {"url", "options"} == OF_EVERY_CHANNEL
    assert set(limits.OPTIONS) == OF_TEXT


def test_every_option_of_a_function_is_known() -> None:
    takes = {one.name for one in inspect.signature(FunctionChannel).parameters.values() if one.kind is one.KEYWORD_ONLY}
    own = set(FunctionOptions.__annotations__) - OF_EVERY_CHANNEL - OF_TEXT
    assert takes - SAID_OTHERWISE - OF_EVERY_CHANNEL - OF_TEXT == own


def test_every_option_of_an_adapter_is_known() -> None:
    adapters = {registry._load(where) for where in registry.SCHEMES.values()}
    takes = {name for adapter in adapters for name in registry._options_of(adapter)}
    own = set(UrlOptions.__annotations__) - OF_EVERY_CHANNEL - OF_TEXT
    assert takes - OF_EVERY_CHANNEL - OF_TEXT == own


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("uncertain", retry.UncertainAction),
        ("expire_action", retry.ExpireAction),
        ("on_dead", retry.OnDead),
        ("on_held", retry.OnHeld),
        ("parts", retry.PartsMode),
    ],
)
def test_an_option_that_is_a_word_takes_each_of_its_words(name: str, words: type[retry.UncertainAction]) -> None:
    hints = get_type_hints(ChannelOptions, None, vars(add_channel) | vars(retry))
    known, literal = get_args(hints[name])
    assert known is words
    assert set(get_args(literal)) == {str(word) for word in words}
