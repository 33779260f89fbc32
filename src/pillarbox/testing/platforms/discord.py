"""
Discord's API as one bot and one webhook see it, with any channel that was not taken away.

Written from https://docs.discord.com/developers: create, edit and delete message, execute webhook, rate limits, codes.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import msgspec

from pillarbox.clock import Clock
from pillarbox.testing.platforms.server import FakePlatform, answer_json, fields_of, form_of
from pillarbox.testing.receiver import Answer, Received

TOKEN: Final = "MTIzNDU2Nzg5MDEyMzQ1Njc4.FakeFk.FakeFakeFakeFakeFakeFakeFake"  # noqa: S105 — nobody's
HOOK: Final = ("123456789012345678", "FakeFakeFakeFakeFakeFakeFakeFake")
_CONTENT_MAX: Final = 2000
_FILE_BYTES_MAX: Final = 10 << 20
_NONCE_MAX: Final = 25
_EPOCH_MS: Final = 1_420_070_400_000  # reference.mdx, "Snowflakes"
_NONCE_MS: Final = 120_000  # "the past few minutes"; nobody says how many
_PATH: Final = re.compile(r"/api/v10/(?:channels/(\d+)|webhooks/([^/]+/[^/]+))(?:/messages)?(?:/(\d+))?")
_ESCAPE: Final = re.compile(r"\\([^0-9A-Za-z\s])")
_MEANINGS: Final = {
    10003: (404, "Unknown Channel"),
    10008: (404, "Unknown Message"),
    10015: (404, "Unknown Webhook"),
    40005: (413, "Request entity too large"),
    50006: (400, "Cannot send an empty message"),
    50007: (403, "Cannot send messages to this user"),
    50013: (403, "Missing Permissions"),
    50083: (400, "Thread is archived"),
}


class FakeDiscord(FakePlatform):
    """
    Discord's API for messages.

    Args:
        token: The bot's.
        hook: The webhook's number and token.
        channel_seconds: At most one message in so many seconds to a channel, after three at once; ``None``: no limit.

    Attributes:
        shows_history: Whether the bot has the permission READ_MESSAGE_HISTORY; without it, every channel looks empty.
        messages: What stands in the channels, in the order of sending; the webhook's channel is 0.
    """

    def __init__(
        self,
        *,
        token: str = TOKEN,
        hook: tuple[str, str] = HOOK,
        channel_seconds: float | None = None,
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(place_seconds=channel_seconds, port=port, clock=clock)
        self.token = token
        self.hook = hook
        self._count = 0
        self.shows_history = True
        self._refused: dict[str, int] = {}
        self._nonces: dict[tuple[str, str], tuple[int, str]] = {}

    @property
    def url(self) -> str:
        """The URL of a channel that leads here as the bot."""
        return f"discord://{self.token}?base_url={self.base_url}"

    @property
    def hook_url(self) -> str:
        """The URL of a channel that leads to the webhook."""
        return f"discord://{'/'.join(self.hook)}?base_url={self.base_url}"

    def texts(self, channel: int | str = 0) -> list[str]:
        """Return what stands in a channel, in order, with its marks but without its escapes."""
        found = [message["content"] for message in self.messages if message["channel_id"] == str(channel)]
        return [_ESCAPE.sub(r"\1", content) for content in found]

    def refuse(self, channel: int | str = 0, code: int = 50013) -> None:
        """Refuse everything into a channel from now on, with one of Discord's codes."""
        self._refused[str(channel)] = code

    def answer(self, request: Received) -> Answer:
        """See `FakePlatform`."""
        path = request.path.partition("?")[0]
        by_bot = request.headers.get("authorization") == f"Bot {self.token}"
        if path == "/api/v10/users/@me":
            return answer_json({"id": "1", "username": "bot", "discriminator": "0"}) if by_bot else _unauthorized()
        found = _PATH.fullmatch(path)
        if found is None:
            return answer_json({"message": "404: Not Found", "code": 0}, status=404)
        if found[2] and found[2] != "/".join(self.hook):
            return _refusal(10015)
        if not found[2] and not by_bot:
            return _unauthorized()
        fields = fields_of(request)
        if "payload_json" in fields:
            uploads = [
                {
                    "id": str(place),
                    "filename": piece.name.replace(" ", "_"),
                    "size": len(piece.data),
                    "url": "u",
                    "proxy_url": "u",
                }
                for place, piece in enumerate(piece for piece in form_of(request) if piece.name)
            ]
            fields |= {**msgspec.json.decode(str(fields["payload_json"])), "uploads": uploads}
        channel = str(fields.get("thread_id", found[1] or "0"))
        if channel in self._refused:
            return _refusal(self._refused[channel])
        if request.method == "GET" and not found[3]:
            return self._history(channel, fields)
        if request.method == "POST":
            answer = self._send(channel, fields)
            return answer if found[1] or fields.get("wait") in {"true", "1"} else Answer(status=204)
        return self._change(channel, found[3], fields, deletes=request.method == "DELETE")

    def _send(self, channel: str, fields: dict[str, object]) -> Answer:
        wrong = self._wrong(channel, fields) or self._limited(channel)
        if wrong is not None:
            return wrong
        now_ms, nonce = self.clock.wall_ms(), str(fields.get("nonce", ""))
        if nonce and fields.get("enforce_nonce"):
            sent_ms, identity = self._nonces.get((channel, nonce), (0, ""))
            if identity and now_ms - sent_ms < _NONCE_MS:
                first = next((one for one in self.messages if one["id"] == identity), None)
                return _refusal(10008) if first is None else answer_json(first)
        self._count += 1
        message: dict[str, Any] = {
            "id": str(((self.clock.wall_ms() - _EPOCH_MS) << 22) + self._count),
            "channel_id": channel,
            "content": str(fields.get("content", "")),
            "timestamp": "2026-01-01T00:00:00+00:00",
            "type": 0,
            "edited_timestamp": None,
            "tts": False,
            "pinned": False,
            "mention_everyone": False,
            **{name: [] for name in ("mentions", "mention_roles", "attachments", "embeds", "components")},
            "author": {"id": "1", "username": "bot", "discriminator": "0", "avatar": None},
        }
        message |= {name: fields[name] for name in ("embeds", "flags", "nonce", "message_reference") if name in fields}
        message["attachments"] = fields.get("uploads", [])
        self.messages.append(message)
        self._nonces[channel, nonce] = (now_ms, str(message["id"]))
        return answer_json(message, headers=self._bucket(channel))

    def _history(self, channel: str, fields: dict[str, object]) -> Answer:
        """Return a page of a channel, the newest first, without nonces: those are lost, and so Discord has it."""
        if not self.shows_history:
            return answer_json([])
        before = int(str(fields.get("before", 1 << 63)))
        found = [one for one in self.messages if one["channel_id"] == channel and int(one["id"]) < before]
        page = found[::-1][: int(str(fields.get("limit", 50)))]
        return answer_json([{name: value for name, value in one.items() if name != "nonce"} for one in page])

    def _bucket(self, channel: str) -> dict[str, str]:
        """Return what Discord says beside each answer: whether the channel takes more, and when."""
        seconds = self.full_ms(channel) / 1000
        if not seconds:
            return {}
        return {
            "X-RateLimit-Bucket": channel,
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset-After": str(seconds),
        }

    def _change(self, channel: str, identity: str, fields: dict[str, object], *, deletes: bool) -> Answer:
        wanted = (channel, identity)
        found = next((one for one in self.messages if (one["channel_id"], one["id"]) == wanted), None)
        if found is None:
            return _refusal(10008)
        if deletes:
            self.messages.remove(found)
            return Answer(status=204)
        wrong = self._wrong(channel, fields)
        if wrong is None:
            found |= {name: fields[name] for name in ("content", "embeds") if name in fields}
        return wrong or answer_json(found)

    def _wrong(self, channel: str, fields: dict[str, object]) -> Answer | None:
        content = str(fields.get("content") or "")
        uploads: Any = fields.get("uploads", [])
        if any(one["size"] > _FILE_BYTES_MAX for one in uploads):
            return _refusal(40005)
        if not content.strip() and not fields.get("embeds") and not uploads:
            return _refusal(50006)
        errors: dict[str, Any] = {}
        if len(content) > _CONTENT_MAX:
            errors["content"] = {"_errors": [{"code": "BASE_TYPE_MAX_LENGTH", "message": "Must be 2000 or fewer."}]}
        if len(str(fields.get("nonce", ""))) > _NONCE_MAX:
            errors["nonce"] = {"_errors": [{"code": "NONCE_TYPE_TOO_LONG", "message": "Nonce is too long."}]}
        reference = fields.get("message_reference")
        if isinstance(reference, dict) and not any(
            (one["channel_id"], one["id"]) == (channel, str(reference.get("message_id"))) for one in self.messages
        ):
            unknown = {"code": "REPLIES_UNKNOWN_MESSAGE", "message": "Unknown message"}
            errors["message_reference"] = {"_errors": [unknown]}
        if not errors:
            return None
        return answer_json({"code": 50035, "message": "Invalid Form Body", "errors": errors}, status=400)

    def _limited(self, channel: str) -> Answer | None:
        seconds = self.wait_ms(channel) / 1000
        if not seconds:
            return None
        headers = {
            "Retry-After": str(math.ceil(seconds)),
            "Via": "1.1 google",  # Discord, and not Cloudflare before it, says so
            "X-RateLimit-Scope": "user",
            "X-RateLimit-Bucket": channel,
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset-After": str(seconds),
        }
        body = {"message": "You are being rate limited.", "retry_after": seconds, "global": False}
        return answer_json(body, status=429, headers=headers)


def _unauthorized() -> Answer:
    return answer_json({"message": "401: Unauthorized", "code": 0}, status=401)


def _refusal(code: int) -> Answer:
    status, message = _MEANINGS.get(code, (403, "Refused"))
    return answer_json({"message": message, "code": code}, status=status)
