"""What `explain` advises is read by the command line as it is meant, whatever things are called (contract OP2)."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import click
import pytest

from pillarbox.cli.program import program
from pillarbox.domain.explain import explain, texts
from pillarbox.domain.explain.facts import Gate
from pillarbox.domain.message import State
from pillarbox.domain.transition import ErrorClass, Reason
from tests.unit.test_explaining import NOW, facts, standing

pytestmark = pytest.mark.contract("OP2")

ODD = [
    "ops", "-x", "--all", "--", "-", "--tenant=evil", "-rf *", "it's", 'a "b"', "a b", "$HOME", "`id`", "a`b", "\\",
    "#1", "a;b", "~", "żółw", "-ż", "!!", "--help", "a\u202eb", "\u200b-x", "tab\tinside", "'-'",
]  # fmt: skip


def _said(line: str) -> tuple[str, dict[str, Any]]:
    """Run a command line through the shell and through the command's own parser; gives what each parameter is."""
    assert line[0] == line[-1] == "`"
    words = subprocess.run(
        ["/bin/bash", "-c", f"printf '%s\\0' {line[1:-1]}"], check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}
    ).stdout.decode()
    name, verb, *rest = words.split("\0")[:-1]
    assert name == "pillarbox"
    command = program.get_command(click.Context(program), verb)
    assert command is not None
    return verb, command.make_context(verb, rest, resilient_parsing=False).params


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_channel_and_a_tenant_of_any_name_can_be_resumed(name: str) -> None:
    for channel, tenant in ((name, ""), (name, "acme"), ("ops", name), (name, name)):
        verb, params = _said(texts.resume(Gate(tenant=tenant, channel=channel)))
        assert (verb, params["channel"], params["tenant"]) == ("resume", channel, tenant or None)


@pytest.mark.parametrize("identity", ["AYvP5WgAdbGlIkpYt5Hx2A", "-YvP5WgAdbGlIkpYt5Hx2A", "--help-dbGlIkpYt5Hx2A"])
@pytest.mark.parametrize(
    ("state", "reason", "error_class", "expires_ms"),
    [
        (State.HELD, Reason.UNCERTAIN, ErrorClass.UNCERTAIN, None),
        (State.HELD, Reason.UNCERTAIN, ErrorClass.UNCERTAIN, NOW - 1),
        (State.HELD, Reason.STUCK, ErrorClass.RELEASED, NOW - 1),
        (State.DELIVERED, None, None, None),
        (State.DEAD, Reason.REJECTED, ErrorClass.PERMANENT, None),
        (State.EXPIRED, Reason.EXPIRED, None, NOW - 1),
        (State.SCHEDULED, None, ErrorClass.TRANSIENT, NOW - 1),
        (State.SCHEDULED, None, ErrorClass.TRANSIENT, None),
    ],
)
def test_every_command_about_a_message_means_that_message(
    identity: str, state: State, reason: Reason | None, error_class: ErrorClass | None, expires_ms: int | None
) -> None:
    told = standing(
        Gate(tenant="-t", channel="-c", paused_ms=NOW - 9, paused_by="ann"),
        id=identity, state=state, terminal_reason=reason, error_class=error_class, expires_ms=expires_ms,
        completed_ms=NOW - 7 if state.terminal else None, channel="-c", tenant="-t",
    )  # fmt: skip
    found = explain(facts(told), held_retention_ms=1000)
    commands = [line for cause in found.causes for line in re.findall(r"`pillarbox [^`]*`", cause.unblock)]
    assert commands or state is State.SCHEDULED
    for line in commands:
        if line in {"`pillarbox run`", "`pillarbox workers`", "`pillarbox db check`"}:
            continue
        verb, params = _said(line)
        if verb == "resume":
            assert (params["channel"], params["tenant"]) == ("-c", "-t")
        else:
            assert identity in shlex.split(line[1:-1])
            assert identity in (params.get("message"), *params.get("messages", ()))
