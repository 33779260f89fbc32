"""What every part of the suite uses: its points, the fixtures, and an attempt to send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar

import pytest

from pillarbox.channels.base import Attempt, Channel, Seams
from pillarbox.domain.ids import dedupe_token
from pillarbox.domain.message import Content
from pillarbox.testing.channel_suite.platform import Platform

T = TypeVar("T")

TEXT: Final = "Zażółć gęślą jaźń"
PATIENCE_SECONDS: Final = 10.0
"""Only a failing test waits for so long."""
_ID: Final = "AZq0fV9xcRKaW3bQ0pYl2A"
TOKEN: Final = dedupe_token(_ID, 0, 0)


class Point(StrEnum):
    """What a channel must do. One that its platform has no use for is named in ``absent``, with the reason."""

    ACCEPTED = "accepted"
    REJECTED_MESSAGE = "rejected_message"
    REJECTED_RECIPIENT = "rejected_recipient"
    RATE_LIMITED = "rate_limited"
    AUTH_REFUSED = "auth_refused"
    NOT_SENT = "not_sent"
    UNCERTAIN = "uncertain"
    LONG_ANSWER = "long_answer"
    BAD_TLS = "bad_tls"
    ENDLESS_ANSWER = "endless_answer"
    NONSENSE = "nonsense"
    REDIRECT = "redirect"
    CANCELLED = "cancelled"
    SECRETS = "secrets"
    TEXT_AS_IT_IS = "text_as_it_is"
    TEXT_LIMIT = "text_limit"
    DESCRIBE = "describe"
    CLOSE = "close"


class ChannelFixtures:
    """
    What a part of the suite asks for by name.

    Attributes:
        absent: Which points do not apply, each with the reason. Their tests are skipped, and say it.
    """

    absent: ClassVar[Mapping[Point, str]] = {}

    @pytest.fixture
    def platform(self) -> Platform:
        """Serve for one test. Each channel's test class overrides this."""
        raise NotImplementedError

    @pytest.fixture
    async def channel(self, platform: Platform) -> AsyncIterator[Channel]:
        """Start a channel, and close it when the test ends."""
        channel = platform.make_channel()
        await channel.start(Seams(clock=platform.clock))
        yield channel
        await channel.close()

    def needs(self, point: Point) -> None:
        """Skip a test whose point does not apply."""
        if point in self.absent:
            pytest.skip(f"{point}: {self.absent[point]}")

    def test_every_point_that_does_not_apply_has_its_reason(self) -> None:
        assert self.absent.keys() <= set(Point)
        assert all(reason.strip() for reason in self.absent.values())


def an_attempt(platform: Platform, text: str = TEXT, **fields: Any) -> Attempt:
    """Return one try to send *text* to the platform's recipient, in ten seconds unless *fields* say otherwise."""
    usual: dict[str, Any] = {
        "id": _ID,
        "channel": "suite",
        "to": platform.recipient,
        "content": Content(text=text),
        "number": 1,
        "token": TOKEN,
        "created_ms": platform.clock.wall_ms(),
        "deadline_seconds": PATIENCE_SECONDS,
    }
    return Attempt(**(usual | fields))


async def sent(kind: type[T], platform: Platform, channel: Channel, text: str = TEXT, **fields: Any) -> T:
    """Send once, see that the outcome is a *kind*, and return it."""
    outcome = await channel.send(an_attempt(platform, text, **fields))
    assert isinstance(outcome, kind), outcome
    return outcome
