"""
The sections of two older systems, read as they are: Comis's ``deliveryQueue``, OpenClaw's ``messages.delivery``.

A file that has one of them may be that system's whole configuration, where most keys mean nothing to us and
``channels`` means something else. So there our own keys stand beneath ``pillarbox:``, and nothing else is read. They
may also stand beside the section, if the file holds nothing but sections and keys that we know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from pillarbox.domain.retry import ExpireAction
from pillarbox.errors import ConfigError
from pillarbox.settings.layers import Assignment, Layer, Source, read_tree, table
from pillarbox.settings.lookup import CHANNELS, KeyPath, did_you_mean, find, is_section
from pillarbox.settings.value_kinds import Choice, Count, Flag, Kind, Unfit, shown

OWN_SECTION: Final = "pillarbox"
_COMIS: Final = "deliveryQueue"
_OPENCLAW: Final = "messages"
_OPENCLAW_DELIVERY: Final = "delivery"

# Both systems demand positive whole numbers (Comis: z.number().int().positive()), JavaScript's.
_POSITIVE: Final = Count(most=2**53 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SeedKey:
    """A key of an older system: what it sets, how it is read, and what it implies where its section leaves it out."""

    sets: KeyPath
    kind: Kind
    milliseconds: bool = False
    implied: object = None


# https://docs.comis.ai: "Every field has a sensible default, so an empty section enables the queue". Where those
# defaults are ours too, they are not repeated.
_COMIS_KEYS: Final[dict[str, _SeedKey]] = {
    "enabled": _SeedKey(sets=("enabled",), kind=Flag()),
    "maxQueueDepth": _SeedKey(sets=("limits", "messages"), kind=_POSITIVE, implied=10_000),
    "defaultMaxAttempts": _SeedKey(sets=("defaults", "max_attempts"), kind=_POSITIVE),
    "defaultExpireMs": _SeedKey(sets=("defaults", "ttl"), kind=_POSITIVE, milliseconds=True),
    "drainOnStartup": _SeedKey(sets=("drain_on_startup",), kind=Flag()),
    "drainBudgetMs": _SeedKey(sets=("drain_budget_ms",), kind=_POSITIVE, milliseconds=True),
    "pruneIntervalMs": _SeedKey(sets=("prune_interval_ms",), kind=_POSITIVE, milliseconds=True),
}
# OpenClaw pull request 29998: messages expire after 30 minutes unless told otherwise.
_OPENCLAW_KEYS: Final[dict[str, _SeedKey]] = {
    "maxAgeMs": _SeedKey(sets=("defaults", "ttl"), kind=_POSITIVE, milliseconds=True, implied=timedelta(minutes=30)),
    "expireAction": _SeedKey(sets=("defaults", "expire_action"), kind=Choice(ExpireAction)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayers:
    """What a file says. ``implied`` gives way to everything that is written down."""

    written: Layer = field(default_factory=dict)
    implied: Layer = field(default_factory=dict)


def read_file_tree(tree: Mapping[object, object], *, source: Source) -> FileLayers:
    """
    Read a whole file: our own, with or without an older system's section, or an older system's whole configuration.

    Raises:
        ConfigError: As `read_tree`; or a key of theirs and one of ours set the same; or one of ours stands at the top
            of a file that is not ours.
    """
    layers = FileLayers()
    if _COMIS in tree:
        _read_seed(layers, tree[_COMIS], (_COMIS,), _COMIS_KEYS, source)
    if _OPENCLAW in tree and _OPENCLAW_DELIVERY in (messages := table((_OPENCLAW,), tree[_OPENCLAW], source)):
        delivery = messages[_OPENCLAW_DELIVERY]
        _read_seed(layers, delivery, (_OPENCLAW, _OPENCLAW_DELIVERY), _OPENCLAW_KEYS, source)
    own, above = _own_part(tree, source)
    ours = read_tree(own, source=replace(source, above=above))
    for path, assignment in ours.items():
        with source.each():
            if path in layers.written:
                told = f"sets the same as {layers.written[path].written}; write only one of them ({source.name})"
                raise ConfigError(assignment.written, told)
            layers.written[path] = assignment
    return layers


def _own_part(tree: Mapping[object, object], source: Source) -> tuple[Mapping[object, object], KeyPath]:
    """Find our own keys in a file, and what stands above them."""
    if not {OWN_SECTION, _COMIS, _OPENCLAW} & tree.keys():
        return tree, ()
    rest = {name: raw for name, raw in tree.items() if name not in {OWN_SECTION, _COMIS, _OPENCLAW}}
    ours = {name for name in rest if isinstance(name, str) and _is_ours(name)}
    # `channels` is a name that all three systems use; alone it is ours only if it leads somewhere.
    surely = ours - {CHANNELS}
    if OWN_SECTION not in tree and ours == rest.keys() and (surely or _leads_somewhere(rest.get(CHANNELS))):
        return rest, ()
    if surely:
        raise source.refuse(
            (min(surely),),
            f"expected beneath '{OWN_SECTION}:', because other keys of this file are not ours"
            f" ({_a_foreign_name(tree)})",
        )
    return table((OWN_SECTION,), tree.get(OWN_SECTION), source), (OWN_SECTION,)


def _a_foreign_name(tree: Mapping[object, object]) -> str:
    names = (name for name in tree if not isinstance(name, str) or not _is_ours(name))
    return next((shown(name) for name in names if name not in {_COMIS, _OPENCLAW}), OWN_SECTION)


def _is_ours(name: str) -> bool:
    return find((name,)) is not None or is_section((name,))


def _leads_somewhere(channels: object) -> bool:
    if not isinstance(channels, Mapping):
        return False
    return any(isinstance(one, str) or (isinstance(one, Mapping) and "url" in one) for one in channels.values())


def _read_seed(layers: FileLayers, raw: object, above: KeyPath, keys: Mapping[str, _SeedKey], source: Source) -> None:
    section = table(above, raw, source)
    for name, value in section.items():
        with source.each():
            _read_key(layers, name, value, above=above, keys=keys, source=source)
    for key in keys.values():
        if key.implied is not None:
            layers.implied[key.sets] = Assignment(
                value=key.implied, written=source.key(above), origin=f"{source.name}:{source.key(above)}"
            )


def _read_key(
    layers: FileLayers, name: object, value: object, *, above: KeyPath, keys: Mapping[str, _SeedKey], source: Source
) -> None:
    if not isinstance(name, str) or name not in keys:
        raise source.refuse((*above, str(name)), _unknown(name, above, keys))
    written = (*above, name)
    key = keys[name]
    if key.sets in layers.written:
        other = layers.written[key.sets].written
        raise source.refuse(written, f"sets the same as {other}; write only one of them")
    layers.written[key.sets] = Assignment(
        value=_read(key, value, written, source),
        written=source.key(written),
        origin=f"{source.name}:{source.key(written)}",
    )


def _read(key: _SeedKey, raw: object, written: KeyPath, source: Source) -> object:
    """Check a value by the older system's rule, and then by ours."""
    target = find((*key.sets[:-1], _in_milliseconds(key.sets[-1])) if key.milliseconds else key.sets)
    if target is None:
        raise LookupError(f"no setting {key.sets}")
    try:
        return target.kind.read(key.kind.read(raw))
    except Unfit as unfit:
        raise source.refuse(written, f"expected {unfit.expected}, not {shown(raw)}") from None


def _in_milliseconds(name: str) -> str:
    return f"{name.removesuffix('_ms')}_ms"


def _unknown(name: object, above: KeyPath, keys: Mapping[str, _SeedKey]) -> str:
    import difflib

    close = difflib.get_close_matches(str(name), keys, n=1, cutoff=0.4)
    return did_you_mean(".".join((*above, close[0])) if close else None, tuple(keys))
