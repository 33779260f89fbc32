"""
Asks the workers of a database what is wrong with them, through the sockets that wake them.

Nothing is written to the database for it: what is wrong may be that nothing can be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Final

import msgspec

from pillarbox.deadline import Within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pillarbox.clock import Clock

QUESTION: Final = b"?"
ANSWER_SECONDS: Final = 1.0
_ANSWER_BYTES: Final = 32 * 1024
_SENTENCE_LENGTH_MAX: Final = 500
_SENTENCES_MAX: Final = 20


class Answer(msgspec.Struct, frozen=True):
    """What a worker says of itself."""

    slot: int
    problems: list[str]


_ANSWERS: Final = msgspec.json.Decoder(Answer)


def answer(receiver: socket.socket, asker: str | bytes | None, slot: int, problems: Sequence[str]) -> None:
    """Send *asker*, the address that a question came from, what is wrong here. One that is gone is skipped."""
    said = [text[:_SENTENCE_LENGTH_MAX] for text in problems[:_SENTENCES_MAX]]
    if asker:
        with contextlib.suppress(OSError):
            receiver.sendto(msgspec.json.encode(Answer(slot, said)), asker)


async def ask(workers: Sequence[tuple[int, str]], *, clock: Clock) -> list[str]:
    """
    Ask each worker, by its number and its socket's address; waits for a second at most.

    Returns:
        One sentence for each problem. Of a worker that does not answer nothing is said: it may be busy.
    """
    problems: list[str] = []
    if not workers:
        return problems
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
        asker.bind("")  # Linux gives it an address that is no file; elsewhere this fails, and nobody is asked
        asker.settimeout(0)
        waiting = set()
        for slot, address in workers:
            with contextlib.suppress(OSError):
                asker.sendto(QUESTION, address)
                waiting.add(slot)
        with contextlib.suppress(TimeoutError):
            async with Within(ANSWER_SECONDS, clock=clock):
                while waiting:
                    waiting -= await _heard(asker, problems)
    return problems


async def _heard(asker: socket.socket, problems: list[str]) -> set[int]:
    """Take one answer; returns who it was that answered."""
    said = await asyncio.get_running_loop().sock_recv(asker, _ANSWER_BYTES)
    with contextlib.suppress(msgspec.MsgspecError):
        answered = _ANSWERS.decode(said)
        problems += [f"worker {answered.slot}: {text}" for text in answered.problems]
        return {answered.slot}
    return set()
