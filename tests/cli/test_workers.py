"""`pillarbox run --workers`: several worker processes under one that replaces what dies, and stops them together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest

from pillarbox.cli.supervisor import restart_seconds
from tests.cli.commands import PATIENCE_SECONDS, heard

if TYPE_CHECKING:
    import socket

    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Pillarbox, Running


async def started(worker: Running, count: int) -> list[int]:
    """Wait until *count* workers have told that they deliver; return their process ids."""
    return [(await worker.line("started"))["pid"] for _ in range(count)]


async def over(pid: int) -> None:
    """Wait until a process that is nobody's child here has ended."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(watched, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
    finally:
        loop.remove_reader(watched)
        os.close(watched)


@pytest.mark.contract("DR2", "DR3")
async def test_they_deliver_reload_and_stop_as_one(
    pillarbox: Pillarbox, receiver: Receiver, systemd: socket.socket
) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    async with pillarbox.running("run", "--workers", "2", "--json", NOTIFY_SOCKET=systemd.getsockname()) as worker:
        pids = await started(worker, 2)
        # Once, when both deliver.
        assert await heard(systemd) == "READY=1"
        assert sorted(row["pid"] for row in (await pillarbox("workers", "--json")).json) == sorted(pids)
        worker.tell(signal.SIGHUP)
        assert [await heard(systemd), await heard(systemd)] == ["RELOADING=1", "READY=1"]
        sent = await pillarbox("send", "ops", "hi", "--to", "x")
        await receiver.wait_for(1)
        # As systemd does: every process of a service is told. What is under way ends all the same.
        worker.tell(signal.SIGTERM)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        assert await heard(systemd) == "STOPPING=1"
        receiver.release()
        assert (await worker.line("stopped"))["cut_off"] == 0
        assert (await worker.ended()).code == 0
    assert (await pillarbox("show", sent.out.strip(), "--json")).json["state"] == "delivered"
    assert (await pillarbox("workers", "--json")).json == []


@pytest.mark.contract("DR3")
async def test_a_signal_that_comes_after_the_supervisor_s_word_is_no_second_one(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    async with pillarbox.running("run", "--workers", "2", "--json") as worker:
        pids = await started(worker, 2)
        sent = await pillarbox("send", "ops", "hi", "--to", "x")
        await receiver.wait_for(1)
        worker.tell(signal.SIGTERM)
        assert (await worker.line("stopped"))["cut_off"] == 0  # the one that has nothing to do: both were told
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        receiver.release()
        assert (await worker.line("stopped"))["cut_off"] == 0
        assert (await worker.ended()).code == 0
    assert (await pillarbox("show", sent.out.strip(), "--json")).json["state"] == "delivered"


@pytest.mark.contract("DR3", "LE4")
async def test_a_worker_that_dies_is_replaced_and_that_is_told(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    async with pillarbox.running("run", "--workers", "2", "--json") as worker:
        pids = await started(worker, 2)
        await pillarbox("send", "ops", "hi", "--to", "x")
        await receiver.wait_for(1)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        told = [await worker.line("worker_ended") for _ in range(2)]
        assert {row["pid"] for row in told} == set(pids)
        assert {(row["exit_code"], row["signal"], row["restart_seconds"]) for row in told} == {(None, "SIGKILL", 1.0)}
        receiver.release()
        assert not {*await started(worker, 1)} & {*pids}
        await receiver.wait_for(2)
        worker.tell(signal.SIGTERM)
        assert (await worker.ended()).code == 0


@pytest.mark.contract("DR3")
async def test_a_second_signal_cuts_off_and_a_death_while_it_stops_is_no_success(
    pillarbox: Pillarbox, receiver: Receiver
) -> None:
    pillarbox.serving(receiver.url)
    receiver.hold()
    async with pillarbox.running("run", "--workers", "2", "--json") as worker:
        await started(worker, 2)
        await pillarbox("send", "ops", "hi", "--to", "x")
        await receiver.wait_for(1)
        worker.tell(signal.SIGTERM)
        assert (await worker.line("stopped"))["cut_off"] == 0  # that of the worker which has nothing to do
        worker.tell(signal.SIGTERM)
        assert (await worker.line("stopped"))["cut_off"] == 1
        assert (await worker.ended()).code == 0
    async with pillarbox.running("run", "--workers", "2", "--json") as worker:
        pids = await started(worker, 2)
        await receiver.wait_for(2)
        worker.tell(signal.SIGTERM)
        await worker.line("stopped")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        ended = await worker.ended()
    assert ended.code == 1
    assert "was killed by SIGKILL while it stopped" in ended.err


@pytest.mark.contract("DR3")
async def test_workers_whose_supervisor_is_killed_stop_by_themselves(pillarbox: Pillarbox, receiver: Receiver) -> None:
    pillarbox.serving(receiver.url)
    async with pillarbox.running("run", "--workers", "2", "--json") as worker:
        pids = await started(worker, 2)
        worker.tell(signal.SIGKILL)
        for pid in pids:
            await over(pid)
    assert (await pillarbox("workers", "--json")).json == []


async def test_what_keeps_every_worker_from_starting_is_said_once(pillarbox: Pillarbox) -> None:
    pillarbox.serving("bogus://x")
    refused = await pillarbox("run", "--workers", "3")
    assert (refused.code, refused.out) == (4, "")
    assert refused.said.startswith("error: channels.ops.url: unknown scheme 'bogus'")
    for words, said in {
        ("--workers", "2", "--drain"): "--drain is the work of one process: leave --workers out",
        ("--workers", "0"): "'--workers': expected a whole number from 1 to 64, not '0'",
    }.items():
        refused = await pillarbox("run", *words)
        assert (refused.code, said in refused.said) == (2, True), refused.err


def test_a_place_that_loses_its_workers_waits_longer_each_time() -> None:
    assert [restart_seconds(losses) for losses in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]
