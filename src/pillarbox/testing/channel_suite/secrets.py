"""Nothing that a channel keeps, and nothing of a message, is in what others get to see of it (contract EV3, CH8)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable
from urllib.parse import quote

import pytest

from pillarbox.channels.base import Channel
from pillarbox.domain.outcome import AnyOutcome
from pillarbox.testing.channel_suite.fixtures import ChannelFixtures, Point, an_attempt
from pillarbox.testing.channel_suite.platform import Platform

_TEXT = "The patient in room seven is better."


class SecretSuite(ChannelFixtures):
    """What must not be seen."""

    @pytest.mark.contract("EV3", "CH8")
    async def test_no_secret_and_no_word_of_the_message_is_in_an_outcome_or_a_log(
        self, platform: Platform, channel: Channel, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.needs(Point.SECRETS)
        caplog.set_level(logging.DEBUG)
        seen = [repr(channel), channel.describe()]
        platform.repeat()
        seen += await self._shown(platform, channel)
        if Point.UNCERTAIN not in self.absent:
            platform.cut()
            seen += await self._shown(platform, channel)
        if Point.NOT_SENT not in self.absent:
            await platform.vanish()
            seen += await self._shown(platform, channel)
        seen += [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
        for secret in _forms([*platform.secrets, _TEXT]):
            assert not [text for text in seen if secret in text], secret

    async def _shown(self, platform: Platform, channel: Channel) -> list[str]:
        """Send; return all that anybody can see of the outcome."""
        attempt = an_attempt(platform, _TEXT)
        outcome = channel.fit_to_show(await channel.send(attempt), attempt, keep_answer=True)
        return [repr(outcome), str(outcome), *_fields(outcome)]


def _fields(outcome: AnyOutcome) -> Iterable[str]:
    names = (name for kind in type(outcome).__mro__ for name in getattr(kind, "__slots__", ()))
    return [str(getattr(outcome, name)) for name in names]


def _forms(secrets: Iterable[str]) -> Iterable[str]:
    """Return each secret as it is, in a URL, and in base64."""
    for secret in secrets:
        yield secret
        yield quote(secret, safe="")
        yield base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]
