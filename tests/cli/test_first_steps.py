"""What a newcomer and an operator type first: init, completion, status, doctor, ls --watch."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Attempt, Outbox, Rejected
from pillarbox.cli import read_commands
from pillarbox.cli.condition import Condition, findings
from pillarbox.domain.message import State
from pillarbox.store.base import Flow, Tally, WorkerInfo

if TYPE_CHECKING:
    from tests.cli.typed import Typed


@pytest.mark.contract("CF2", "CF4")
def test_the_configuration_of_init_is_accepted_as_it_is_and_with_every_comment_taken_away(typed: Typed) -> None:
    assert typed("init").code == 0
    file = typed.home / "pillarbox.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (typed("config check").code, typed("config check").out) == (0, "")
    before = typed("config show").out
    file.write_text(re.sub(r"^# (?=[\w.]+ = |\[)", "", file.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    assert typed("config check").out == ""
    after = typed("config show").out
    assert [line.split() for line in after.splitlines() if not line.startswith("channels")] == [
        line.split() for line in before.splitlines()
    ]


def test_init_leaves_what_is_there_alone(typed: Typed) -> None:
    (typed.home / "pillarbox.toml").write_text("mine", "utf-8")
    refused = typed("init")
    assert (refused.code, refused.err) == (
        1, "error: pillarbox.toml is there already: name another file, or move it away\n"
    )  # fmt: skip
    assert (typed.home / "pillarbox.toml").read_text("utf-8") == "mine"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(typed: Typed, shell: str) -> None:
    script = typed(f"completion {shell}").out
    assert "_PILLARBOX_COMPLETE" in script
    assert "pillarbox" in script


def test_a_new_queue_and_a_quiet_one_have_their_remedies(typed: Typed) -> None:
    new = typed("doctor")
    assert new.code == 0
    assert new.lines == [
        "no channel is configured",
        "  → `pillarbox init` writes a configuration to add one to",
        "there is no database yet",
        "  → the first `pillarbox send` makes it",
    ]
    typed.stored(Outbox(typed.db, deliver=False), "ops", "ops")
    assert typed("status").lines == [
        f"database  {typed.db}",
        "messages  2 scheduled",
        "workers   none",
        "2 messages waiting for ops: no worker runs",
        "  → `pillarbox run`, where channel ops is configured (`pillarbox config show`)",
    ]
    assert typed("status -j").json["states"] == {"scheduled": 2}
    assert [one["what"] for one in typed("doctor -j").json["findings"]][1:] == [
        "2 messages waiting for ops: no worker runs"
    ]


@pytest.mark.parametrize("line", ["doctor", "run --drain"])
def test_what_was_examined_is_what_is_worked_by(typed: Typed, line: str) -> None:
    """The configuration is read once: a file that changes meanwhile is not half of each."""
    file = typed.home / "pillarbox.toml"
    file.write_text('[channels.ops]\nurl = "http://127.0.0.1:1/"\n', "utf-8")
    opened: list[str] = []
    watching = [True]
    # A hook stays for as long as the process lives: it is told when to hear no more.
    sys.addaudithook(lambda event, said: opened.append(str(said[0])) if watching and event == "open" else None)
    typed(line)
    watching.clear()
    assert [path for path in opened if path.endswith(file.name)] == [file.name]


def test_a_doctor_names_what_is_broken_by_its_exit_code(typed: Typed) -> None:
    (typed.home / "pillarbox.toml").write_text('lease_seconds = "soon"', "utf-8")
    assert typed("doctor").code == 4
    (typed.home / "pillarbox.toml").unlink()
    typed.db.write_bytes(b"no database at all" * 1000)
    broken = typed("doctor -j")
    assert (broken.code, broken.json["ok"]) == (5, False)


def tally(state: State, channel: str = "ops", count: int = 1) -> Tally:
    return Tally(tenant="", channel=channel, state=state, messages=count, bytes=1)


def flowing(**options: Any) -> Flow:
    """Give a queue through which all goes, but for what *options* say."""
    usual: dict[str, Any] = {
        "id": 1, "tenant": "", "channel": "ops", "paused": False, "paused_until_ms": None, "pause_reason": None,
        "strikes": 0, "paused_ms": None, "paused_by": None, "reopened_ms": None, "full_until_ms": None, "resting": 0,
        "suppressed": 0, "due_ms": None,
    }  # fmt: skip
    return Flow(**{**usual, **options})


WORKER = WorkerInfo(
    slot=1, id=b"1", host="h", pid=1, version="1", channels=("ops",), started_ms=0, seen_ms=0, alive=True
)


def test_every_finding_says_what_to_do() -> None:
    seen = Condition(
        [
            tally(State.SCHEDULED, count=5),
            tally(State.SCHEDULED, "mail"),
            tally(State.HELD),
            tally(State.DEAD, count=2),
            tally(State.EXPIRED),
        ],
        [flowing(tenant="acme", paused=True, pause_reason="upkeep")],
        [WORKER],
    )
    assert [one.what for one in findings(seen, late_ms=600_000)] == [
        "1 message waiting for mail: no worker has channel mail",
        "channel ops of tenant acme is paused: upkeep",
        "1 message held, until somebody decides",
        "2 messages dead: nobody tries again",
        "1 message expired: not delivered in time",
    ]
    assert all(one.remedy and one.wakes for one in findings(seen, late_ms=600_000))


def test_what_passes_by_itself_wakes_nobody() -> None:
    resting = flowing(paused=True, paused_until_ms=95_000, pause_reason="not connected", due_ms=60_000)
    seen = Condition([tally(State.SCHEDULED)], [resting], [WORKER], at_ms=90_000)
    assert [(one.what, one.remedy, one.wakes) for one in findings(seen, late_ms=60_000)] == [
        (
            "channel ops rests: not connected",
            "it goes on by itself in 5s; `pillarbox resume ops` does it now",
            False,
        )
    ]
    # Where it lasts, it does not pass.
    assert [one.wakes for one in findings(seen, late_ms=29_000)] == [False, True]


@pytest.mark.parametrize(("waited_s", "told"), [(599, []), (601, ["10m"]), (-5, [])])
def test_a_queue_that_does_not_move_is_found(waited_s: int, told: list[str]) -> None:
    seen = Condition([tally(State.SCHEDULED)], [flowing(due_ms=1_000)], [WORKER], at_ms=1_000 + waited_s * 1_000)
    assert [one.what for one in findings(seen, late_ms=600_000)] == [
        f"channel ops does not keep up: its first message has been due for {span}" for span in told
    ]
    (unserved,) = findings(seen._replace(workers=()), late_ms=600_000)  # once, and not twice
    assert unserved.what == "1 message waiting for ops: no worker runs"


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_an_alert_hears_by_the_exit_code_that_somebody_is_needed(typed: Typed, command: str) -> None:
    async def answers(attempt: Attempt) -> str:
        if attempt.text == "bad":
            raise Rejected("no")
        return "1"

    async def sent(text: str) -> None:
        async with Outbox(typed.db, channels={"ops": answers}) as box:
            await (await box.send("ops", to="ann", text=text)).wait(timeout=10)

    asyncio.run(sent("good"))
    assert typed(f"{command} --strict").code == 0
    asyncio.run(sent("bad"))
    assert (typed(command).code, typed(f"{command} --strict").code, typed(f"{command} --strict -j").code) == (0, 8, 8)
    typed("purge --all")
    assert typed(f"{command} --strict").code == 0


def test_a_list_is_shown_again_and_again(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = typed.stored(Outbox(typed.db, deliver=False), "ops")
    shown = 0

    class Clock:
        async def sleep(self, seconds: float) -> None:
            nonlocal shown
            shown += 1
            if shown == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(read_commands, "SystemClock", Clock)
    watched = typed("ls --watch -j")
    assert watched.code == 130
    assert [[row["id"] for row in json.loads(line)] for line in watched.lines] == [sent, sent]


@pytest.mark.contract("ST2")
def test_last_follows_a_replay(typed: Typed) -> None:
    typed("send http://127.0.0.1:1/ hi --to ann")
    first = typed("show LAST -j").json["id"]
    typed("cancel LAST")
    (row,) = typed("replay LAST -j").json
    assert typed("show LAST -j").json["id"] == row["replayed_as"] != first
    typed("cancel LAST")
    (row,) = typed(f"replay -j --where id={row['replayed_as']}").json
    assert typed("show LAST -j").json["id"] == row["replayed_as"]


def test_a_channel_where_none_is_configured_leads_on(typed: Typed) -> None:
    refused = typed("send nosuch hi --to ann")
    assert refused.code == 4
    assert refused.said == (
        "error: channel: no channel 'nosuch' is configured"
        " (configured: none; `pillarbox init` writes a configuration to begin with)"
    )
