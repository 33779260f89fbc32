from __future__ import annotations

import subprocess
import sys
import traceback
from typing import Any

import pytest

from pillarbox.channels import registry
from pillarbox.channels.base import Channel
from pillarbox.channels.registry import SCHEMES, build, schemes
from pillarbox.channels.webhook import WebhookChannel
from pillarbox.domain.message import Content, File
from pillarbox.errors import ConfigError, InvalidMessage

CANARY = "CANARY7f3a9"


def refusal(url: Any, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        build(url, **options)
    return refused.value


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://example.com/hook", "HTTPS://EXAMPLE.com"])
def test_a_web_address_is_a_webhook(url: str) -> None:
    channel = build(url, secret="whsec_" + "A" * 32, timeout="20s", headers={"X-Shop": "7"}, dedupe=True)
    assert isinstance(channel, WebhookChannel)
    assert channel.kind == "webhook"


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_scheme_leads_to_a_class_that_can_be_loaded(scheme: str) -> None:
    adapter = registry._load(SCHEMES[scheme])
    assert issubclass(adapter, Channel)  # type: ignore[arg-type]
    assert callable(adapter.from_url)


def test_nothing_heavy_is_imported_before_a_channel_is_wanted() -> None:
    heavy = "{'httptools', 'aiosmtplib', 'yarl'}"
    code = f"import sys, pillarbox.channels.registry; print(sorted({heavy} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "url", ["", "example.com/hook", "//example.com", "   ", "://x", "1http://x", None, 42, b"http://x"]
)
def test_what_is_no_url_is_refused_with_the_schemes_there_are(url: Any) -> None:
    refused = refusal(url, field="channels.ops.url")
    assert refused.field == "channels.ops.url"
    for scheme in schemes():
        assert scheme in refused.expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("htps://example.com", "unknown scheme 'htps'; did you mean 'https'?"),
        ("htpp://example.com", "unknown scheme 'htpp'; did you mean 'http'?"),
        ("qqqqqq://example.com", "unknown scheme 'qqqqqq' (known: " + ", ".join(schemes())),
    ],
)
def test_an_unknown_scheme_is_named_with_its_nearest(url: str, words: str) -> None:
    assert words in refusal(url).expected


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"secrt": "x"}, "channels.ops.secrt", "unknown option 'secrt'; did you mean 'secret'?"),
        ({"timeout_seconds": 3}, "channels.ops.timeout_seconds", "did you mean 'timeout'?"),
        ({"egress": None}, "channels.ops.egress", "unknown option 'egress'"),
        ({"timeout": 0}, "channels.ops.timeout", "above 0, at most 3600"),
        ({"timeout": "soon"}, "channels.ops.timeout", "expected a span"),
        ({"timeout": float("nan")}, "channels.ops.timeout", "above 0, at most 3600"),
        ({"timeout": True}, "channels.ops.timeout", "above 0, at most 3600"),
        ({"timeout": None}, "channels.ops.timeout", "above 0, at most 3600"),
        ({"concurrency": 0}, "channels.ops.concurrency", "from 1 to 1000"),
        ({"concurrency": 1.5}, "channels.ops.concurrency", "from 1 to 1000"),
        ({"dedupe": "maybe"}, "channels.ops.dedupe", "expected true, false, or a span"),
        ({"secret": CANARY}, "channels.ops.secret", "expected whsec_"),
        ({"secret": 7}, "channels.ops.secret", "expected a text or a list of texts"),
        ({"headers": "X: y"}, "channels.ops.headers", "expected a table"),
        ({"headers": f'["{CANARY}"]'}, "channels.ops.headers", "expected a table, or a JSON object"),
        ({"outcomes": '{"404": 7}'}, "channels.ops.outcomes.404", "expected one of delivered, "),
        ({"headers": {"X-A": CANARY + "\r\n"}}, "channels.ops.headers.X-A", "expected printable ASCII"),
        ({"outcomes": {"404": "retry"}}, "channels.ops.outcomes.404", "expected one of delivered, "),
        ({"allow_networks": ["10.0.0.1/8"]}, "channels.ops.allow_networks", "expected networks such as"),
        ({"allow_networks": 7}, "channels.ops.allow_networks", "expected a text or a list of texts"),
    ],
)
def test_a_wrong_option_is_named_beside_the_url(options: dict[str, Any], field: str, words: str) -> None:
    refused = refusal("https://example.com/", field="channels.ops.url", **options)
    assert refused.field == field
    assert words in refused.expected
    assert CANARY not in str(refused)


def test_options_may_come_as_text_as_the_environment_has_them() -> None:
    channel = build(
        "https://example.com/",
        headers='{"X-Shop": "7"}',
        outcomes='{"404": "rejected"}',
        timeout="20s",
        dedupe="Yes",
        secret="whsec_" + "A" * 32,
        allow_networks="10.0.0.0/8,fd12::/48",
    )
    assert channel.send_timeout_seconds > 20
    assert build("https://example.com/", dedupe="off").send_timeout_seconds > 30


def test_without_a_path_an_option_is_called_by_its_own_name() -> None:
    assert refusal("https://example.com/", nonsense=1).field == "nonsense"


@pytest.mark.contract("EV3")
@pytest.mark.parametrize(
    "url",
    [
        CANARY,
        f"{CANARY}{CANARY}{CANARY}{CANARY}://x",
        f"htps://me:{CANARY}@example.com/?token={CANARY}",
        f"https://me:{CANARY}@/x",
        f"https://me:{CANARY}@exa mple.com/",
        f"https://me:{CANARY}@127.1/",
        f"https://me:{CANARY}@169.254.169.254/",
        f"https://me:{CANARY}@example.com:99999/",
        f"https://me:{CANARY}@example.com:{CANARY}/",
        f"https://[{CANARY}",
        f"https://example.com:0/{CANARY}",
        f"https://{CANARY}\x00.com/",
        f"https://example.com\\{CANARY}",
        f"tgram://{CANARY}",
    ],
)
def test_no_refusal_shows_the_url_not_even_in_its_traceback(url: str) -> None:
    refused = refusal(url)
    assert CANARY not in str(refused)
    assert CANARY.lower() not in str(refused).lower()
    frames = "".join(traceback.format_exception_only(refused)) + repr(refused.__cause__)
    assert CANARY not in frames
    assert refused.__suppress_context__ or refused.__context__ is None


def test_the_same_url_built_twice_gives_two_channels() -> None:
    assert build("https://example.com/") is not build("https://example.com/")


def test_a_setting_for_every_channel_reaches_the_adapters_that_know_it_and_gives_way_to_their_own() -> None:
    file = File(url="http://10.1.2.3/a.png")
    everywhere = {"allow_networks": ("10.0.0.0/8",)}
    open_one = build("https://example.com/", defaults=everywhere)
    assert open_one.admit(to="ann", content=Content(text="x", files=(file,))).recipient == "ann"
    closed_one = build("https://example.com/", defaults=everywhere, allow_networks="192.168.0.0/16")
    with pytest.raises(InvalidMessage, match="files"):
        closed_one.admit(to="ann", content=Content(text="x", files=(file,)))
    assert build("console:", defaults=everywhere).kind == "console"


@pytest.mark.contract("PA1")
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "file:///tmp/x.jsonl", "console:", "smtp://mail.example.org"])
def test_every_channel_can_be_told_how_long_a_text_may_be(url: str) -> None:
    more: dict[str, Any] = {"sender": "a@example.org"} if url.startswith("smtp") else {}
    channel = build(url, text_limit="4096", unit="utf16", split_mode="sentence", **more)
    assert (channel.capabilities.text_limit, channel.capabilities.unit) == (4096, "utf16")
    assert channel.split_mode == "sentence"
    # It is this channel's own affair.
    assert build(url, **more).capabilities.text_limit is None
    assert type(channel).capabilities.text_limit is None


@pytest.mark.contract("PA1", "CF2")
@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"text_limit": 0}, "channels.ops.text_limit", "whole number from 1"),
        ({"text_limit": "many"}, "channels.ops.text_limit", "whole number from 1"),
        ({"text_limit": 1.5}, "channels.ops.text_limit", "whole number from 1"),
        ({"text_limit": 10, "unit": "words"}, "channels.ops.unit", "utf16, bytes, codepoints"),
        ({"text_limit": 10, "split_mode": "page"}, "channels.ops.split_mode", "paragraph"),
        ({"unit": "bytes"}, "channels.ops.text_limit", "expected one beside unit"),
        ({"text_limits": 10}, "channels.ops.text_limits", "did you mean 'text_limit'"),
    ],
)
def test_a_limit_that_means_nothing_is_refused_by_name(options: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        build("http://127.0.0.1:1/", field="channels.ops.url", **options)
    assert caught.value.field == field
