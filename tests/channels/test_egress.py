"""
The guard at the way out. Nothing here reaches a network: names are resolved from a dict, the transport cannot dial.

A refusal is never shown by a failed connection: each test also looks at what the transport was asked to dial.
"""

# ruff: noqa: RUF001 — look-alikes of digits, dots and letters are what this is about
from __future__ import annotations

import ipaddress
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from pillarbox.channels.egress import AddrInfo, Egress, guard, networks
from pillarbox.channels.http.answers import Answer
from pillarbox.channels.http.client import Client, address_of
from pillarbox.channels.http.failures import NotConnected, NotResolved
from pillarbox.channels.http.pool import Pool
from pillarbox.clock import SystemClock
from pillarbox.errors import ConfigError, EgressRefused
from pillarbox.testing.receiver import Receiver
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:220:1:248:1893:25c8:1946"
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "example.com": [PUBLIC],
    "six.example.com": [PUBLIC_6],
    "both.example.com": [PUBLIC_6, PUBLIC],
    "xn--bcher-kva.example": [PUBLIC],
    "loopback.example.com": ["127.0.0.1"],
    "loopback6.example.com": ["::1"],
    "mapped.example.com": ["::ffff:127.0.0.1"],
    "home.example.com": ["192.168.1.10"],
    "home-and-link.example.com": ["fe80::1%eth0", "192.168.1.10"],
    "mixed.example.com": [PUBLIC, "10.0.0.5"],
    "mixed-late.example.com": [PUBLIC, PUBLIC_6, "169.254.169.254"],
    "metadata.google.internal": ["169.254.169.254"],
    "imds.example.com": ["fd00:ec2::254"],
    "azure.example.com": ["168.63.129.16"],
    "nat64.example.com": ["64:ff9b::a9fe:a9fe"],
    "empty.example.com": [],
}


class World:
    """Everything outside: it says what names mean, and notes what somebody wanted to dial. It dials nothing."""

    def __init__(self, names: dict[str, list[str]] | None = None) -> None:
        self.names = NAMES if names is None else names
        self.asked: list[str] = []
        self.dialled: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        name = host.rstrip(".").lower()
        if name in self.names:
            return self.names[name]
        try:
            # As the C library does: it would take these spellings for addresses.
            return [str(ipaddress.IPv4Address(socket.inet_aton(name)))]
        except OSError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None

    def dial(self, info: AddrInfo) -> socket.socket:
        self.dialled.append(info[4][0])
        raise OSError("this transport cannot dial")

    def egress(self, *, operator: bool, allow: tuple[str, ...] = ()) -> Egress:
        return Egress(operator=operator, allowed_networks=networks(allow), resolve=self.resolve, dial=self.dial)


async def post(egress: Egress, url: str | URL) -> Exception | None:
    """Connect to where *url* leads as a channel does; the error, if there was one."""
    pool = Pool(egress, limit=1, tls=None, clock=SystemClock())
    try:
        await pool.made(address_of(URL(url)))
    except (NotConnected, EgressRefused, ValueError) as exc:
        return exc
    finally:
        await pool.close()
    return None


async def attempted(egress: Egress, url: str) -> Exception | None:
    """Accept *url*, then send to it; the error, if there was one."""
    try:
        parsed = egress.check_url(url)
    except EgressRefused as refused:
        return refused
    # A name passes what can be judged without a look-up; the connection must be refused then.
    return await post(egress, parsed)


# Every spelling of something that data must not reach. Names mean what NAMES says.
SPELLINGS = [
    # Loopback, in all the ways a parser or the C library reads it.
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/",
    "https://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0X7F000001/",
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://0177.1/",
    "http://127.0.0.01/",
    "http://127.0.0.0x1/",
    "http://00000127.0.0.1/",
    "http://127.0.0.1./",
    "http://127.0.0.1../",
    "http://0/",
    "http://0.0.0.0/",
    "http://00/",
    "http://0x0/",
    "http://[::]/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[0000::0001]/",
    "http://[::127.0.0.1]/",
    "http://[::7f00:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::FFFF:7F00:0001]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[2001:db8::1]/",
    "http://[2a00:1450::5efe:7f00:1]/",
    "http://[2a00:1450::200:5efe:7f00:1]/",
    # Digits and dots of other scripts: IDNA makes them plain.
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://127．0．0．1/",
    "http://[::１]/",
    # Names.
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://localhost:80/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://ⅼocalhost/",
    "http://loopback.example.com/",
    "http://loopback.example.com./",
    "http://loopback6.example.com/",
    "http://mapped.example.com/",
    "http://home.example.com/",
    "http://mixed.example.com/",
    "http://mixed-late.example.com/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://imds.example.com/",
    "http://azure.example.com/",
    "http://nat64.example.com/",
    # Metadata and link-local.
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[fe80::a9fe:a9fe]/",
    f"http://[{PUBLIC_6}%25eth0]/",
    f"http://[{PUBLIC_6}%eth0]/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    "http://168.63.129.16/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    # Private, shared, reserved, multicast, documentation, transition.
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://012.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://3232235521/",
    "http://100.64.0.1/",
    "http://192.0.0.8/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.255/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[fc00::1]/",
    "http://[fdff::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
    "http://[3fff::1]/",
    "http://[4000::1]/",
    # Tricks of parsers.
    f"http://{PUBLIC}@127.0.0.1/",
    f"http://{PUBLIC}%40127.0.0.1/",
    f"http://{PUBLIC}\\@127.0.0.1/",
    f"http://127.0.0.1\\@{PUBLIC}/",
    f"http://127.0.0.1#@{PUBLIC}/",
    f"http://127.0.0.1?@{PUBLIC}/",
    f"http://127.0.0.1%2f@{PUBLIC}/",
    f"http://user:pass@{PUBLIC}/",
    "http:///127.0.0.1/",
    "http:127.0.0.1/",
    "http:/127.0.0.1/",
    "//127.0.0.1/",
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1\x00.example.com/",
    "http://\t127.0.0.1/",
    " http://127.0.0.1/",
    "http://127.0.0.1\u200b/",
    "http://127\u00ad.0.0.1/",
    f"http://{PUBLIC}\r\nHost: localhost/",
    "http://exa mple.com/",
    "http://127.0.0.1:80:90/",
    f"http://{PUBLIC}:0/",
    f"http://{PUBLIC}:99999/",
    "http://[::1/",
    "http://[v1.fe80::a+en1]/",
    "http://1.2.3.4.5/",
    "http://256.256.256.256/",
    "http://1.2.3/",
    "http://0x5DB8D822/",
    "http://./",
    "http://../",
    "http://a..b/",
    f"http://{'a.' * 130}example.com/",
    "http://-/",
    # Other schemes.
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "example.com",
    "",
]


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len(set(SPELLINGS)) == len(SPELLINGS) >= 60


@pytest.mark.parametrize("url", SPELLINGS, ids=ascii)
async def test_data_reaches_nothing_inside_however_it_is_spelt(url: str) -> None:
    world = World()
    assert isinstance(await attempted(world.egress(operator=False), url), EgressRefused)
    assert world.dialled == []


@pytest.mark.parametrize("url", SPELLINGS, ids=ascii)
async def test_the_pool_alone_dials_nothing_inside_either(url: str) -> None:
    world = World()
    assert await post(world.egress(operator=False), url) is not None
    # Some lead to a public address, by a spelling that is refused where a URL is accepted.
    assert set(world.dialled) <= {PUBLIC, "1.2.0.3"}


ALLOWED = [
    ("http://example.com/", [PUBLIC]),
    ("https://example.com:8443/hook?a=1#b", [PUBLIC]),
    ("http://EXAMPLE.com./", [PUBLIC]),
    (f"http://{PUBLIC}/", [PUBLIC]),
    (f"http://{PUBLIC}#@127.0.0.1/", [PUBLIC]),
    (f"http://{PUBLIC}?url=http://127.0.0.1/", [PUBLIC]),
    (f"http://[{PUBLIC_6}]/", [PUBLIC_6]),
    ("http://six.example.com/", [PUBLIC_6]),
    ("http://both.example.com/", [PUBLIC_6, PUBLIC]),
    ("http://bücher.example/", [PUBLIC]),
    ("http://9.9.9.9/", ["9.9.9.9"]),
    ("http://168.63.129.17/", ["168.63.129.17"]),
    ("http://[2a00:1450:4001:80b::200e]/", ["2a00:1450:4001:80b::200e"]),
]


@pytest.mark.parametrize(("url", "addresses"), ALLOWED)
async def test_public_addresses_are_dialled_and_no_others(url: str, addresses: list[str]) -> None:
    world = World()
    egress = world.egress(operator=False)
    outcome = await post(egress, egress.check_url(url))
    assert isinstance(outcome, NotConnected)  # this transport cannot dial
    assert world.dialled == addresses


NEVER = [
    "http://169.254.169.254/",
    "http://169.254.0.1/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:a9fe:a9fe::]/",
    "http://[2001::5601:5601]/",
    "http://[fd12::5efe:a9fe:a9fe]/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://[fd00:ec2::254]/",
    "http://[fd00:ec2::23]/",
    "http://[fd20:ce::254]/",
    "http://[fd00:c1::a9fe:a9fe]/",
    "http://[fd00:42::42]/",
    "http://[fd00:a9fe:a9fe::1]/",
    "http://[fd00:100::100:200]/",
    "http://168.63.129.16/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://224.0.0.1/",
    "http://[ff02::1]/",
    "http://metadata.google.internal/",
    "http://imds.example.com/",
    "http://azure.example.com/",
    "http://nat64.example.com/",
]


@pytest.mark.parametrize("operator", [True, False])
@pytest.mark.parametrize("url", NEVER)
async def test_link_local_and_metadata_are_dialled_for_nobody_and_no_setting_allows_them(
    url: str, operator: bool
) -> None:
    world = World()
    refused = await attempted(world.egress(operator=operator, allow=("0.0.0.0/0", "::/0")), url)
    assert isinstance(refused, EgressRefused)
    assert "no setting allows it" in str(refused)
    assert refused.setting is None
    assert world.dialled == []


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://127.0.0.1:8080/", ["127.0.0.1"]),
        ("http://localhost/", ["127.0.0.1", "::1"]),
        ("http://[::1]/", ["::1"]),
        ("http://home.example.com/", ["192.168.1.10"]),
        ("http://10.1.2.3/", ["10.1.2.3"]),
        ("http://[fd12:3456::1]/", ["fd12:3456::1"]),
        ("http://100.64.1.1/", ["100.64.1.1"]),
        ("http://me:secret@home.example.com/", ["192.168.1.10"]),
        # A home server announces its link-local address too: that one is left out.
        ("http://home-and-link.example.com/", ["192.168.1.10"]),
        ("http://mixed-late.example.com/", [PUBLIC, PUBLIC_6]),
    ],
)
async def test_the_operators_url_may_lead_to_private_and_loopback_addresses(url: str, addresses: list[str]) -> None:
    world = World()
    egress = world.egress(operator=True)
    await post(egress, egress.check_url(url))
    assert sorted(world.dialled) == sorted(addresses)


@pytest.mark.parametrize("url", ["http://127.1/", "http://2130706433/", "http://0177.0.0.1/", "http://10.0.0.1./"])
def test_even_the_operator_writes_an_address_so_that_it_means_one_thing(url: str) -> None:
    with pytest.raises(EgressRefused, match=r"may be read as .* or otherwise"):
        World().egress(operator=True).check_url(url)


def test_a_refusal_names_the_setting_that_would_allow_it() -> None:
    with pytest.raises(
        EgressRefused, match=r"10\.0\.0\.1 is not a public address \(egress\.allow would allow it\)"
    ) as no:
        guard("10.0.0.1", operator=False)
    assert no.value.setting == "egress.allow"


@pytest.mark.parametrize(
    ("url", "allow", "dialled"),
    [
        ("http://10.1.2.3/", ("10.1.0.0/16",), ["10.1.2.3"]),
        ("http://10.2.2.3/", ("10.1.0.0/16",), None),
        ("http://[::ffff:10.1.2.3]/", ("10.1.0.0/16",), ["::ffff:a01:203"]),
        ("http://[::ffff:10.2.2.3]/", ("10.1.0.0/16",), None),
        ("http://[2002:a01:203::]/", ("10.1.0.0/16",), None),
        ("http://[fd12::1]/", ("10.1.0.0/16", "fd12::/48"), ["fd12::1"]),
        ("http://mapped.example.com/", ("127.0.0.0/8",), ["127.0.0.1"]),
        ("http://mixed.example.com/", ("10.0.0.0/8",), [PUBLIC, "10.0.0.5"]),
        ("http://home.example.com/", ("10.0.0.0/8",), None),
        ("http://127.1/", ("127.0.0.0/8",), None),
    ],
)
async def test_the_allow_list_opens_its_networks_and_nothing_else(
    url: str, allow: tuple[str, ...], dialled: list[str] | None
) -> None:
    world = World()
    egress = world.egress(operator=False, allow=allow)
    outcome = await attempted(egress, url)
    assert isinstance(outcome, EgressRefused) is (dialled is None)
    # As numbers: Python 3.13 writes a mapped address otherwise.
    assert set(map(ipaddress.ip_address, world.dialled)) == set(map(ipaddress.ip_address, dialled or []))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "example.com", "", "10.0.0.0/8 ", "::/129"])
def test_a_bad_network_is_refused_by_its_setting(text: str) -> None:
    with pytest.raises(ConfigError, match="expected networks such as") as refused:
        networks(["10.0.0.0/8", text])
    assert refused.value.field == "egress.allow"


async def test_a_name_that_changes_its_mind_is_asked_once_and_the_judged_address_dialled() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    world = World()

    async def rebinding(host: str, port: int) -> list[str]:
        world.asked.append(host)
        return next(answers)

    egress = Egress(operator=False, resolve=rebinding, dial=world.dial)
    await attempted(egress, "http://rebind.example.com/")
    assert world.asked == ["rebind.example.com"]
    assert world.dialled == [PUBLIC]
    assert isinstance(await attempted(egress, "http://rebind.example.com/"), EgressRefused)
    assert world.dialled == [PUBLIC]


async def test_a_name_without_an_address_is_an_ordinary_failure() -> None:
    world = World()
    for url in ("http://empty.example.com/", "http://unknown.example.com/"):
        outcome = await post(world.egress(operator=False), url)
        assert isinstance(outcome, NotResolved)
    assert world.dialled == []


async def test_the_last_check_holds_even_if_the_resolver_is_fooled() -> None:
    # Whatever hands it an address, it is judged again just before the socket is made.
    world = World()
    inside, outside = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address(PUBLIC)
    for addresses in ([inside], [outside, inside]):
        with pytest.raises(EgressRefused):
            await world.egress(operator=False).connect(addresses, 80)
    assert world.dialled == []


async def test_environment_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example.com:3128")
    world = World()
    await post(world.egress(operator=False), "http://example.com/")
    assert world.asked == ["example.com"]
    assert world.dialled == [PUBLIC]


@asynccontextmanager
async def https_receiver(name: str) -> AsyncIterator[tuple[Receiver, ssl.SSLContext, list[str | None]]]:
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(served)
    asked: list[str | None] = []
    served.sni_callback = lambda _socket, server_name, _context: asked.append(server_name)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Receiver(tls=served) as receiver:
        yield receiver, trusting, asked


async def test_host_and_sni_stay_the_urls_while_the_judged_address_is_dialled() -> None:
    async with https_receiver("hooks.example.com") as (receiver, trusting, asked):
        port = receiver.url.rsplit(":", 1)[1].strip("/")
        dialled: list[str] = []

        def dial(info: AddrInfo) -> socket.socket:
            dialled.append(info[4][0])
            return socket.socket(info[0], info[1], info[2])

        egress = Egress(operator=True, resolve=World({"hooks.example.com": ["127.0.0.1"]}).resolve, dial=dial)
        url = egress.check_url(f"https://hooks.example.com:{port}/a")
        client = Client(egress=egress, headers={}, timeout_seconds=10, concurrency=1, tls=trusting)
        await client.start(SystemClock())
        answer = await client.post(url, b"x", content_type="text/plain", headers={}, attempt=an_attempt())
        await client.close()
        assert isinstance(answer, Answer)
        assert answer.status == 200
        assert asked == ["hooks.example.com"]
        assert receiver.requests[0].headers["host"] == f"hooks.example.com:{port}"
        assert dialled == ["127.0.0.1"]


async def test_the_systems_resolver_knows_localhost() -> None:
    found = await Egress(operator=True).addresses("localhost", 80)
    assert found
    assert all(address.is_loopback for address in found)


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_that_python_calls_private_comes_through(address: ipaddress.IPv4Address) -> None:
    judge(address)


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_that_python_calls_private_comes_through(address: ipaddress.IPv6Address) -> None:
    judge(address)


@given(st.sampled_from(["2000::", "2001::", "2002::", "3fff::", "64:ff9b::", "::ffff:0:0"]), st.integers(0, 2**96 - 1))
def test_nor_one_near_the_edges(start: str, low: int) -> None:
    judge(ipaddress.IPv6Address(int(ipaddress.IPv6Address(start)) | low))


def judge(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    # Python's table is another one than ours, so what it refuses we must refuse too. (It lets more through.)
    if not address.is_global or address.is_multicast or address.is_reserved:
        with pytest.raises(EgressRefused):
            guard(address, operator=False)


@pytest.mark.parametrize(
    "address",
    ["64:ff9b::1", "2002:808:808::", "::7f00:1", "192.0.0.192", "::ffff:8.8.8.8", "168.63.129.16", "192.88.99.1"],
)
def test_what_pythons_is_global_lets_through_we_do_not(address: str) -> None:
    with pytest.raises(EgressRefused):
        guard(address, operator=False)


@given(st.text(max_size=30))
def test_no_text_makes_the_guard_raise_anything_but_a_refusal(text: str) -> None:
    egress = World().egress(operator=False)
    for url in (text, f"http://{text}", f"http://{text}/", f"http://[{text}]/", f"http://{text}@example.com/"):
        try:
            egress.check_url(url)
        except EgressRefused:
            continue
