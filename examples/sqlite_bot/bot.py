"""A bot that answers each update once: its note, its place in the updates and its reply are one transaction."""

import os
import sqlite3
import sys

from pillarbox import Attempt
from pillarbox.sync import Outbox

UPDATES = [(1, "ann", "milk"), (2, "bob", "bread"), (3, "ann", "tea")]  # what a platform would give us
box = Outbox("sqlite3:///bot.db")


@box.channel("chat")
def chat(attempt: Attempt) -> None:
    """Stand for a platform: ``box.channel("chat", "tgram://…")``."""
    print(attempt.to, "reads", attempt.text, flush=True)


def opened() -> sqlite3.Connection:
    """Return a connection to the bot's own tables, in the file of the outbox."""
    connection = sqlite3.connect("bot.db", isolation_level="IMMEDIATE")
    connection.execute("PRAGMA synchronous = EXTRA")
    with connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (number INTEGER PRIMARY KEY, who TEXT, text TEXT)")
    return connection


def answer(connection: sqlite3.Connection, number: int, who: str, text: str) -> None:
    """Note what somebody wrote, and reply."""
    with connection:  # commits, or rolls back
        connection.execute("INSERT INTO note VALUES (?, ?, ?)", (number, who, text))
        box.enqueue(connection, "chat", to=who, text=f"noted: {text}", key=f"reply-{number}")
        if sys.argv[1:] == ["crash"] and number == 2:  # noqa: PLR2004 — the second update
            os._exit(1)  # as a power cut would, just before the commit


def main() -> None:
    """Answer what is new since the last note."""
    with box:
        connection = opened()
        (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM note").fetchone()
        for number, who, text in UPDATES:
            if number > last:
                answer(connection, number, who, text)
                box.drain(30)  # for the order of what is printed here; a bot goes on at once
        connection.close()


if __name__ == "__main__":
    main()
