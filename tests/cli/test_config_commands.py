"""`pillarbox config`: what is configured, by whom, and what is wrong with it (contract CF)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.settings.explain import explanations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cli.commands import Ended, Pillarbox

# Comis's own section, and OpenClaw's, as they stand in those systems' documentation.
COMIS = """\
deliveryQueue:
  enabled: true
  maxQueueDepth: 10000
  defaultMaxAttempts: 5
  defaultExpireMs: 3600000
  drainOnStartup: true
  drainBudgetMs: 60000
  pruneIntervalMs: 300000
"""
OPENCLAW = """\
messages:
  ackReaction: "x"
  delivery:
    maxAgeMs: 1800000
    expireAction: deliver
"""
SECRETS = {
    "PILLARBOX_CHANNELS__HOOK__URL": "https://ann:s3cret-a@hooks.example.org:8443/s3cret-b?key=s3cret-c#s3cret-d",
    "PILLARBOX_CHANNELS__HOOK__OPTIONS__SECRET": "whsec_s3cret-e",
    "PILLARBOX_CHANNELS__MAIL__URL": "smtp://ann:s3cret-f@mail.example.org?sender=a@example.org",
    "PILLARBOX_CHANNELS__ODD__URL": "tgram://s3cret-g",
}


def write(pillarbox: Pillarbox, text: str, name: str = "pillarbox.yaml") -> str:
    file = pillarbox.home / name
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    return str(file)


async def settings(pillarbox: Pillarbox, *options: str) -> dict[str, dict[str, Any]]:
    shown = await pillarbox("config", "show", "--json", *options)
    assert shown.code == 0
    return {row["key"]: row for row in shown.json["settings"]}


def untouched(pillarbox: Pillarbox) -> bool:
    return not pillarbox.db.exists() and not (pillarbox.home / "state").exists()


@pytest.mark.contract("CF1")
async def test_comis_section_is_accepted_as_it_is(pillarbox: Pillarbox) -> None:
    file = write(pillarbox, COMIS, "comis.yaml")
    checked = await pillarbox("config", "check", "--config", file, "--json")
    assert (checked.code, checked.json) == (0, {"ok": True, "file": file, "problems": []})
    found = await settings(pillarbox, "--config", file)
    assert {key: found[key]["value"] for key in ("enabled", "limits.messages", "defaults.max_attempts")} == {
        "enabled": "true", "limits.messages": "10000", "defaults.max_attempts": "5",
    }  # fmt: skip
    assert found["defaults.ttl"]["value"] == "1h"
    assert found["drain_on_startup"]["value"] == "true"
    assert (found["drain_budget_ms"]["value"], found["prune_interval_ms"]["value"]) == ("60000", "300000")
    assert found["limits.messages"]["origin"] == f"file {file}:deliveryQueue.maxQueueDepth"


@pytest.mark.contract("CF1")
async def test_an_empty_section_of_comis_has_its_defaults(pillarbox: Pillarbox) -> None:
    file = write(pillarbox, "deliveryQueue:\n", "comis.yaml")
    found = await settings(pillarbox, "--config", file)
    assert (found["enabled"]["value"], found["limits.messages"]["value"]) == ("true", "10000")


@pytest.mark.contract("CF1")
async def test_openclaw_section_is_accepted_as_it_is(pillarbox: Pillarbox) -> None:
    file = write(pillarbox, OPENCLAW, "openclaw.yaml")
    assert (await pillarbox("config", "check", "--config", file)).code == 0
    found = await settings(pillarbox, "--config", file)
    assert (found["defaults.ttl"]["value"], found["defaults.expire_action"]["value"]) == ("30m", "deliver")


@pytest.mark.contract("CF1", "CF2")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("maxQueueDept: 5", "deliveryQueue.maxQueueDept: no such setting; did you mean 'deliveryQueue.maxQueueDepth'?"),
        ("maxQueueDepth: 0", "deliveryQueue.maxQueueDepth: expected a whole number"),
        ("defaultMaxAttempts: -1", "deliveryQueue.defaultMaxAttempts: expected a whole number"),
        ("defaultExpireMs: 1.5", "deliveryQueue.defaultExpireMs: expected a whole number"),
        ("enabled: 1", "deliveryQueue.enabled: expected true or false"),
    ],
)  # fmt: skip
async def test_a_mistake_in_comis_section_is_named(pillarbox: Pillarbox, line: str, said: str) -> None:
    write(pillarbox, f"deliveryQueue:\n  {line}\n")
    checked = await pillarbox("config", "check")
    assert checked.code == 4
    assert checked.out.startswith(f"error: {said}"), checked.out


@pytest.mark.contract("CF2")
async def test_every_mistake_has_its_line(pillarbox: Pillarbox) -> None:
    text = """\
    nonsense: 1
    concurrency: 2.5
    limits: {message: 5, bytes: many}
    channels:
      ops: {url: "htp://example.org/s3cret"}
      mail: {url: "smtp://mail.example.org", options: {sendr: x}}
      web: {url: "https://example.org/", timeout: 2h}
      slow: {url: "https://example.org/", timeout: 40s}
    lease_seconds: 20
    """
    write(pillarbox, "\n".join(line.removeprefix("    ") for line in text.splitlines()))
    checked = await pillarbox(
        "config", "check", "--db", "gopher://x", PILLARBOX_LIMITS__MESAGES="1", PILLARBOX_LOG_LEVEL="loud"
    )
    assert checked.code == 4
    lines = checked.out.splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    wanted = {
        "nonsense: no such setting",
        "concurrency: expected a whole number from 1 to 10000, not 2.5",
        "limits.message: no such setting; did you mean 'limits.messages'?",
        "limits.bytes: expected",
        "PILLARBOX_LIMITS__MESAGES: no such setting; did you mean 'PILLARBOX_LIMITS__MESSAGES'?",
        "log_level: expected debug, info, warning or error, not 'loud'",
        "channels.ops.url: unknown scheme 'htp'; did you mean 'http'?",
        "channels.mail.sendr: unknown option 'sendr'; did you mean 'sender'?",
        "channels.web.timeout: expected a span",
        "db: expected the path of a file",
        "lease_seconds: expected more than the longest send timeout, 42 seconds, not 20",
    }
    missing = {one for one in wanted if not any(line.startswith(one) for line in errors)}
    assert not missing, (missing, errors)
    assert len(errors) == len(wanted), errors
    assert "s3cret" not in checked.out + checked.err
    assert checked.err.endswith("1 warning\n")
    as_json = await pillarbox("config", "check", "--json", "--db", "gopher://x")
    assert (as_json.code, as_json.json["ok"]) == (4, False)
    assert {tuple(row) for row in as_json.json["problems"]} == {("severity", "field", "expected")}
    assert untouched(pillarbox)


@pytest.mark.contract("CF2")
@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("a: [", "pillarbox.yaml", "expected YAML"),
        ("a = ", "pillarbox.toml", "expected TOML"),
        ("- a\n", "pillarbox.yaml", "expected settings by name"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named(pillarbox: Pillarbox, text: str, name: str, said: str) -> None:
    write(pillarbox, text, name)
    checked = await pillarbox("config", "check")
    assert (checked.code, said in checked.out, name in checked.out) == (4, True, True)
    missing = await pillarbox("config", "check", "--config", "nowhere.toml")
    assert (missing.code, "there is none" in missing.out) == (4, True)


@pytest.mark.contract("CF2")
async def test_what_is_allowed_and_probably_not_meant_is_a_warning(pillarbox: Pillarbox) -> None:
    pillarbox.variables["PILLARBOX_EGRESS__ALLOW"] = "0.0.0.0/0"
    checked = await pillarbox("config", "check")
    assert (checked.code, checked.out) == (
        0,
        "warning: egress.allow: 0.0.0.0/0 allows every private address: name networks\n",
    )
    assert checked.said == "0 errors, 1 warning"


async def test_without_any_configuration_nothing_is_wrong(pillarbox: Pillarbox) -> None:
    checked = await pillarbox("config", "check")
    assert (checked.code, checked.out, checked.said) == (0, "", "no problem found")
    assert untouched(pillarbox)


@pytest.mark.contract("CF3")
async def test_the_last_source_wins_and_is_named(pillarbox: Pillarbox) -> None:
    file = write(pillarbox, "concurrency: 7\nstop_seconds: 5\ndb: file.db\n")
    found = await settings(pillarbox)
    assert (found["db"]["value"], found["db"]["origin"]) == (str(pillarbox.db), "env PILLARBOX_DB")
    pillarbox.variables["PILLARBOX_CONCURRENCY"] = "8"
    found = await settings(pillarbox, "--db", "flag.db")
    assert [
        (found[key]["value"], found[key]["origin"]) for key in ("db", "concurrency", "stop_seconds", "log_level")
    ] == [
        ("flag.db", "flag --db"),
        ("8", "env PILLARBOX_CONCURRENCY"),
        ("5", f"file {file.rpartition('/')[2]}:stop_seconds"),
        ("info", "default"),
    ]
    shown = await pillarbox("config", "show", "--origin")
    rows = {line.split()[0]: line.split() for line in shown.out.splitlines()}
    assert rows["KEY"] == ["KEY", "VALUE", "ORIGIN"]
    assert rows["concurrency"] == ["concurrency", "8", "env", "PILLARBOX_CONCURRENCY"]
    plain = await pillarbox("config", "show")
    assert ["concurrency", "8"] in [line.split() for line in plain.out.splitlines()]
    assert untouched(pillarbox)


@pytest.mark.contract("CF3", "EV3")
async def test_no_secret_is_ever_shown(pillarbox: Pillarbox) -> None:
    (pillarbox.home / "secret").write_text("https://example.org/s3cret-h", "utf-8")
    pillarbox.variables |= {**SECRETS, "PILLARBOX_CHANNELS__FILED__URL_FILE": "secret"}
    found: Sequence[Ended] = await asyncio.gather(
        pillarbox("config", "show", "--origin"),
        pillarbox("config", "show", "--origin", "--json"),
        pillarbox("config", "check"),
        pillarbox("config", "check", "--json"),
    )
    for ended in found:
        assert "s3cret" not in ended.out + ended.err
    shown = found[0].out
    for place in (
        "https://hooks.example.org:8443/***",
        "smtp://mail.example.org/***",
        "tgram://***",
        "https://example.org/***",
    ):
        assert place in shown
    assert "channels.hook.options.secret" in shown


@pytest.mark.contract("CF3")
async def test_the_places_of_the_file_are_listed(pillarbox: Pillarbox) -> None:
    none = await pillarbox("config", "path", "--json")
    assert (none.code, none.json["file"]) == (0, None)
    places = [row["path"] for row in none.json["places"]]
    own = pillarbox.home / "config/pillarbox"
    assert places == [
        str(one / f"pillarbox.{kind}") for one in (pillarbox.home, own) for kind in ("toml", "yaml", "yml")
    ]
    own.mkdir(parents=True)
    (own / "pillarbox.toml").write_text("concurrency = 7\n", "utf-8")
    far = await pillarbox("config", "path", "--json")
    assert far.json["file"] == str(own / "pillarbox.toml")
    near = write(pillarbox, "concurrency: 8\n")
    found = await pillarbox("config", "path", "--json")
    assert [(row["exists"], row["used"]) for row in found.json["places"]] == [
        (False, False), (True, True), (False, False), (True, False), (False, False), (False, False),
    ]  # fmt: skip
    assert found.json["file"] == near
    named = await pillarbox("config", "path", "--json", PILLARBOX_CONFIG="nowhere.toml")
    assert [(row["because"], row["exists"], row["used"]) for row in named.json["places"]] == [
        ("named by PILLARBOX_CONFIG", False, True)
    ]
    assert "PILLARBOX_CONFIG" in (await pillarbox("config", "path", PILLARBOX_CONFIG="nowhere.toml")).out


@pytest.mark.contract("CF4")
async def test_every_setting_is_explained(pillarbox: Pillarbox) -> None:
    listed = await pillarbox("config", "explain", "--json")
    assert [row["key"] for row in listed.json] == [one.key for one in explanations()]
    assert all(row["label"] and row["help"] and row["expected"] and row["default"] for row in listed.json)
    assert [row["key"] for row in listed.json if row["option"] is not None] == ["db"]
    one = await pillarbox("config", "explain", "defaults.ttl_ms", "--json")
    assert one.json == next(row for row in listed.json if row["key"] == "defaults.ttl")
    said = await pillarbox("config", "explain", "channels.ops.timeout")
    assert said.code == 0
    for expected in ("PILLARBOX_CHANNELS__OPS__TIMEOUT", "from 1ms to 1h", "not set", "at SIGHUP"):
        assert expected in said.out
    table = await pillarbox("config", "explain")
    assert len(table.out.splitlines()) == len(listed.json) + 1
    assert untouched(pillarbox)


@pytest.mark.contract("CF2", "CF4")
async def test_an_unknown_setting_is_told_the_nearest(pillarbox: Pillarbox) -> None:
    refused = await pillarbox("config", "explain", "limit.messages")
    assert (refused.code, refused.out) == (4, "")
    assert refused.said.startswith("error: limit.messages: no such setting; did you mean 'limits.messages'?")
    group = await pillarbox("config", "explain", "limits")
    assert (group.code, "limits: is a group of settings" in group.said) == (4, True)
