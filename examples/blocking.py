"""The same outbox in a program without an event loop: a plain function, which runs in a bounded pool of threads."""

import sys

from pillarbox import Attempt
from pillarbox.sync import Outbox


def letter(attempt: Attempt) -> str:
    """Deliver by hand."""
    return f"letter to {attempt.to}"


if __name__ == "__main__":
    with Outbox(sys.argv[1] if len(sys.argv) > 1 else "outbox.db", channels={"post": letter}) as box:
        print(box.send("post", to="ann", text="Thank you", key="invoice-7").wait(timeout=10))
