"""How the mail channel gets to its server: which addresses it dials, and how far a failure says that it came."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pillarbox.channels.egress import Dial, Egress, open_socket
from pillarbox.channels.mail.addresses import parse_address
from pillarbox.channels.mail.session import Server, Timeouts
from pillarbox.channels.mail.smtp import SmtpChannel
from pillarbox.domain.outcome import Deferred, Delivered, Unavailable
from pillarbox.errors import ConfigError
from tests.channels.attempts import an_attempt
from tests.channels.smtp_servers import aiosmtpd, rude

if TYPE_CHECKING:
    from pathlib import Path

SHORT = 0.05  # seconds that a server which never answers is waited for
SENDER = parse_address("me@example.org", field="sender")


@pytest.mark.contract("CL6")
async def test_a_connection_that_hangs_was_not_answered_by_a_banner() -> None:
    # A listener whose queue is full answers nobody: the connection is never made.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.settimeout(0)
            one.connect_ex(full.getsockname())
        timeouts = Timeouts(connect=SHORT)
        server = Server(host="127.0.0.1", port=full.getsockname()[1], timeouts=timeouts)
        outcome = await SmtpChannel(server, sender=SENDER).send(an_attempt())
    assert outcome == Deferred("connect: no answer in time", outage=True)


@pytest.mark.contract("CL6")
async def test_a_deadline_tells_how_far_it_had_come() -> None:
    never: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    asked = Egress(operator=True, resolve=lambda _host, _port: never)
    made = SmtpChannel(Server(host="mail.test", port=25), sender=SENDER, egress=asked)
    assert (await made.send(an_attempt(deadline_seconds=2 * SHORT))) == Deferred(
        "connect: out of time before the mail was sent"
    )


@pytest.mark.contract("CL6")
async def test_a_server_that_hangs_up_instead_of_its_banner_was_reached() -> None:
    async with rude(banner=b"") as server:
        outcome = await SmtpChannel(Server(host="127.0.0.1", port=server.port), sender=SENDER).send(an_attempt())
    assert isinstance(outcome, Deferred)
    assert outcome.reason.startswith("banner: ")


@pytest.mark.contract("CO4")
@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "64:ff9b::a9fe:a9fe"],
)
async def test_a_server_is_never_a_metadata_or_link_local_address(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ConfigError, match=r"^url: .*no setting allows it"):
        SmtpChannel.from_url(f"smtp://{host}?sender=me@example.org")
    made = SmtpChannel(Server(host="mail.test", port=25), sender=SENDER, egress=_leading_to(address, dial=_no_socket))
    outcome = await made.send(an_attempt())
    assert isinstance(outcome, Unavailable)
    assert outcome.reason.startswith("connect: ")
    assert "no setting allows it" in outcome.reason


@pytest.mark.parametrize("spelt", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"])
async def test_no_spelling_gets_around_that(spelt: str) -> None:
    outcome = await SmtpChannel(Server(host=spelt, port=25), sender=SENDER).send(an_attempt())
    assert isinstance(outcome, Unavailable)


@pytest.mark.contract("CO4")
async def test_a_server_is_looked_up_once_and_the_judged_address_is_dialled() -> None:
    async with aiosmtpd() as server:
        asked: list[str] = []

        async def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

        guarded = Egress(operator=True, resolve=resolve)
        made = SmtpChannel(Server(host="mail.test", port=server.port), sender=SENDER, egress=guarded)
        assert isinstance(await made.send(an_attempt()), Delivered)
        await made.close()
    assert asked == ["mail.test"]


@pytest.mark.contract("CL6")
async def test_the_certificate_is_held_against_the_name_whichever_address_was_dialled(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    cafile = str(tmp_path / "ca.pem")
    for name, kind in (("mail.test", Delivered), ("other.test", Unavailable)):
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(tls)
        ways: tuple[dict[str, Any], ...] = ({"implicit": tls}, {"starttls": tls})
        for where in ways:
            async with aiosmtpd(**where) as server:
                to = Server(host="mail.test", port=server.port, implicit_tls="implicit" in where)
                made = SmtpChannel(to, sender=SENDER, cafile=cafile, egress=_leading_to("127.0.0.1"))
                outcome = await made.send(an_attempt())
                await made.close()
            assert isinstance(outcome, kind), outcome


async def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    async with aiosmtpd() as server:
        guarded = _leading_to("::1", "169.254.169.254", "127.0.0.1")
        made = SmtpChannel(Server(host="mail.test", port=server.port), sender=SENDER, egress=guarded)
        assert isinstance(await made.send(an_attempt()), Delivered)
        await made.close()


def _leading_to(*addresses: str, dial: Dial = open_socket) -> Egress:
    async def resolve(_host: str, _port: int) -> list[str]:
        return list(addresses)

    return Egress(operator=True, resolve=resolve, dial=dial)


def _no_socket(_info: object) -> socket.socket:
    raise AssertionError("it was dialled")
