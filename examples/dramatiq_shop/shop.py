"""Actors that send: each of dramatiq's worker processes opens the outbox for itself."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from pillarbox.sync import Outbox

box = Outbox("outbox.db", deliver=False)


class OpenOutbox(dramatiq.Middleware):
    """Opens it where a worker runs, before its first task, and closes it after the last one."""

    def before_worker_boot(self, *_: object) -> None:
        """Open it."""
        box.start()

    def after_worker_shutdown(self, *_: object) -> None:
        """Close it."""
        box.close()


broker = RedisBroker(url="redis://localhost:6379")
broker.add_middleware(OpenOutbox())
dramatiq.set_broker(broker)


@dramatiq.actor
def confirm(number: int, to: str) -> None:
    """Tell a customer of an order; when the task has ended, the message is on disk."""
    box.send("mail", to=to, text=f"Order {number} is on its way", key=f"order-{number}")
