"""An outbox that runs takes over new settings: each setting that says so really does, and a mistake changes nothing."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox import Attempt, Outbox
from pillarbox.domain.message import State
from pillarbox.errors import ConfigError, InvalidMessage, NotStarted, Refused
from pillarbox.events import ChannelPaused
from pillarbox.settings.lookup import TABLE
from pillarbox.settings.overrides import override
from pillarbox.testing.platforms import FakeTelegram
from pillarbox.testing.receiver import Answer, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pillarbox.domain.message import MessageView
    from pillarbox.settings.model import Settings

PATIENCE_SECONDS = 60.0
LATER = timedelta(hours=1)
NOWHERE = "http://127.0.0.1:1/"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

# What a policy setting is set to, and what of a message accepted afterwards says so.
POLICIES: dict[str, tuple[object, object]] = {
    "max_attempts": (7, lambda view: view.max_attempts == 7),
    "ttl": ("2h", lambda view: view.expires_ms - view.not_before_ms == 7_200_000),
    "schedule": ("3s, 4s", lambda view: view.policy.schedule == (3.0, 4.0)),
    "uncertain": ("hold", lambda view: view.policy.uncertain == "hold"),
    "expire_action": ("deliver", lambda view: view.expires_ms is None),
    "on_dead": ("block", lambda view: view.policy.on_dead == "block"),
    "on_held": ("block", lambda view: view.policy.on_held == "block"),
    "lane_block_max": ("9m", lambda view: view.policy.lane_block_seconds == 540.0),
    "uncertain_mark": ("twice?", lambda view: view.policy.uncertain_mark == "twice?"),
    "parts": ("best_effort", lambda view: view.policy.parts == "best_effort"),
    "jitter": (0.25, lambda view: view.policy.jitter == 0.25),
    "suppress": (False, lambda view: not view.policy.suppress),
    "hint_max": ("2h", lambda view: view.policy.hint_seconds_max == 7200),
    "lane": ("ordered", lambda view: view.lane is not None),
}
# The others, each with a test of its own; the two of the log are proven with the command.
OTHERS = {
    "content_bytes_max", "files_bytes_max", "stop_seconds", "log_recipients", "egress.allow", "channels.NAME.url",
    "channels.NAME.timeout",
    "channels.NAME.options.OPTION", "concurrency", "channels.NAME.concurrency", "channels.NAME.history",
    "channels.NAME.rate", "channels.NAME.recipient_rate",
    "limits.messages", "limits.bytes", "limits.channel_messages", "limits.recipient_messages",
    "limits.tenant_messages", "channels.NAME.limit_messages", "retention.delivered", "retention.cancelled",
    "retention.expired", "retention.dead", "retention.content", "retention.mirror", "held_retention", "key_retention",
    "audit_retention", "prune_interval_ms",
}  # fmt: skip
OF_THE_COMMAND = {"log_level", "log_format"}


def test_every_setting_that_says_so_is_tried_here() -> None:
    tried = {f"defaults.{name}" for name in POLICIES if name != "lane"} | {f"channels.NAME.{name}" for name in POLICIES}
    assert {one.key for one in TABLE if one.setting.reload} == tried | OTHERS | OF_THE_COMMAND


def settings(tmp_path: Path, **values: Any) -> Settings:
    return override(None, {"db": str(tmp_path / "outbox.db"), **values})


def ops(tmp_path: Path, url: str, **values: Any) -> Settings:
    return settings(tmp_path, channels={"ops": {"url": url, **values}})


async def nothing(attempt: Attempt) -> None:
    return None


async def view_of(box: Outbox, identity: str | None) -> MessageView:
    message = await box.get(identity or "")
    assert message is not None
    assert message.view is not None
    return message.view


@pytest.mark.contract("CF3")
@pytest.mark.parametrize("name", [name for name in POLICIES if name != "lane"])
async def test_defaults_hold_for_what_is_accepted_afterwards(tmp_path: Path, name: str) -> None:
    value, holds = POLICIES[name]
    async with Outbox(settings=settings(tmp_path), channels={"chat": nothing}) as box:
        before = await box.send("chat", to="x", text="hi", at=LATER)
        changes = await box.reload(settings(tmp_path, defaults={name: value}))
        assert (changes.reload, changes.restart) == ((f"defaults.{name}",), ())
        after = await box.send("chat", to="x", text="hi", at=LATER)
        assert [holds(await view_of(box, one.id)) for one in (before, after)] == [False, True]  # type: ignore[operator]


@pytest.mark.contract("CF3")
@pytest.mark.parametrize("name", POLICIES)
async def test_a_channel_s_policy_holds_for_what_is_accepted_afterwards(tmp_path: Path, name: str) -> None:
    value, holds = POLICIES[name]
    async with Outbox(settings=ops(tmp_path, NOWHERE)) as box:
        before = await box.send("ops", to="x", text="hi", at=LATER)
        assert (await box.reload(ops(tmp_path, NOWHERE, **{name: value}))).reload == (f"channels.ops.{name}",)
        after = await box.send("ops", to="x", text="hi", at=LATER)
        assert [holds(await view_of(box, one.id)) for one in (before, after)] == [False, True]  # type: ignore[operator]


async def test_the_largest_content_is_what_it_is_now(tmp_path: Path) -> None:
    async with Outbox(settings=settings(tmp_path), deliver=False) as box:
        await box.send("chat", to="x", text="x" * 2000)
        await box.reload(settings(tmp_path, content_bytes_max=1000))
        with pytest.raises(InvalidMessage, match="at most 1000 bytes"):
            await box.send("chat", to="x", text="x" * 2000)


async def test_the_largest_files_are_what_they_are_now(tmp_path: Path) -> None:
    async with Outbox(settings=settings(tmp_path), deliver=False) as box:
        await box.send("chat", to="x", files=[b"x" * 2000])
        await box.reload(settings(tmp_path, files_bytes_max=1000))
        with pytest.raises(InvalidMessage, match="at most 1000 bytes"):
            await box.send("chat", to="x", files=[b"x" * 2000])


async def test_a_stop_waits_as_long_as_is_said_now(tmp_path: Path) -> None:
    async with Receiver(Answer.hang()) as receiver:
        box = Outbox(settings=ops(tmp_path, receiver.url))
        await box.start()
        await box.send("ops", to="x", text="hi")
        await receiver.wait_for(1)
        await box.reload(settings(tmp_path, stop_seconds=0.05, channels={"ops": receiver.url}))
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await box.stop() == 1


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    found: list[logging.LogRecord] = []
    logger, handler = logging.getLogger("pillarbox.delivery"), logging.Handler()
    handler.emit = found.append  # type: ignore[assignment,method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.contract("EV3")
async def test_recipients_are_logged_as_is_said_now(tmp_path: Path, lines: list[logging.LogRecord]) -> None:
    async with Outbox(settings=settings(tmp_path, log_recipients=True), deliver=False) as box:
        await box.send("chat", to="ann@example.org", text="hi")
        for said in (False, True):
            assert (await box.reload(settings(tmp_path, log_recipients=said))).reload == ("log_recipients",)
            await box.send("chat", to="ann@example.org", text="hi")
    clear, hashed, again = (line.__dict__["channelId"] for line in lines)
    assert (clear, again) == ("ann@example.org", "ann@example.org")
    assert hashed.startswith("#")


@pytest.mark.contract("LE5")
async def test_messages_go_where_the_channel_leads_now_and_sends_under_way_end_where_they_began(tmp_path: Path) -> None:
    async with Receiver() as old, Receiver() as new, Outbox(settings=ops(tmp_path, old.url)) as box:
        old.hold()
        first = await box.send("ops", to="x", text="first")
        await old.wait_for(1)
        assert (await box.reload(ops(tmp_path, new.url))).reload == ("channels.ops.url",)
        assert box.settings.channels["ops"].url == new.url
        second = await (await box.send("ops", to="y", text="second")).wait(PATIENCE_SECONDS)
        old.release()
        await first.wait(PATIENCE_SECONDS)
        assert (first.state, second.state) == (State.DELIVERED, State.DELIVERED)
        assert ([one.json["text"] for one in old.requests], [one.json["text"] for one in new.requests]) == (
            ["first"], ["second"],
        )  # fmt: skip
        # The channel that was replaced lets its connections go.
        await old.wait_until_quiet(timeout=PATIENCE_SECONDS)


@pytest.mark.contract("FL2")
async def test_other_credentials_end_the_rest_after_refused_ones(tmp_path: Path) -> None:
    async with FakeTelegram() as telegram:
        wrong = telegram.url.replace(telegram.token, f"{telegram.token[:-1]}_")
        async with Outbox(settings=ops(tmp_path, wrong)) as box, asyncio.timeout(PATIENCE_SECONDS):
            paused = asyncio.Event()
            box.subscribe(lambda _: paused.set(), ChannelPaused)
            message = await box.send("ops", to="42", text="hi")
            await paused.wait()
            assert (await box.queues())[0].paused_until_ms is None
            await box.reload(ops(tmp_path, telegram.url))
            assert (await message.wait()).state is State.DELIVERED


async def test_an_option_of_the_adapter_holds_from_now_on(tmp_path: Path, receiver: Receiver) -> None:
    async with Outbox(settings=ops(tmp_path, receiver.url)) as box:
        await (await box.send("ops", to="x", text="hi")).wait(PATIENCE_SECONDS)
        signed = ops(tmp_path, receiver.url, options={"secret": WHSEC})
        assert (await box.reload(signed)).reload == ("channels.ops.options.secret",)
        await (await box.send("ops", to="x", text="hi")).wait(PATIENCE_SECONDS)
        assert (await box.reload(ops(tmp_path, receiver.url))).reload == ("channels.ops.options.secret",)
        await (await box.send("ops", to="x", text="hi")).wait(PATIENCE_SECONDS)
    assert ["webhook-signature" in one.headers for one in receiver.requests] == [False, True, False]


async def test_a_send_takes_as_long_as_is_said_now(tmp_path: Path) -> None:
    async with (
        Receiver(Answer.hang()) as receiver,
        Outbox(settings=ops(tmp_path, receiver.url, timeout="20s", uncertain="hold")) as box,
    ):
        await box.reload(ops(tmp_path, receiver.url, timeout="200ms", uncertain="hold"))
        message = await (await box.send("ops", to="x", text="hi")).wait(PATIENCE_SECONDS)
        assert (message.state, message.error) == (State.HELD, "timed out after the request was written")


async def test_files_may_come_from_the_networks_that_are_allowed_now(tmp_path: Path) -> None:
    file = "http://10.1.2.3/picture.png"
    async with Outbox(settings=ops(tmp_path, NOWHERE)) as box:
        with pytest.raises(InvalidMessage, match="files"):
            await box.send("ops", to="x", files=[file], at=LATER)
        allowed = settings(tmp_path, channels={"ops": NOWHERE}, egress={"allow": ["10.0.0.0/8"]})
        assert (await box.reload(allowed)).reload == ("egress.allow",)
        assert (await box.send("ops", to="x", files=[file], at=LATER)).created


async def test_what_needs_a_restart_stays_and_is_named_each_time(tmp_path: Path, receiver: Receiver) -> None:
    old = ops(tmp_path, receiver.url)
    new = override(
        None,
        {
            "db": str(tmp_path / "other.db"),
            "lease_seconds": 100,
            "stop_seconds": 5,
            "drain_on_startup": False,
            "channels": {"ops": {"url": receiver.url}, "more": NOWHERE},
        },
    )
    async with Outbox(settings=old) as box:
        for reload in (("stop_seconds",), ()):
            changes = await box.reload(new)
            assert changes.reload == reload
            assert set(changes.restart) == {"db", "lease_seconds", "drain_on_startup", "channels.more.url"}
        assert (box.settings.db, box.settings.lease_seconds, box.settings.stop_seconds) == (old.db, None, 5.0)
        assert (list(box.settings.channels), box.channels) == (["ops"], ("ops",))
        gone = await box.reload(settings(tmp_path, stop_seconds=5))
        assert gone.restart == ("channels.ops.url",)
        await (await box.send("ops", to="x", text="hi")).wait(PATIENCE_SECONDS)
    assert receiver.count == 1


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "scheme": ({"url": "gopher://x"}, r"channels\.ops\.url"),
    "option": ({"options": {"sekret": "x"}}, r"channels\.ops\.sekret"),
    "lease": ({"timeout": "2m"}, r"channels\.ops\.timeout: expected less than 64s, the lease"),
}


@pytest.mark.contract("CF2", "LE3")
@pytest.mark.parametrize("name", BROKEN)
async def test_a_mistake_changes_nothing(tmp_path: Path, receiver: Receiver, name: str) -> None:
    wrong, said = BROKEN[name]
    old = ops(tmp_path, receiver.url)
    async with Outbox(settings=old) as box:
        with pytest.raises(ConfigError, match=said):
            await box.reload(
                settings(tmp_path, defaults={"max_attempts": 9}, channels={"ops": {"url": receiver.url, **wrong}})
            )
        assert box.settings == old
        message = await (await box.send("ops", to="x", text="hi")).wait(PATIENCE_SECONDS)
        assert (message.state, message.to_dict()["max_attempts"]) == (State.DELIVERED, 12)


async def test_a_channel_that_cannot_be_opened_changes_nothing(tmp_path: Path, receiver: Receiver) -> None:
    mail = "smtps://mail.example.org?sender=a@example.org"
    old = settings(tmp_path, channels={"ops": receiver.url, "mail": mail})
    async with Outbox(settings=old) as box:
        wrong = {"url": mail, "options": {"cafile": str(tmp_path / "nowhere.pem")}}
        with pytest.raises(ConfigError, match="cafile"):
            await box.reload(settings(tmp_path, channels={"ops": {"url": NOWHERE, "timeout": "5s"}, "mail": wrong}))
        assert box.settings == old
        message = await (await box.send("ops", to="x", text="hi")).wait(PATIENCE_SECONDS)
        assert message.state is State.DELIVERED


async def test_what_the_program_says_of_its_own_channels_stays(tmp_path: Path) -> None:
    box = Outbox(settings=settings(tmp_path))
    box.channel("chat", nothing, max_attempts=3)
    async with box:
        await box.reload(settings(tmp_path, defaults={"max_attempts": 9, "ttl": "2h"}))
        view = await view_of(box, (await box.send("chat", to="x", text="hi", at=LATER)).id)
        assert (view.max_attempts, POLICIES["ttl"][1](view)) == (3, True)  # type: ignore[operator]


async def test_only_an_open_outbox_is_reloaded(tmp_path: Path) -> None:
    box = Outbox(settings=settings(tmp_path))
    with pytest.raises(NotStarted):
        await box.reload(settings(tmp_path))


@pytest.mark.contract("EN12")
async def test_without_a_queue_channels_do_not_change(tmp_path: Path, receiver: Receiver) -> None:
    old = settings(tmp_path, enabled=False, channels={"ops": receiver.url})
    async with Outbox(settings=old) as box:
        with pytest.raises(Refused, match="disabled"):
            await box.reload(settings(tmp_path, enabled=False, channels={"ops": NOWHERE}))
        assert box.settings == old
        assert (
            await box.reload(settings(tmp_path, enabled=False, stop_seconds=1, channels={"ops": receiver.url}))
        ).reload


@pytest.fixture
async def receiver() -> Any:
    async with Receiver() as found:
        yield found
