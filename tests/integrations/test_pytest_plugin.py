"""The fixtures that pytest finds by itself, and what they are made of."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pillarbox import InvalidMessage, Outbox, RateLimited, Rejected, UnknownChannel
from pillarbox.sync import Outbox as SyncOutbox
from pillarbox.testing.recording_outbox import RecordingOutbox, RecordingSyncOutbox

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
PLUGIN = "pillarbox.testing.pytest_plugin"
CHANNELS = """
import pytest

@pytest.fixture
def outbox_channels():
    return ["mail"]
"""


def run(pytester: pytest.Pytester, tests: str, *, conftest: str = CHANNELS) -> pytest.RunResult:
    """Run tests as somebody has them who installed us; an older installation in this environment is helped along."""
    pytester.makeconftest(conftest)
    pytester.makepyfile(tests)
    found = {point.value for point in importlib.metadata.entry_points(group="pytest11")}
    loaded = () if PLUGIN in found else ("-p", PLUGIN)
    return pytester.runpytest_inprocess("-p", "no:asyncio", *loaded)


def test_pytest_finds_the_plugin() -> None:
    points = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["entry-points"]["pytest11"]
    assert points == {"pillarbox": PLUGIN}


def test_the_plugin_loads_nothing_of_the_outbox() -> None:
    """Everybody's pytest loads it, wherever pillarbox is installed."""
    said = f"import sys, pytest, {PLUGIN}; print(*sorted(name for name in sys.modules if name.startswith('pillarbox')))"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["pillarbox", "pillarbox.__about__", "pillarbox.testing", PLUGIN]


def test_both_fixtures_record_what_would_have_left(pytester: pytest.Pytester) -> None:
    tests = """
        import asyncio

        def test_blocking(outbox):
            outbox.send("mail", to="ann", text="Hello")
            outbox.assert_sent(to="ann", text__contains="ell")

        def test_nothing_is_left_of_another_test(outbox):
            outbox.assert_nothing_sent()

        def test_awaited(async_outbox):
            async def main():
                async with async_outbox as box:
                    await box.send("mail", to="ann", text="Hello", at="30m")
                    box.assert_nothing_sent()
                    await box.advance("1h")
                    box.assert_sent(to="ann")

            asyncio.run(main())
    """
    run(pytester, tests).assert_outcomes(passed=3)


def test_a_failure_says_what_was_sent(pytester: pytest.Pytester) -> None:
    tests = """
        def test_it(outbox):
            outbox.send("mail", to="ann", subject="Order 812", text="Hello")
            outbox.assert_sent(to="bob", text__startswith="He")
    """
    result = run(pytester, tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*AssertionError: not sent: to='bob', text__startswith='He'", "*  mail to ann: 'Order 812': 'Hello'"]
    )


def test_who_names_no_channels_is_told_how(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_it(outbox): pass", conftest="")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Define a fixture `outbox_channels`*"])


def test_it_is_an_outbox_for_code_that_asks_for_one() -> None:
    assert isinstance(RecordingOutbox(), Outbox)
    assert isinstance(RecordingSyncOutbox(), SyncOutbox)


def test_a_channel_of_production_is_not_called_but_checks() -> None:
    def never(attempt: object) -> None:
        raise AssertionError("called")

    box = RecordingSyncOutbox({"hook": "https://example.org/hook?secret=whsec_c2VjcmV0c2VjcmV0c2VjcmV0", "own": never})
    box.channel("mail", "smtp://mail.example.org?sender=shop@example.org")
    with box:
        for channel, to in (("hook", "ann"), ("own", "ann"), ("mail", "ann@example.org")):
            box.send(channel, to=to, text="Hello")
        with pytest.raises(InvalidMessage, match="mail address"):
            box.send("mail", to="ann", text="Hello")
        with pytest.raises(UnknownChannel):
            box.send("chat", to="ann", text="Hello")
        assert [one.channel for one in box.sent] == ["hook", "own", "mail"]


def test_long_text_is_cut_as_in_production() -> None:
    with RecordingSyncOutbox({"bot": "tgram://123456:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefgh"}) as box:
        box.send("bot", to="42", text="word " * 1000)
        assert [one.attempt.part_count for one in box.sent] == [2, 2]


async def test_time_passes_step_by_step() -> None:
    """Each retry at its own time: were the hour one step, the second would come at its end."""
    async with RecordingOutbox(["mail"]) as box:
        times: list[int] = []

        def limited(attempt: object) -> RateLimited:
            times.append(box.clock.wall_ms())
            return RateLimited(after=600)

        box.script("mail", limited, limited)
        began = box.clock.wall_ms()
        await box.send("mail", to="ann", text="Hello")
        await box.advance("1h")
        box.assert_sent(to="ann", count=1)
        first, second = times
        assert (first, 600_000 <= second - first < 700_000) == (began, True)
        assert box.clock.wall_ms() == began + 3_600_000


async def test_what_a_channel_refuses_was_not_sent() -> None:
    async with RecordingOutbox(["mail"]) as box:
        box.script("mail", Rejected("no such mailbox"), to="ann")
        refused = await box.send("mail", to="ann", text="Hello")
        await box.send("mail", to="bob", text="Hello")
        assert [one.to for one in box.sent] == ["bob"]
        assert (await refused.wait()).state == "dead"


async def test_what_was_asked_for_must_be_known() -> None:
    async with RecordingOutbox(["mail"]) as box:
        await box.send("mail", to="ann", text="Hello")
        with pytest.raises(TypeError, match="recipient: expected one of id, channel, to, text"):
            box.assert_sent(recipient="ann")
        with pytest.raises(TypeError, match="text__like: expected one of id, channel, to, text"):
            box.assert_sent(text__like="Hello")
        with pytest.raises(ValueError, match="count"):
            box.assert_sent(count=0)
        with pytest.raises(AssertionError, match="not sent 2 times, but 1: to='ann'"):
            box.assert_sent(to="ann", count=2)
        with pytest.raises(AssertionError, match="mail to ann: 'Hello'"):
            box.assert_nothing_sent()
        with pytest.raises(InvalidMessage, match="span"):
            await box.advance("an hour")
