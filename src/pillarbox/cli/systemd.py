"""What systemd is told of a worker that it started with ``Type=notify``: sd_notify(3), without its library."""

from __future__ import annotations

import socket
from typing import Literal, TypeAlias

from pillarbox.cli.worker_log import log
from pillarbox.settings.load import notify_socket

Word: TypeAlias = Literal["READY", "RELOADING", "STOPPING"]


def notify(state: Word) -> None:
    """
    Send systemd one word of what the worker does now; nothing, where it did not ask for it.

    Whoever does not listen is not waited for, and is no reason not to deliver.
    """
    address = notify_socket()
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.settimeout(0)
            # "@" stands for the zero byte of an address that is no file.
            ours.sendto(f"{state}=1".encode(), f"\0{address[1:]}" if address.startswith("@") else address)
    except OSError as exc:
        log.warning("systemd cannot be told %s: %s", state, exc)
