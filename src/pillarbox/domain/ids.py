"""
Ids: UUIDv7 (RFC 9562 §5.7), written as 22 characters of base64url.

A ULID's 26 characters would not fit Discord's nonce of 25; 22 leave room for a part and an epoch (contract UN2).
"""

from __future__ import annotations

import binascii
import re
from typing import NewType

from pillarbox.errors import InvalidMessage

MessageId = NewType("MessageId", str)
LeaseId = NewType("LeaseId", bytes)

ID_LENGTH = 22
PARTS_MAX = 64 * 64
EPOCHS_MAX = 64
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ID = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]\Z")
_RANDOM_BITS = 0x0FFF_3FFF_FFFF_FFFF_FFFF
_VERSION_7_AND_VARIANT = 0x7000_8000_0000_0000_0000
"""What stands around the random bits of the last ten bytes."""


ID_RANDOM_BYTES = 10


def message_id(wall_ms: int, random: bytes) -> MessageId:
    """Make a UUIDv7 out of a time in milliseconds since 1970 and 10 random bytes."""
    number = wall_ms << 80 | int.from_bytes(random, "big") & _RANDOM_BITS | _VERSION_7_AND_VARIANT
    raw = number.to_bytes(16, "big")
    return MessageId(binascii.b2a_base64(raw, newline=False)[:ID_LENGTH].translate(_TO_URL).decode("ascii"))


_TO_URL = bytes.maketrans(b"+/", b"-_")


def is_message_id(text: object) -> bool:
    """Whether *text* could be an id (16 bytes leave only four choices for the last character)."""
    if not isinstance(text, str):
        raise InvalidMessage("id", f"expected text, not {type(text).__name__}")
    return _ID.match(text) is not None


def dedupe_token(message: str, part: int, epoch: int) -> str:
    """
    Return the token that every attempt of a part carries: 22 characters of id, 2 of part, 1 of resend epoch.

    Args:
        part: 0–4095.
        epoch: 0–63; grows only when a person orders a copy.
    """
    return message + _ALPHABET[part >> 6] + _ALPHABET[part & 63] + _ALPHABET[epoch]
