"""
Mail addresses: which ones are well-formed, and how they are spelt on the wire. Pure.

One address and nothing else (RFC 5321 §4.1.2 ``Mailbox``, RFC 6531 §3.3 for what is not ASCII): no display name, no
list, no comment. Domains become A-labels, so that they can still be sent to a server without SMTPUTF8.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from pillarbox.errors import InvalidMessage

# RFC 5321 §4.5.3.1: a local part, a domain, and a path, which has two angle brackets around the address.
_LOCAL_OCTETS_MAX: Final = 64
_DOMAIN_OCTETS_MAX: Final = 253
_ADDRESS_OCTETS_MAX: Final = 254

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED_STRING = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"')
# RFC 5321 §4.1.2 ``sub-domain``, RFC 1035 §2.3.4 for its length.
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A well-formed address. ``domain`` is in lower case and ASCII, or an address literal in brackets."""

    local: str
    domain: str

    def __str__(self) -> str:
        """Spell it as in a command or a header."""
        return f"{self.local}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Whether it can only be sent to a server with SMTPUTF8 (RFC 6531)."""
        return not self.local.isascii()


def parse_address(text: str, *, field: str) -> Address:
    """
    Check one address.

    Raises:
        InvalidMessage: Names *field*; never repeats the address.
    """
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise InvalidMessage(field, "expected one mail address: local-part@domain, without a name")
    if not _is_local_part(local):
        raise InvalidMessage(field, "expected the part before '@' as RFC 5321 writes it: no blanks, commas or <>")
    spelt = _literal(domain) if domain.startswith("[") else _domain(domain)
    if spelt is None:
        raise InvalidMessage(field, "expected a domain such as example.org, or an address such as [192.0.2.1]")
    address = Address(local=local, domain=spelt)
    if len(str(address).encode()) > _ADDRESS_OCTETS_MAX:
        raise InvalidMessage(field, f"expected an address of at most {_ADDRESS_OCTETS_MAX} octets")
    return address


def parse_domain(text: str) -> str | None:
    """Return a domain's A-labels in lower case, or ``None`` if it is not one."""
    return _domain(text)


def _is_local_part(local: str) -> bool:
    if not (_DOT_STRING.fullmatch(local) or _QUOTED_STRING.fullmatch(local)):
        return False
    # Beyond ASCII everything is allowed by RFC 6531; what cannot be seen is refused all the same, as nobody means it.
    if any(unicodedata.category(character)[0] in "CZ" for character in local if ord(character) > 0x7F):
        return False
    return len(local.encode()) <= _LOCAL_OCTETS_MAX


def _literal(domain: str) -> str | None:
    """RFC 5321 §4.1.3: an IP address in brackets."""
    inside = domain.removeprefix("[").removesuffix("]")
    if f"[{inside}]" != domain or "%" in inside:
        return None
    try:
        if inside[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inside[5:]).compressed}]"
        return f"[{ipaddress.IPv4Address(inside)}]"
    except ValueError:
        return None


def _domain(domain: str) -> str | None:
    if not domain.isascii():
        # Not the standard library's codec: to IDNA 2003, faß.de and fass.de are the same domain.
        import idna

        try:
            domain = idna.encode(domain, uts46=True, transitional=False).decode("ascii")
        except UnicodeError:
            return None
    labels = domain.lower().split(".")
    # RFC 3696 §2: a top-level domain is never all digits, so an IP address without brackets is a mistake.
    if len(domain) > _DOMAIN_OCTETS_MAX or labels[-1].isdigit():
        return None
    return ".".join(labels) if all(_LABEL.fullmatch(label) for label in labels) else None
