"""DBOS on SQLite: every message a workflow of one step on its queue, started at once; then each result is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbos import DBOS
from life import TEXT, recipients, run

if TYPE_CHECKING:
    from collections.abc import Callable


def prepare(folder: str, _: str) -> Callable[[int], int]:
    """Launch it on a new file."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{folder}/dbos.db",
            "log_level": "CRITICAL",
            "run_admin_server": False,
        }
    )
    send = DBOS.step()(_send)

    def deliver(recipient: str, text: str) -> None:
        send(recipient, text)

    workflow = DBOS.workflow()(deliver)
    DBOS.launch()
    DBOS.register_queue("ops", polling_interval_sec=0.01)
    queue = DBOS.retrieve_queue("ops")

    def lives(count: int) -> int:
        handles = [queue.enqueue(workflow, recipient, TEXT) for recipient in recipients(count)]
        for handle in handles:
            handle.get_result()
        return len(handles)

    return lives


def _send(_: str, __: str) -> None:
    """Take it at once."""


if __name__ == "__main__":
    run("dbos", prepare)
    DBOS.destroy()
