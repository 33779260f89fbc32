"""
The very values that a channel must keep to itself, in every form in which others may repeat them (contract CH8).

A table of how secrets look (`masking`) cannot know that "opensesame" is one. The channel does: it stands in its URL, in
its headers, or is its password. What comes back from the platform is looked through for these values as they are, with
escapes of any kind (`escapes`), and in base64, also where that holds more than the value.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from pillarbox.domain.casefold import folded

_LENGTH_MIN: Final = 3
_LENGTH_MAX: Final = 4096
# From here on a value is hidden inside of words too: a shorter one is found in half of them.
_ANYWHERE_LENGTH_MIN: Final = 8
_BASE64_LENGTH_MIN: Final = 6

# What stands in the paths and queries of webhooks' URLs and is no secret, but in every second answer.
_TRIVIAL: Final = frozenset(
    {
        "accounts", "alert", "alerts", "apps", "bots", "callback", "channel", "channels", "chat", "default", "event",
        "events", "false", "google", "graph", "hook", "hooks", "http", "https", "inbound", "incoming", "index",
        "integration", "integrations", "json", "mail", "message", "messages", "microsoft", "none", "notification",
        "notifications", "notify", "null", "plain", "post", "prod", "production", "public", "push", "rest", "rooms",
        "send", "sendmessage", "service", "services", "slack", "staging", "test", "tests", "text", "true", "user",
        "users", "utf-8", "v1alpha", "v1beta", "wait", "webhook", "webhookb2", "webhooks", "workflow", "workflows",
    }
)  # fmt: skip
# Headers that say what is sent, and not who sends it.
_OPEN_HEADERS: Final = frozenset({"accept", "user-agent", "cache-control", "pragma", "date", "via"})
_OPEN_HEADER_BEGINNINGS: Final = ("accept-", "content-")


class KnownSecrets:
    """
    What a channel holds and nobody may read. Shows itself in no repr, log or error.

    ``pieces`` are all the forms, folded, the longest first; each with whether it counts inside of words.
    """

    __slots__ = ("pieces",)

    def __init__(self, values: Iterable[str] = (), *, pairs: Iterable[tuple[str, str]] = ()) -> None:
        """
        Take note of *values*, and of user names with their passwords in *pairs*.

        Values of fewer than 3 characters are left alone: hiding them would hide nothing and blank out every text.
        """
        pieces: dict[str, bool] = {}
        for value in dict.fromkeys(values):
            _note(pieces, value)
        for user, password in pairs:
            _note(pieces, user)
            _note(pieces, password)
            # RFC 7617 §2 and RFC 4616 §2, with and without an identity to act as.
            for joined in (f"{user}:{password}", f"\0{user}\0{password}", f"{user}\0{user}\0{password}"):
                for form in _in_base64(joined):
                    pieces.setdefault(folded(form), True)
        self.pieces = tuple(sorted(pieces.items(), key=lambda item: len(item[0]), reverse=True))

    def __repr__(self) -> str:
        """Show how many, and none of them."""
        return f"<KnownSecrets, {len(self.pieces)} forms>"


def _note(pieces: dict[str, bool], value: str) -> None:
    if not _LENGTH_MIN <= len(value) <= _LENGTH_MAX or value.isspace():
        return
    anywhere = len(value) >= _ANYWHERE_LENGTH_MIN
    for form in _forms(value):
        pieces.setdefault(folded(form), anywhere)
    for form in _in_base64(value):
        pieces.setdefault(folded(form), True)


def _forms(value: str) -> Iterator[str]:
    """Yield the forms that are no escapes; a search sees through those itself (`escapes`)."""
    yield value
    yield value.replace(" ", "+")  # as forms write it
    yield value.encode("utf-8", "replace").hex()


def _in_base64(value: str) -> Iterator[str]:
    """Yield what of *value* is the same in base64 wherever it begins in what was encoded (RFC 4648 §4, §5)."""
    yield from _encoded(value.encode("utf-8", "replace"))
    if not value.isascii():
        # RFC 7617 §2.1: many clients still write it so.
        yield from _encoded(value.encode("latin-1", "replace"))


def _encoded(raw: bytes) -> Iterator[str]:
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
        first = -(-shift * 8 // 6)
        whole = (shift + len(raw)) * 8 // 6
        for form in (encoded[first:], encoded[first:whole]):
            if len(form) >= _BASE64_LENGTH_MIN:
                yield form
                yield form.replace("+", "-").replace("/", "_")


def in_url(url: str) -> list[str]:
    """List the secret parts of a URL: user information, path, query and fragment. Never raises."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    userinfo, at, _ = parts.netloc.rpartition("@")
    said = list(userinfo.partition(":")[::2]) if at else []
    pieces = parts.path.split("/")
    for half in (parts.query, parts.fragment):
        for item in half.replace(";", "&").split("&"):
            name, equals, value = item.partition("=")
            pieces.append(value if equals else name)
    # bot123456:TOKEN, without the word in front, and the token alone.
    pieces += [part for piece in pieces if ":" in piece for part in piece.removeprefix("bot").partition(":")[::2]]
    said += [piece for piece in pieces if len(piece) > _LENGTH_MIN and not _is_trivial(piece)]
    return list(
        dict.fromkeys(form for piece in filter(None, said) for form in (piece, unquote(piece, errors="replace")))
    )


def _is_trivial(piece: str) -> bool:
    return piece.lower() in _TRIVIAL


def in_headers(headers: Mapping[str, str]) -> list[str]:
    """List the values of configured headers that may say who sends, and what follows a scheme in them."""
    said: list[str] = []
    for name, value in headers.items():
        low = name.lower()
        if low in _OPEN_HEADERS or low.startswith(_OPEN_HEADER_BEGINNINGS) or _is_trivial(value):
            continue
        said.append(value)
        _, blank, credential = value.partition(" ")
        if blank:
            said += [credential.strip(), *_decoded(credential.strip())]
    return said


def in_signing_secret(text: str) -> list[str]:
    """List the forms of a webhook's secret: as it is written, without its prefix, and what it stands for."""
    encoded = text.removeprefix("whsec_")
    return [text, encoded, encoded.rstrip("="), *_decoded(encoded)]


def _decoded(encoded: str) -> list[str]:
    try:
        text = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
    except ValueError:
        return []
    return [text, *text.split(":", 1)] if text.isprintable() else []


NOTHING_KNOWN: Final = KnownSecrets()
