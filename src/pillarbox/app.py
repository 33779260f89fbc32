"""
Composition root of the command line: from settings, a URL or a user's own module to an `Outbox`.

Nothing here opens a database or connects anywhere; the caller opens what is made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pillarbox.channels import registry
from pillarbox.channels.base import Channel
from pillarbox.clock import SystemClock
from pillarbox.domain.limits import Limits
from pillarbox.domain.shards import home_of
from pillarbox.domain.url_schemes import WITH_A_HOST
from pillarbox.entropy import SystemEntropy
from pillarbox.errors import ConfigError, UnknownChannel
from pillarbox.outbox.database import make_store
from pillarbox.outbox.engine_settings import limits_of
from pillarbox.outbox.outbox import Outbox, assembled, inside
from pillarbox.outbox.routes import make_route
from pillarbox.settings import load as config
from pillarbox.settings.derived import at_shard, databases, lease_seconds, several, without_shards
from pillarbox.settings.load import Loaded
from pillarbox.settings.model import ChannelSettings, Settings
from pillarbox.settings.places import default_db
from pillarbox.settings.problems import Problem
from pillarbox.store.base import Durability
from pillarbox.store.registry import open_store
from pillarbox.store.registry import share as share_file

_MEMORY: Final = ":memory:"
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")
_HOST_LENGTH_MAX: Final = 40
_DIGEST_LENGTH: Final = 8
_AUTHORITY: Final = re.compile(r"//(?:[^/?#@:]*+:)?[^?#\s]*+")
_USER: Final = re.compile(r"//[^/?#@:]*+:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """
    An outbox that accepts for one channel.

    Attributes:
        name: What the channel is called in the database.
        channel: ``None`` where this process does not have it.
        adhoc: Its URL stood on the command line, and is stored nowhere.
    """

    box: Outbox
    name: str
    channel: Channel | None
    adhoc: bool = False


def load(
    *, path: str | None, db: str | None, shard: int | None = None, other_variables: Collection[str] = ()
) -> Loaded:
    """
    Read the configuration for one command.

    Args:
        path: The configuration file; ``None`` looks for one (`config.load`).
        db: Wins over every other source, shards among them.
        shard: The one of the shards that it is for.
        other_variables: The command line's own variables.

    Raises:
        ConfigError: As `config.load`, and for a database in memory: it would end with the command.
    """
    loaded = config.load(path=path, flags={"db": db, "shard": shard}, other_variables=other_variables)
    loaded = dataclasses.replace(loaded, settings=_named(loaded.settings, db))
    _refuse_memory(loaded.settings)
    return loaded


def _named(settings: Settings, db: str | None) -> Settings:
    """
    Return *settings* for the database, or the shards, that a command is for.

    Falling back to memory is for programs that go on; with a command, what it accepted would be lost at its end.
    """
    settings = settings if db is None else without_shards(settings)
    return dataclasses.replace(at_shard(settings), fallback=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """
    What is wrong with a configuration.

    Attributes:
        errors: What a command that needs it would end with, each naming its field.
        warnings: What is allowed and probably not meant.
        file: The configuration file that was read.
        settings: What was read, for the command; ``None`` where something is wrong with it.
    """

    errors: tuple[ConfigError, ...]
    warnings: tuple[Problem, ...] = ()
    file: Path | None = None
    settings: Settings | None = None


def examine(
    *, path: str | None, db: str | None, shard: int | None = None, other_variables: Collection[str] = ()
) -> Examination:
    """Look for every mistake that can be found without connecting anywhere. Arguments as `load`. Raises nothing."""
    errors: list[ConfigError] = []
    try:
        flags = {"db": db, "shard": shard}
        loaded = config.load(path=path, flags=flags, other_variables=other_variables, faults=errors)
        settings = _named(loaded.settings, db)
    except ConfigError as exc:
        return Examination(errors=(*errors, exc))
    errors += _unusable(settings)
    return Examination(
        errors=tuple(errors),
        warnings=tuple(config.check(loaded)),
        file=loaded.file,
        settings=None if errors else settings,
    )


def _unusable(settings: Settings) -> Iterator[ConfigError]:
    """Make everything that the settings describe, and open none of it."""
    try:
        _refuse_memory(settings)
        for dsn in databases(settings):
            open_store(dsn)
    except ConfigError as exc:
        yield exc
    timeouts = []
    for name, item in settings.channels.items():
        try:
            channel = None if item.url is None else make_route(settings, name, item.url).channel
        except ConfigError as exc:
            yield exc
        else:
            timeouts += [] if channel is None else [channel.send_timeout_seconds]
    try:
        lease_seconds(settings, timeouts)
    except ConfigError as exc:
        yield exc


def _refuse_memory(settings: Settings) -> None:
    if any(dsn.endswith(_MEMORY) for dsn in databases(settings)):
        raise ConfigError(
            "shards" if several(settings) else "db", "expected a file: a database in memory ends with the command"
        )


def state_directory() -> Path:
    """Return the user's directory for what is remembered between commands. It need not exist."""
    return Path(default_db()).parent


def observer(settings: Settings) -> Outbox:
    """Return an outbox that looks, on a database that must exist and is left as it is. It has no channels."""
    return _without_channels(settings, limits=None)


def operator(settings: Settings) -> Outbox:
    """Return an outbox that acts, on a database that must exist, within the limits. It has no channels."""
    return _without_channels(settings, limits=limits_of(settings))


def migrator(settings: Settings) -> Outbox:
    """Return an outbox that makes the database, or brings it up to date, and does nothing else."""
    return assembled(
        dataclasses.replace(settings, channels={}),
        store=lambda one: make_store(one, clock=SystemClock(), entropy=SystemEntropy(), migrate=True),
        labels=True,
    )


def share(file: Path) -> bool:
    """Make a shared file; see `store.registry.share`. Raises StoreError."""
    return share_file(file)


def _without_channels(settings: Settings, *, limits: Limits | None) -> Outbox:
    settings = dataclasses.replace(settings, channels={})
    durability = Durability(settings.durability)
    return assembled(
        settings,
        store=lambda one: open_store(one.db, durability=durability, create=False, limits=limits),
        labels=False,
    )


def at_home(settings: Settings, tenant: str) -> Settings:
    """Return settings for the database alone that keeps what *tenant* sends."""
    if not several(settings):
        return settings
    return at_shard(dataclasses.replace(settings, shard=home_of(tenant, len(settings.shards))))


def sender(settings: Settings, target: str) -> Sender:
    """
    Return an outbox that accepts messages for *target*: a URL, or a channel's name.

    Where the queue is disabled, it sends them itself (contract EN12).

    Raises:
        ConfigError: A malformed URL or channel; never repeats the URL.
    """
    channel: Channel | None = None
    name = target
    if is_url(target):
        channel = registry.build(target, field="channel")
        name = adhoc_name(target)
    box = Outbox(
        settings=_only(settings, name), deliver=not settings.enabled, channels={name: channel} if channel else {}
    )
    return Sender(box=box, name=name, channel=inside(box).routes.of(name).channel, adhoc=is_url(target))


def _only(settings: Settings, *names: str) -> Settings:
    """Leave out every other channel: a mistake in one must not stop what has nothing to do with it."""
    return dataclasses.replace(
        settings, channels={name: item for name, item in settings.channels.items() if name in names}
    )


def only(settings: Settings, names: Collection[str]) -> Settings:
    """
    Return settings with no other channels than *names*.

    Raises:
        UnknownChannel: One of them is not configured.
    """
    configured = tuple(name for name, item in settings.channels.items() if item.url is not None)
    for name in names:
        if name not in configured:
            raise UnknownChannel(name, configured)
    return _only(settings, *names)


def only_url(settings: Settings, url: str) -> Settings:
    """
    Return settings with one channel: that of a URL on a command line, under the name that `sender` gives it.

    Raises:
        ConfigError: It is no URL of a channel; never repeats it.
    """
    registry.build(url, field="url")
    name = adhoc_name(url)
    item = settings.channels.get(name, ChannelSettings())
    return dataclasses.replace(settings, channels={name: dataclasses.replace(item, url=url)})


def asker(settings: Settings, channel: str) -> Outbox:
    """Return an outbox that is asked about one of its channels, and need not be started. Raises ConfigError."""
    if channel not in settings.channels:
        raise UnknownChannel(channel, tuple(settings.channels))
    return Outbox(settings=_only(settings, channel), deliver=False)


def importer(settings: Settings) -> Outbox:
    """
    Return an outbox to import into. It delivers nothing, and knows what the messages of each channel get.

    Raises:
        ConfigError: A channel is wrong.
    """
    return Outbox(settings=settings, deliver=False)


def worker(settings: Settings) -> Outbox:
    """
    Return an outbox that delivers through every configured channel.

    Raises:
        ConfigError: No channel is configured, or one is wrong.
    """
    if settings.enabled and not any(item.url is not None for item in settings.channels.values()):
        raise ConfigError(
            "channels",
            "none is configured, so there is nothing to run; set PILLARBOX_CHANNELS__OPS__URL, write [channels.ops] "
            "into a configuration file, or name your own outbox with --app module:box",
        )
    return Outbox(settings=settings)


def imported(where: str, *, directory: Path) -> Outbox:
    """
    Import a user's outbox, and make it deliver here.

    Args:
        where: ``module:attribute``; the attribute may be dotted.
        directory: Put in front of ``sys.path``, as Python does for a script.

    Raises:
        ConfigError: Not of that form, no such module or attribute, not an outbox, or the module raised.
    """
    module_name, colon, attribute = where.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError("app", f"expected module:attribute, such as myapp.mail:box, not {where!r}")
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    found: object = _module(module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            boxes = [own for own, value in vars(found).items() if isinstance(getattr(value, "core", value), Outbox)]
            hint = f"; an Outbox there is {boxes[0]}" if boxes else ""
            raise ConfigError("app", f"{module_name} has no {attribute!r}{hint}")
        found = getattr(found, name)
    # The synchronous façade keeps the outbox itself in its `core`.
    box = getattr(found, "core", found)
    if not isinstance(box, Outbox):
        raise ConfigError("app", f"expected an Outbox at {where}, not {type(found).__name__}")
    if not box.channels:
        raise ConfigError("app", f"the outbox at {where} has no channels: give it one by @box.channel")
    inside(box).lifetime.deliver_here()
    return box


def _module(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (name == exc.name or name.startswith(f"{exc.name}.")):
            raise ConfigError("app", f"no module {exc.name!r} can be imported from here") from exc
        raise ConfigError("app", f"importing {name} failed: no module {exc.name!r}") from exc
    except Exception as exc:
        raise ConfigError("app", f"importing {name} failed: {type(exc).__name__}: {exc}") from exc
    except SystemExit as exc:
        raise ConfigError("app", f"importing {name} ended the program ({exc.code})") from exc


def is_url(target: str) -> bool:
    """Whether a command line means a URL where it could name a channel: no channel's name has a colon or a slash."""
    return ":" in target or "/" in target


def adhoc_name(url: str) -> str:
    """
    Name the channel of a URL that stands on a command line: ``http_127_0_0_1_8000_1f0c2a9b``.

    The same URL always has the same name, so that keys and lanes hold; a changed password changes nothing. The name
    is made of scheme, host and a digest: nothing can be read from it that was secret. It can be said in a variable.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = ""
    if scheme in WITH_A_HOST:
        host = f"{parts.hostname or ''}_{parts.port}" if parts.port else parts.hostname or ""
    # A password may be guessed, and a digest would confirm the guess: so it is left out.
    digest = hashlib.sha256(_AUTHORITY.sub(_without_password, url).encode()).hexdigest()[:_DIGEST_LENGTH]
    pieces = (_NOT_IN_A_NAME.sub("_", piece).strip("_") for piece in (scheme, host.lower()[:_HOST_LENGTH_MAX], digest))
    return "_".join(piece for piece in pieces if piece)


def _without_password(found: re.Match[str]) -> str:
    userinfo, at, host = found[0].rpartition("@")
    user = _USER.search(userinfo) if at else None
    return f"{userinfo[: user.end() - 1]}@{host}" if user else found[0]
