"""`pillarbox config`: what is configured, by whom, and what is wrong with it. None of these opens a database."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from pillarbox.cli.exits import Exit
from pillarbox.cli.guided import Guided
from pillarbox.cli.output import Row, counted, emit, emit_json, listing, pairs, table, talk
from pillarbox.cli.shared_options import shared
from pillarbox.domain.url_schemes import WITH_A_HOST, mask_url

if TYPE_CHECKING:
    from pillarbox.cli.command_context import Call
    from pillarbox.settings.explain import Explanation


_MEANT: Final = {
    "validate": "check", "test": "check", "list": "show", "get": "show", "help": "explain", "where": "path",
}  # fmt: skip
_TOLD: Final = dict.fromkeys(
    ("set", "edit", "unset"),
    "a setting is changed in the file that `pillarbox config path` names, or by a variable",
)


@click.group(cls=Guided, meant=_MEANT, told=_TOLD)
def config() -> None:
    """Look at the configuration, and check it."""


@config.command()
@shared
def check(call: Call) -> int:
    """
    Look for mistakes: in every key and value, and in what each channel is made of. Connects nowhere.

    One line each on stdout. An error is something with which a command would end; the exit code is 4 then. A warning is
    allowed, and probably not meant.
    """
    from pillarbox import app
    from pillarbox.cli.program import variables

    found = app.examine(path=call.config, db=call.db, shard=call.shard, other_variables=variables(call.ctx))
    rows = [{"severity": "error", "field": one.field, "expected": one.expected} for one in found.errors]
    rows += [{"severity": "warning", "field": one.field, "expected": one.advice} for one in found.warnings]
    if call.json:
        file = None if found.file is None else str(found.file)
        emit_json({"ok": not found.errors, "file": file, "problems": rows})
    else:
        for row in rows:
            emit(f"{row['severity']}: {row['field']}: {row['expected']}")
    talk(
        f"{counted(len(found.errors), 'error')}, {counted(len(found.warnings), 'warning')}"
        if rows
        else "no problem found"
    )
    return Exit.CONFIGURATION if found.errors else Exit.OK


@config.command()
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@shared
def show(call: Call, *, origin: bool) -> int:
    """
    Show every setting and its value; of channels only what is set. Secrets are masked.

    The last source wins: default, file, variable, option of the command line.
    """
    from pillarbox.settings import load as configuration

    loaded = call.loaded()
    rows = configuration.show(loaded, mask=_place)
    if call.json:
        file = None if loaded.file is None else str(loaded.file)
        emit_json({"file": file, "settings": [dataclasses.asdict(row) for row in rows]})
    elif origin:
        table(("KEY", "VALUE", "ORIGIN"), [(row.key, row.value, row.origin) for row in rows])
    else:
        table(("KEY", "VALUE"), [(row.key, row.value) for row in rows])
    return Exit.OK


@config.command()
@shared
def path(call: Call) -> int:
    """Show where the configuration file is looked for, in order, and which one is used."""
    from pillarbox.settings import load as configuration

    places = configuration.paths(path=call.config)
    used = next((place for place in places if place.used), None)
    rows = [
        {"path": str(one.path.absolute()), "because": one.because, "exists": one.exists, "used": one.used}
        for one in places
    ]
    if call.json:
        emit_json({"file": None if used is None else str(used.path.absolute()), "places": rows})
        return Exit.OK
    table(
        ("PATH", "WHY", "THERE", "USED"),
        [(str(row["path"]), str(row["because"]), _yes(row["exists"]), _yes(row["used"])) for row in rows],
    )
    if used is None:
        talk("no configuration file is used")
    return Exit.OK


@config.command()
@click.argument("key", required=False, metavar="[KEY]")
@shared
def explain(call: Call, key: str | None) -> int:
    """Explain a setting: what it is for, what it accepts, its default, its variable. Without KEY, list them all."""
    from pillarbox.settings import explain as explaining

    if key is None:
        rows = [_row(one) for one in explaining.explanations()]
        columns = ("KEY", "DEFAULT", "WHAT")
        listing(rows, columns, lambda row: (row["key"], row["default"], row["label"]), as_json=call.json)
        return Exit.OK
    one = explaining.explain(key)
    row = _row(one)
    if call.json:
        emit_json(row)
        return Exit.OK
    row["takes effect"] = "in a running worker, at SIGHUP" if row.pop("reload") else "at a restart"
    how = "yes: its variable may end in _FILE and name a file instead" if row.pop("secret") else None
    pairs([*row.items(), ("secret", how)])
    return Exit.OK


def _row(one: Explanation) -> Row:
    return {
        "key": one.key,
        "label": one.label,
        "help": one.help,
        "expected": one.range,
        "default": one.default,
        "variable": one.env,
        # Of all settings, the commands have an option for the database only.
        "option": one.flag if one.key == "db" else None,
        "reload": one.reload,
        "secret": one.secret,
    }


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _place(url: str) -> str:
    """Show where a channel leads, and nothing that may be a secret: no user, no path, no query."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return mask_url(url)
    if parts.scheme.lower() not in WITH_A_HOST or not host:
        return mask_url(url)
    named = f"[{host}]" if ":" in host else host
    rest = "/***" if parts.path.strip("/") or parts.query or parts.fragment or parts.username else ""
    return f"{parts.scheme.lower()}://{named}{f':{port}' if port else ''}{rest}"
