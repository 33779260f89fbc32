"""
What a running outbox takes over of new settings, and what it keeps until it is started again.

Pure: from values to values.
"""

from __future__ import annotations

from pillarbox.settings.explain import Changes, come_and_gone, each_value, reloadable_changes
from pillarbox.settings.layers import make_settings
from pillarbox.settings.lookup import CHANNELS, KeyPath
from pillarbox.settings.model import Settings


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
