"""Reads the queues of other systems, and moves what waits there into our store (contract IM)."""

from pillarbox.imports.into_outbox import import_queue

__all__ = ["import_queue"]
