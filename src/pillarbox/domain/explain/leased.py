"""Why a message under a lease is not delivered yet: it is being sent, or the worker that sent it is gone."""

from __future__ import annotations

from typing import Final

from pillarbox.domain.explain import texts
from pillarbox.domain.explain.causes import Cause, Why
from pillarbox.domain.explain.facts import Facts, Standing, WorkerStanding
from pillarbox.domain.message import State
from pillarbox.domain.orders import Order
from pillarbox.domain.retry import UncertainAction

SILENT_MS: Final = 45_000
"""A worker gives a sign of life every 15 s; one that missed three is silent."""

_AFTER_A_LOSS: Final = {
    UncertainAction.RESEND: "it is sent again, at the cost of one attempt",
    UncertainAction.RESEND_MARKED: "it is sent again, marked as possibly a copy, at the cost of one attempt",
    UncertainAction.HOLD: "it is held for a person to decide",
    UncertainAction.RECONCILE: "the platform is asked whether it has it, or a person where that cannot be",
    UncertainAction.DROP: "it is given up",
}


def of_leased(facts: Facts) -> list[Cause]:
    """Explain a message that someone has a lease on."""
    causes = [under_way(facts, facts.subject)]
    asked = facts.subject.view.cancel_requested_ms
    if asked is not None:
        causes.append(_cancelling(facts, asked))
    return causes


def under_way(facts: Facts, standing: Standing) -> Cause:
    """Return how far the send has come that a message's lease is for."""
    view = standing.view
    who = next((worker for worker in facts.workers if worker.slot == standing.worker), None)
    left_ms = standing.lease_left_ms or 0
    ends_ms = facts.now_ms + left_ms
    if who is None or who.alive is False:
        return _lost(facts, standing, who)
    if left_ms <= 0:
        return Cause(
            word=Why.LEASE_OVER,
            since_ms=ends_ms,
            text=f"Attempt {view.claims} is under a lease of {texts.worker(who)} that was not renewed in time: it"
            " hangs, was stopped, or cannot reach the database.",
            unblock="A worker that runs settles it within a second: start one with `pillarbox run` if none does, and "
            f"look at process {who.pid} on {who.host}.",
        )
    silent = facts.now_ms - who.seen_ms > SILENT_MS
    sign = f" It has given no sign of life since {texts.at(who.seen_ms)}." if silent else ""
    return Cause(
        word=Why.SENDING,
        since_ms=view.claimed_ms,
        until_ms=ends_ms,
        text=f"Attempt {view.claims} is being sent by {texts.worker(who)}, whose lease runs until {texts.at(ends_ms)}"
        f" and is renewed for as long as the send takes.{sign}",
        unblock="It ends with the channel's timeout at the latest; "
        f"{texts.order(Order.CANCEL, view.id, State.LEASED)} keeps it from being tried again.",
    )


def _lost(facts: Facts, standing: Standing, who: WorkerStanding | None) -> Cause:
    view = standing.view
    name = texts.worker(who) if who is not None else "its worker"
    runs = any(worker.alive is not False for worker in facts.workers)
    after = _AFTER_A_LOSS[view.policy.uncertain]
    return Cause(
        word=Why.WORKER_LOST,
        since_ms=view.claimed_ms if who is None else who.seen_ms,
        text=f"Attempt {view.claims} was under way when {name} was lost, so the platform may have it.",
        unblock=f"A worker that runs settles it within a second, and {after}."
        if runs
        else f"Start a worker, `pillarbox run`: it settles the attempt, and {after}.",
    )


def _cancelling(facts: Facts, asked_ms: int) -> Cause:
    return Cause(
        word=Why.CANCELLING,
        since_ms=asked_ms,
        text=_cancelled_by(facts),
        unblock="Nothing can be done until the attempt is over; it may still be delivered.",
    )


def _cancelled_by(facts: Facts) -> str:
    cancelled = next((deed for deed in reversed(facts.acts) if deed.act == "cancel requested"), None)
    if cancelled is None:
        superseded = next((deed for deed in facts.acts if deed.act == "supersede requested"), None)
        if superseded is not None:
            return (
                f"The newer {superseded.actor} of its collapse key waits behind it; if this attempt fails, it ends as"
                " superseded."
            )
    who = "" if cancelled is None else f" by {cancelled.actor}: {texts.said(cancelled.reason)}"
    return f"It was cancelled while it was being sent{who}; if this attempt fails, it ends as cancelled."
