"""
Who a Matrix channel is: it logs in as one device for ever, refreshes its token, and never logs out.

A refresh token is good for one use, and holds until what it was exchanged for is used (spec.matrix.org, "Refreshing
access tokens"). So what comes of it is kept in the store before it is used, and one worker renews at a time: whoever is
killed in between leaves behind a token that still holds.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from pillarbox.channels.base import Attempt, Seams
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.client import Method
from pillarbox.channels.privacy.known_secrets import KnownSecrets
from pillarbox.domain.outcome import AnyOutcome, Deferred, RateLimited, Unavailable
from pillarbox.errors import ConfigError, StoreError

TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}\Z")  # it goes into a header
_DEVICE: Final = re.compile(r"[A-Za-z0-9._~-]{1,100}\Z")
_TURN_SECONDS: Final = 20  # whoever holds the turn for longer is gone, or comes too late to keep what it gets
_WAIT_SECONDS: Final = 1.0
_TURN: Final = "another worker renews the tokens of this channel"


class Reply(msgspec.Struct):
    """What homeservers answer, all of it optional."""

    errcode: str = ""
    error: str = ""
    event_id: str | None = None
    retry_after_ms: float | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    device_id: str | None = None
    room_id: str | None = None
    user_id: str = ""
    content_uri: str = ""


_REPLY: Final = msgspec.json.Decoder(Reply)


def read(answer: Answer) -> Reply | None:
    """Return what an answer says; ``None`` where it is unintelligible."""
    try:
        return _REPLY.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    What is kept in the store.

    Attributes:
        account: Whose tokens these are, by the configuration: with another one they are nobody's.
        taker: Who renews them now, since ``taken_ms``; empty for nobody.
    """

    account: str
    access: str = ""
    refresh: str = ""
    device: str = ""
    taker: str = ""
    taken_ms: int = 0

    def __repr__(self) -> str:
        """Show no token."""
        return "Kept(…)"


_KEPT: Final = msgspec.json.Decoder(Kept)


class Ask(Protocol):
    """Asks something of the homeserver that sends nothing of a message."""

    async def __call__(
        self, attempt: Attempt, method: Method, path: str, body: Mapping[str, Any], *, token: str | None = None
    ) -> Answer | AnyOutcome:
        """Return the answer, or the outcome of there being none."""


class MatrixSession:
    """
    The tokens of a channel.

    Args:
        ask: Asks the homeserver.
        refused: Returns what an answer means that gave no token.
        on_tokens: Called with all that must not be shown, whenever there are other tokens.
        server: The homeserver, which makes a user's name that user's.

    Attributes:
        token: With which requests are made; ``None`` before the first.
        user_id: Whose it is, once that was asked.
        device: Which device's; empty where it has none.

    Raises:
        ConfigError: Names the setting; its text holds no secret.
    """

    def __init__(
        self,
        ask: Ask,
        refused: Callable[[Answer], AnyOutcome],
        on_tokens: Callable[[KnownSecrets], None],
        *,
        server: str,
        user: str,
        password: str,
        access_token: str,
        refresh_token: str,
        device_id: str,
    ) -> None:
        if bool(user and password) == bool(access_token):
            raise ConfigError("user", "expected a user with a password, or an access token")
        if access_token and not TOKEN.match(access_token):
            raise ConfigError("access_token", "expected letters, digits and signs of ASCII, without blanks")
        if refresh_token and (password or not TOKEN.match(refresh_token)):
            raise ConfigError("refresh_token", "expected one of ASCII that came with the access token, and no password")
        if not _DEVICE.match(device_id):
            raise ConfigError("device_id", "expected letters, digits, '.', '_', '~' and '-', at most 100")
        self._ask = ask
        self._refused = refused
        self._on_tokens = on_tokens
        self._password = password
        self._login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
            "device_id": device_id,
            "initial_device_display_name": "pillarbox",
            "refresh_token": True,
        }
        # Tokens are long and random: nobody finds one by trying against its digest. A password has no digest here.
        named = f"{server} {user} {device_id}" if password else _digest(server, access_token, refresh_token)
        self._given = Kept(account=named, access=access_token, refresh=refresh_token)
        self.can_renew = bool(password)
        self.user_id = self.device = ""
        self.token: str | None = None
        self._is_known = False  # whose token it is was asked
        self._seams = Seams()
        self._id = ""
        self._lock = asyncio.Lock()
        on_tokens(KnownSecrets((password, access_token, refresh_token)))

    def start(self, seams: Seams) -> None:
        """Begin on the loop that runs now."""
        self._seams = seams
        self._id = seams.entropy.token(12).hex()
        self._lock = asyncio.Lock()
        # Exchanged and forgotten, it would lock out whoever comes later.
        self.can_renew = bool(self._password or (self._given.refresh and seams.keep.lasts))
        self.token = None if self.can_renew else self._given.access

    async def authorise(self, attempt: Attempt, *, stale: str | None) -> AnyOutcome | None:
        """See to a token other than *stale* whose device is known; return the outcome where there is none."""
        async with self._lock:
            if self.token is None or self.token == stale:
                try:
                    refused = await self._renew(attempt)
                except StoreError as exc:
                    return Deferred(f"the tokens of this channel cannot be read or kept: {exc}", outage=True)
                if refused is not None:
                    return refused
            return None if self._is_known else await self._identify(attempt)

    async def _identify(self, attempt: Attempt) -> AnyOutcome | None:
        asked = await self._ask(attempt, "GET", "account/whoami", {}, token=self.token)
        if not isinstance(asked, Answer):
            return asked
        self.device = ""
        found = read(asked)
        if self.can_renew and found is not None and found.errcode == "M_UNKNOWN_TOKEN":
            return None  # the message's own request renews it
        if asked.status != 200 or found is None or not found.user_id:
            # Not by the rules for messages: what they refuse is a message, and here it was the account.
            return self._refused(asked)
        self.user_id, self.device = found.user_id, found.device_id or ""
        self._is_known = True
        return None

    async def _renew(self, attempt: Attempt) -> AnyOutcome | None:
        """Take over newer tokens than ours, or get some; return what became of it where neither works."""
        if not self.can_renew:
            return Unavailable("the access token is over, and there is nothing to get another one with", auth=True)
        text = await self._seams.keep.read()
        kept = self._kept(text)
        if kept.access and kept.access != self.token:
            # Another worker, or an earlier process, has got them.
            self._adopt(kept)
            return None
        waited_ms = self._seams.clock.wall_ms() - kept.taken_ms
        if kept.taker not in {"", self._id} and 0 <= waited_ms < 1000 * _TURN_SECONDS:
            return RateLimited(_TURN, scope="channel", after=_WAIT_SECONDS)
        taken = _text(msgspec.structs.replace(kept, taker=self._id, taken_ms=self._seams.clock.wall_ms()))
        if not await self._seams.keep.replace(text, taken):
            return RateLimited(_TURN, scope="channel", after=_WAIT_SECONDS)
        got = await self._exchanged(kept, attempt)
        if not isinstance(got, Kept):
            await self._seams.keep.replace(taken, _text(msgspec.structs.replace(kept, taker="", taken_ms=0)))
            return got
        # Before they are used, which ends what they were exchanged for.
        if not await self._seams.keep.replace(taken, _text(got)):
            return RateLimited(_TURN, scope="channel", after=_WAIT_SECONDS)
        self._adopt(got)
        return None

    def _kept(self, text: str | None) -> Kept:
        """Return what is kept for this account; what the configuration has where that is nothing."""
        if text is None:
            return self._given
        try:
            kept = _KEPT.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._given
        return kept if kept.account == self._given.account else self._given

    async def _exchanged(self, kept: Kept, attempt: Attempt) -> Kept | AnyOutcome:
        """Refresh the token, or log in again as the same device."""
        answer: Answer | AnyOutcome = Unavailable("there is no token yet", auth=True)
        got: Kept | None = None
        if kept.refresh:
            answer = await self._ask(attempt, "POST", "refresh", {"refresh_token": kept.refresh})
            if not isinstance(answer, Answer):
                return answer
            if answer.status >= 500 or answer.status == 429:
                return self._refused(answer)
            got = self._tokens(answer, kept)
        if got is None and self._password:
            answer = await self._ask(attempt, "POST", "login", self._login)
            if not isinstance(answer, Answer):
                return answer
            got = self._tokens(answer, msgspec.structs.replace(kept, refresh=""))
        if got is not None:
            return got
        return self._refused(answer) if isinstance(answer, Answer) else answer

    def _tokens(self, answer: Answer, kept: Kept) -> Kept | None:
        found = read(answer)
        access = "" if answer.status != 200 or found is None else found.access_token or ""
        if found is None or not TOKEN.match(access):
            return None
        refresh = found.refresh_token or kept.refresh
        device = found.device_id or kept.device
        return Kept(account=kept.account, access=access, refresh=refresh, device=device)

    def _adopt(self, kept: Kept) -> None:
        # Answers to requests that were made with the last token may still come, and repeat it.
        self._on_tokens(KnownSecrets((self._password, kept.access, kept.refresh, self.token or "")))
        self.token = kept.access
        self._is_known = False


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _text(kept: Kept) -> str:
    return msgspec.json.encode(kept).decode()
