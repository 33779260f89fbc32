"""One order for every message that a filter picks: page by page, oldest first, so that a million need no memory."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from pillarbox.domain.ids import MessageId
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.orders import ORDERS, Order
from pillarbox.errors import InvalidMessage, QueueFull
from pillarbox.outbox.filters import Where, parse, with_states
from pillarbox.outbox.runtime import Runtime
from pillarbox.store.base import Acted, ActOnMessage, Query, Replay

PAGE: Final = 500
IDS_MAX: Final = 1000
REFUSALS_MAX: Final = 100

MakeAct = Callable[..., "ActOnMessage"]
"""Makes an order of the fields that all orders have: ``id``, ``actor`` and ``reason``."""
OnPage = Callable[["Runtime", Mapping["MessageId", "MessageView"], Sequence[tuple["ActOnMessage", "Acted"]]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkItem:
    """
    What became of one message.

    Attributes:
        before: The state in which the filter found it.
        state: The one it is in now; ``None`` where it does not exist any more.
        pending: It is being sent: it is cancelled if that fails.
        refused: Why nothing was changed, where the state does not say it.
        replayed_as: The id of the new message, after a replay.
    """

    id: str
    applied: bool
    before: State
    state: State | None
    pending: bool = False
    refused: str | None = None
    replayed_as: str | None = None


@dataclass(slots=True, kw_only=True)
class BulkReport:
    """
    What a bulk verb did, or with ``dry_run`` would be asked to do.

    Attributes:
        matched: Messages that the filter picked and that were asked.
        applied: Those that were changed; 0 in a dry run.
        states: The matched ones by the state in which they were found.
        ids: The first 1000 that were changed; in a dry run, that were matched.
        refusals: Why, by id, for the first 100 that were refused for more than their state.
        full: The limit that ended it early; the rest was not asked. Only replays meet one.
    """

    dry_run: bool = False
    matched: int = 0
    applied: int = 0
    states: Counter[State] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    full: QueueFull | None = None

    def add(self, done: BulkItem) -> None:
        """Count one message."""
        self.matched += 1
        self.applied += done.applied
        self.states[done.before] += 1
        if (done.applied or self.dry_run) and len(self.ids) < IDS_MAX:
            self.ids.append(done.id)
        if done.refused is not None and len(self.refusals) < REFUSALS_MAX:
            self.refusals[done.id] = done.refused


def summed(reports: Iterable[BulkReport]) -> BulkReport:
    """Return one report of several databases; ``full`` is the first limit that was met."""
    whole = BulkReport()
    for one in reports:
        whole.dry_run = one.dry_run
        whole.matched += one.matched
        whole.applied += one.applied
        whole.states += one.states
        whole.ids += one.ids[: IDS_MAX - len(whole.ids)]
        whole.refusals |= dict(itertools.islice(one.refusals.items(), REFUSALS_MAX - len(whole.refusals)))
        whole.full = whole.full or one.full
    return whole


def picked(where: Where | None, *, every: bool, order: Order, now_ms: int) -> Query:
    """
    Make the query of a bulk verb.

    Raises:
        InvalidMessage: No filter and no ``every``, both, or a filter that cannot be read.
    """
    query = parse(where or "", now_ms=now_ms)
    blank = query == Query()
    if blank and not every:
        raise InvalidMessage(
            "where", "expected a filter such as 'state=dead channel=ops'; every=True means all messages"
        )
    if every and not blank:
        raise InvalidMessage("every", "expected either a filter or every=True, not both")
    scope = ORDERS[order]
    return with_states(query, scope.possible if query.states else scope.usual)


async def carry_out(
    runtime: Runtime,
    query: Query,
    make: MakeAct,
    *,
    dry_run: bool,
    on_item: Callable[[BulkItem], object] | None,
    on_page: OnPage,
) -> BulkReport:
    """
    Apply the order that *make* makes to every message that *query* picks now; later messages are not picked.

    Each page of 500 is one transaction or a few. One that is refused stops nothing, but for a full queue.

    Args:
        on_item: Called with each message's `BulkItem`, in order.
        on_page: Called after each page, to report what was done.

    Raises:
        StoreError: Something could not be written; the pages before are done.
    """
    bulk = BulkReport(dry_run=dry_run)
    newest = await runtime.store.list_messages(msgspec.structs.replace(query, limit=1))
    last = newest[0].seq if newest else 0
    query = msgspec.structs.replace(query, oldest_first=True, limit=PAGE, before_seq=last + 1)
    page: Sequence[MessageView] = newest
    while page and bulk.full is None:
        page = await runtime.store.list_messages(query)
        acts = [] if dry_run else [make(id=view.id) for view in page]
        acted = await asyncio.gather(*(runtime.committer.act(act) for act in acts))
        results = (
            [BulkItem(id=view.id, applied=False, before=view.state, state=view.state) for view in page]
            if dry_run
            else [_done(*one) for one in zip(page, acts, acted, strict=True)]
        )
        for done in results:
            bulk.add(done)
            if on_item is not None:
                on_item(done)
        on_page(runtime, {view.id: view for view in page}, list(zip(acts, acted, strict=True)))
        bulk.full = next((one.refused for one in acted if isinstance(one.refused, QueueFull)), None)
        if page:
            query = msgspec.structs.replace(query, after_seq=page[-1].seq)
    return bulk


def _done(view: MessageView, act: ActOnMessage, acted: Acted) -> BulkItem:
    return BulkItem(
        id=view.id,
        applied=acted.applied,
        before=view.state,
        state=acted.state,
        pending=acted.pending,
        refused=None if acted.refused is None else str(acted.refused),
        replayed_as=act.new_id if isinstance(act, Replay) and acted.applied else None,
    )
