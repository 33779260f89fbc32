"""Tasks that send: each child of Celery's prefork pool opens the outbox for itself."""

from pathlib import Path

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown

from pillarbox.sync import Outbox

HERE = Path.cwd()
for folder in ("queue", "results"):
    (HERE / folder).mkdir(exist_ok=True)

# A broker of files, which is enough to try it: yours is "redis://…" or "amqp://…".
app = Celery("shop", broker="filesystem://", backend=f"file://{HERE}/results")
app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "queue"}
app.conf.task_acks_late = True

box = Outbox("outbox.db", deliver=False)  # made where the module is imported, but not opened


@worker_process_init.connect
def child_begins(**_: object) -> None:
    """Open it in the child."""
    box.start()


@worker_process_shutdown.connect
def child_ends(**_: object) -> None:
    """Close it there."""
    box.close()


@app.task
def confirm(number: int, to: str) -> str | None:
    """Tell a customer of an order; when the task has ended, the message is on disk."""
    return box.send("mail", to=to, text=f"Order {number} is on its way", key=f"order-{number}").id
