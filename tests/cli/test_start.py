"""What every command does before it does anything: version, help, variables, errors of last resort."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pillarbox.__about__ import __version__
from pillarbox.cli.program import COMMANDS
from tests.cli.commands import COMMAND, PATIENCE_SECONDS

if TYPE_CHECKING:
    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Pillarbox

HEAVY = ("aiosmtplib", "apsw", "asyncio", "click", "httptools", "msgspec", "rich", "yaml", "yarl")


async def test_the_version_is_data(pillarbox: Pillarbox) -> None:
    plain, as_json = await pillarbox("--version"), await pillarbox("--version", "--json")
    assert (plain.code, plain.out, plain.err) == (0, f"pillarbox {__version__}\n", "")
    assert (as_json.code, as_json.json) == (0, {"version": __version__})


def test_the_version_waits_for_nothing_heavy() -> None:
    code = f"import sys; from pillarbox.cli import main; main(['--version']); print(*set({HEAVY!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pillarbox", __version__]


def test_a_command_that_looks_loads_neither_channels_nor_drawing() -> None:
    code = "import sys; from pillarbox.cli import main; main(['ls', '--db', '/nowhere/x']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"httptools", "aiosmtplib", "yarl", "rich", "yaml"} & set(done.stdout.split())


def test_nothing_a_command_opens_takes_the_place_of_a_standard_file_that_is_closed() -> None:
    code = (
        "import os; from pillarbox.cli import main; main(['ls', '--db', '/nowhere/x']); "
        "assert all(os.path.samestat(os.fstat(number), os.stat(os.devnull)) for number in range(3))"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code]
    assert subprocess.run(command, check=False).returncode == 0


async def test_help_names_every_command(pillarbox: Pillarbox) -> None:
    shown = await pillarbox("--help")
    assert shown.code == 0
    assert [line.split()[0] for line in shown.out.partition("Commands:\n")[2].splitlines()] == list(COMMANDS)


async def test_no_command_is_a_usage_error_that_helps(pillarbox: Pillarbox) -> None:
    shown = await pillarbox()
    assert (shown.code, shown.out) == (2, "")
    assert "Commands:" in shown.err


async def test_every_option_has_a_variable(pillarbox: Pillarbox, receiver: Receiver) -> None:
    sent = await pillarbox(
        "send", receiver.url, "hi", PILLARBOX_SEND_TO="ann", PILLARBOX_SEND_MAX_ATTEMPTS="3", PILLARBOX_JSON="1"
    )
    assert (sent.json["to"], sent.json["max_attempts"]) == ("ann", 3)


async def test_a_variable_that_is_neither_setting_nor_option_is_refused(pillarbox: Pillarbox) -> None:
    refused = await pillarbox("stats", PILLARBOX_SEND_TOO="ann")
    assert refused.code == 4
    assert "PILLARBOX_SEND_TOO" in refused.said


@pytest.mark.contract("CF3")
async def test_the_database_is_the_flags_then_the_variables_then_the_files(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    (pillarbox.home / "pillarbox.toml").write_text('db = "file.db"\n', "utf-8")
    send = ("send", receiver.url, "hi", "--to", "ann")
    await pillarbox(*send, "--db", "flag.db", PILLARBOX_DB="env.db")
    await pillarbox(*send, PILLARBOX_DB="env.db")
    del pillarbox.variables["PILLARBOX_DB"]
    await pillarbox(*send)
    (pillarbox.home / "pillarbox.toml").unlink()
    await pillarbox(*send)
    for place in ("flag.db", "env.db", "file.db", "state/pillarbox/outbox.db"):
        assert len((await pillarbox("ls", "--db", place, "--json")).json) == 1


async def test_an_unexpected_error_is_one_line_and_a_traceback_only_for_who_asks(pillarbox: Pillarbox) -> None:
    (pillarbox.home / "sitecustomize.py").write_text(
        "import pillarbox.app\ndef load(**_): raise KeyError('a secret')\npillarbox.app.load = load\n", "utf-8"
    )
    there = str(pillarbox.home)
    process = await pillarbox.start("stats", PYTHONPATH=there)
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"internal error: KeyError at ")
    assert b"secret" not in err
    assert len(err.splitlines()) == 1
    process = await pillarbox.start("stats", PYTHONPATH=there, PILLARBOX_DEBUG="1")
    _, err = await process.communicate()
    assert b"Traceback" in err


async def test_a_reader_that_goes_away_is_no_error(pillarbox: Pillarbox, receiver: Receiver) -> None:
    await pillarbox("send", receiver.url, "hi", "--to", "ann")
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        COMMAND, "ls", stdout=writing, stderr=asyncio.subprocess.PIPE, env=pillarbox.variables
    )
    os.close(writing)
    _, err = await process.communicate()
    assert (process.returncode, err) == (141, b"")


async def drawn(pillarbox: Pillarbox, *arguments: str, **variables: str) -> bytes:
    """Run a command whose stdout is a terminal, and give what it draws."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=theirs, env={**pillarbox.variables, "TERM": "xterm", **variables}
    )
    os.close(theirs)
    loop = asyncio.get_running_loop()
    shown = b""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while piece := await loop.run_in_executor(None, _piece, ours):
                shown += piece
            assert await process.wait() == 0
    finally:
        os.close(ours)
    return shown


def _piece(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""  # its other end is closed


async def test_a_terminal_gets_a_drawn_table_and_no_escapes_with_no_color(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    await pillarbox("send", receiver.url, "hi", "--to", "a\u202eb")
    assert b"\x1b[" in await drawn(pillarbox, "ls")
    plain = await drawn(pillarbox, "ls", NO_COLOR="1")
    assert b"\x1b" not in plain
    assert "\u202e".encode() not in plain
    assert rb"a\u202eb" in plain
    (listed,) = (await pillarbox("ls", "--json")).json
    assert listed["id"].encode() in plain  # in one piece, however narrow the terminal
