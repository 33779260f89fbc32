"""
The suite that every channel must pass: subclass `ChannelSuite`, give it ``platform``, a local server of its own.

    class TestPager(ChannelSuite):
        absent = {Point.REJECTED_RECIPIENT: "a pager's network does not say whose number is unknown"}

        @pytest.fixture
        async def platform(self) -> AsyncIterator[Platform]:
            async with PagerPlatform() as platform:
                yield platform

`HttpPlatform` is the whole server of a platform that speaks HTTP: a table of its answers.

Nothing in the suite knows a platform. Tests name the promises they keep with ``@pytest.mark.contract``; register that
marker, and call ``pytest.register_assert_rewrite`` on this package before importing it, to see what was compared.
"""

from __future__ import annotations

from pillarbox.testing.channel_suite.conduct import ConductSuite
from pillarbox.testing.channel_suite.content import ContentSuite
from pillarbox.testing.channel_suite.fixtures import Point
from pillarbox.testing.channel_suite.http_platform import HttpPlatform
from pillarbox.testing.channel_suite.outcomes import OutcomeSuite
from pillarbox.testing.channel_suite.platform import Limit, Platform
from pillarbox.testing.channel_suite.secrets import SecretSuite

__all__ = ["ChannelSuite", "HttpPlatform", "Limit", "Platform", "Point"]


class ChannelSuite(OutcomeSuite, ContentSuite, ConductSuite, SecretSuite):
    """All of it."""
