"""`pillarbox run`: the worker as a process, how it ends, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from pillarbox.testing.receiver import Answer, Receiver
from tests.cli.commands import COMMAND, PATIENCE_SECONDS
from tests.run_to_end import run_to_end

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.commands import Pillarbox

APP = """
from pillarbox import {outbox}
box = Outbox({db!r}, deliver=False)

@box.channel("pager")
{define} pager(attempt):
    with open({log!r}, "a") as log:
        log.write(attempt.text + "\\n")
    return "receipt-1"
"""


@pytest.mark.contract("DR2")
async def test_messages_of_another_process_go_out_at_once(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    async with pillarbox.running("run", "--json") as worker:
        started = await worker.line("started")
        assert (started["channels"], started["pid"]) == (["ops"], worker.process.pid)
        sent = await pillarbox("send", "ops", "hi", "--to", "x", "--json")
        delivered = await worker.line("delivered")
        assert (delivered["id"], delivered["channel"], delivered["attempt"]) == (sent.json["id"], "ops", 1)
        assert "hi" not in delivered.values()


@pytest.mark.contract("DR2", "DR3")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_it_delivers_and_stops_on_the_loop_that_is_installed(
    pillarbox: Pillarbox, receiver: Receiver, loop: str
) -> None:
    variables = {}
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    else:
        # As if it were not installed.
        (pillarbox.home / "uvloop.py").write_text("raise ImportError\n", "utf-8")
        variables["PYTHONPATH"] = str(pillarbox.home)
    pillarbox.serving(receiver.url)
    async with pillarbox.running("run", "--json", **variables) as worker:
        assert (await worker.line("started"))["loop"] == loop
        sent = await pillarbox("send", "ops", "hi", "--to", "x", "--json")
        assert (await worker.line("delivered"))["id"] == sent.json["id"]
        worker.tell(signal.SIGTERM)
        assert (await worker.ended()).code == 0


@pytest.mark.contract("DR3")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_lets_the_sends_under_way_end(
    pillarbox: Pillarbox, receiver: Receiver, number: signal.Signals
) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    sent = await pillarbox("send", "ops", "hi", "--to", "x")
    async with pillarbox.running("run", "--json") as worker:
        await receiver.wait_for(1)
        worker.tell(number)
        assert worker.process.stderr is not None
        assert b"stopping" in await worker.process.stderr.readline()
        receiver.release()
        stopped = await worker.line("stopped")
        ended = await worker.ended()
        assert (ended.code, stopped["cut_off"]) == (0, 0)
    assert (await pillarbox("show", sent.out.strip(), "--json")).json["state"] == "delivered"
    assert (await pillarbox("workers", "--json")).json == []


@pytest.mark.contract("DR3", "EV4", "UN4")
async def test_what_could_not_be_written_down_at_the_end_is_no_success(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    await pillarbox("send", "ops", "hi", "--to", "x")
    async with pillarbox.running("run", "--json", PILLARBOX_STOP_SECONDS="1") as worker:
        await receiver.wait_for(1)
        pillarbox.db.rename(pillarbox.db.with_name("moved.db"))
        receiver.release()
        worker.tell(signal.SIGTERM)
        stopped = await worker.line("stopped")
        ended = await worker.ended()
    assert ended.code == 5
    assert stopped["unrecorded"] >= 1


@pytest.mark.contract("DR3")
async def test_a_second_signal_cuts_them_off_and_says_so(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    sent = await pillarbox("send", "ops", "hi", "--to", "x")
    async with pillarbox.running("run", "--json") as worker:
        await receiver.wait_for(1)
        worker.tell(signal.SIGTERM)
        assert worker.process.stderr is not None
        await worker.process.stderr.readline()
        worker.tell(signal.SIGTERM)
        assert (await worker.line("stopped"))["cut_off"] == 1
        assert (await worker.ended()).code == 0
    message = (await pillarbox("show", sent.out.strip(), "--json")).json
    assert (message["state"], message["error_class"]) == ("scheduled", "uncertain")


@pytest.mark.contract("DR3")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=["TERM", "INT", "HUP"])
async def test_a_signal_after_it_has_stopped_changes_nothing(pillarbox: Pillarbox, number: signal.Signals) -> None:
    async with pillarbox.running("run", f"file://{pillarbox.home}/out.jsonl", "--json") as worker:
        await worker.line("started")
        worker.tell(signal.SIGTERM)
        await worker.line("stopped")
        ending = asyncio.ensure_future(worker.ended())
        with contextlib.suppress(ProcessLookupError):
            while not ending.done():
                worker.tell(number)
                await asyncio.wait((ending,), timeout=0.002)
        assert (await ending).code == 0


IN_A_PROGRAM = """
import os, signal, sys, threading
from pillarbox.cli import main
numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
signal.signal(signal.SIGHUP, print)
before = [signal.getsignal(number) for number in numbers]
def stop():
    told = threading.Event()
    told.wait(1)
    while signal.getsignal(signal.SIGTERM) == before[0]:  # a slow machine has not got there yet
        told.wait(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=stop, daemon=True).start()
code = main(sys.argv[1:])
print(code, [signal.getsignal(number) for number in numbers] == before, signal.set_wakeup_fd(-1))
"""


@pytest.mark.contract("DR3")
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "two"])
def test_a_program_that_called_it_has_its_handlers_back(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """What it starts afterwards would inherit that SIGTERM is ignored, and could not be ended by it."""
    place = ("--db", f"{tmp_path}/outbox.db", f"file://{tmp_path}/out.jsonl", "--quiet")
    command = [sys.executable, "-c", IN_A_PROGRAM, "run", *workers, *place]
    ended = run_to_end(command, seconds=PATIENCE_SECONDS, cwd=tmp_path)
    assert ended.stdout == "0 True -1\n", ended.stderr


EARLY = """
import os, sys
class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Signals())
"""


@pytest.mark.contract("CF3", "DR3")
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "two"])
async def test_a_worker_that_is_told_to_reload_while_it_is_loaded_delivers_all_the_same(
    pillarbox: Pillarbox, workers: tuple[str, ...]
) -> None:
    early = EARLY.format(module="pillarbox.store.sqlite.store" if workers else "click", number=int(signal.SIGHUP))
    (pillarbox.home / "sitecustomize.py").write_text(early, "utf-8")
    pillarbox.serving(f"file://{pillarbox.home}/out.jsonl")
    async with pillarbox.running("run", "--json", *workers, PYTHONPATH=str(pillarbox.home)) as worker:
        await worker.line("started")
        await worker.line("reloaded")
        worker.tell(signal.SIGTERM)
        assert (await worker.ended()).code == 0


@pytest.mark.contract("DR3")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
async def test_a_worker_that_is_told_to_stop_while_it_is_loaded_stops_with_success(
    pillarbox: Pillarbox, number: signal.Signals
) -> None:
    (pillarbox.home / "sitecustomize.py").write_text(EARLY.format(module="click", number=int(number)), "utf-8")
    ended = await pillarbox("run", f"file://{pillarbox.home}/out.jsonl", PYTHONPATH=str(pillarbox.home))
    assert (ended.code, ended.out, ended.err) == (0, "", "")


async def test_a_command_that_is_interrupted_while_it_is_loaded_says_so(pillarbox: Pillarbox) -> None:
    (pillarbox.home / "sitecustomize.py").write_text(EARLY.format(module="click", number=int(signal.SIGINT)), "utf-8")
    ended = await pillarbox("ls", PYTHONPATH=str(pillarbox.home))
    assert (ended.code, ended.out, ended.err) == (130, "", "interrupted\n")


@pytest.mark.contract("CF3", "DR3")
async def test_no_reload_is_tried_while_it_stops(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    await pillarbox("send", "ops", "hi", "--to", "x")
    async with pillarbox.running("run", "--json") as worker:
        await receiver.wait_for(1)
        worker.tell(signal.SIGTERM)
        assert worker.process.stderr is not None
        assert b"stopping" in await worker.process.stderr.readline()
        worker.tell(signal.SIGHUP)
        assert b"the configuration is not read again" in await worker.process.stderr.readline()
        receiver.release()
        ended = await worker.ended()
    assert ended.code == 0
    assert "reload" not in ended.out + ended.err


@pytest.mark.contract("DR3")
async def test_who_is_told_to_stop_before_its_database_answers_stops(pillarbox: Pillarbox) -> None:
    asked = asyncio.Event()
    clients: list[asyncio.StreamWriter] = []

    def hear(_: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        clients.append(client)
        asked.set()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pillarbox.variables["PILLARBOX_DB"] = f"postgresql://x@127.0.0.1:{port}/x?connect_timeout=600"
    async with pillarbox.running("run", f"file://{pillarbox.home}/out.jsonl", "--json") as worker:
        await asked.wait()
        worker.tell(signal.SIGTERM)
        assert (await worker.line("stopped"))["cut_off"] == 0
        assert (await worker.ended()).code == 0
    for client in clients:
        client.close()
    server.close()


@pytest.mark.contract("DR1")
async def test_drain_sends_what_is_due_and_reports(pillarbox: Pillarbox, receiver: Receiver) -> None:
    receiver.answer = lambda request: Answer(status=400 if request.json["to"] == "nobody" else 200)
    pillarbox.serving(receiver.url)
    for to, options in (("ann", ()), ("bob", ()), ("later", ("--at", "1h"))):
        await pillarbox("send", "ops", "hi", "--to", to, *options)
    done = await pillarbox("run", "--drain", "--json")
    report = done.row("drained")
    assert (done.code, report["event"], report["delivered"], report["deferred_backoff"]) == (0, "drained", 2, 1)
    await pillarbox("send", "ops", "hi", "--to", "nobody")
    done = await pillarbox("run", "--drain")
    assert (done.code, done.out.splitlines()) == (
        6,
        ["0 delivered, 1 failed, 0 expired, 0 exhausted, 0 uncertain", "left: 0 due, 1 for later"],
    )
    assert re.search(r"warning Message delivery permanently failed .*HTTP 400 Bad Request.* reason=rejected", done.err)


@pytest.mark.contract("DR1")
async def test_a_drain_ends_with_its_budget_and_leaves_the_rest(pillarbox: Pillarbox) -> None:
    async with Receiver(Answer.hang()) as receiver:
        pillarbox.serving(receiver.url, concurrency="1")
        for _ in range(2):
            await pillarbox("send", "ops", "hi", "--to", "x")
        done = await pillarbox("run", "--drain", "--budget", "3s", "--json")
        assert (done.code, done.row("stopped")["cut_off"]) == (7, 1)
        assert done.row("drained")["deferred_budget"] >= 1
        assert receiver.count == 1
    states = [(row["state"], row["claims"]) for row in (await pillarbox("ls", "--json")).json]
    assert states == [("scheduled", 0), ("scheduled", 1)]


@pytest.mark.contract("DR1", "LE4")
@pytest.mark.parametrize("uncertain", ["resend", "hold"])
async def test_a_drain_after_a_kill_sends_what_was_being_sent_or_says_what_became_of_it(
    pillarbox: Pillarbox, receiver: Receiver, uncertain: str
) -> None:
    pillarbox.serving(receiver.url, uncertain=uncertain)
    receiver.hold()
    for _ in range(3):
        await pillarbox("send", "ops", "hi", "--to", "x")
    async with pillarbox.running("run", "--json") as worker:
        await receiver.wait_for(3)
        worker.tell(signal.SIGKILL)
        await worker.ended()
    receiver.release()
    done = await pillarbox("run", "--drain", "--json")
    report = done.row("drained")
    assert (report["reaped"], report["uncertain"]) == (3, 3)
    if uncertain == "resend":
        assert (done.code, report["attempted"], report["delivered"], receiver.count) == (0, 3, 3, 6)
    else:
        # Nothing is left that is due, but three messages wait for a person.
        assert (done.code, report["attempted"], report["held"], receiver.count) == (6, 0, 3, 3)


@pytest.mark.contract("DR1")
async def test_a_drain_beside_a_worker_that_sends_says_that_something_is_left(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    await pillarbox("send", "ops", "hi", "--to", "x")
    async with pillarbox.running("run", "--json") as worker:
        await receiver.wait_for(1)
        done = await pillarbox("run", "--drain")
        assert (done.code, done.out.splitlines()) == (
            7,
            [
                "0 delivered, 0 failed, 0 expired, 0 exhausted, 0 uncertain",
                "left: 0 due, 0 for later, 1 leased by another worker",
            ],
        )
        assert "1 message left alone, under the lease of another worker" in done.err
        receiver.release()
        await worker.line("delivered")


@pytest.mark.contract("DR1", "LE4")
async def test_a_drain_says_what_waits_because_worker_after_worker_was_lost(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    await pillarbox("send", "ops", "hi", "--to", "x")
    for killed in (1, 2):
        async with pillarbox.running("run", "--json") as worker:
            await receiver.wait_for(killed)
            worker.tell(signal.SIGKILL)
            await worker.ended()
    receiver.release()
    done = await pillarbox("run", "--drain")
    assert done.code == 7
    assert done.out.splitlines()[-1] == "left: 0 due, 0 for later, 1 after a lost worker"
    assert "1 message left for later, because worker after worker was lost" in done.err


async def test_outcomes_are_lines_on_stderr(pillarbox: Pillarbox, receiver: Receiver) -> None:
    receiver.script(Answer(status=503), Answer())
    pillarbox.serving(receiver.url, schedule="1ms")
    sent = (await pillarbox("send", "ops", "a secret text", "--to", "ann@example.org")).out.strip()
    done = await pillarbox("run", "--drain")
    retry, delivered = (line for line in done.err.splitlines() if f"entryId={sent} " in line)
    assert "warning Message delivery failed, scheduled for retry" in retry
    assert "HTTP 503" in retry
    assert "info Message delivered and acked" in delivered
    assert "secret" not in done.err
    assert "ann@" not in done.err


async def test_without_a_channel_there_is_nothing_to_run(pillarbox: Pillarbox) -> None:
    refused = await pillarbox("run")
    assert (refused.code, refused.out) == (4, "")
    assert refused.said.startswith("error: channels: none is configured")
    assert not pillarbox.db.exists()


@pytest.mark.parametrize(
    ("outbox", "define"), [("Outbox", "async def"), ("sync; Outbox = sync.Outbox", "def")], ids=["async", "sync"]
)
async def test_an_outbox_of_ones_own_delivers_through_its_functions(
    pillarbox: Pillarbox, outbox: str, define: str
) -> None:
    log = pillarbox.home / "log"
    text = APP.format(outbox=outbox, define=define, db=str(pillarbox.db), log=str(log))
    (pillarbox.home / "mine.py").write_text(text, "utf-8")
    unknown = await pillarbox("send", "pager", "too early", "--to", "x")
    assert unknown.code == 4
    async with pillarbox.running("run", "--app", "mine:box", "--json") as worker:
        await worker.line("started")
        sent = await pillarbox("send", "pager", "hi", "--to", "x", "--wait", "--json")
        assert (sent.code, sent.json["receipt"]) == (0, "receipt-1")
    assert log.read_text() == "hi\n"


COUNTS = """
import gc
from pillarbox import Outbox
box, loaded = Outbox({db!r}), []
@box.channel("pager")
async def pager(attempt):
    return "looked at" if any(one is loaded for one in gc.get_objects()) else "left alone"
"""


async def test_what_a_worker_has_loaded_is_left_to_no_garbage_collector(pillarbox: Pillarbox) -> None:
    (pillarbox.home / "mine.py").write_text(COUNTS.format(db=str(pillarbox.db)), "utf-8")
    async with pillarbox.running("run", "--app", "mine:box", "--json") as worker:
        await worker.line("started")
        sent = await pillarbox("send", "pager", "hi", "--to", "x", "--wait", "--json")
        assert sent.json["receipt"] == "left alone"


async def test_an_outbox_that_cannot_be_had_is_named(pillarbox: Pillarbox) -> None:
    for name, text in {
        "mine": "from pillarbox import Outbox\nnumber = 1\nempty = Outbox('x.db')\n",
        "wrong": "1 / 0\n",
        "lacking": "import nosuchmodule\n",
        "ending": "raise SystemExit(3)\n",
        "untidy": "box = (\n",
    }.items():
        (pillarbox.home / f"{name}.py").write_text(text, "utf-8")
    said = {
        "mine": "expected module:attribute, such as myapp.mail:box, not 'mine'",
        "nosuch:box": "no module 'nosuch' can be imported from here",
        "mine.deeper:box": "no module 'mine.deeper' can be imported from here",
        "mine:nosuch": "mine has no 'nosuch'",
        "mine:number": "expected an Outbox at mine:number, not int",
        "mine:empty": "the outbox at mine:empty has no channels",
        "wrong:box": "importing wrong failed: ZeroDivisionError: division by zero",
        "lacking:box": "importing lacking failed: no module 'nosuchmodule'",
        "ending:box": "importing ending ended the program (3)",
        "untidy:box": "importing untidy failed: SyntaxError",
    }
    refused = await asyncio.gather(*(pillarbox("run", "--app", where) for where in said))
    for (where, expected), ended in zip(said.items(), refused, strict=True):
        assert (ended.code, ended.out) == (4, ""), where
        assert ended.said.startswith(f"error: app: {expected}"), where


async def test_an_app_brings_its_own_database(pillarbox: Pillarbox) -> None:
    refused = await pillarbox("run", "--app", "mine:box", "--db", "x.db")
    assert (refused.code, "leave --db, --shard and --config out" in refused.said) == (2, True)


@pytest.mark.contract("DR2", "DR3")
async def test_a_worker_whose_reader_goes_away_goes_on(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        COMMAND, "run", "--json", stdout=writing, stderr=asyncio.subprocess.PIPE, env=pillarbox.variables
    )
    os.close(writing)
    loop = asyncio.get_running_loop()
    assert b'"started"' in await loop.run_in_executor(None, os.read, reading, 4096)
    os.close(reading)
    for _ in range(2):
        assert (await pillarbox("send", "ops", "hi", "--to", "x", "--wait")).code == 0
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0
    assert err.count(b"nobody reads stdout any more") == 1
    assert (await pillarbox("workers", "--json")).json == []
