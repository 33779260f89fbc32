"""What one batch of the committer holds, and which callers wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from pillarbox.domain.message import Draft, Leased
from pillarbox.errors import PillarboxError, StoreOutcomeUnknown
from pillarbox.queue_clock import QueueClock
from pillarbox.store import base

T = TypeVar("T")
R = TypeVar("R")

OnSettled = Callable[[T, base.Settlement, base.Settled | Exception], None]
"""Called with whose settlement it is, the settlement, and what became of it, or why it could not be recorded."""


class Ending(msgspec.Struct, Generic[T], eq=False):
    """An attempt's end that is to be recorded, whose it is, and what is called afterwards."""

    settlement: base.Settlement
    on_settled: OnSettled[T]
    of: T

    def tell(self, end: base.Settled | Exception) -> None:
        """Call `on_settled` with what became of it, or with why it could not be recorded."""
        self.on_settled(self.of, self.settlement, end)


class Wish(msgspec.Struct, Generic[T, R], eq=False):
    """One thing that a caller wants written, and the future for its result."""

    item: T
    future: asyncio.Future[R]

    def grant(self, result: R) -> None:
        """Set the result. The caller may have stopped waiting, or be gone with its event loop."""
        if not self.future.done():
            try:
                self.future.set_result(result)
            except RuntimeError:
                if not self.future.get_loop().is_closed():
                    raise

    def refuse(self, error: Exception) -> None:
        """Set the error, under the same conditions."""
        if not self.future.done() and not self.future.get_loop().is_closed():
            # Python takes no StopIteration there.
            self.future.set_exception(RuntimeError("StopIteration") if isinstance(error, StopIteration) else error)
            # Whoever asked may be gone; an error nobody collects must not be reported as forgotten.
            self.future.exception()


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """The rarer wishes, one a batch."""

    renew: Sequence[Leased] = ()
    renew_ms: int = 0
    expire: int = 0
    abandon: Sequence[bytes] = ()
    acknowledge: Sequence[str] = ()
    prune: base.Prune | None = None
    presence: base.Presence | None = None


_NO_EXTRA = Extra()


class Work(msgspec.Struct, kw_only=True, eq=False):
    """What one batch holds, and who waits for it."""

    settle: list[Ending[Any]]
    admit: list[Wish[base.AdmissionWrite, bool]]
    acts: list[Wish[base.Act, base.Acted]]
    extra: Wish[Extra, base.BatchResult] | None
    enqueue: list[Wish[Sequence[Draft], list[base.Enqueued]]]

    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.settle or self.admit or self.acts or self.extra or self.enqueue)

    def batch(self, clock: QueueClock, claim: base.Claim | None) -> base.Batch:
        """Return the batch that the store is to write."""
        extra = self.extra.item if self.extra is not None else _NO_EXTRA
        return base.Batch(
            now_ms=clock.wall_ms(),
            settle=[ending.settlement for ending in self.settle],
            admit=[wish.item for wish in self.admit],
            renew=extra.renew,
            renew_ms=extra.renew_ms,
            acts=[wish.item for wish in self.acts],
            expire=extra.expire,
            abandon=extra.abandon,
            acknowledge=extra.acknowledge,
            enqueue=[wish.item for wish in self.enqueue],
            claim=claim,
            prune=extra.prune,
            presence=extra.presence,
            mark=clock.unsaved(refresh=extra.presence is not None),
        )

    def fits(self, result: base.BatchResult) -> bool:
        """Whether there is an answer for every caller."""
        return (
            len(self.settle) == len(result.settled)
            and len(self.admit) == len(result.admitted)
            and len(self.acts) == len(result.acted)
            and len(self.enqueue) == len(result.enqueued)
        )

    def grant(
        self,
        result: base.BatchResult,
        on_stored: Callable[[Sequence[Draft], Sequence[base.Enqueued]], None],
        on_failed: Callable[[BaseException], None],
    ) -> None:
        """Pass each answer to its caller, then report what was stored; *on_failed* is called with what that raises."""
        for ending, settled in zip(self.settle, result.settled, strict=True):
            try:
                ending.tell(settled)
            except BaseException as exc:  # noqa: BLE001 — whatever it is, the others wait for their answers
                on_failed(exc)
        granted = zip((*self.admit, *self.acts), (*result.admitted, *result.acted), strict=True)
        for wish, answer in granted:
            wish.grant(answer)  # type: ignore[attr-defined]
        if self.extra is not None:
            self.extra.grant(result)
        for group, accepted in zip(self.enqueue, result.enqueued, strict=True):
            if isinstance(accepted, PillarboxError):
                group.refuse(accepted)
            else:
                group.grant(accepted)
        for group, accepted in zip(self.enqueue, result.enqueued, strict=True):
            if not isinstance(accepted, PillarboxError):
                try:
                    on_stored(group.item, accepted)
                except BaseException as exc:  # noqa: BLE001 — the same
                    on_failed(exc)

    def refuse(self, error: Exception, on_failed: Callable[[BaseException], None]) -> None:
        """Pass the error to every caller; *on_failed* is called with what that raises."""
        for ending in self.settle:
            try:
                ending.tell(error)
            except BaseException as exc:  # noqa: BLE001 — the others wait for it as well
                on_failed(exc)
        for wish in (*self.admit, *self.acts):
            wish.refuse(error)  # type: ignore[attr-defined]
        for group in self.enqueue:
            group.refuse(_about(error, group.item))
        if self.extra is not None:
            self.extra.refuse(error)

    def halves(self) -> tuple[Work, Work] | None:
        """Cut the work in two, or ``None`` where it is one item."""
        items = len(self.settle) + len(self.admit) + len(self.acts) + len(self.enqueue) + (self.extra is not None)
        if items <= 1:
            return None
        first: dict[str, list[object]] = {}
        second: dict[str, list[object]] = {}
        left = items // 2
        for name in ("settle", "admit", "acts", "enqueue"):
            wishes = getattr(self, name)
            cut = min(left, len(wishes))
            first[name], second[name] = wishes[:cut], wishes[cut:]
            left -= cut
        one = Work(extra=self.extra if left else None, **first)  # type: ignore[arg-type]
        two = Work(extra=None if left else self.extra, **second)  # type: ignore[arg-type]
        return one, two


def _about(error: Exception, group: Sequence[Draft]) -> Exception:
    """Name the messages of one caller in an error that leaves open what became of them (contract EN4)."""
    if isinstance(error, StoreOutcomeUnknown):
        return StoreOutcomeUnknown(error.reason, message_ids=tuple(draft.id for draft in group))
    return error
