"""
An application in a process of its own: ``ordering_process.py FILE FIRST``, which takes orders until something ends it.

Each order is stored with its message, in one transaction of Python's sqlite3; every third one is rolled back. Says the
number of each that was committed.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import sys

from pillarbox.sync import Outbox


class _Changed(Exception):
    """An order that is not to be."""


def take_orders(file: str, first: int) -> None:
    with Outbox(f"sqlite3:///{file}", deliver=False) as box, contextlib.closing(sqlite3.connect(file)) as shop:
        shop.execute("PRAGMA synchronous = EXTRA")
        for number in itertools.count(first):
            with contextlib.suppress(_Changed), shop:
                shop.execute("INSERT INTO shop_order VALUES (?)", (number,))
                # Larger than what SQLite keeps in memory of a transaction, now and then: it spills into the file.
                shop.execute("INSERT INTO bulk VALUES (zeroblob(?))", (4_000_000 if number % 7 == 0 else 10,))
                box.enqueue(shop, "pager", to="ann", text=str(number), key=f"order-{number}")
                if number % 3 == 0:
                    raise _Changed
            if number % 3:
                sys.stdout.write(f"{number}\n")
                sys.stdout.flush()


take_orders(sys.argv[1], int(sys.argv[2]))
