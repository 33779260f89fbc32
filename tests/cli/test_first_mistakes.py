"""What people type in their first hour that is not so: each is answered by one sentence that leads on."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.typed import Typed

FILES = {
    "pillarbox.toml": 'db = "q.db"\n[channels.ops]\nurl = "http://127.0.0.1:9/"\n',
    "no-url.toml": 'db = "q.db"\n[channels.ops]\nttl = "2h"\n',
    "toml.yaml": '[channels.ops]\nurl = "http://127.0.0.1:9/"\n',
    "yaml.toml": "# mine\nchannels:\n  ops: http://127.0.0.1:9/\n",
    "theirs.toml": 'database = "x.db"\n[channels.ops]\nurl = "http://x/"\nretries = 3\nsecret = "s"\n',
    "slack.toml": '[channels.team]\nurl = "https://hooks.slack.com/services/T/B/X"\n',
    "bot.py": "from pillarbox import Outbox\nbox = Outbox('b.db')\n",
}

# What is typed, the exit code, and what the answer says.
MISTAKES = {
    "channel-without-messages": ("channels nosuch", 3, "sent to channel 'nosuch'; messages went to ops"),
    "channel-with-a-slip": ("channels opps", 3, "sent to channel 'opps'; did you mean 'ops'?"),
    "stats-with-a-slip": ("stats opps", 3, "sent to channel 'opps'; did you mean 'ops'?"),
    "guarantee-of-nothing": ("guarantee nosuch", 4, "no channel 'nosuch' is configured (configured: ops)"),
    "shard-of-one": ("ls --shard 3", 4, "shard: expected `shards` beside it; there is one database here, so leave it"),
    "channel-without-url": ("send ops hi --to a --config no-url.toml", 4, "channels.ops.url: is not set, and no"),
    "directory-as-database": ("ls --db folder", 5, "folder is a directory; expected a database file"),
    "database-of-the-shop": ("ls --db shop.db", 5, "share it by `pillarbox db init --shared FILE`"),
    "text-as-database": ("ls --db bot.py", 5, "; put a backup in its place, or name another database by --db"),
    "colon-without-slashes": ("send ops hi --to a --db sqlite:x.db", 4, "with slashes behind the colon"),
    "yaml-that-is-toml": ("ls --config toml.yaml", 4, "it looks like TOML, which a file named .toml may hold"),
    "toml-that-is-yaml": ("ls --config yaml.toml", 4, "it looks like YAML, which a file named .yaml may hold"),
    "configuration-as-argument": ("config check pillarbox.toml", 2, "named by --config pillarbox.toml"),
    "text-without-quotes": ("send ops hello world --to a", 2, "the text is one argument, so put it between quotes"),
    "text-before-channel": ("send hi ops --to a", 2, "the channel comes first: pillarbox send ops 'hi'"),
    "channel-to-run": ("run ops", 2, "run takes a URL; a configured channel is named by --channel ops"),
    "app-without-that-name": ("run --app bot:app", 4, "bot has no 'app'; an Outbox there is box"),
    "app-without-channels": ("run --app bot:box", 4, "has no channels: give it one by @box.channel"),
    "restore": ("db restore b.db", 2, "a backup is put back by hand, while nothing runs: move"),
    "vacuum": ("db vacuum", 2, "what is deleted is used again"),
    "verify": ("db verify", 2, "no command 'verify'; did you mean 'check'?"),
    "set-a-setting": ("config set ttl 1h", 2, "changed in the file that `pillarbox config path` names"),
    "validate": ("config validate", 2, "no command 'validate'; did you mean 'check'?"),
    "wait-for-it": ("wait LAST", 2, "no command 'wait'; did you mean 'explain'?"),
    "mail-as-scheme": ("send mailto:a@example.org hi --to a", 4, "unknown scheme 'mailto'; did you mean 'smtp'?"),
    "telegram-as-scheme": ("send telegram://1 hi --to a", 4, "unknown scheme 'telegram'; did you mean 'tgram'?"),
    "colon-in-a-filter": ("ls --where state:dead", 2, "did you mean state=dead?"),
    "age-in-a-filter": ("ls --where age>1h", 2, "did you mean older=1h?"),
    "state-as-filter": ("ls --where dead", 2, "did you mean state=dead?"),
    "two-states": ("ls --state dead,held", 2, "say it once for each: --state dead --state held"),
    "cancel-twice": ("cancel LAST", 1, "it is cancelled, and cancel is for what is scheduled, leased or held"),
    "resolve-what-is-not-held": ("resolve LAST --delivered", 1, "and resolve is for what is held"),
    "no-such-message": ("show nosuch", 3, "no message 'nosuch'; `pillarbox ls` lists what there is"),
    "above-the-queue": ("import openclaw-files claw", 2, "path: the queue is a folder in it, claw/delivery-queue"),
    "folder-of-the-database": ("import comis claw", 2, "path: expected the database in claw, such as claw/memory.db"),
}


@pytest.fixture
def beginner(typed: Typed) -> Typed:
    for name, text in FILES.items():
        (typed.home / name).write_text(text, "utf-8")
    for name in ("folder", "claw/delivery-queue"):
        (typed.home / name).mkdir(parents=True)
    with sqlite3.connect(typed.home / "shop.db") as shop:
        shop.execute("CREATE TABLE orders (number)")
    shop.close()
    return typed


def test_each_mistake_is_answered_by_one_sentence_that_leads_on(
    beginner: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PILLARBOX_DB", raising=False)
    monkeypatch.syspath_prepend(beginner.home)
    assert beginner("send ops hi --to ann").code == 0
    assert beginner("cancel LAST").code == 0
    for name, (line, code, said) in MISTAKES.items():
        answer = beginner(line)
        assert (answer.code, len(answer.err.splitlines()), said in answer.err) == (code, 1, True), (name, answer)
    assert not (beginner.home / "sqlite:x.db").exists()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("PILLARBOX_DATABASE", "PILLARBOX_DB"),
        ("PILLARBOX_DATABASE_URL", "PILLARBOX_DB"),
        ("PILLARBOX_CHANNEL_OPS_URL", "PILLARBOX_CHANNELS__OPS__URL"),
        ("PILLARBOX_CHANNELS_MY_TEAM_TTL", "PILLARBOX_CHANNELS__MY_TEAM__TTL"),
        ("PILLARBOX_CHANNELS_OPS_RECIPIENT_RATE", "PILLARBOX_CHANNELS__OPS__RECIPIENT_RATE"),
        ("PILLARBOX_CHANNELS_OPS_OPTIONS_SECRET", "PILLARBOX_CHANNELS__OPS__OPTIONS__SECRET"),
        ("PILLARBOX_LIMITS_MESSAGES", "PILLARBOX_LIMITS__MESSAGES"),
    ],
)
def test_a_variable_that_is_nearly_one_leads_to_it(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, given: str, meant: str
) -> None:
    monkeypatch.setenv(given, "x")
    refused = typed("ls")
    assert (refused.code, refused.err) == (4, f"error: {given}: no such setting; did you mean {meant!r}?\n")


def test_other_programs_words_in_a_file_lead_to_ours(beginner: Typed) -> None:
    assert [line.partition(" (")[0] for line in beginner("config check --config theirs.toml").lines] == [
        "error: database: no such setting; did you mean 'db'?",
        "error: channels.ops.retries: no such setting; did you mean 'channels.ops.max_attempts'?",
        "error: channels.ops.secret: no such setting; did you mean 'channels.ops.options.secret'?",
    ]


def test_what_is_allowed_and_not_meant_is_a_warning(beginner: Typed) -> None:
    for file, said in {
        "no-url.toml": "channels.ops.url: is not set: nothing is sent through it but by a program that gives it",
        "slack.toml": "channels.team.url: leads to Slack, which takes no plain webhook's body: write slack://T…/B…/SECRET",
    }.items():
        checked = beginner(f"config check --config {file}")
        assert checked.code == 0
        assert any(said in line for line in checked.lines), checked
