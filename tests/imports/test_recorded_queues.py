"""Every entry of the recorded queues comes out as their ``expected.json`` says, read and imported (contract IM)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pillarbox.domain.message import State, decode_content
from pillarbox.imports.entry import OnUncertain, Outcome, SourceEntry, System
from tests.imports.cases import HOUR_MS, NAMES, Case, entries_of, tree

if TYPE_CHECKING:
    from pillarbox.domain.message import MessageView
    from tests.imports.conftest import OpenStore, Stage

every_case = pytest.mark.parametrize("name", NAMES)
RESULT = ("outcome", "state", "attempts")


@every_case
@pytest.mark.contract("IM1", "IM3", "IM4", "IM5")
def test_every_entry_is_judged_as_recorded(name: str, staged: Stage) -> None:
    case = staged(name)
    found = entries_of(case)
    wrong = [
        f"{source_id}: {complaint}"
        for source_id, wanted in case.entries.items()
        for complaint in complaints(found.get(source_id), wanted)
    ]
    assert not wrong, "\n".join(wrong)
    assert found.keys() <= case.entries.keys()


def complaints(entry: SourceEntry | None, wanted: dict[str, Any]) -> list[str]:
    """Say where an entry differs from what was recorded."""
    choices = wanted.get("one_of") or [wanted]
    if entry is None:
        return [] if any(choice["outcome"] == "unreported" for choice in choices) else ["is missing"]
    result = {"outcome": str(entry.outcome), "state": entry.state, "attempts": entry.attempts}
    found = []
    if not any(fits(result, choice) for choice in choices):
        found.append(f"is {result}, because of {entry.reason}; expected one of {choices}")
    if entry.attempts is not None and entry.attempts not in wanted.get("attempts_one_of", [entry.attempts]):
        found.append(f"has {entry.attempts} attempts")
    if entry.content is None:
        return found
    fields = {
        "next_attempt_at": entry.next_attempt_ms,
        "enqueued_at": entry.enqueued_ms,
        "expires_at": entry.expires_ms,
        "max_attempts": entry.max_attempts,
    }
    found += [f"{key} is {value}" for key, value in fields.items() if key in wanted and value != wanted[key]]
    if entry.outcome.stored and len(entry.contents) != wanted.get("payload_count", len(entry.contents)):
        found.append(f"has {len(entry.contents)} payloads")
    return found + route_complaints(route_of(entry), entry, wanted.get("route", {}))


def fits(result: dict[str, Any], choice: dict[str, Any]) -> bool:
    return all(choice.get(field) in (None, result[field]) for field in RESULT)


def route_of(entry: SourceEntry) -> dict[str, object]:
    assert entry.content is not None
    return {
        "channel": entry.channel,
        "to": entry.to,
        "accountId": entry.account,
        "threadId": entry.thread,
        "replyToId": entry.content.reply_to,
        "tenant": entry.tenant,
    }


def route_complaints(route: dict[str, object], entry: SourceEntry, wanted: dict[str, Any]) -> list[str]:
    """An id that was a number is text with us; what it was stands in the metadata, to the letter."""
    found = [
        f"{key} is {route[key]!r}"
        for key, value in wanted.items()
        if route[key] != (None if value is None else str(value))
    ]
    kept = entry.metadata["import"]["entry"]
    return found + [
        f"{key} was {kept.get(key, 'left out')!r}"
        for key in ("accountId", "threadId")
        if key in wanted and kept.get(key, "left out") != wanted[key]
    ]


@every_case
@pytest.mark.contract("IM1", "IM5")
async def test_every_message_is_stored_as_recorded(name: str, staged: Stage, importing: OpenStore) -> None:
    case = staged(name)
    found = entries_of(case)
    box = await importing(case.now_ms)
    report = await box.run(case)
    messages = await box.messages()
    stored = {line.source_id: line for line in report.entries if line.outcome.stored}
    assert messages.keys() == {f"{case.system}:{source_id}" for source_id in stored}
    for source_id, line in stored.items():
        view, wanted = messages[f"{case.system}:{source_id}"], case.entries[source_id]
        assert (view.state, view.charged, view.claims) == (line.state, line.attempts, line.attempts)
        assert view.created_ms == wanted["enqueued_at"]
        assert view.max_attempts == wanted.get("max_attempts", view.max_attempts)
        assert view.due_ms == wanted.get("next_attempt_at", view.due_ms)
        assert view.expires_ms == wanted.get("expires_at", case.now_ms + HOUR_MS)
        assert view.part_count == wanted.get("payload_count", view.part_count)
        assert_said(view, found[source_id])
    assert await box.store.check() == []


def assert_said(view: MessageView, entry: SourceEntry) -> None:
    """What the source said is what the message says: route, contents, options, error, times."""
    assert (view.channel, view.recipient, view.tenant) == (entry.channel, entry.to, entry.tenant)
    assert (view.account, view.thread, view.kind) == (entry.account, entry.thread, entry.kind)
    assert view.content is not None
    assert decode_content(view.content) == entry.content
    parts = [decode_content(part.content) for part in view.parts if part.content is not None]
    assert parts == (list(entry.contents) if len(entry.contents) > 1 else [])
    assert view.metadata is not None
    assert json.loads(view.metadata) == entry.metadata
    assert view.last_error == entry.last_error
    assert view.claimed_ms == (entry.last_attempt_ms if entry.attempts else None)
    assert (view.not_before_ms or entry.not_before_ms) == entry.not_before_ms


@every_case
@pytest.mark.contract("IM1", "IM3")
async def test_what_was_delivered_or_is_no_entry_never_becomes_a_message(
    name: str, staged: Stage, importing: OpenStore
) -> None:
    case = staged(name)
    box = await importing(case.now_ms)
    await box.run(case)
    texts = [f"{key} {view.metadata!r}" for key, view in (await box.messages()).items()]
    for banned in case.expected["must_not_appear"]:
        assert not [text for text in texts if banned in text], banned


@every_case
@pytest.mark.contract("IM5")
async def test_the_report_counts_what_it_lists(name: str, staged: Stage, importing: OpenStore) -> None:
    case = staged(name)
    box = await importing(case.now_ms)
    report = await box.run(case)
    wanted = {key: count for key, count in case.expected["totals"].items() if key != "one_of"}
    assert all(report.totals.get(key, 0) >= count for key, count in wanted.items())
    assert sum(report.totals.values()) == len(report.entries)
    assert sum(report.totals.values()) <= sum(case.expected["totals"].values())
    left = {Outcome.LEFT, Outcome.QUARANTINED} & {line.outcome for line in report.entries}
    assert report.complete == (not left)


@every_case
@pytest.mark.contract("IM5")
async def test_a_dry_run_reports_the_same_and_writes_nothing(name: str, staged: Stage, importing: OpenStore) -> None:
    case = staged(name)
    box = await importing(case.now_ms)
    before = tree(case.path.parent)
    dry = await box.run(case, dry_run=True)
    assert await box.messages() == {}
    assert tree(case.path.parent) == before
    real = await box.run(case)
    assert dry.totals == real.totals
    # But for the messages that there are now.
    assert dry.entries == tuple(msgspec.structs.replace(line, id=None) for line in real.entries)
    assert (dry.dry_run, real.dry_run) == (True, False)


@every_case
@pytest.mark.contract("IM1")
async def test_a_database_is_read_without_a_trace(name: str, staged: Stage, importing: OpenStore) -> None:
    case = staged(name)
    if case.system is System.OPENCLAW_FILES:
        return
    before = tree(case.path.parent)
    box = await importing(case.now_ms)
    await box.run(case)
    assert tree(case.path.parent) == before


@pytest.mark.contract("IM1", "IM2")
@every_case
async def test_a_second_run_changes_nothing(name: str, staged: Stage, importing: OpenStore) -> None:
    case = staged(name)
    box = await importing(case.now_ms)
    first = await box.run(case)
    before, files = await box.messages(), tree(case.path.parent)
    second = await box.run(case)
    assert await box.messages() == before
    assert tree(case.path.parent) == files
    assert not [line for line in second.entries if line.outcome.stored]
    again = {line.source_id for line in second.entries if line.reason == "already_imported"}
    stored = {line.source_id for line in first.entries if line.outcome.stored}
    assert again <= stored
    if case.system is not System.OPENCLAW_FILES:
        assert again == stored


def held(case: Case) -> set[str]:
    return {name for name, wanted in case.entries.items() if wanted["state"] == State.HELD}


@every_case
@pytest.mark.contract("IM5")
async def test_uncertain_sends_go_again_only_where_that_was_asked_for(
    name: str, staged: Stage, importing: OpenStore
) -> None:
    case = staged(name)
    box = await importing(case.now_ms)
    report = await box.run(case, on_uncertain=OnUncertain.RESEND)
    lines = {line.source_id: line for line in report.entries}
    assert all(lines[source_id].state is State.SCHEDULED for source_id in held(case))
    assert State.HELD not in {line.state for line in report.entries}
