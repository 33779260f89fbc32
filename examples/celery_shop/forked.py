"""A pool of forked processes that send, each by an outbox of its own."""

import multiprocessing

from pillarbox.sync import Outbox

box = Outbox("forked.db", deliver=False)


def confirm(number: int) -> str | None:
    """Tell a customer of an order."""
    return box.send("mail", to="ann@example.org", text=f"Order {number}", key=f"order-{number}").id


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2, initializer=box.start) as pool:
        ids = pool.map(confirm, [1, 2, 3, 1])
    print(len(ids), "tasks,", len(set(ids)), "messages")
