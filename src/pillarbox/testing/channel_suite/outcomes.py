"""Each answer of the platform, and none, becomes the one outcome that is true of it (contract CL1, CL6)."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from pillarbox.channels.base import Attempt, Channel, Seams
from pillarbox.domain.outcome import (
    AnyOutcome,
    Deferred,
    Delivered,
    Outcome,
    RateLimited,
    Rejected,
    Unavailable,
    Uncertain,
)
from pillarbox.testing.channel_suite.fixtures import (
    PATIENCE_SECONDS,
    TEXT,
    TOKEN,
    ChannelFixtures,
    Point,
    an_attempt,
    sent,
)
from pillarbox.testing.channel_suite.platform import Platform

if TYPE_CHECKING:
    from trustme import LeafCert as Certificate

_ANSWER_BYTES_MAX = 1024
_SHORT_SECONDS = 0.5
_HOST = "127.0.0.1"


class OutcomeSuite(ChannelFixtures):
    """
    What the platform says, and what the channel makes of it.

    Attributes:
        of_nonsense: What an answer may come to that the platform would never give.
    """

    of_nonsense: ClassVar[tuple[type[Outcome], ...]] = (Deferred, Uncertain)

    @pytest.mark.contract("CL1")
    async def test_what_is_accepted_is_delivered_with_the_platforms_receipt(
        self, platform: Platform, channel: Channel
    ) -> None:
        self.needs(Point.ACCEPTED)
        platform.accept()
        for text in (TEXT, "And another one."):
            outcome = await sent(Delivered, platform, channel, text)
            assert outcome.receipt == platform.receipt(TOKEN)
        assert platform.received() == [TEXT, "And another one."]

    @pytest.mark.contract("CL1", "CL2")
    async def test_a_refused_message_is_rejected_and_costs_the_channel_nothing(
        self, platform: Platform, channel: Channel
    ) -> None:
        self.needs(Point.REJECTED_MESSAGE)
        platform.reject_message()
        outcome = await sent(Rejected, platform, channel)
        assert outcome.about == "message"
        await _still_works(platform, channel)

    @pytest.mark.contract("CL1", "CL2")
    async def test_a_refused_recipient_is_told_from_a_refused_message(
        self, platform: Platform, channel: Channel
    ) -> None:
        self.needs(Point.REJECTED_RECIPIENT)
        platform.reject_recipient()
        outcome = await sent(Rejected, platform, channel)
        assert outcome.about == "recipient"
        await _still_works(platform, channel)

    @pytest.mark.contract("CL1", "RE4")
    async def test_each_way_to_say_that_it_was_too_much_is_understood(
        self, platform: Platform, channel: Channel
    ) -> None:
        self.needs(Point.RATE_LIMITED)
        assert platform.limits(), "name the platform's ways to limit, or say in `absent` that it never does"
        for limit in platform.limits():
            platform.limit(limit)
            outcome = await sent(RateLimited, platform, channel)
            assert (limit.name, outcome.after, outcome.scope) == (limit.name, limit.after, limit.scope)
        await _still_works(platform, channel)

    @pytest.mark.contract("CL1", "CL2")
    async def test_refused_credentials_stop_the_channel_and_no_message(
        self, platform: Platform, channel: Channel
    ) -> None:
        self.needs(Point.AUTH_REFUSED)
        platform.refuse_credentials()
        await sent(Unavailable, platform, channel)
        assert platform.received() == []

    @pytest.mark.contract("CL6")
    async def test_without_a_connection_it_was_surely_not_sent(self, platform: Platform, channel: Channel) -> None:
        self.needs(Point.NOT_SENT)
        await platform.vanish()
        attempt = an_attempt(platform)
        outcome = await channel.send(attempt)
        assert isinstance(outcome, Deferred), outcome
        assert not outcome.unclassified
        assert attempt.progress.written is not True
        assert platform.received() == []

    @pytest.mark.contract("CL6", "CH1")
    async def test_nothing_is_sent_to_a_server_that_cannot_prove_who_it_is(
        self, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.needs(Point.BAD_TLS)
        trustme = pytest.importorskip("trustme", reason="it makes certificates")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "trusted.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        right = authority.issue_cert(_HOST)
        wrong: dict[str, Certificate | None] = {
            "signed by nobody known": trustme.CA().issue_cert(_HOST),
            "expired": authority.issue_cert(_HOST, not_before=long_ago, not_after=long_ago + timedelta(days=1)),
            "another's": authority.issue_cert("elsewhere.example"),
            "no TLS": None,
        }
        for name, certificate in wrong.items():
            platform.accept()
            attempt, outcome = await _sent_over(certificate, platform)
            # A certificate is wrong until a person changes something.
            expected = Deferred if certificate is None else Unavailable
            assert isinstance(outcome, expected), (name, outcome)
            assert attempt.progress.written is not True, name
            assert platform.received() == [], name
        platform.accept()
        _, outcome = await _sent_over(right, platform)
        assert isinstance(outcome, Delivered), outcome

    @pytest.mark.contract("CL6", "UN5")
    async def test_where_the_connection_breaks_after_the_request_nobody_knows(
        self, platform: Platform, channel: Channel
    ) -> None:
        self.needs(Point.UNCERTAIN)
        platform.cut()
        attempt = an_attempt(platform)
        outcome = await channel.send(attempt)
        assert isinstance(outcome, Uncertain), outcome
        assert outcome.covered is platform.covered
        assert attempt.progress.written is not False
        await _still_works(platform, channel)

    @pytest.mark.contract("ST10")
    async def test_an_answer_that_is_too_long_harms_nobody(self, platform: Platform, channel: Channel) -> None:
        self.needs(Point.LONG_ANSWER)
        platform.answer_at_length()
        async with asyncio.timeout(PATIENCE_SECONDS / 2):  # not only at the deadline, having read all that while
            outcome = await channel.send(an_attempt(platform))
        # It was accepted: whoever takes that for a failure sends it twice.
        assert isinstance(outcome, Delivered | Uncertain), outcome
        assert len((outcome.answer or "").encode()) <= _ANSWER_BYTES_MAX
        await _still_works(platform, channel)

    @pytest.mark.contract("CL6")
    async def test_an_answer_without_an_end_is_left_at_the_deadline(self, platform: Platform, channel: Channel) -> None:
        self.needs(Point.ENDLESS_ANSWER)
        platform.answer_endlessly()
        attempt = an_attempt(platform, deadline_seconds=_SHORT_SECONDS)
        sending = asyncio.create_task(channel.send(attempt))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await platform.reached()
            while not sending.done():
                platform.clock.advance(_SHORT_SECONDS)
                await platform.clock.sleep(0)
        outcome = sending.result()
        assert isinstance(outcome, Delivered | Uncertain), outcome
        await _still_works(platform, channel)

    @pytest.mark.contract("CL5", "CH1")
    async def test_nonsense_buries_no_message_and_harms_nobody(self, platform: Platform, channel: Channel) -> None:
        self.needs(Point.NONSENSE)
        for name in platform.nonsense():
            platform.talk_nonsense(name)
            outcome = await channel.send(an_attempt(platform))
            # It may be a proxy or a login page that speaks: what it refuses is tried again, if only a few times.
            assert isinstance(outcome, self.of_nonsense), (name, outcome)
            assert len((outcome.answer or "").encode()) <= _ANSWER_BYTES_MAX
            await _still_works(platform, channel)

    @pytest.mark.contract("CL5")
    async def test_a_redirection_is_not_followed(self, platform: Platform, channel: Channel) -> None:
        self.needs(Point.REDIRECT)
        platform.redirect()
        await sent(Deferred, platform, channel)
        await _still_works(platform, channel)
        assert platform.led_astray == 0


async def _sent_over(certificate: Certificate | None, platform: Platform) -> tuple[Attempt, AnyOutcome]:
    """Send once over a connection that begins with *certificate*, or without TLS; return the attempt too."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
    await platform.serve_tls(context)
    channel = platform.make_channel()
    await channel.start(Seams(clock=platform.clock))
    try:
        attempt = an_attempt(platform)
        return attempt, await channel.send(attempt)
    finally:
        await channel.close()


async def _still_works(platform: Platform, channel: Channel) -> None:
    """Check that the next message goes through, on the same channel."""
    platform.accept()
    await sent(Delivered, platform, channel, "And the next one.")
    assert platform.received()[-1] == "And the next one."
