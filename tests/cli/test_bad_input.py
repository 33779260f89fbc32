"""What is wrong with the input: each mistake its own line and exit code, nothing written, nothing lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pillarbox.settings.model import Settings

if TYPE_CHECKING:
    from pillarbox.testing.receiver import Receiver
    from tests.cli.commands import Ended, Pillarbox

LIMIT = Settings().content_bytes_max

# What is typed after `pillarbox send`, the exit code, and how the line begins.
MISTAKES = {
    "no-recipient": ("ops hi", 2, "Missing option '--to'"),
    "no-text": ("ops --to x", 2, "expected TEXT, --payload or --payload-file; nothing came from stdin"),
    "unknown-channel": ("opps hi --to x", 4, "channel: no channel 'opps' is configured (configured: mail, ops)"),
    "unknown-scheme": ("gopher://host/ hi --to x", 4, "channel: unknown scheme 'gopher'"),
    "no-host": ("http:/// hi --to x", 4, "channel: expected a URL that begins with http:// or https://"),
    "no-scheme": ("//host/path hi --to x", 4, "channel: expected a URL that begins with one of"),
    "bad-port": ("http://127.0.0.1:99999/ hi --to x", 4, "channel: "),
    "metadata-address": ("http://169.254.169.254/ hi --to x", 4, "channel: 169.254.169.254 is a link-local"),
    "bad-mailbox": ("mail hi --to nobody", 2, "to: "),
    "empty-recipient": ("ops hi --to ", 2, "to: expected something"),
    "variable-of-no-value": ("ops hi --to x --key ", 2, "key: expected something, not an empty text"),
    "crlf-recipient": ("ops hi --to a\r\nBcc:b", 2, "to: expected one line"),
    "crlf-subject": ("mail hi --to a@example.org --subject a\r\nBcc:b@example.org", 2, "subject: expected one line"),
    "ttl-in-the-past": ("ops hi --to x --ttl -5s", 2, "Invalid value for '--ttl': expected a span"),
    "no-ttl": ("ops hi --to x --ttl 0s", 2, "ttl: expected a span above 0"),
    "no-zone": ("ops hi --to x --at 2030-01-31T09:00", 2, "Invalid value for '--at': expected a span such as 10m, or"),
    "no-attempts": ("ops hi --to x --max-attempts 0", 2, "max_attempts: expected a whole number 1–10000"),
    "no-json": ("ops --to x --payload {", 2, "Invalid value for '--payload': expected JSON"),
    "no-object": ("ops hi --to x --metadata [1]", 2, "Invalid value for '--metadata': expected a JSON object"),
    "no-file": ("ops --to x --payload-file nosuch", 2, "--payload-file nosuch: No such file or directory"),
    "text-and-payload": ("ops hi --to x --payload 1", 2, "TEXT and --payload exclude each other"),
    "type-of-text": ("ops hi --to x --content-type a/b", 2, "content_type: goes with payload"),
    "ephemeral": ("ops hi --to x --ephemeral", 2, "--ephemeral needs --wait"),
    "no-configuration": ("ops hi --to x --config nosuch.toml", 4, "nosuch.toml: expected a file at nosuch.toml"),
    "memory": ("ops hi --to x --db :memory:", 4, "db: expected a file: a database in memory ends with the command"),
    "unknown-option": ("ops hi --to x --tll 5s", 2, "no option '--tll'; did you mean '--ttl'?"),
    "endless-timeout": ("ops hi --to x --wait --timeout 9999999d", 2, "Invalid value for '--timeout': expected"),
    "endless-ttl": ("ops hi --to x --ttl 99999999999999999999d", 2, "Invalid value for '--ttl': expected a span"),
    "unknown-command-option": ("ops hi --to x --wait --timeout soon", 2, "Invalid value for '--timeout'"),
}  # fmt: skip


@pytest.fixture
def configured(pillarbox: Pillarbox, receiver: Receiver) -> Pillarbox:
    pillarbox.serving(receiver.url)
    pillarbox.serving("smtp://127.0.0.1:1/?sender=us@example.org", name="mail")
    return pillarbox


def refused(ended: Ended, code: int, said: str) -> None:
    assert (ended.code, ended.out) == (code, "")
    assert ended.said.startswith(f"error: {said}"), ended.said


@pytest.mark.contract("EN13", "EN16", "CF2")
async def test_each_mistake_is_named_and_writes_nothing(configured: Pillarbox, receiver: Receiver) -> None:
    kept = await configured("send", "ops", "kept", "--to", "x")
    several = asyncio.Semaphore(4)

    async def try_to_send(typed: str) -> Ended:
        async with several:
            return await configured("send", *typed.split(" "))

    found = await asyncio.gather(*(try_to_send(typed) for typed, _, _ in MISTAKES.values()))
    for ended, (_, code, said) in zip(found, MISTAKES.values(), strict=True):
        refused(ended, code, said)
    assert [row["id"] for row in (await configured("ls", "--json")).json] == [kept.out.strip()]
    assert receiver.count == 0


@pytest.mark.contract("EN13")
async def test_what_is_too_long_is_refused_and_never_read_whole(configured: Pillarbox) -> None:
    (configured.home / "huge").touch()
    with (configured.home / "huge").open("r+b") as huge:
        huge.truncate(1 << 40)
    found = await asyncio.gather(
        configured("send", "ops", "--to", "x", "--payload-file", "huge"),
        configured("send", "ops", "-", "--to", "x", stdin=b"x" * (LIMIT + 10)),
    )
    refused(found[0], 2, f"payload: expected at most {LIMIT} bytes of content")
    refused(found[1], 2, f"text: expected at most {LIMIT} bytes of content")


async def test_text_that_is_no_utf8_is_refused(configured: Pillarbox) -> None:
    refused(
        await configured("send", "ops", "-", "--to", "x", stdin=b"caf\xe9"),
        2,
        "expected text in UTF-8 from stdin; byte 3 is none",
    )


@pytest.mark.contract("EN5")
async def test_a_full_queue_is_exit_75(configured: Pillarbox) -> None:
    configured.variables["PILLARBOX_LIMITS__MESSAGES"] = "1"
    assert (await configured("send", "ops", "hi", "--to", "x")).code == 0
    refused(
        await configured("send", "ops", "hi", "--to", "x"),
        75,
        "queue full: the store holds its limit of 1 messages",
    )


@pytest.mark.contract("CF2")
async def test_a_mistake_in_the_configuration_is_named(configured: Pillarbox) -> None:
    (configured.home / "pillarbox.yaml").write_text("limits: {message: 5}\n", "utf-8")
    wrong = await configured("ls")
    assert wrong.code == 4
    assert "limits.message" in wrong.said
    assert "did you mean 'limits.messages'?" in wrong.said


async def test_a_mistake_in_one_channel_does_not_stop_another(configured: Pillarbox) -> None:
    configured.serving("http://169.254.169.254/", name="wrong")
    assert (await configured("send", "ops", "hi", "--to", "x", "--wait")).code == 0
    assert (await configured("stats")).code == 0
    refused(await configured("run", "--drain"), 4, "channels.wrong.url: 169.254.169.254 is a link-local or metadata")
