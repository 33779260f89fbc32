"""Words that people type: slips, other systems' names, short options. Each leads on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from pillarbox import Outbox
from tools.reference.command_line import commands

if TYPE_CHECKING:
    from tests.cli.typed import Typed


@pytest.mark.parametrize(
    ("line", "said"),
    {
        "sned ops hi": "no command 'sned'; did you mean 'send'?",
        "requeue x": "no command 'requeue'; did you mean 'retry'?",
        "lst": "no command 'lst'; did you mean 'list'?",
        "xyzzy": "no command 'xyzzy'; there are demo,",
        "ls --state failed": "Invalid value for '--state': no state 'failed'; did you mean 'dead'?",
        "ls --state Delivred": "Invalid value for '--state': no state 'Delivred'; did you mean 'delivered'?",
        "ls --state xyzzy": "Invalid value for '--state': no state 'xyzzy'; there are scheduled, leased,",
        "ls --sate dead": "no option '--sate'; did you mean '--state'?",
        "ls --since 1h": "no option '--since'; did you mean '--newer'?",
        "ls --xyzzy": "no option '--xyzzy'; there are --where, --state,",
        "--db x.db ls": "--db goes after the command: pillarbox ls --db",
        "ls -n lots": "Invalid value for '-n' / '--limit': expected a whole number from 1 to 10000, not 'lots'.",
        "ls -n 0": "Invalid value for '-n' / '--limit': expected a whole number from 1 to 10000, not '0'.",
        "ls --shard 0": "Invalid value for '--shard': expected a whole number from 1 on, not '0'.",
        "run --workers two": "Invalid value for '--workers': expected a whole number from 1 to 64, not 'two'.",
        "send x y --to z --max-attempts x": "Invalid value for '--max-attempts': expected a whole number, not 'x'.",
        "ls --where state=failed": "where: state: expected one of scheduled, leased, held, delivered, dead,",
    }.items(),
)
def test_a_slip_is_answered_with_what_was_meant(typed: Typed, line: str, said: str) -> None:
    typed.stored(Outbox(typed.db, deliver=False), "ops")
    refused = typed(line)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"error: {said}"), refused.err
    assert len(refused.err.splitlines()) == 1


def test_an_alias_is_its_command(typed: Typed) -> None:
    typed.stored(Outbox(typed.db, deliver=False), "ops", "ops")
    assert typed("list --json").json == typed("ls -j").json
    newest = typed("ls -j -n 1").json[0]["id"]
    assert [row["act"] for row in typed(f"log {newest} -j").json] == ["enqueue"]
    assert "Usage: pillarbox run " in typed("worker --help").out


def test_quiet_leaves_only_errors_on_stderr(typed: Typed) -> None:
    loud, quiet = (typed(f"send http://127.0.0.1:1/ hi --to ann {option}") for option in ("", "-q"))
    assert (loud.code, quiet.code) == (0, 0)
    assert "queued" in loud.err
    assert (quiet.err, len(quiet.lines)) == ("", 1)
    assert (
        typed("show -q nosuchmessage").err == "error: no message 'nosuchmessage'; `pillarbox ls` lists what there is\n"
    )


def test_no_help_says_none_where_it_means_nothing() -> None:
    told = {name: command.get_help(click.Context(command, info_name=name)) for name, command in commands().items()}
    assert len(told) > 20
    assert [name for name, text in told.items() if "None" in text] == []
