"""
A Matrix homeserver with one user, and any room that was not taken away.

Written from https://spec.matrix.org (client-server API), with what Synapse does where the specification leaves it open.
"""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import unquote

from pillarbox.clock import Clock
from pillarbox.testing.platforms.server import FakePlatform, answer_json, fields_of
from pillarbox.testing.receiver import Answer, Received

_EVENT_BYTES_MAX: Final = 65_536
_UPLOAD: Final = "/_matrix/media/v3/upload"
_UPLOAD_BYTES_MAX: Final = 50 << 20
_PREFIX: Final = "/_matrix/client/v3/"


class FakeMatrix(FakePlatform):
    """
    A homeserver, for logins, refreshes, sends and redactions.

    Args:
        user: The user's name.
        password: The user's password.
        seconds: At most one event in so many seconds, after three at once; ``None`` for no limit.

    Attributes:
        messages: What stands in the rooms, in the order of sending.
        aliases: From alias to room.
        logins: How often somebody logged in.
        uploads: Name, type and bytes of what was uploaded, by its URL.
    """

    def __init__(
        self,
        *,
        user: str = "alice",
        password: str = "secret-of-alice",  # noqa: S107 — nobody's
        seconds: float | None = None,
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(place_seconds=seconds, port=port, clock=clock)
        self.user = user
        self.password = password
        self.aliases: dict[str, str] = {}
        self.logins = 0
        self.uploads: dict[str, tuple[str, str, bytes]] = {}
        self._count = 0
        self._devices: dict[str, str | None] = {}  # from access token to device
        self._refresh: dict[str, str] = {}
        # What a refresh token was exchanged for: the first use of either ends that refresh token.
        self._exchanged: dict[str, tuple[str, str]] = {}
        self._transactions: dict[tuple[str | None, str], str] = {}
        self._refused: dict[str, tuple[int, str, str]] = {}
        self._sent: dict[str, tuple[str | None, str, int]] = {}  # by which device, under which id, and when

    @property
    def url(self) -> str:
        """The URL of a channel that leads here."""
        return f"matrix://{self.user}:{self.password}@test.local?base_url={self.base_url}"

    def texts(self, room: str) -> list[str]:
        """Return what stands in a room, in order."""
        return [event["content"]["body"] for event in self.messages if event["room_id"] == room]

    def refuse(self, room: str, code: str = "M_FORBIDDEN", *, status: int = 403, error: str = "not in room") -> None:
        """Refuse everything into a room from now on."""
        self._refused[room] = (status, code, error)

    def expire_tokens(self) -> None:
        """Let every access token be over; refresh tokens stay."""
        self._devices = {}

    def revoke_tokens(self) -> None:
        """Let every token be over."""
        self._devices, self._refresh = {}, {}

    def token_without_device(self) -> str:
        """Return a token such as an administrator makes: it has no device."""
        return self._new_token(None)

    def tokens(self, device: str = "ELSEWHERE") -> tuple[str, str]:
        """Return an access token and a refresh token, as somebody gets them who logs in elsewhere."""
        access = self._new_token(device)
        self._refresh[f"syr_{access}"] = device
        return access, f"syr_{access}"

    def answer(self, request: Received) -> Answer:
        """See `FakePlatform`."""
        path = request.path.partition("?")[0]
        if path == _UPLOAD:
            return self._upload(request)
        if not path.startswith(_PREFIX):
            return _refusal(404, "M_UNRECOGNIZED", "Unrecognized request")
        pieces = [unquote(piece) for piece in path.removeprefix(_PREFIX).split("/")]
        fields = fields_of(request)
        match request.method, pieces:
            case "POST", ["login"]:
                return self._login(fields)
            case "POST", ["refresh"]:
                return self._renew(fields)
            case "GET", ["directory", "room", alias]:
                room = self.aliases.get(alias)
                return _refusal(404, "M_NOT_FOUND", "No room") if room is None else answer_json({"room_id": room})
        token = _token(request)
        if (wrong := self._unauthorized(token)) is not None:
            return wrong
        self._used(token)
        device = self._devices[token]
        match request.method, pieces:
            case "GET", ["account", "whoami"]:
                known = {"user_id": f"@{self.user}:test.local", "device_id": device}
                return answer_json({name: value for name, value in known.items() if value is not None})
            case "GET", ["rooms", room, "messages"]:
                return self._messages(room, device, fields)
            case "PUT", ["rooms", room, "send", kind, _]:
                return self._once(device, path, room, kind, fields, len(request.body))
            case "PUT", ["rooms", room, "redact", event, _]:
                self.messages = [one for one in self.messages if one["event_id"] != event]
                return self._once(device, path, room, "m.room.redaction", fields, len(request.body))
        return _refusal(404, "M_UNRECOGNIZED", "Unrecognized request")

    def _unauthorized(self, token: str) -> Answer | None:
        if not token:
            return _refusal(401, "M_MISSING_TOKEN", "Missing access token")
        if token not in self._devices:
            return _refusal(401, "M_UNKNOWN_TOKEN", "Invalid access token", soft_logout=True)
        return None

    def _messages(self, room: str, device: str | None, fields: dict[str, Any]) -> Answer:
        """Return a page of a room, from the newest event back; its own transaction ids a device is shown."""
        if room in self._refused:
            return _refusal(*self._refused[room])
        found = []
        for one in reversed(self.messages):
            if one["room_id"] != room:
                continue
            sender, transaction, sent_ms = self._sent[one["event_id"]]
            shown = {"transaction_id": transaction} if sender is not None and sender == device else {}
            more = {"type": "m.room.message", "sender": f"@{self.user}:test.local", "origin_server_ts": sent_ms}
            found.append({**one, **more, "unsigned": shown})
        start, limit = int(fields.get("from") or 0), int(fields.get("limit") or 10)
        page = {"start": str(start), "chunk": found[start : start + limit]}
        return answer_json(page | ({"end": str(start + limit)} if start + limit < len(found) else {}))

    def _upload(self, request: Received) -> Answer:
        if (wrong := self._unauthorized(_token(request))) is not None:
            return wrong
        if len(request.body) > _UPLOAD_BYTES_MAX:
            return _refusal(413, "M_TOO_LARGE", "Upload request body is too large")
        url = f"mxc://test.local/{len(self.uploads)}"
        name = str(fields_of(request).get("filename", ""))
        self.uploads[url] = (name, request.headers.get("content-type", ""), request.body)
        return answer_json({"content_uri": url})

    def _login(self, fields: dict[str, Any]) -> Answer:
        name = str(fields.get("identifier", {}).get("user", ""))
        given = (name.removeprefix("@").partition(":")[0], fields.get("password"))
        if given != (self.user, self.password):
            return _refusal(403, "M_FORBIDDEN", "Invalid username or password")
        self.logins += 1
        device = str(fields.get("device_id") or f"DEVICE{self.logins}")
        return self._tokens(device, refreshable=bool(fields.get("refresh_token")))

    def _renew(self, fields: dict[str, Any]) -> Answer:
        """Exchange a refresh token: once more where nobody used what it was exchanged for, which then ends."""
        given = str(fields.get("refresh_token"))
        device = self._refresh.get(given)
        if device is None:
            return _refusal(401, "M_UNKNOWN_TOKEN", "Unknown")
        self._used(given)
        access, refresh = self._exchanged.pop(given, ("", ""))
        self._devices.pop(access, None)
        self._refresh.pop(refresh, None)
        answer = self._tokens(device, refreshable=True)
        self._exchanged[given] = (f"syt_fake_token_{self._count}", f"syr_syt_fake_token_{self._count}")
        return answer

    def _used(self, token: str) -> None:
        for given in [given for given, got in self._exchanged.items() if token in got]:
            del self._exchanged[given]
            self._refresh.pop(given, None)

    def _tokens(self, device: str, *, refreshable: bool) -> Answer:
        token = self._new_token(device)
        body = {"user_id": f"@{self.user}:test.local", "access_token": token, "device_id": device}
        if refreshable:
            body["refresh_token"] = f"syr_{token}"
            self._refresh[body["refresh_token"]] = device
        return answer_json(body)

    def _new_token(self, device: str | None) -> str:
        self._count += 1
        token = f"syt_fake_token_{self._count}"
        self._devices[token] = device
        return token

    def _once(  # noqa: PLR0917 — what a request has
        self, device: str | None, path: str, room: str, kind: str, content: dict[str, Any], size: int
    ) -> Answer:
        """Keep an event, once for each device and path: so far reaches a transaction id."""
        known = self._transactions.get((device, path))
        if known is not None:
            return answer_json({"event_id": known})
        if room in self._refused:
            return _refusal(*self._refused[room])
        if size > _EVENT_BYTES_MAX:
            return _refusal(413, "M_TOO_LARGE", "event too large")
        wait_ms = self.wait_ms("user")
        if wait_ms:
            after = {"Retry-After": str(math.ceil(wait_ms / 1000))}
            return _refusal(429, "M_LIMIT_EXCEEDED", "Too Many Requests", headers=after, retry_after_ms=int(wait_ms))
        self._count += 1
        event = f"$fake{self._count}"
        self._transactions[device, path] = event
        if kind == "m.room.message":
            self._keep(event, room, content)
            self._sent[event] = (device, unquote(path.rpartition("/")[2]), self.clock.wall_ms())
        return answer_json({"event_id": event})

    def _keep(self, event: str, room: str, content: dict[str, Any]) -> None:
        related = content.get("m.relates_to", {})
        for one in self.messages:
            if related.get("rel_type") == "m.replace" and one["event_id"] == related.get("event_id"):
                one["content"] = content["m.new_content"]
                return
        self.messages.append({"event_id": event, "room_id": room, "content": content})


def _token(request: Received) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _refusal(status: int, code: str, error: str, *, headers: dict[str, str] | None = None, **fields: object) -> Answer:
    return answer_json({"errcode": code, "error": error, **fields}, status=status, headers=headers)
