"""
Forked processes (gunicorn --preload, Celery prefork, multiprocessing): contract LE9.

Each script is a process of its own, so that no fork of the test runner's is ever made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.domain.message import State
from tests.acceptance.processes import Accepting, run_script

if TYPE_CHECKING:
    from pathlib import Path

# What every script begins with: pipes to take turns by, and a child that ends whatever happens.
PRELUDE = """
import asyncio, os, sys, traceback
from pillarbox import Outbox

sent = []

async def channel(attempt):
    sent.append(attempt.text)
    return "r"

box = Outbox(sys.argv[1], channels={"hooks": channel})
from_child, to_parent = os.pipe()
from_parent, to_child = os.pipe()

def fork(main):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        asyncio.run(main())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

async def child_ended(pid):
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

async def turn(number):
    await asyncio.to_thread(os.read, number, 1)
"""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.mark.contract("LE9", "EN1")
async def test_what_a_child_commits_is_there_after_its_parent_closed(db: Path) -> None:
    """
    SQLite would let a child's connection go unlocked, where it inherited its parent's; the parent's close then takes
    the log away from under it, and what the child commits afterwards is lost.
    """
    script = (
        PRELUDE
        + """
async def child():
    await box.send("hooks", to="child", text="before")
    os.write(to_parent, b"x")
    os.read(from_parent, 1)
    for n in range(10):
        await box.send("hooks", to="child", text=f"after {n}")
    await box.close()

async def main():
    async with box:
        message = await box.send("hooks", to="parent", text="parent")
        await message.wait(10)
        pid = fork(child)
        await turn(from_child)
    os.write(to_child, b"x")
    await child_ended(pid)

asyncio.run(main())
"""
    )
    await run_script(script, str(db))
    async with Accepting(db) as box:
        recipients = [message.view.recipient for message in await box.outbox.list(limit=100) if message.view]
        assert recipients.count("child") == 11
        assert await box.outbox.check() == []


@pytest.mark.contract("LE9")
async def test_a_child_opens_handles_of_its_own_and_starts_no_worker(db: Path) -> None:
    script = (
        PRELUDE
        + """
async def child():
    message = await box.send("hooks", to="child", text="from the child")
    assert message.created and message.durability == "power"
    assert (await box.get(message.id)).view.recipient == "child"
    assert len(await box.list()) == 2
    # The parent delivers it; nothing here does.
    assert str((await message.wait(10)).state) == "delivered"
    assert sent == ["from the parent"], sent
    workers = await box.workers()
    assert [worker.pid for worker in workers] == [os.getppid()], workers
    assert workers[0].alive is True
    await box.close()
    await box.close()

async def main():
    async with box:
        await (await box.send("hooks", to="parent", text="from the parent")).wait(10)
        pid = fork(child)
        await child_ended(pid)
        assert sent == ["from the parent", "from the child"], sent
        # The parent's own locks and handles are as they were.
        (worker,) = await box.workers()
        assert worker.alive is True and worker.pid == os.getpid()
        await (await box.send("hooks", to="parent", text="after")).wait(10)
        assert sent[-1] == "after"
        assert await box.check() == []

asyncio.run(main())
"""
    )
    await run_script(script, str(db))


@pytest.mark.contract("LE9", "LE4")
async def test_a_parents_worker_is_still_seen_to_live_by_others_after_a_child_has_ended(db: Path) -> None:
    script = (
        PRELUDE
        + """
async def child():
    await box.send("hooks", to="child", text="hi")

async def main():
    async with box:
        pid = fork(child)
        await child_ended(pid)
        print("ready", flush=True)
        # Asked from another process: whether the lock is held is not to be told from inside.
        asked = await asyncio.create_subprocess_exec(sys.executable, "-c", '''
import asyncio, sys
from pillarbox import Outbox
async def main():
    async with Outbox(sys.argv[1], deliver=False) as box:
        print([worker.alive for worker in await box.workers()])
asyncio.run(main())
''', sys.argv[1], stdout=asyncio.subprocess.PIPE)
        out, _ = await asked.communicate()
        assert out.strip() == b"[True]", out

asyncio.run(main())
"""
    )
    await run_script(script, str(db))


@pytest.mark.contract("LE9")
async def test_an_outbox_made_before_the_fork_accepts_in_every_child_and_delivers_in_none(db: Path) -> None:
    """As under gunicorn --preload: the module was imported in the master, and each child starts what it finds."""
    script = (
        PRELUDE
        + """
def serve(n):
    async def child():
        async with box:
            for i in range(20):
                await box.send("hooks", to=f"child{n}", text=str(i))
            assert await box.workers() == []
        assert sent == []
    return child

pids = [fork(serve(n)) for n in range(3)]
for pid in pids:
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
"""
    )
    await run_script(script, str(db))
    async with Accepting(db) as box:
        found = await box.outbox.list(limit=100)
        assert len(found) == 60
        assert {message.state for message in found} == {State.SCHEDULED}
        assert await box.outbox.check() == []


@pytest.mark.contract("LE9", "EN1")
async def test_children_forked_in_the_midst_of_traffic_lose_nothing(db: Path) -> None:
    script = (
        PRELUDE
        + """
async def child():
    for n in range(20):
        await box.send("hooks", to=f"child{os.getpid()}", text=str(n))
    await box.close()

async def busy():
    n = 0
    while True:
        await box.send("hooks", to="parent", text=str(n), lane=None)
        n += 1

async def main():
    async with box:
        tasks = [asyncio.create_task(busy()) for _ in range(5)]
        pids = []
        for _ in range(6):
            await box.send("hooks", to="parent", text="again", lane=None)
            pids.append(fork(child))
        for pid in pids:
            await child_ended(pid)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await box.check() == []
    print(len(pids))

asyncio.run(main())
"""
    )
    await run_script(script, str(db))
    async with Accepting(db) as box:
        found = [message.view.recipient for message in await box.outbox.list(limit=100_000) if message.view]
        assert sum(recipient.startswith("child") for recipient in found) == 6 * 20
        assert await box.outbox.check() == []


@pytest.mark.contract("LE9")
async def test_multiprocessing_may_fork_a_function_that_uses_the_outbox(db: Path) -> None:
    script = """
import multiprocessing, sys
from pillarbox.sync import Outbox

box = Outbox(sys.argv[1], channels={"hooks": lambda attempt: "r"})

def work(n):
    return box.send("hooks", to=f"worker{n}", text="hi").id

if __name__ == "__main__":
    with box:
        box.send("hooks", to="parent", text="hi").wait(10)
        with multiprocessing.get_context("fork").Pool(3) as pool:
            ids = pool.map(work, range(12))
        assert len(set(ids)) == 12
        for message in box.list(limit=100):
            message.wait(10)
            assert str(message.state) == "delivered", message
        assert len(box.list(limit=100)) == 13
        assert box.check() == []
"""
    await run_script(script, str(db))


@pytest.mark.contract("LE9", "LE4", "SG9")
async def test_a_child_keeps_none_of_its_parents_locks_beyond_the_parents_end(db: Path) -> None:
    script = (
        PRELUDE
        + """
import json, signal, subprocess

async def child():
    os.read(from_parent, 1)

async def owner():
    async with box:
        await (await box.send("hooks", to="ann", text="hi")).wait(10)
        print(fork(child), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if len(sys.argv) > 2:
    asyncio.run(owner())

async def main():
    process = subprocess.Popen([sys.executable, __file__, sys.argv[1], "owner"], stdout=subprocess.PIPE, pass_fds=[])
    child_pid = int(process.stdout.readline())
    process.wait()
    os.kill(child_pid, 0)
    try:
        async with Outbox(sys.argv[1], deliver=False) as after:
            assert [worker.alive for worker in await after.workers()] == [False]
        assert not os.path.exists(sys.argv[1] + "-wal")
    finally:
        os.kill(child_pid, signal.SIGKILL)

asyncio.run(main())
"""
    )
    file = db.with_name("script.py")
    file.write_text(script, "utf-8")
    await run_script(f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')", str(db))
