"""Reads the queues of other systems, and moves what waits there into our store (contract IM)."""
