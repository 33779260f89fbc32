"""Runs jobs in processes of their own, at the same time, on one database."""

from __future__ import annotations

import asyncio
import multiprocessing
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.store.opened import driver_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection

    from pillarbox.testing.store_suite import StoreDriver

    Job = Callable[[StoreDriver, Any], Awaitable[Any]]

WAIT_SECONDS = 60
_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a process is told: the job, where, and when to begin."""

    path: Path
    seed: int
    job: Job
    argument: Any
    options: dict[str, Any]
    barrier: Barrier


def race(path: Path, *jobs: tuple[Job, Any], **options: Any) -> list[Any]:
    """
    Let each job, a function of a module with its argument, run on a handle of its own; all begin together.

    Returns:
        What each job returned. A job that fails fails the race.
    """
    barrier = _processes.Barrier(len(jobs))
    started = [
        _start(_run, Task(path=path, seed=1000 + place, job=job, argument=argument, options=options, barrier=barrier))
        for place, (job, argument) in enumerate(jobs)
    ]
    try:
        return [_result(results) for _, results in started]
    finally:
        for process, results in started:
            results.close()
            process.join(WAIT_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()


def _start(target: Callable[[Task, Connection], None], task: Task) -> tuple[Any, Connection]:
    here, there = _processes.Pipe(duplex=False)
    process = _processes.Process(target=target, args=(task, there))
    process.start()
    there.close()
    return process, here


def _result(results: Connection) -> Any:
    assert results.poll(WAIT_SECONDS), "a job takes too long"
    result, error = results.recv()
    assert error is None, error
    return result


def _run(task: Task, results: Connection) -> None:
    async def work() -> Any:
        # Before the store is opened: opening is a race too.
        task.barrier.wait(WAIT_SECONDS)
        async with driver_on(task.path, seed=task.seed, **task.options) as driver:
            return await task.job(driver, task.argument)

    try:
        results.send((asyncio.run(work()), None))
    except BaseException as exc:
        results.send((None, f"{type(exc).__name__}: {exc}"))
        raise


class Doomed:
    """A process that does a job and then stays, until it is killed."""

    def __init__(self, path: Path, job: Job, argument: Any, **options: Any) -> None:
        barrier = _processes.Barrier(1)
        task = Task(path=path, seed=2000, job=job, argument=argument, options=options, barrier=barrier)
        self._process, self._results = _start(_run_and_stay, task)
        self.result = _result(self._results)

    def kill(self) -> None:
        self._process.kill()
        self._process.join(WAIT_SECONDS)
        self._results.close()


def _run_and_stay(task: Task, results: Connection) -> None:
    async def work(driver: StoreDriver, argument: Any) -> None:
        results.send((await task.job(driver, argument), None))
        await asyncio.Event().wait()

    _run(replace(task, job=work), results)
