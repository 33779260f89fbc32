"""Small queues of other systems, made by hand, and tables that their programs would have made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import apsw

from pillarbox.imports.entry import System
from tests.imports.cases import Case

if TYPE_CHECKING:
    from pathlib import Path

NOW_MS: Final = 1_773_576_000_000
SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000

ENTRIES_TABLE: Final = """
CREATE TABLE delivery_queue_entries (
  queue_name TEXT NOT NULL, id TEXT NOT NULL, status TEXT NOT NULL, entry_kind TEXT, session_key TEXT, channel TEXT,
  target TEXT, account_id TEXT, retry_count INTEGER NOT NULL DEFAULT 0, last_attempt_at INTEGER, last_error TEXT,
  recovery_state TEXT, platform_send_started_at INTEGER, entry_json TEXT NOT NULL, enqueued_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL DEFAULT 0, failed_at INTEGER, PRIMARY KEY (queue_name, id))
"""
OUTBOX_TABLE: Final = """
CREATE TABLE message_outbox (
  id TEXT NOT NULL PRIMARY KEY, turn_id TEXT, channel TEXT NOT NULL, account_id TEXT NOT NULL DEFAULT '',
  target TEXT NOT NULL DEFAULT '', dispatch_kind TEXT, payload TEXT NOT NULL, queued_at INTEGER NOT NULL,
  status TEXT NOT NULL DEFAULT 'queued', attempt_count INTEGER NOT NULL DEFAULT 0, next_attempt_at INTEGER NOT NULL,
  last_attempt_at INTEGER, last_error TEXT, error_class TEXT, delivered_at INTEGER, terminal_reason TEXT,
  completed_at INTEGER, idempotency_key TEXT)
"""
COMIS_TABLE: Final = """
CREATE TABLE delivery_queue (
  id TEXT PRIMARY KEY, text TEXT NOT NULL, channel_type TEXT NOT NULL, channel_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL DEFAULT 'default', options_json TEXT NOT NULL DEFAULT '{}',
  origin TEXT NOT NULL DEFAULT 'unknown', format_applied INTEGER NOT NULL DEFAULT 0,
  chunking_applied INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT 'pending',
  attempt_count INTEGER NOT NULL DEFAULT 0, max_attempts INTEGER NOT NULL DEFAULT 3, created_at INTEGER NOT NULL,
  scheduled_at INTEGER NOT NULL, expire_at INTEGER NOT NULL, last_attempt_at INTEGER, next_retry_at INTEGER,
  last_error TEXT, markdown_fallback_applied INTEGER NOT NULL DEFAULT 0, delivered_message_id TEXT, trace_id TEXT)
"""


def entry(identity: str, /, **fields: Any) -> dict[str, Any]:
    """Make an OpenClaw entry that waits since a minute; ``None`` leaves a field out."""
    values = {
        "id": identity,
        "enqueuedAt": NOW_MS - MINUTE_MS,
        "channel": "telegram",
        "to": "1001",
        "payloads": [{"text": f"text of {identity}"}],
        "retryCount": 0,
        **fields,
    }
    return {key: value for key, value in values.items() if value is not None}


class FileQueue:
    """A ``delivery-queue`` directory."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True)
        self.path = path

    @property
    def case(self) -> Case:
        return Case(system=System.OPENCLAW_FILES, path=self.path, now_ms=NOW_MS, expected={})

    def put(self, name: str, content: dict[str, Any] | str | bytes | None = None, /, **fields: Any) -> Path:
        """Write a file; without content, an entry whose id is the file's name."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        if content is None:
            content = entry(path.stem, **fields)
        if isinstance(content, dict):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


class TableQueue:
    """A database with one of the tables that are read."""

    def __init__(self, path: Path, system: System, table: str) -> None:
        self.case = Case(system=system, path=path, now_ms=NOW_MS, expected={})
        self.run(table)

    def run(self, sql: str, bindings: tuple[object, ...] | dict[str, object] = ()) -> None:
        connection = apsw.Connection(str(self.case.path))
        try:
            connection.execute(sql, bindings)
        finally:
            connection.close()

    def put(self, table: str, **columns: object) -> None:
        names, places = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        self.run(f"INSERT INTO {table} ({names}) VALUES ({places})", dict(columns))  # noqa: S608 — names of a test


class EntriesQueue(TableQueue):
    """OpenClaw's ``delivery_queue_entries``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, System.OPENCLAW_SQLITE, ENTRIES_TABLE)

    def add(self, identity: str, said: dict[str, Any] | str | bytes | None = None, **columns: object) -> None:
        said = entry(identity) if said is None else said
        text = json.dumps(said) if isinstance(said, dict) else said
        values: dict[str, object] = {
            "queue_name": "outbound",
            "id": identity,
            "status": "pending",
            "entry_json": text,
            "enqueued_at": NOW_MS - MINUTE_MS,
        }
        self.put("delivery_queue_entries", **values | columns)


class OutboxQueue(TableQueue):
    """OpenClaw's ``message_outbox``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, System.OPENCLAW_OUTBOX, OUTBOX_TABLE)

    def add(self, identity: str, said: dict[str, Any] | str | None = None, **columns: object) -> None:
        said = {"channel": "telegram", "to": "1001", "payloads": [{"text": "hello"}]} if said is None else said
        values: dict[str, object] = {
            "id": identity,
            "channel": "telegram",
            "target": "1001",
            "payload": json.dumps(said) if isinstance(said, dict) else said,
            "queued_at": NOW_MS - MINUTE_MS,
            "next_attempt_at": NOW_MS - MINUTE_MS,
        }
        self.put("message_outbox", **values | columns)


class ComisQueue(TableQueue):
    """Comis's ``delivery_queue``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, System.COMIS, COMIS_TABLE)

    def add(self, identity: str, **columns: object) -> None:
        values: dict[str, object] = {
            "id": identity,
            "text": "hello",
            "channel_type": "telegram",
            "channel_id": "501",
            "created_at": NOW_MS - MINUTE_MS,
            "scheduled_at": NOW_MS - MINUTE_MS,
            "expire_at": NOW_MS + 60 * MINUTE_MS,
            "max_attempts": 5,
        }
        self.put("delivery_queue", **values | columns)
