"""What the garbage collector does not look at: values that are made for each message, through which no cycle leads."""

from __future__ import annotations

import collections.abc
import gc
import importlib
import pkgutil
import types
from enum import Enum
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec
import pytest

import pillarbox
from pillarbox.channels.base import Attempt
from pillarbox.domain.message import Content, Draft, Leased
from pillarbox.domain.outgoing import Outgoing
from pillarbox.domain.transition import Transition
from pillarbox.events import MessageDelivered
from pillarbox.store.base import Enqueued, Settlement

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = (str, bytes, int, float, bool, type(None))
# JSON, copied by `plain_object` or read from the database: a tree.
JSON_OBJECT = dict[str, Any]


def structs(base: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    for found in pkgutil.walk_packages(pillarbox.__path__, "pillarbox."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    waiting = [base]
    while waiting:
        for each in waiting.pop().__subclasses__():
            waiting.append(each)
            if each.__module__.startswith("pillarbox."):
                yield each


def cyclic(hint: Any) -> bool:
    """Whether a value of that type may lead back to what holds it."""
    if hint == JSON_OBJECT:
        return False
    origin = get_origin(hint)
    if origin in {Union, types.UnionType, tuple, collections.abc.Sequence}:
        return any(cyclic(each) for each in get_args(hint) if each is not Ellipsis)
    if origin is not None:
        return not all(isinstance(each, PLAIN) for each in get_args(hint))  # Literal
    if hasattr(hint, "__supertype__"):
        return cyclic(hint.__supertype__)
    if not isinstance(hint, type):
        return True
    if issubclass(hint, msgspec.Struct):
        return hint.__struct_config__.gc is not False
    return not issubclass(hint, (*PLAIN, Enum))


def test_what_is_out_of_the_collectors_sight_holds_nothing_that_could_lead_back_to_it() -> None:
    outside = [each for each in structs() if each.__struct_config__.gc is False]
    assert {Content, Draft, Leased, Transition, Settlement, Enqueued, MessageDelivered} <= set(outside)
    for each in outside:
        leads_back = [field.name for field in msgspec.structs.fields(each) if cyclic(field.type)]
        assert not leads_back, f"{each.__name__}: {leads_back}"


@pytest.mark.parametrize("kind", [Attempt, Outgoing])
def test_what_an_application_may_put_anything_into_is_collected(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.gc is not False


def test_a_content_is_not_tracked() -> None:
    assert not gc.is_tracked(Content(text="x"))
