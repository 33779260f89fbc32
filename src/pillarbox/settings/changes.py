"""
What a running outbox takes over of new settings, and what it keeps until it is started again.

Pure: from values to values.
"""

from __future__ import annotations

from dataclasses import dataclass

from pillarbox.settings.explain import each_value
from pillarbox.settings.layers import make_settings
from pillarbox.settings.lookup import CHANNELS, KeyPath
from pillarbox.settings.model import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What differs between two configurations: ``reload`` takes effect in a running outbox, ``restart`` does not."""

    reload: tuple[str, ...]
    restart: tuple[str, ...]


def adopt(running: Settings, wanted: Settings) -> tuple[Settings, Changes]:
    """
    Return the settings to work by from now on, and what changed.

    What needs a restart keeps the value that it runs with, so that asking again names it again.
    """
    changes = reloadable_changes(running, wanted)
    kept, fixed = frozenset(changes.restart), come_and_gone(running, wanted)

    def stays(path: KeyPath) -> bool:
        return ".".join(path) in kept or (path[0] == CHANNELS and path[1] in fixed)

    values = {path: value for path, _, value in each_value(wanted) if not stays(path)}
    values |= {path: value for path, _, value in each_value(running) if stays(path)}
    return make_settings(values), changes


def reloadable_changes(old: Settings, new: Settings) -> Changes:
    """Name the settings that differ, by whether a running worker takes them over. Safe to show: keys, no values."""
    before, after = ({path: (one, value) for path, one, value in each_value(both)} for both in (old, new))
    # What a channel does not say is as good as its default, also where there is no such channel.
    changed = [
        (path, one)
        for path, (one, _) in (before | after).items()
        if before.get(path, (one, one.default))[1] != after.get(path, (one, one.default))[1]
    ]
    fixed = come_and_gone(old, new)
    late = {path for path, one in changed if not one.setting.reload or (path[0] == CHANNELS and path[1] in fixed)}
    return Changes(
        reload=tuple(".".join(path) for path, _ in changed if path not in late),
        restart=tuple(".".join(path) for path, _ in changed if path in late),
    )


def come_and_gone(old: Settings, new: Settings) -> set[str]:
    """Name the channels that only one of them has: a worker registers with its channels when it starts."""
    before, after = ({name for name, channel in one.channels.items() if channel.url is not None} for one in (old, new))
    return before ^ after
