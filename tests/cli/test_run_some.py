"""A worker for some channels, or for a URL that is configured nowhere; and for none, where there are mistakes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pillarbox import Outbox

if TYPE_CHECKING:
    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Pillarbox
    from tests.cli.typed import Typed


@pytest.mark.contract("EN1")
async def test_what_was_stored_for_a_url_is_sent_on_by_a_worker_for_it(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    sent = await pillarbox("send", receiver.url, "hi", "--to", "ann")
    assert "`pillarbox run URL` sends it" in sent.err
    done = await pillarbox("run", receiver.url, "--drain", "--json")
    assert (done.code, done.row("drained")["delivered"], receiver.count) == (0, 1, 1)
    assert receiver.url not in done.err + done.out


def test_a_worker_serves_the_channels_that_are_named(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPS", "HOOKS"):
        monkeypatch.setenv(f"PILLARBOX_CHANNELS__{name}__URL", f"file://{typed.home}/{name}.jsonl")
    typed.stored(Outbox(typed.db, deliver=False), "ops", "hooks")
    assert typed("run --channel ops --drain").code == 0
    assert {row["channel"]: row["state"] for row in typed("ls -j").json} == {"ops": "delivered", "hooks": "scheduled"}


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("run --channel oops", 4, "channel: no channel 'oops' is configured (configured: ops)"),
        ("run gopher://x", 4, "url: unknown scheme 'gopher'"),
        ("run http://x --channel ops", 2, "URL, --channel and --app exclude each other."),
        ("run --app a:b --channel ops", 2, "URL, --channel and --app exclude each other."),
    ],
)
def test_what_a_worker_cannot_serve_is_named(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, line: str, code: int, said: str
) -> None:
    monkeypatch.setenv("PILLARBOX_CHANNELS__OPS__URL", "http://127.0.0.1:1/")
    refused = typed(line)
    assert (refused.code, refused.err[: len(said) + 7]) == (code, f"error: {said}")


@pytest.mark.contract("CF2")
def test_a_worker_names_every_mistake_of_its_configuration(typed: Typed) -> None:
    (typed.home / "pillarbox.toml").write_text(
        'lease_seconds = "soon"\n'
        '[channels.a]\nurl = "gopher://x"\n[channels.b]\nurl = "http://127.0.0.1/"\nttl = "0s"\n'
    )
    refused = typed("run -q")
    errors = refused.err.splitlines()
    assert refused.code == 4
    assert [re.split(":", line)[1].strip() for line in errors[:-1]] == [
        "lease_seconds",
        "channels.b.ttl",
        "channels.a.url",
    ]
    assert errors[-1] == "error: the configuration has 3 mistakes: nothing is delivered"
