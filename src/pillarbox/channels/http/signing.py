"""
Signatures of webhooks: Standard Webhooks 1.0 with HMAC-SHA256 (``v1``), for the sender and for a receiver.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Signature scheme": the
signed text is ``{id}.{timestamp}.{raw body}``. The id is the same for every attempt, the timestamp is the attempt's.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from pillarbox.errors import ConfigError, InvalidMessage

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
TOLERANCE_SECONDS: Final = 300

_PREFIX = "whsec_"
_SECRET_BYTES_MIN = 24  # the specification's table: "at least 24 bytes (192 bits, 512 maximum)"
_SECRET_BYTES_MAX = 64
_DIGEST_BYTES = 32
_SIGNATURES_MAX = 32  # bounds what an unauthenticated request can make a receiver do
_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z")


class Secret:
    """A shared key, ready to sign. Shows itself in no repr, log or error."""

    __slots__ = ("_start",)

    def __init__(self, key: bytes) -> None:
        self._start = hmac.new(key, digestmod="sha256")

    def __repr__(self) -> str:
        return "Secret(***)"

    def digest(self, signed: bytes) -> bytes:
        """Return the 32 bytes of HMAC-SHA256."""
        # A copy skips the set-up of the key, which costs as much as a short message.
        code = self._start.copy()
        code.update(signed)
        return code.digest()


def parse_secret(text: object, *, field: str) -> Secret:
    """
    Read ``whsec_`` followed by base64 of 24–64 bytes; padding may be missing.

    Raises:
        ConfigError: Names *field*; its text does not hold the secret.
    """
    expected = f"expected {_PREFIX} followed by base64 of {_SECRET_BYTES_MIN}–{_SECRET_BYTES_MAX} bytes"
    if not isinstance(text, str) or not text.startswith(_PREFIX):
        raise ConfigError(field, expected)
    encoded = text.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        # `from None`: the cause's traceback would show the frame that holds the secret.
        raise ConfigError(field, expected) from None
    if not _SECRET_BYTES_MIN <= len(key) <= _SECRET_BYTES_MAX:
        raise ConfigError(field, f"{expected}, not of {len(key)}")
    return Secret(key)


def signature_headers(
    message: str, body: bytes, secrets: Collection[Secret], *, timestamp_seconds: int
) -> dict[str, str]:
    """
    Return the headers that let a receiver recognise *body* as ours.

    Args:
        message: The id; the same for every attempt. Must not hold a full stop, which separates what is signed.
        secrets: All that are valid now, the newest first; without one the id and the timestamp still go out.
        timestamp_seconds: When this attempt is made, seconds since 1970.
    """
    timestamp = str(timestamp_seconds)
    headers = {ID_HEADER: message, TIMESTAMP_HEADER: timestamp}
    if secrets:
        signed = _signed(message, timestamp, body)
        headers[SIGNATURE_HEADER] = " ".join(
            ["v1," + binascii.b2a_base64(secret.digest(signed), newline=False).decode("ascii") for secret in secrets]
        )
    return headers


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: Iterable[Secret],
    *,
    now_seconds: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str:
    """
    Check, at a receiver, that *body* was signed with one of *secrets* not long ago.

    Args:
        body: As it came in: parsing and writing JSON again breaks the signature.
        headers: The request's, names in any case.
        now_seconds: The receiver's time, seconds since 1970.
        tolerance_seconds: How far the timestamp may be from it, either way; older ones may be replays.

    Returns:
        The webhook's id. A second request with the same id is the same message.

    Raises:
        InvalidMessage: Names the header that is missing, malformed, too old or does not match. Do not use the body.
    """
    given = {name.lower(): value for name, value in headers.items()}
    message = given.get(ID_HEADER, "")
    if not message or "." in message:
        raise InvalidMessage(ID_HEADER, "expected an id without a full stop")
    timestamp = given.get(TIMESTAMP_HEADER, "")
    if not _TIMESTAMP.match(timestamp):
        raise InvalidMessage(TIMESTAMP_HEADER, "expected whole seconds since 1970")
    if not abs(now_seconds - int(timestamp)) <= tolerance_seconds:
        raise InvalidMessage(TIMESTAMP_HEADER, f"expected a time within {tolerance_seconds:g} s of now")
    offered = _digests(given.get(SIGNATURE_HEADER, ""))
    signed = _signed(message, timestamp, body)
    matched = False
    for secret in secrets:
        expected = secret.digest(signed)
        for digest in offered:
            # No early exit: the time taken must not tell which secret or which byte was right.
            matched |= hmac.compare_digest(expected, digest)
    if not matched:
        raise InvalidMessage(SIGNATURE_HEADER, "expected a v1 signature of this id, timestamp and body")
    return message


def _signed(message: str, timestamp: str, body: bytes) -> bytes:
    return f"{message}.{timestamp}.".encode() + body


def _digests(header: str) -> list[bytes]:
    """Decode the ``v1`` signatures of exactly 32 bytes: a shorter one could match by its length (CVE-2024-21491)."""
    digests = []
    for signature in header.split(" ")[:_SIGNATURES_MAX]:
        version, _, encoded = signature.partition(",")
        if version != "v1":
            continue
        try:
            digest = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(digest) == _DIGEST_BYTES:
            digests.append(digest)
    return digests
