"""
Reads the JSON that every OpenClaw queue keeps of a delivery: the same in files and in both tables.

Pure. What shapes the message goes into its content; what is only the source's own bookkeeping, into its metadata.
"""

from __future__ import annotations

from typing import Any, Final

from pillarbox.domain.envelope import Kind
from pillarbox.domain.message import Content, File, Format
from pillarbox.imports.documents import Json, Unreadable, label, token
from pillarbox.imports.entry import Outcome, SourceEntry, System, format_of

Entry = dict[str, Json]

BETWEEN_PAYLOADS: Final = "\n\n"
# Values of ``recoveryState`` before a send. Those after one are send_attempt_started, unknown_after_send and whatever
# a later version may have thought of.
_NOT_SENT_STATES: Final = (None, "", "producer_claimed")

# What a value of ours says already.
_MAPPED: Final = frozenset(
    {
        "accountId", "bestEffort", "channel", "mirror", "payloads", "preparedBatch", "reply", "replyToId",
        "replyToMode", "silent", "threadId", "to",
    }
)  # fmt: skip
# The source's own business: nothing that a platform should ever be given.
_BOOKKEEPING: Final = frozenset(
    {
        "acknowledgedAt", "ambiguousTransportError", "attemptCount", "availableAt", "completionRetention",
        "deliveryCompletion", "dispatchKind", "effectiveReplyToId", "enqueuedAt", "failedAt", "gatewayClientScopes",
        "id", "lastAttemptAt", "lastError", "legacyPreparationLeaseExpiresAt", "legacyPreparationOwnerId",
        "legacyPreparationState", "legacyPreparedContentUnavailable", "legacyUnknownSendReconciliation", "maxRetries",
        "platformSendStartedAt", "preparedMessageId", "producerClaimId", "queuePolicy", "recoveryState",
        "renderedBatchPlan", "replyPayloadSendingHook", "requireUnknownSendReconciliation", "requiresProducerClaim",
        "retainOnFailure", "retryAmbiguousFinalText", "retryCount", "session", "sessionGeneration", "settlement",
    }
)  # fmt: skip
_PAYLOAD_MAPPED: Final = frozenset({"text", "mediaUrl", "mediaUrls", "replyToId"})


def required_text(entry: Entry, field: str) -> str:
    """Return a text that must be there. Raises Unreadable: ``missing_field:<field>``."""
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"missing_field:{field}")
    return value


def understand(entry: Entry, *, system: System, source_id: str, delivery_id: str | None = None) -> SourceEntry:
    """
    Read what one entry says, and whether that is something to send; `judged` adds what the rules say of it.

    Raises:
        Unreadable: ``missing_field:channel`` or ``…:to``, or ``invalid_field:<name>``.
    """
    channel, to = required_text(entry, "channel"), required_text(entry, "to")
    options = {key: value for key, value in entry.items() if key not in _MAPPED and key not in _BOOKKEEPING}
    payloads = _payloads(entry)
    spoken = [
        _content(entry, payload, options, first=number == 0)
        for number, payload in enumerate(payloads or ())
        if not _is_blank(payload)
    ]
    if payloads is None:
        outcome, reason = Outcome.LEFT, "missing_field:payloads"
    elif spoken:
        outcome, reason = Outcome.IMPORTED, ""
    elif payloads or "preparedBatch" in entry:
        # Nothing to say: what `send` does with such a text, too (contract EN14).
        outcome, reason = Outcome.SKIPPED, "empty"
    else:
        # Its content was lost, or never there: somebody should look.
        outcome, reason = Outcome.QUARANTINED, "no_payloads"
    return SourceEntry(
        source_id=source_id,
        outcome=outcome,
        reason=reason,
        delivery_id=delivery_id,
        channel=channel,
        to=to,
        account=label(entry, "accountId") or "",
        thread=token(entry, "threadId"),
        kind=kind_of(entry.get("dispatchKind")),
        content=_whole(entry, spoken, options),
        contents=tuple(spoken),
        best_effort=_flag(entry, "bestEffort"),
        metadata={"import": {"system": str(system), "source_id": source_id, "entry": _record(entry, options)}},
    )


def kind_of(word: Json) -> Kind:
    """Read a dispatch kind. Anything that is not final, and not known, is taken for a passing note."""
    if word is None or word == Kind.FINAL:
        return Kind.FINAL
    return Kind.TOOL if word == Kind.TOOL else Kind.BLOCK


def uncertain(recovery_state: Json) -> bool:
    """Whether the platform may have it. A message in an unknown state is not sent on."""
    return recovery_state not in _NOT_SENT_STATES


def said_error(entry: Entry) -> str | None:
    """Return what the source's last attempt failed of."""
    error = entry.get("lastError")
    return error if isinstance(error, str) else None


def _payloads(entry: Entry) -> list[Entry] | None:
    """Return the payloads in order; ``None`` where the source keeps none any more. What it suppressed is not sent."""
    batch = entry.get("preparedBatch")
    if batch is None:
        found = entry.get("payloads")
        if found is None:
            return None
        if not isinstance(found, list):
            raise Unreadable("invalid_field:payloads")
        return [_object(item, "payloads") for item in found]
    if not isinstance(batch, dict) or batch.get("schemaVersion", 1) != 1:
        raise Unreadable("invalid_field:preparedBatch")
    prepared = batch.get("entries")
    if not isinstance(prepared, list):
        raise Unreadable("invalid_field:preparedBatch")
    items = [_object(item, "preparedBatch") for item in prepared]
    if any(item.get("status") not in ("accepted", "suppressed") for item in items):
        raise Unreadable("invalid_field:preparedBatch")
    return [_object(item.get("payload"), "preparedBatch") for item in items if item["status"] == "accepted"]


def _content(entry: Entry, payload: Entry, options: Entry, *, first: bool) -> Content:
    own = {key: value for key, value in payload.items() if key not in _PAYLOAD_MAPPED}
    files = _files(payload)
    text = payload.get("text")
    if not (text is None or isinstance(text, str)):
        raise Unreadable("invalid_field:text")
    return Content(
        text=text if text is not None or files else "",
        format=_format(entry),
        reply_to=token(payload, "replyToId") or _reply_to(entry, first=first),
        silent=_silent(entry),
        files=files,
        mirror=_mirror(entry),
        extra={**options, **own},
    )


def _whole(entry: Entry, contents: list[Content], options: Entry) -> Content:
    """Return all payloads in one value: this is shown and searched; the platform gets them one by one."""
    if len(contents) == 1:
        return contents[0]
    return Content(
        text=BETWEEN_PAYLOADS.join(content.text for content in contents if content.text),
        format=_format(entry),
        reply_to=_reply_to(entry, first=True),
        silent=_silent(entry),
        files=tuple(file for content in contents for file in content.files),
        mirror=_mirror(entry),
        extra=options,
    )


def _is_blank(payload: Entry) -> bool:
    """Whether a payload says nothing: no text, no media, no buttons, blocks or the like. Flags say nothing."""
    text = payload.get("text")
    if text is not None and (not isinstance(text, str) or text.strip()):
        return False
    if payload.get("mediaUrl") or payload.get("mediaUrls"):
        return False
    return not any(isinstance(value, dict | list) and value for value in payload.values())


def _files(payload: Entry) -> tuple[File, ...]:
    many = payload.get("mediaUrls")
    if not (many is None or isinstance(many, list)):
        raise Unreadable("invalid_field:mediaUrls")
    urls = [payload.get("mediaUrl"), *(many or [])]
    found: dict[str, None] = {}
    for url in urls:
        if url is None or url == "":
            continue
        if not isinstance(url, str) or not url.isprintable():
            raise Unreadable("invalid_field:mediaUrl")
        found[url] = None
    return tuple(File(url=url) for url in found)


def _reply_to(entry: Entry, *, first: bool) -> str | None:
    reply = entry.get("reply")
    facts = reply if isinstance(reply, dict) else entry
    mode = facts.get("mode") if facts is reply else entry.get("replyToMode")
    if mode == "off" or (mode == "first" and not first):
        return None
    return token(facts, "replyToId")


def _format(entry: Entry) -> Format:
    formatting = entry.get("formatting")
    mode = formatting.get("parseMode") if isinstance(formatting, dict) else None
    return format_of(mode)


def _silent(entry: Entry) -> bool:
    return entry.get("silent") is True


def _mirror(entry: Entry) -> dict[str, Any] | None:
    mirror = entry.get("mirror")
    return None if mirror is None else _object(mirror, "mirror")


def _record(entry: Entry, options: Entry) -> Entry:
    """Keep all that the content does not hold, as the source spells it: ``threadId`` may be a number, or null."""
    record = {key: value for key, value in entry.items() if key not in options and key not in ("payloads", "mirror")}
    batch = record.get("preparedBatch")
    if isinstance(batch, dict):
        record["preparedBatch"] = {key: value for key, value in batch.items() if key != "entries"}
    return record


def _flag(entry: Entry, field: str) -> bool | None:
    value = entry.get(field)
    return value if isinstance(value, bool) else None


def _object(value: Json, field: str) -> Entry:
    if not isinstance(value, dict):
        raise Unreadable(f"invalid_field:{field}")
    return value
