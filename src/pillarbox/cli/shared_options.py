"""What commands share: the options that every one has, and how values are written."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import click
import msgspec

from pillarbox.cli.command_context import UNANSWERED, Call
from pillarbox.cli.exits import Exit
from pillarbox.cli.numbers import WholeNumber
from pillarbox.domain.moments import MS_MAX
from pillarbox.domain.retry import parse_span
from pillarbox.errors import ConfigError

_DB_HELP: Final = (
    "The database: a path, sqlite:///… or postgresql://….  [env var: PILLARBOX_DB; default: the"
    " configuration's, else outbox.db in your state directory]"
)
_SHARD_HELP: Final = "This one of the shards alone, counted from 1.  [env var: PILLARBOX_SHARD]"
_CONFIG_HELP: Final = "The configuration file, TOML or YAML.  [env var: PILLARBOX_CONFIG]"


def shared(command: Callable[..., int]) -> Callable[..., int]:
    """Add --db, --shard, --config and --json; the command gets them as its first argument, a `Call`."""

    # PILLARBOX_DB and PILLARBOX_CONFIG are settings, so the configuration reads them.
    @click.option("--db", metavar="DSN", allow_from_autoenv=False, help=_DB_HELP)
    @click.option("--shard", type=WholeNumber(1), metavar="N", allow_from_autoenv=False, help=_SHARD_HELP)
    @click.option("--config", metavar="FILE", allow_from_autoenv=False, help=_CONFIG_HELP)
    @click.option(
        "-j", "--json", "as_json", is_flag=True, envvar="PILLARBOX_JSON", show_envvar=True, help="Write JSON."
    )
    @click.option("-q", "--quiet", is_flag=True, help="Of stderr, leave out all but errors.")
    @click.pass_context
    @functools.wraps(command)
    def wrapped(
        ctx: click.Context,
        /,
        *args: Any,
        db: str | None,
        shard: int | None,
        config: str | None,
        as_json: bool,
        quiet: bool,
        **options: Any,
    ) -> int:
        ctx.obj["quiet"] = quiet
        if db is not None and shard is not None:
            raise click.UsageError("--db names a database, --shard one of the configured: give one of them.", ctx)
        code = command(Call(ctx=ctx, db=db, shard=shard, config=config, json=as_json), *args, **options)
        seen_alone = code in (Exit.OK, Exit.TO_LOOK_AT)
        return Exit.DATABASE if seen_alone and ctx.obj.get(UNANSWERED) else code

    return wrapped


def no_such(what: str, given: str, known: Sequence[str], meant: Mapping[str, str]) -> str:
    """Return the sentence that *given* is none of the *known* words, and which of them was probably *meant*."""
    import difflib

    near = meant.get(given.lower()) or next(iter(difflib.get_close_matches(given.lower(), known, n=1)), None)
    hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}."
    return f"no {what} {given!r}; {hint}"


def never_used(channel: str, known: Sequence[str]) -> str:
    """Return the sentence that no message ever went to *channel*; *known*: those to which some did."""
    import difflib

    if near := next(iter(difflib.get_close_matches(channel, known, n=1)), None):
        hint = f"did you mean {near!r}?"
    else:
        hint = f"messages went to {', '.join(sorted(known))}" if known else "nothing was sent at all yet"
    return f"nothing was ever sent to channel {channel!r}; {hint}"


FOREVER: Final = timedelta.max
"""What `span_or_none` makes of ``none``."""


def span(text: str) -> timedelta:
    """Read ``250ms``, ``5s``, ``2m``, ``1.5h`` or ``3d``."""
    return _span(text, "expected a span such as 250ms, 5s, 2m, 1h or 3d")


def span_above_zero(text: str) -> timedelta:
    """Read a span that is not empty."""
    found = span(text)
    if not found:
        raise click.BadParameter("expected a span above 0.")
    return found


def span_or_none(text: str) -> timedelta:
    """Read a span, or ``none`` as `FOREVER`."""
    return FOREVER if text == "none" else _span(text, "expected a span such as 5s, 2m, 1h or 3d, or 'none'")


def moment(text: str) -> datetime | timedelta:
    """Read a span from now, or a time with its zone."""
    with contextlib.suppress(ValueError):
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found
    return _span(text, "expected a span such as 10m, or a time with its zone such as 2030-01-31T09:00+01:00")


def json_text(text: str) -> bytes:
    """Check that *text* is JSON; return it as it is."""
    _decoded(text)
    return text.encode()


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    decoded = _decoded(text)
    if not isinstance(decoded, dict):
        raise click.BadParameter('expected a JSON object such as \'{"team": "ops"}\'.')
    return decoded


def _span(text: str, expected: str) -> timedelta:
    with contextlib.suppress(ConfigError):
        seconds = parse_span(text, field="")
        # What takes it later would refuse it, when something was done already.
        if seconds <= MS_MAX / 1000:
            return timedelta(seconds=seconds)
    raise click.BadParameter(f"{expected}, not {text!r}.")


def _decoded(text: str) -> object:
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise click.BadParameter("expected JSON; quotes and braces may need quoting for your shell.") from None
