"""Which of several databases an outbox's own one is: what it says of itself, held against what the settings say."""

from __future__ import annotations

from pillarbox.domain.shards import Place, home_of
from pillarbox.errors import ConfigError, InvalidMessage
from pillarbox.settings.explain import mask_dsn
from pillarbox.settings.model import Settings
from pillarbox.store.base import Store


async def settled_place(store: Store, settings: Settings, *, labels: bool) -> Place | None:
    """
    Return which shard an open database is; ``None`` where it is none.

    Args:
        labels: Label it, where the settings say that it is a shard and it says nothing.

    Raises:
        ConfigError: It is another shard than the settings say, or holds the messages of an outbox without shards.
        StoreError: It cannot be read, or not be labelled.
    """
    label = await store.label()
    expected = None if settings.shard is None else Place(number=settings.shard, count=len(settings.shards))
    if expected is not None and label is None and labels:
        label = await store.set_label(str(expected))
        if label is None:
            raise ConfigError(
                "shards",
                f"{mask_dsn(settings.db)} was used before by an outbox without shards: expected databases that are new"
                " (docs/how-to/shards.md)",
            )
    if label is None:
        return None
    place = Place.of(label)
    if expected is not None and place != expected:
        raise ConfigError(
            "shards",
            f"{mask_dsn(settings.db)} is {label}, and not {expected}: expected the same databases, as many and in the"
            " same order, as at the first start (docs/how-to/shards.md)",
        )
    return place


def check_tenant(place: Place, tenant: str) -> None:
    """Raise InvalidMessage where *tenant* is not at home on the shard at *place*."""
    if not place.has(tenant):
        home = Place(number=home_of(tenant, place.count), count=place.count)
        raise InvalidMessage(
            "tenant", f"{tenant!r} is at home on {home}, and this is {place}: use an outbox on all shards"
        )
