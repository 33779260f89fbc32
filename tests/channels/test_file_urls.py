"""URLs of files, which come with messages: what a webhook passes on, and how (contract CO4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pillarbox.channels.base import Seams
from pillarbox.channels.egress import Egress
from pillarbox.channels.webhook import WebhookChannel
from pillarbox.domain.message import Content, File
from pillarbox.domain.outcome import Delivered, Rejected
from pillarbox.errors import InvalidMessage
from pillarbox.testing.receiver import Receiver
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pillarbox.domain.outcome import AnyOutcome

pytestmark = pytest.mark.contract("CO4")

# What the made-up name servers of these tests say; any other name has no address.
NAMES = {
    "files.example.com": ["93.184.216.34"],
    "127-0-0-1.nip.example.com": ["127.0.0.1"],
    "mixed.example.com": ["93.184.216.34", "10.0.0.7"],
    "metadata.example.com": ["169.254.169.254"],
    "xn--pd-pla.example.com": ["93.184.216.34"],
    "files.corp.internal": ["10.1.2.3"],
}


async def _resolve(host: str, _port: int) -> list[str]:
    if host not in NAMES:
        raise OSError(f"{host} has no address")
    return NAMES[host]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as found:
        yield found


async def _passed_on(receiver: Receiver, url: str, *, allow: str = "") -> tuple[AnyOutcome, list[str]]:
    """Send a message with a file; gives the outcome, and the URLs that the receiver was given."""
    guard = Egress(operator=True, resolve=_resolve)
    channel = WebhookChannel(receiver.url, egress=guard, allow_networks=allow.split())
    await channel.start(Seams())
    try:
        content = Content(text="x", files=(File(url=url),))
        channel.admit(to="ann", content=content)
        outcome = await channel.send(an_attempt("ann", content=content))
    finally:
        await channel.close()
    return outcome, [file["url"] for request in receiver.requests for file in request.json.get("files", [])]


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "app.localhost", "localhost.localdomain", "ip6-localhost", "intranet",
        "metadata", "metadata.google.internal", "Metadata.Google.Internal.", "metadata.goog", "vault.corp.internal",
        "printer.local", "nas.home.arpa", "router.lan", "lo\u0441alhost", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "0x7f.1", "017700000001",
        "0x7f000001", "127.1", "2130706433", "[::ffff:127.0.0.1]", "[::1]", "[::]", "0", "127.0.0.1.",
        "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021",
    ],
    ids=ascii,
)  # fmt: skip
async def test_a_name_or_number_that_means_an_inner_place_is_refused(host: str) -> None:
    channel = WebhookChannel("http://127.0.0.1/")
    with pytest.raises(InvalidMessage) as refused:
        channel.admit(to="a", content=Content(text="x", files=(File(url=f"http://{host}/a.pdf"),)))
    assert refused.value.field == "files"


@pytest.mark.parametrize("host", ["metadata.google.internal", "metadata", "metadata.goog"])
def test_no_opened_network_lets_a_metadata_service_through(host: str) -> None:
    channel = WebhookChannel("http://127.0.0.1/", allow_networks=["0.0.0.0/0", "::/0"])
    with pytest.raises(InvalidMessage, match="no setting allows it"):
        channel.admit(to="a", content=Content(text="x", files=(File(url=f"http://{host}/"),)))


@pytest.mark.parametrize("host", ["127-0-0-1.nip.example.com", "mixed.example.com", "metadata.example.com"])
async def test_a_name_whose_addresses_lie_inside_is_refused_before_anything_is_sent(
    receiver: Receiver, host: str
) -> None:
    outcome, _ = await _passed_on(receiver, f"https://{host}/a.pdf")
    assert isinstance(outcome, Rejected)
    assert outcome.reason.startswith("files: ")
    assert receiver.requests == []


async def test_an_inner_name_is_passed_on_where_its_network_is_opened(receiver: Receiver) -> None:
    outcome, urls = await _passed_on(receiver, "http://files.corp.internal/a", allow="10.1.0.0/16")
    assert (type(outcome), urls) == (Delivered, ["http://files.corp.internal/a"])
    refused, _ = await _passed_on(receiver, "http://files.corp.internal/a", allow="10.9.0.0/16")
    assert isinstance(refused, Rejected)


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        ("https://files.example.com/a.pdf?x=1", "https://files.example.com/a.pdf?x=1"),
        ("HTTPS://FILES.EXAMPLE.COM:443/a%20b.pdf", "https://files.example.com/a%20b.pdf"),
        ("https://files.example.com/a/../b/./c", "https://files.example.com/b/c"),
        ("https://files.example.com/żółw", "https://files.example.com/%C5%BC%C3%B3%C5%82w"),
        ("https://pąd.example.com/", "https://xn--pd-pla.example.com/"),
        ("https://nowhere.example.com/a", "https://nowhere.example.com/a"),
    ],
)
async def test_a_url_is_passed_on_as_it_was_read(receiver: Receiver, said: str, passed_on: str) -> None:
    outcome, urls = await _passed_on(receiver, said)
    assert (type(outcome), urls) == (Delivered, [passed_on])
