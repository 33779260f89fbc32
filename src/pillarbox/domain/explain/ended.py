"""What became of a message that does not go by itself any more, and what can be done: held, and the terminal states."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from pillarbox.domain.explain import texts
from pillarbox.domain.explain.causes import Cause, Why
from pillarbox.domain.explain.facts import Deed, Facts, Heir, Standing
from pillarbox.domain.explain.leased import under_way
from pillarbox.domain.lifecycle import FREE_RETURNS_MAX, expired
from pillarbox.domain.message import MessageView, State
from pillarbox.domain.orders import Order
from pillarbox.domain.retry import UncertainAction
from pillarbox.domain.transition import Reason

_TTL: Final = (("--ttl", "1h"),)

_DEAD: Final[dict[str, tuple[str, str]]] = {
    Reason.RETRIES_EXHAUSTED: ("It used up its attempts", "When the channel works again"),
    Reason.KILLS_WORKERS: ("Every worker that sent it was lost", "Find out why the process dies with it; then"),
    Reason.REJECTED: ("The platform refused it for good", "Put right what it complains of; then"),
    Reason.SUPPRESSED: ("Nothing was sent", "When the recipient can be reached again,"),
    Reason.PARTIAL: ("Some of its parts were rejected, the others delivered", "Look at the parts; then"),
    Reason.INVALID: ("Its channel cannot carry it", "It says what is wrong: send it anew with that put right; or"),
    Reason.UNREADABLE: ("What was stored cannot be read", "Send it anew; or, if the content is there,"),
    Reason.UNCERTAIN: ("Nobody knows whether the platform has it, and its policy is to drop it then", "If it has not,"),
    Reason.UNRESOLVED: ("It was held, and nobody decided in time", "If the platform does not have it,"),
    Reason.NON_FINAL: ("It was not worth a second try: it is not final", "If it is wanted all the same,"),
}
"""What happened, and when a replay is the answer, by the reason."""

_CANCELLED: Final[dict[str, str]] = {
    Reason.WITHDRAWN: "Its application withdrew it just before the send",
    Reason.SUPERSEDED: "A newer message took its place before it was sent",
    Reason.SUPERSEDED_MAYBE_SENT: "A newer message took its place; the platform may have this one too",
}

_HELD_WORDS: Final[dict[str, Why]] = {Reason.UNCERTAIN: Why.HELD_UNCERTAIN, Reason.STUCK: Why.HELD_STUCK}


def of_held(facts: Facts, *, retention_ms: int | None) -> list[Cause]:
    """Explain a message that a person must decide about. *retention_ms*: how long it is kept for that."""
    view = facts.subject.view
    word = _HELD_WORDS.get(view.terminal_reason or "", Why.HELD_DEAD)
    # Past its time a new one must be given, or it would expire at once.
    ttl = _TTL if expired(view.expires_ms, facts.now_ms) else ()
    until_ms = None if retention_ms is None or view.completed_ms is None else view.completed_ms + retention_ms
    end = "" if until_ms is None else f" If nobody decides by {texts.at(until_ms)}, it is dead."
    return [
        Cause(
            word=word,
            since_ms=view.completed_ms,
            until_ms=until_ms,
            text=_held_text(word, facts.subject) + end,
            unblock=_held_advice(word, facts.subject, ttl),
        )
    ]


def _held_text(word: Why, standing: Standing) -> str:
    error = texts.error(standing)
    match word:
        case Why.HELD_UNCERTAIN:
            return f"The platform may have it, and its policy is to ask a person then: {error}."
        case Why.HELD_STUCK:
            return f"It was given back {FREE_RETURNS_MAX} times in a row, and nothing else would ever end it: {error}."
        case _:
            return f"It would be dead ({standing.view.terminal_reason}), but its lane must wait for a person: {error}."


def _held_advice(word: Why, standing: Standing, ttl: tuple[texts.Option, ...]) -> str:
    view = standing.view
    cancel = texts.order(Order.CANCEL, view.id, view.state)
    if word is Why.HELD_UNCERTAIN:
        delivered = texts.order(Order.RESOLVE, view.id, view.state, options=[("--delivered", None)])
        missing = texts.order(Order.RESOLVE, view.id, view.state, options=[("--not-delivered", None), *ttl])
        return f"Look whether the platform has it: {delivered} if so, {missing} if not; {cancel} gives it up."
    retry = texts.order(Order.RETRY, view.id, view.state, options=ttl)
    reachable = f"{texts.clear(standing)}, if its recipient can be reached again; then " if standing.suppressed else ""
    return f"{reachable}{retry} tries it once more; {cancel} gives it up and opens its lane."


def of_ended(facts: Facts) -> list[Cause]:
    """Explain a message in a terminal state."""
    view = facts.subject.view
    match view.state:
        case State.DELIVERED:
            causes = _delivered(facts)
        case State.DEAD:
            causes = [_dead(facts.subject)]
        case State.EXPIRED:
            causes = [_expired(facts.subject)]
        case _:
            causes = [_cancelled(facts)]
    heir = next((heir for heir in facts.heirs if not heir.state.terminal or heir.state is State.DELIVERED), None)
    if heir is not None:
        note = _replayed(heir)
        first = causes[0] if view.state is State.DELIVERED else replace(causes[0], unblock=note.unblock)
        causes = [first, *causes[1:], note]
    if not facts.subject.has_content:
        causes.append(_content_gone(view))
    return causes


def _ended(word: Why, view: MessageView, text: str, unblock: str, *, blocking: bool = True) -> Cause:
    return Cause(word=word, since_ms=view.completed_ms, text=text, unblock=unblock, blocking=blocking)


def _delivered(facts: Facts) -> list[Cause]:
    view = facts.subject.view
    receipt = f", receipt {texts.said(view.receipt)}" if view.receipt else ""
    copies = f"; {texts.many(view.extra_copies, 'copy', 'copies')} arrived besides" if view.extra_copies else ""
    again = texts.order(Order.REPLAY, view.id, view.state, options=[("--fresh", None)])
    text = f"The platform took it at attempt {view.claims}{receipt}{copies}.{_marked(facts)}"
    causes = [_ended(Why.DELIVERED, view, text, f"Nothing is left to do; {again} would send it anew.", blocking=False)]
    if facts.subject.under_lease:
        send = under_way(facts, facts.subject)
        causes.append(
            Cause(
                word=Why.ALSO_SENDING,
                since_ms=view.claimed_ms,
                until_ms=send.until_ms,
                text="An earlier attempt turned out to have delivered it while a later one is not over; its lane opens "
                "when that one ends.",
                unblock=send.unblock,
                blocking=False,
            )
        )
    return causes


def _marked(facts: Facts) -> str:
    view = facts.subject.view
    known = any(deed.act == "resolve not delivered" for deed in facts.acts)
    copied = view.policy.uncertain is UncertainAction.RESEND_MARKED and view.maybe_arrived and not known
    return f" What it sent last said that it may be a second one: {view.policy.uncertain_mark}" if copied else ""


def _dead(standing: Standing) -> Cause:
    view = standing.view
    reason = view.terminal_reason or ""
    what, when = _DEAD.get(reason, (f"It was given up ({reason or 'no reason recorded'})", "When that is put right,"))
    spent = f" ({view.charged} of {view.max_attempts} charged)" if reason == Reason.RETRIES_EXHAUSTED else ""
    advice = f"{when}{'' if when.endswith((',', 'then', 'or')) else ','} {_replay(standing)}."
    if standing.suppressed is not None:
        advice = f"When the recipient can be reached again, {texts.clear(standing)}; then {_replay(standing)}."
    error = texts.error(standing, "no error recorded")
    return _ended(Why.DEAD, view, f"{what}{spent}: {error}{_arrived(view)}.", advice)


def _expired(standing: Standing) -> Cause:
    view = standing.view
    tried = f"after {texts.many(view.claims, 'attempt', 'attempts')}" if view.claims else "before it could be tried"
    error = f": {texts.error(standing)}" if view.last_error else ""
    over = f" at {texts.at(view.expires_ms)}" if view.expires_ms is not None else ""
    advice = f"If it is still wanted, {_replay(standing)}; a longer `ttl` gives the next one more time."
    return _ended(Why.EXPIRED, view, f"Its time was over{over}, {tried}{error}{_arrived(view)}.", advice)


def _cancelled(facts: Facts) -> Cause:
    view = facts.subject.view
    reason = view.terminal_reason or ""
    deed: Deed | None = next((deed for deed in reversed(facts.acts) if deed.act.startswith("cancel")), None)
    newer = next((deed for deed in reversed(facts.acts) if deed.act.startswith("supersede")), None)
    if reason in _CANCELLED:
        which = f" ({newer.actor})" if newer is not None else ""
        text = _CANCELLED[reason] + which + (f": {texts.said(view.last_error)}" if view.last_error else "")
    elif deed is not None:
        text = f"It was cancelled by {deed.actor}: {texts.said(deed.reason)}"
    else:
        text = f"It was cancelled ({reason or 'no reason recorded'})"
    return _ended(
        Why.CANCELLED, view, f"{text}{_arrived(view)}.", f"If it is wanted after all, {_replay(facts.subject)}."
    )


def _arrived(view: MessageView) -> str:
    """Warn of what the platform has, or may have, before it is sent again."""
    parts = f"; {view.parts_delivered} of {view.part_count} parts were delivered" if view.parts_delivered else ""
    return parts + ("; the platform may have what was sent last" if view.maybe_arrived else "")


def _replay(standing: Standing) -> str:
    if not standing.has_content:
        return "send it anew"
    view = standing.view
    return f"{texts.order(Order.REPLAY, view.id, view.state)} sends it again, as a new message"


def _replayed(heir: Heir) -> Cause:
    return Cause(
        word=Why.REPLAYED,
        since_ms=heir.created_ms,
        text=f"It was sent again as message {heir.id}, which is {heir.state}.",
        unblock=f"Nothing is left to do about this one; {texts.command('explain', heir.id)} says how that stands.",
        blocking=False,
    )


def _content_gone(view: MessageView) -> Cause:
    return Cause(
        word=Why.CONTENT_GONE,
        text="What it said was deleted before its row, as `retention.content` says, so it cannot be replayed.",
        unblock=f"Send it anew; {texts.command('history', view.id)} shows what happened to it.",
        blocking=False,
    )
