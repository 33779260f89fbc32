"""
The road of one message through the code, from `send` to the end of `wait`: which files are handed it, and hand it on.

``python -m tests.road`` prints it. The run is a real one: a database file, a worker, a webhook to a real receiver.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pillarbox
from pillarbox import Outbox
from pillarbox.testing.receiver import Receiver

if TYPE_CHECKING:
    from types import FrameType

ROOT: Final = f"{Path(pillarbox.__file__).parent}/"
RECIPIENT: Final = "the-one-that-is-followed"
_DEPTH: Final = 4
_ITEMS_MAX: Final = 20
# What a message is inside of without being a struct: these hold one each.
_BEARERS: Final = frozenset({"Message", "Flight", "Attempt", "Wish", "Work"})


@dataclass(slots=True)
class Road:
    """
    What was seen.

    Attributes:
        calls: How often each file called another, by (caller, called); the message was an argument.
        asked: Every call between two files meanwhile, whatever was handed over.
        holders: The files with a function that was handed the message.
        files: Every file that ran.
    """

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    holders: dict[str, None] = field(default_factory=dict)
    files: dict[str, None] = field(default_factory=dict)

    @property
    def stations(self) -> list[str]:
        """The files that the message goes through: each is handed it, and hands it on to another."""
        handing_on = {caller for caller, _ in self.calls}
        return [file for file in self.holders if file in handing_on]

    def see(self, frame: FrameType) -> None:
        """Take note of a call that begins, or goes on."""
        called = _file(frame)
        if called is None:
            return
        self.files[called] = None
        caller = _caller(frame)
        if caller is not None and caller != called:
            self.asked[caller, called] += 1
        if _bears(frame):
            self.holders[called] = None
            if caller is not None and caller != called:
                self.calls[caller, called] += 1


def _file(frame: FrameType) -> str | None:
    name = frame.f_code.co_filename
    inside = name.startswith(ROOT) and not name.startswith(f"{ROOT}testing/")
    return name.removeprefix(ROOT) if inside else None


def _caller(frame: FrameType) -> str | None:
    above = frame.f_back
    while above is not None:
        file = _file(above)
        if file is not None:
            return file
        above = above.f_back
    return None


def _bears(frame: FrameType) -> bool:
    """Whether one of the call's arguments is the message, or holds it."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    values = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
    if values and code.co_varnames[0] == "self" and type(values[0]).__name__ not in _BEARERS:
        # What an object knows already was not handed over.
        values = values[1:]
    return any(_holds(value, _DEPTH) for value in values)


def _holds(value: object, depth: int) -> bool:
    if isinstance(value, str):
        return RECIPIENT in value
    if isinstance(value, bytes):
        return RECIPIENT.encode() in value
    if depth == 0:
        return False
    return any(_holds(inner, depth - 1) for inner in _inside(value))


def _inside(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value[:_ITEMS_MAX])
    if isinstance(value, dict):
        return list(value.values())[:_ITEMS_MAX]
    kind = type(value)
    if not kind.__module__.startswith("pillarbox"):
        return []
    names: Any = getattr(kind, "__struct_fields__", None) or getattr(kind, "__dataclass_fields__", None)
    if names is None and kind.__name__ in _BEARERS:
        names = [name for each in kind.__mro__ for name in getattr(each, "__slots__", ())] or list(vars(value))
    return [getattr(value, name, None) for name in names or ()]


async def follow(folder: Path) -> Road:
    """Send one message, wait for its end, and return the road that it took."""
    road, on = Road(), threading.Event()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and on.is_set():
            road.see(frame)

    threading.setprofile(note)
    try:
        async with Receiver() as receiver:
            channels = {"hooks": receiver.url}
            async with Outbox(folder / "outbox.db", channels=channels, drain_on_startup=False) as box:
                # The first one of a channel makes its queue and its connection.
                await (await box.send("hooks", to="somebody", text="hi")).wait(10)
                on.set()
                sys.setprofile(note)
                try:
                    message = await box.send("hooks", to=RECIPIENT, text="hi")
                    await message.wait(10)
                finally:
                    sys.setprofile(None)
                    on.clear()
                assert str(message.state) == "delivered", message
    finally:
        threading.setprofile(None)
    return road


def main() -> None:
    """Print the road."""
    with tempfile.TemporaryDirectory() as folder:
        road = asyncio.run(follow(Path(folder)))
    print(f"{len(road.stations)} files hand the message on:", *road.stations, sep="\n  ")
    others = [file for file in road.holders if file not in road.stations]
    print(f"{len(others)} more are handed it, and answer:", *others, sep="\n  ")
    rest = [file for file in road.files if file not in road.holders]
    print(f"{len(rest)} more run meanwhile:", *rest, sep="\n  ")


if __name__ == "__main__":
    main()
