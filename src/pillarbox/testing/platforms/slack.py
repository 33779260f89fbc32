"""
A Slack workspace that knows one app and one incoming webhook, and any conversation that was not taken away.

Written from https://docs.slack.dev: chat.postMessage, chat.update, chat.delete, incoming webhooks, rate limits.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from pillarbox.clock import Clock
from pillarbox.testing.platforms.server import FakePlatform, answer_json, fields_of
from pillarbox.testing.receiver import Answer, Received

TOKEN: Final = "xoxb-1234567890-FakeFakeFake"  # noqa: S105 — nobody's
HOOK: Final = "T00000000/B00000000/FakeFakeFakeFakeFakeFake"
USER: Final = "U00000000"
BOT: Final = "B00000000"
_TEXT_MAX: Final = 40_000
_BLOCKS_MAX: Final = 50
_BLOCKS_LENGTH_MAX: Final = 13_200
_LISTS: Final = frozenset({"files", "blocks", "attachments", "metadata"})
_ELEMENTS: Final = frozenset(
    {"rich_text_section", "rich_text_preformatted", "rich_text_quote", "rich_text_list"}
)  # fmt: skip


class FakeSlack(FakePlatform):
    """
    Slack's methods for messages, their edits and deletions, uploads, an incoming webhook, and what reads conversations.

    Args:
        token: The app's.
        hook: What stands behind ``/services/`` in the webhook's URL.
        channel_seconds: At most one message in so many seconds to a conversation, after three at once; ``None`` for no
            limit. Slack has 1.

    Attributes:
        scopes: What the app may read: ``channels:history`` and ``im:write``, unless one is taken away.
        history_seconds: At most one look into the conversations in so many seconds, after three; ``None``: no limit.
        messages: What stands in the conversations, in the order of sending; the webhook's is called ``hook``.
        uploads: Name and bytes of each file by its id, shared or not.
    """

    def __init__(
        self,
        *,
        token: str = TOKEN,
        hook: str = HOOK,
        channel_seconds: float | None = None,
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(place_seconds=channel_seconds, port=port, clock=clock)
        self.token = token
        self.hook = hook
        self._count = 0
        self._refused: dict[str, str] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.scopes = {"channels:history", "im:write"}
        self.history_seconds: float | None = None

    @property
    def url(self) -> str:
        """The URL of a channel that leads here as the app."""
        return f"slack://{self.token}?base_url={self.base_url}"

    @property
    def hook_url(self) -> str:
        """The URL of a channel that leads to the webhook."""
        return f"slack://{self.hook}?base_url={self.base_url}"

    def texts(self, channel: str = "hook") -> list[str]:
        """Return what people read in a conversation, in order."""
        return [_shown(message) for message in self.messages if message["channel"] == channel]

    def refuse(self, channel: str, error: str = "channel_not_found") -> None:
        """Refuse everything into a conversation from now on."""
        self._refused[channel] = error

    def answer(self, request: Received) -> Answer:
        """See `FakePlatform`."""
        path = request.path.partition("?")[0]
        fields = {
            name: msgspec.json.decode(value) if name in _LISTS and isinstance(value, str) else value
            for name, value in fields_of(request).items()
        }
        if path.startswith("/services/"):
            return self._hooked(path.removeprefix("/services/"), fields)
        if path.startswith("/upload/"):
            identity = path.removeprefix("/upload/")
            self.uploads[identity] = (self.uploads[identity][0], request.body)
            return Answer(body=f"OK - {len(request.body)}".encode())
        known = {
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "files.getUploadURLExternal": self._place,
            "files.completeUploadExternal": self._share,
            "conversations.history": self._history,
            "conversations.replies": self._history,
            "conversations.open": self._open,
        }
        method = path.removeprefix("/api/")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _error("invalid_auth" if "authorization" in request.headers else "not_authed")
        if method == "auth.test":
            return answer_json({"ok": True, "user": "app", "team": "T00000000", "user_id": USER, "bot_id": BOT})
        return known[method](fields) if method in known else _error("unknown_method")

    def _post(self, fields: dict[str, Any]) -> Answer:
        channel = str(fields.get("channel", ""))
        wrong = self._wrong(channel, fields)
        if wrong:
            return _error(wrong)
        wait_ms = self.wait_ms(channel)
        if wait_ms:
            after = str(math.ceil(wait_ms / 1000))
            return answer_json({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": after})
        message, cut = self._keep(channel, fields)
        body = {"ok": True, "channel": channel, "ts": message["ts"], "message": message}
        return answer_json(body | ({"response_metadata": {"warnings": ["message_truncated"]}} if cut else {}))

    def _open(self, fields: dict[str, Any]) -> Answer:
        if "im:write" not in self.scopes:
            return answer_json({"ok": False, "error": "missing_scope", "needed": "im:write"})
        return answer_json({"ok": True, "channel": {"id": _direct(str(fields.get("users", "")))}})

    def _history(self, fields: dict[str, Any]) -> Answer:
        """Return a page of a conversation, the newest first; of a thread where one is named."""
        if "channels:history" not in self.scopes:
            return answer_json({"ok": False, "error": "missing_scope", "needed": "channels:history"})
        channel, thread = str(fields.get("channel", "")), fields.get("ts")
        if channel in self._refused:
            return _error(self._refused[channel])
        seconds = self.history_seconds
        wait_ms = 0.0 if seconds is None else self.wait_ms("history", seconds=seconds)
        if wait_ms:
            headers = {"Retry-After": str(math.ceil(wait_ms / 1000))}
            return answer_json({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        found = [
            one
            for one in reversed(self.messages)
            if _direct(one["channel"]) == channel
            and float(one["ts"]) > float(fields.get("oldest") or 0)
            # An answer in a thread is not among what is said in its conversation.
            and (one.get("thread_ts") if thread is None else thread) in {one.get("thread_ts"), one["ts"], None}
            and (thread is not None or one.get("thread_ts") is None)
        ]
        start, limit = int(fields.get("cursor") or 0), int(fields.get("limit") or 100)
        page = found[start : start + limit]
        if str(fields.get("include_all_metadata", "")).lower() not in {"true", "1"}:
            page = [{name: value for name, value in one.items() if name != "metadata"} for one in page]
        following = str(start + limit) if start + limit < len(found) else ""
        shown = {"ok": True, "messages": page, "has_more": bool(following)}
        return answer_json(shown | {"response_metadata": {"next_cursor": following}})

    def _place(self, fields: dict[str, Any]) -> Answer:
        if not fields.get("filename") or not fields.get("length"):
            return _error("invalid_arguments")
        identity = f"F{len(self.uploads):08}"
        self.uploads[identity] = (str(fields["filename"]), b"")
        return answer_json({"ok": True, "upload_url": f"{self.base_url}/upload/{identity}", "file_id": identity})

    def _share(self, fields: dict[str, Any]) -> Answer:
        channel = str(fields.get("channel_id", ""))
        said = {"text": fields.get("initial_comment") or "shared"} | fields
        wrong = self._wrong(channel, said) or "file_not_found" * any(
            one.get("id") not in self.uploads for one in fields["files"]
        )
        if wrong:
            return _error(wrong)
        message, _ = self._keep(channel, {"text": fields.get("initial_comment", "")} | fields)
        message["files"] = [{"id": one["id"], "name": self.uploads[one["id"]][0]} for one in fields["files"]]
        return answer_json({"ok": True, "files": message["files"]})

    def _keep(self, channel: str, fields: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        self._count += 1
        text = str(fields.get("text", ""))
        message = {
            "channel": channel,
            "ts": f"{self.clock.wall_ms() // 1000}.{self._count:06}",
            "text": text[:_TEXT_MAX],
            "user": USER,
            "bot_id": BOT,
        }
        message |= {name: fields[name] for name in ("blocks", "thread_ts", "mrkdwn", "metadata") if name in fields}
        self.messages.append(message)
        return message, len(text) > _TEXT_MAX

    def _update(self, fields: dict[str, Any]) -> Answer:
        found = self._find(fields)
        wrong = self._wrong(str(fields.get("channel", "")), fields)
        if wrong or found is None:
            return _error(wrong or "message_not_found")
        found.pop("blocks", None)
        found |= {name: fields[name] for name in ("text", "blocks") if name in fields}
        return answer_json({"ok": True, "channel": found["channel"], "ts": found["ts"], "text": found["text"]})

    def _delete(self, fields: dict[str, Any]) -> Answer:
        found = self._find(fields)
        if found is None:
            return _error("message_not_found")
        self.messages.remove(found)
        return answer_json({"ok": True, "channel": found["channel"], "ts": found["ts"]})

    def _find(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        wanted = (fields.get("channel"), fields.get("ts"))
        return next((one for one in self.messages if (one["channel"], one["ts"]) == wanted), None)

    def _wrong(self, channel: str, fields: dict[str, Any]) -> str:
        if not channel or channel[0] not in "CDGUW#@":
            return "channel_not_found"
        return self._refused.get(channel) or _unfit(fields)

    def _hooked(self, hook: str, fields: dict[str, Any]) -> Answer:
        if hook != self.hook:
            return Answer(status=404, body=b"no_service")
        wrong = self._refused.get("hook") or _unfit(fields)
        if wrong:
            return Answer(status=400, body=wrong.encode())
        self._keep("hook", fields)
        return Answer(body=b"ok")


def _direct(place: str) -> str:
    """Return the conversation of the direct messages with a user; any other place is one by itself."""
    return f"D{place[1:]}" if place.startswith(("U", "W")) else place


def _unfit(fields: dict[str, Any]) -> str:
    blocks = fields.get("blocks", [])
    if not fields.get("text") and not blocks and not fields.get("attachments"):
        return "no_text"
    if not isinstance(blocks, list) or len(blocks) > _BLOCKS_MAX or not all(map(_is_block, blocks)):
        return "invalid_blocks"
    return "msg_blocks_too_long" if len(msgspec.json.encode(blocks).decode()) > _BLOCKS_LENGTH_MAX else ""


def _is_block(block: Any) -> bool:  # noqa: ANN401 — whatever was sent
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return False
    elements = block.get("elements", [])
    if block["type"] != "rich_text":
        return True
    return bool(elements) and all(
        one.get("type") in _ELEMENTS and all(map(_is_inline, one["elements"])) for one in elements
    )


def _is_inline(element: dict[str, Any]) -> bool:
    kinds = {"text": bool(element.get("text")), "link": bool(element.get("url"))}
    return kinds.get(element.get("type", ""), False) or element.get("type") == "rich_text_section"


def _shown(message: dict[str, Any]) -> str:
    """Return what people read: the blocks, each on lines of its own; else the text with its escapes resolved."""
    rich = [element for block in message.get("blocks", []) for element in block.get("elements", [])]
    if rich:
        return "\n".join("".join(inline.get("text", "") for inline in one["elements"]) for one in rich)
    return str(message["text"]).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _error(error: str) -> Answer:
    return answer_json({"ok": False, "error": error})
