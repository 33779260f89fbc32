"""
The guard at the way out: which addresses may be dialled (proof.md, "egress").

It judges numbers: a name is resolved once, every address of the answer is judged, and the connection goes to an
address that was judged. So neither a spelling nor a second look-up gets around it. A URL that is passed on for others
to dial is judged by its name too, and passed on as it was read.

Two levels of trust. A URL that the operator wrote may lead to private and loopback addresses. An address that comes
from data (recipients, media, the API) may only be public, or in a network that ``egress.allow`` names. Link-local and
metadata addresses are never dialled: no setting allows them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from pillarbox.errors import ConfigError, EgressRefused

if TYPE_CHECKING:
    from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
AddrInfo = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]
]
Resolve = Callable[[str, int], Awaitable[list[str]]]
Dial = Callable[[AddrInfo], socket.socket]

SETTING: Final = "egress.allow"
_NEXT_ADDRESS_SECONDS: Final = 0.25
_VETTING_SECONDS_MAX: Final = 2.0


def networks(texts: Iterable[str], *, field: str = SETTING) -> tuple[Network, ...]:
    """Read an allow-list such as ``["10.1.0.0/16", "fd12::/48"]``. Raises ConfigError naming *field*."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError:
            raise ConfigError(field, f"expected networks such as 10.1.0.0/16 or fd12::/48, not {text!r}") from None
    return tuple(found)


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


# For nobody, whoever wrote the URL.
_NEVER = _networks(
    "169.254.0.0/16",  # RFC 3927 link-local: AWS, Google, Azure, OpenStack, Scaleway, Tencent metadata; ECS credentials
    "fe80::/10",  # RFC 4291 link-local: OpenStack fe80::a9fe:a9fe
    "224.0.0.0/24",  # RFC 5771 local network control
    "ff02::/16",  # RFC 4291 link-local multicast
    "168.63.129.16/32",  # Azure WireServer
    "100.100.100.200/32",  # Alibaba Cloud
    "192.0.0.192/32",  # Oracle Cloud
    "fd00:ec2::/32",  # AWS: ::254 metadata, ::23 EKS pod identity
    "fd20:ce::254/128",  # Google Cloud
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
    "fd00:42::42/128",  # Scaleway
    "fd00:a9fe:a9fe::1/128",  # Akamai, once Linode
    "fd00:100::100:200/128",  # Alibaba Cloud
)
# Of IPv6 only what IANA gives out as global unicast may come from data, less what is inside it and is not that.
_GLOBAL_V6 = IPv6Network("2000::/3")
# Python 3.11's is_global lets NAT64, 6to4, ::7f00:1 and 192.0.0.192 through, so the lists are our own:
# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry.
_NOT_PUBLIC = _networks(
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier-grade NAT
    "127.0.0.0/8",  # loopback
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays, deprecated
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarking
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
    "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "3fff::/20",  # documentation
)
# Where an IPv6 address carries an IPv4 address that somebody along the way will turn it into: prefix, bits below it.
_CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # RFC 4291 mapped: the kernel itself dials the IPv4 address
    (IPv6Network("::/96"), 0),  # RFC 4291 compatible, deprecated
    (IPv6Network("::ffff:0:0:0/96"), 0),  # RFC 2765 translated
    (IPv6Network("64:ff9b::/96"), 0),  # RFC 6052 NAT64
    (IPv6Network("64:ff9b:1::/48"), 0),  # RFC 8215 local NAT64, in its /96 form
    (IPv6Network("2002::/16"), 80),  # RFC 3056 6to4
)
_TEREDO = IPv6Network("2001::/32")  # RFC 4380: server in the middle, the client inverted at the end
_ISATAP, _ISATAP_MASK = 0x0000_5EFE, 0xFDFF_FFFF  # RFC 5214 §6.1: 0000:5efe or 0200:5efe before the IPv4 address
_V4_BITS = 0xFFFF_FFFF

# Control characters, blanks of any script and backslashes: parsers disagree about where a host with one ends.
_DOUBTFUL = re.compile(r"[\x00-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff\\]")
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z")
_NAME_LENGTH_MAX = 253
# Names that lead to a metadata service or to this machine wherever they are asked, so nobody needs to be asked.
_NEVER_NAMES: Final = frozenset(
    {
        "metadata", "metadata.google.internal", "metadata.goog", "metadata.azure.internal", "metadata.tencentyun.com",
        "instance-data", "instance-data.ec2.internal",
    }
)  # fmt: skip
# RFC 6761, RFC 6762 and RFC 8375, and what networks call themselves inside: ICANN keeps `internal` for that.
_INSIDE: Final = frozenset(
    {
        "localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa",
        "ip6-localhost", "ip6-loopback", "onion", "test", "invalid",
    }
)  # fmt: skip
# The URL standard's "ends in a number": such a host is an IPv4 address or nothing, never a name.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\Z")


def guard(address: str | Address, *, allowed_networks: Iterable[Network] = (), operator: bool) -> Address:
    """
    Judge one numeric address.

    Args:
        allowed_networks: What the operator opened for addresses out of data. They never open a metadata address.
        operator: The address belongs to a URL that the operator wrote.

    Returns:
        The address to dial.

    Raises:
        EgressRefused: Names the address and the setting that would allow it, if one would.
        ValueError: Not a numeric address in its usual spelling.
    """
    text, zone, _ = str(address).partition("%")
    number = ip_address(text)
    # Only a link-local address needs a zone, so one that has it is taken for link-local.
    if zone or any(one in network for one in (number, *_carried(number)) for network in _NEVER):
        raise EgressRefused(f"{number} is a link-local or metadata address: no setting allows it")
    if operator or _is_public(number) or any(number in network for network in allowed_networks):
        return number
    # What the kernel dials for a mapped address is the IPv4 address, so a network that holds it allows both.
    mapped = number.ipv4_mapped if isinstance(number, IPv6Address) else None
    if mapped is not None and any(mapped in network for network in allowed_networks):
        return mapped
    raise EgressRefused(f"{number} is not a public address", setting=SETTING)


def _is_public(number: Address) -> bool:
    if isinstance(number, IPv6Address) and (number not in _GLOBAL_V6 or _is_isatap(number)):
        return False
    return not any(number in network for network in _NOT_PUBLIC)


def _is_isatap(number: IPv6Address) -> bool:
    return int(number) >> 32 & _ISATAP_MASK == _ISATAP


def _carried(number: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that *number* would be turned into."""
    if isinstance(number, IPv4Address):
        return ()
    bits = int(number)
    found = [IPv4Address(bits >> shift & _V4_BITS) for network, shift in _CARRIERS if number in network]
    if _is_isatap(number):
        found.append(IPv4Address(bits & _V4_BITS))
    if number in _TEREDO:
        found += [IPv4Address(~bits & _V4_BITS), IPv4Address(bits >> 64 & _V4_BITS)]
    return tuple(found)


async def system_resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, once. Raises OSError when the name has no address."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def open_socket(info: AddrInfo) -> socket.socket:
    """Make the socket that will be connected to the address in *info*."""
    return socket.socket(family=info[0], type=info[1], proto=info[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """
    The guard with its settings, for one channel.

    Attributes:
        operator: The operator wrote the URLs; else they come from data.
        allowed_networks: What data may reach beyond public addresses.
        resolve: From a host name to numeric addresses. Tests pass one that asks no server.
        dial: From a judged address to a socket. Tests pass one that cannot dial.
    """

    operator: bool
    allowed_networks: tuple[Network, ...] = ()
    resolve: Resolve = system_resolve
    dial: Dial = open_socket

    def check_url(self, url: str) -> URL:
        """
        Judge what can be judged of *url* without a look-up: at accept time, and before every other use.

        Returns:
            The parsed URL. Dial this one: to parse the text again might read it differently.

        Raises:
            EgressRefused: Its text holds neither a password nor a token of the URL.
        """
        parsed = _parsed(url)
        if parsed is None or parsed.scheme not in {"http", "https"} or not parsed.raw_host:
            raise EgressRefused("expected a URL that begins with http:// or https:// and names a host")
        if parsed.raw_authority.rpartition("@")[1] and not self.operator:
            raise EgressRefused("a user name or password in a URL is no part of where it leads")
        if not parsed.port:
            raise EgressRefused("port 0 cannot be dialled")
        self._check_host(parsed.raw_host)
        return parsed

    def _check_host(self, host: str) -> None:
        if ":" in host:
            self._judge_literal(host)
            return
        name = host.rstrip(".")
        if len(name) > _NAME_LENGTH_MAX or not _NAME.match(name):
            raise EgressRefused("malformed host name")
        if not _ENDS_IN_NUMBER.match(name):
            self._judge_name(name)
            return
        try:
            # As the C library reads it: decimal, octal, hexadecimal, one to four parts.
            number = str(IPv4Address(socket.inet_aton(name)))
        except OSError:
            raise EgressRefused("malformed IPv4 address") from None
        self._judge_literal(number)
        if number != host:
            raise EgressRefused(
                f"{host} may be read as {number} or otherwise: write the address in four decimal numbers"
            )

    def _judge_name(self, name: str) -> None:
        """Judge what a name says by itself; of what an operator wrote, its addresses alone are judged."""
        if self.operator:
            return
        if name in _NEVER_NAMES:
            raise EgressRefused("the host is a metadata service: no setting allows it")
        last_two = name.rpartition(".")[0].rpartition(".")[2] + "." + name.rpartition(".")[2]
        inside = "." not in name or name.rpartition(".")[2] in _INSIDE or last_two in _INSIDE
        # Where the operator opened networks, such a name may lead into one: its addresses decide.
        if inside and not self.allowed_networks:
            raise EgressRefused("the host's name is that of an inner network", setting=SETTING)

    async def vet_url(self, url: str) -> URL:
        """
        Judge *url* by its text and, where its host has addresses, by those: for a URL that others are to dial.

        A name that has no address here, or none in two seconds, passes: what it is elsewhere is not known here.

        Returns:
            The parsed URL, as `check_url`.

        Raises:
            EgressRefused: As `check_url`, or one of its addresses is refused.
        """
        parsed = self.check_url(url)
        # UnicodeError: a label that is too long for DNS.
        with contextlib.suppress(OSError, UnicodeError):
            async with asyncio.timeout(_VETTING_SECONDS_MAX):
                await self.addresses(parsed.raw_host or "", parsed.port or 0)
        return parsed

    def _judge_literal(self, host: str) -> None:
        try:
            self.guard(host)
        except ValueError:
            raise EgressRefused("malformed IPv6 address") from None

    def guard(self, address: str) -> Address:
        """Judge one numeric address; see the function of this name."""
        return guard(address, allowed_networks=self.allowed_networks, operator=self.operator)

    async def addresses(self, host: str, port: int) -> list[Address]:
        """
        Look *host* up once and judge every address of the answer. An address is its own answer: nobody is asked.

        Raises:
            EgressRefused: For data, if any address is refused: an honest name does not mix them. For the operator, if
                all are: a home server's name has a link-local address beside its private one.
            OSError: The name has no address.
        """
        with contextlib.suppress(ValueError):
            self.guard(host)
            return [ip_address(host)]
        if _ENDS_IN_NUMBER.match(host.rstrip(".")):
            # The C library would read it as an address, and perhaps as another one than whoever wrote it.
            raise EgressRefused("malformed IPv4 address")
        allowed: list[Address] = []
        refusal: EgressRefused | None = None
        for answer in await self.resolve(host, port):
            try:
                allowed.append(self.guard(answer))
            except EgressRefused as refused:
                refusal = refusal or refused
        if refusal is not None and not (self.operator and allowed):
            raise refusal
        if not allowed:
            raise OSError(f"{host} has no address")
        return allowed

    async def connect(self, addresses: Sequence[Address], port: int) -> socket.socket:
        """
        Connect to one of *addresses*: to the first, and a quarter of a second later to the next as well (RFC 8305).

        Raises:
            EgressRefused: One of them is refused after all; nothing was dialled.
            OSError: None answers.
        """
        from aiohappyeyeballs import start_connection

        for address in addresses:
            self.guard(str(address))  # the last place before a socket exists
        infos: list[AddrInfo] = [
            (
                socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (str(address), port),
            )
            for address in addresses
        ]
        return await start_connection(infos, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, socket_factory=self.dial)


def _parsed(url: object) -> URL | None:
    from yarl import URL

    if not isinstance(url, str) or _DOUBTFUL.search(url):
        return None
    try:
        return URL(url)
    except ValueError:
        return None
