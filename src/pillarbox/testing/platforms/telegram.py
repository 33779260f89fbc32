"""
A Bot API server that knows one bot, and any chat that was not taken away from it.

Written from https://core.telegram.org/bots/api and the texts of tdlib/telegram-bot-api.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any, Final

import msgspec

from pillarbox.clock import Clock
from pillarbox.testing.platforms.server import FakePlatform, Piece, answer_json, fields_of, form_of
from pillarbox.testing.receiver import Answer, Received

TOKEN: Final = "123456789:AAFakeFakeFakeFakeFakeFakeFakeFake12"  # noqa: S105 — nobody's
_TEXT_MAX: Final = 4096
_CAPTION_MAX: Final = 1024
_ALBUM_LEAST, _ALBUM_MAX = 2, 10
_MEDIA: Final = ("photo", "document", "video", "animation", "audio", "voice")
_SAID: Final = ("text", "entities", "caption", "caption_entities")
_LISTS: Final = frozenset(
    {"caption_entities", "media", "message_ids", "entities", "reply_parameters", "reply_markup", "link_preview_options"}
)


class FakeTelegram(FakePlatform):
    """
    Telegram's Bot API, for `getMe`, `sendMessage`, files and albums, and for edits and deletions.

    Args:
        token: The bot's.
        chat_seconds: At most one message in so many seconds to a chat, after three at once; ``None`` for no limit.
            Telegram has 1.
        overall_seconds: The same for all chats together, after as many at once as in a second. Telegram has 1/30.

    Attributes:
        messages: What stands in the chats, in the order of sending.
    """

    def __init__(
        self,
        *,
        token: str = TOKEN,
        chat_seconds: float | None = None,
        overall_seconds: float | None = None,
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(place_seconds=chat_seconds, port=port, clock=clock)
        self.token = token
        self._count = 0
        self._overall_seconds = overall_seconds
        self._refused: dict[str, tuple[int, str]] = {}
        self._moved: dict[str, int] = {}

    @property
    def url(self) -> str:
        """The URL of a channel that leads here."""
        return f"tgram://{self.token}?base_url={self.base_url}"

    def texts(self, chat: int | str) -> list[str]:
        """Return what stands in a chat, in order."""
        return [
            message.get("text", message.get("caption", ""))
            for message in self.messages
            if str(message["chat"]["id"]) == str(chat)
        ]

    def files(self, chat: int | str) -> list[tuple[str, str, int]]:
        """Return kind, name or URL, and size of the files that stand in a chat, in order."""
        found: list[tuple[str, str, int]] = []
        for message in self.messages:
            kind = next((kind for kind in _MEDIA if kind in message), None)
            if kind is not None and str(message["chat"]["id"]) == str(chat):
                shown = message[kind][0] if kind == "photo" else message[kind]
                found.append((kind, shown["file_name"], shown["file_size"]))
        return found

    def refuse(self, chat: int | str, description: str = "Forbidden: bot was blocked by the user") -> None:
        """Refuse everything to a chat from now on; what *description* begins with says the status."""
        statuses = {"Forbidden": 403, "Unauthorized": 401, "Bad Request": 400}
        self._refused[str(chat)] = (statuses[description.partition(":")[0]], description)

    def migrate(self, chat: int, to: int) -> None:
        """Make a supergroup of a group."""
        self._moved[str(chat)] = to

    def answer(self, request: Received) -> Answer:
        """See `FakePlatform`."""
        _, bot, method = [*request.path.partition("?")[0].split("/"), "", ""][:3]
        if not bot.startswith("bot") or not method:
            return _refusal(404, "Not Found")
        if bot != f"bot{self.token}":
            return _refusal(401, "Unauthorized")
        known = {
            "getMe": self._me,
            "sendMessage": self._send,
            "editMessageText": self._edit,
            "editMessageCaption": self._edit,
            "deleteMessage": self._delete,
            "deleteMessages": self._delete_all,
            "sendMediaGroup": self._send_album,
            **{f"send{kind.capitalize()}": self._send for kind in _MEDIA},
        }
        fields = {
            name: msgspec.json.decode(value) if name in _LISTS and isinstance(value, str) else value
            for name, value in fields_of(request).items()
        }
        fields["files"] = {piece.field: piece for piece in form_of(request) if piece.name}
        fields["kind"] = method.removeprefix("send").lower()
        found = known.get(method)
        return _refusal(404, "Not Found: method not found") if found is None else found(fields)

    def _me(self, _: dict[str, Any]) -> Answer:
        return _result(
            {"id": int(self.token.partition(":")[0]), "is_bot": True, "first_name": "Bot", "username": "bot"}
        )

    def _send(self, fields: dict[str, Any]) -> Answer:
        wrong = self._unreachable(fields) or self._unfit(fields) or self._limited(str(fields["chat_id"]))
        if wrong is not None:
            return wrong
        self._count += 1
        chat = fields["chat_id"]
        number = int(chat) if str(chat).lstrip("-").isdigit() else -1_000_000_000_000
        message = {
            "message_id": self._count,
            "date": self.clock.wall_ms() // 1000,
            "chat": {"id": number, "type": "private" if number > 0 else "supergroup"},
            **self._said(fields),
        }
        if str(chat).startswith("@"):
            message["chat"]["username"] = chat[1:]
        if "message_thread_id" in fields:
            message["message_thread_id"] = int(fields["message_thread_id"])
        self.messages.append(message)
        return _result(message)

    def _edit(self, fields: dict[str, Any]) -> Answer:
        found = self._find(fields)
        wrong = self._unreachable(fields)
        if wrong is not None or found is None:
            return wrong or _refusal(400, "Bad Request: message to edit not found")
        if (wrong := self._unfit(fields)) is not None:
            return wrong
        if "text" in fields and "text" not in found:
            return _refusal(400, "Bad Request: there is no text in the message to edit")
        new = {"entities": [], "caption_entities": []} | self._said(fields)
        if new == {"entities": [], "caption_entities": []} | {name: found[name] for name in _SAID if name in found}:
            return _refusal(
                400,
                "Bad Request: message is not modified: specified new message content and reply markup are exactly the "
                "same as a current content and reply markup of the message",
            )
        found.update(new)
        return _result(found)

    def _delete(self, fields: dict[str, Any]) -> Answer:
        found = self._find(fields)
        wrong = self._unreachable(fields)
        if wrong is not None or found is None:
            return wrong or _refusal(400, "Bad Request: message to delete not found")
        self.messages.remove(found)
        return _result(body=True)

    def _delete_all(self, fields: dict[str, Any]) -> Answer:
        for number in fields["message_ids"]:
            self._delete({"chat_id": fields.get("chat_id"), "message_id": number})
        return _result(body=True)

    def _send_album(self, fields: dict[str, Any]) -> Answer:
        if not _ALBUM_LEAST <= len(fields["media"]) <= _ALBUM_MAX:
            return _refusal(400, "Bad Request: wrong number of media in the album")
        sent: list[object] = []
        for one in fields["media"]:
            place = one["media"]
            inside = fields["files"].get(place.removeprefix("attach://"), place)
            single = {**fields, **one, "kind": one["type"], "files": {one["type"]: inside}}
            answer = self._send({name: value for name, value in single.items() if name not in {"media", "type"}})
            if answer.status != HTTPStatus.OK:
                return answer
            sent.append(self.messages[-1])
        return _result(sent)

    @staticmethod
    def _said(fields: dict[str, Any]) -> dict[str, Any]:
        """Return what a message says and shows."""
        said = {name: fields[name] for name in _SAID if name in fields}
        kind = fields.get("kind", "")
        if kind in _MEDIA:
            given = fields["files"].get(kind, fields.get(kind))
            size = len(given.data) if isinstance(given, Piece) else 0
            name = given.name if isinstance(given, Piece) else str(given)
            shown = {"file_id": name, "file_unique_id": name, "file_name": name, "file_size": size}
            shown |= {"width": 1, "height": 1, "duration": 1}
            said[kind] = [shown] if kind == "photo" else shown
        return {name: value.strip() if isinstance(value, str) else value for name, value in said.items()}

    def _find(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        wanted = (str(fields.get("chat_id")), str(fields.get("message_id")))
        return next((one for one in self.messages if (str(one["chat"]["id"]), str(one["message_id"])) == wanted), None)

    def _unreachable(self, fields: dict[str, Any]) -> Answer | None:
        chat = str(fields.get("chat_id", ""))
        if not chat:
            return _refusal(400, "Bad Request: chat_id is empty")
        if chat in self._moved:
            moved = {"migrate_to_chat_id": self._moved[chat]}
            return _refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", parameters=moved)
        return _refusal(*self._refused[chat]) if chat in self._refused else None

    def _unfit(self, fields: dict[str, Any]) -> Answer | None:
        text = str(fields.get("text", fields.get("caption", "")))
        has_file = fields["kind"] in _MEDIA or "caption" in fields
        if fields["kind"] in _MEDIA and not fields["files"].get(fields["kind"], fields.get(fields["kind"])):
            return _refusal(400, f"Bad Request: there is no {fields['kind']} in the request")
        parsed = text
        if fields.get("parse_mode") == "HTML":
            reader = _Html()
            reader.feed(text)
            reader.close()
            if reader.wrong:
                return _refusal(400, f"Bad Request: can't parse entities: {reader.wrong}")
            parsed = "".join(reader.text)
        if not parsed.strip() and not has_file:
            return _refusal(400, "Bad Request: message text is empty")
        size = _utf16(parsed)
        if size > (_CAPTION_MAX if has_file else _TEXT_MAX):
            return _refusal(400, f"Bad Request: message {'caption ' * has_file}is too long")
        for entity in fields.get("caption_entities" if has_file else "entities", []):
            if not 0 <= entity["offset"] < entity["offset"] + entity["length"] <= size:
                return _refusal(400, "Bad Request: ENTITY_BOUNDS_INVALID")
        return None

    def _limited(self, chat: str) -> Answer | None:
        overall_ms = 0.0 if self._overall_seconds is None else self.wait_ms("all", seconds=self._overall_seconds)
        wait_ms = max(overall_ms, self.wait_ms(chat))
        if not wait_ms:
            return None
        seconds = math.ceil(wait_ms / 1000)
        return _refusal(429, f"Too Many Requests: retry after {seconds}", parameters={"retry_after": seconds})


class _Html(HTMLParser):
    """Telegram's HTML: what is open must be closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.wrong = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 — its signature
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong = self.wrong or f'Unexpected end tag "{tag}"'

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def close(self) -> None:
        super().close()
        if self._open:
            self.wrong = self.wrong or f'Can\'t find end tag corresponding to start tag "{self._open[-1]}"'


def _utf16(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _result(body: object) -> Answer:
    return answer_json({"ok": True, "result": body})


def _refusal(status: int, description: str, *, parameters: Mapping[str, object] | None = None) -> Answer:
    body: dict[str, object] = {"ok": False, "error_code": status, "description": description}
    headers = {}
    if parameters is not None:
        body["parameters"] = parameters
        if "retry_after" in parameters:
            headers["Retry-After"] = str(parameters["retry_after"])
    return answer_json(body, status=status, headers=headers)
