"""A channel's own secrets are hidden in whatever comes back from its platform, in each form they may have there."""

from __future__ import annotations

import base64
import html
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest

from pillarbox.channels.privacy.foreign_text import excerpt, masked, shown_id
from pillarbox.channels.privacy.known_secrets import KnownSecrets, in_headers, in_signing_secret, in_url
from pillarbox.channels.privacy.masking import hide_secrets, place_of
from pillarbox.channels.privacy.outcomes import fit_to_show, values_of
from pillarbox.channels.registry import build
from pillarbox.domain.message import Content
from pillarbox.domain.outcome import (
    Deferred,
    Delivered,
    Outcome,
    RateLimited,
    Redirected,
    Rejected,
    Unavailable,
    Uncertain,
)
from tests.channels.attempts import an_attempt

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = 'p"ss w/rd&ü+4711'
USER = "mailer"


def plain64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper": str.upper,
    "in a word": lambda text: f"xx{text}xx",
    "percent": lambda text: quote(text, safe=""),
    "percent, path": quote,
    "plus": quote_plus,
    "json": json.dumps,
    "json unicode": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps({"a": text})),
    "json, as Go writes it": lambda text: json.dumps(text, ensure_ascii=False).replace("&", "\\u0026"),
    "json, as .NET writes it": lambda text: json.dumps(text).replace("&", "\\u0026").replace("+", "\\u002B"),
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "html": html.escape,
    "html without quotes": lambda text: html.escape(text, quote=False),
    "html, as Go writes it": lambda text: html.escape(text, quote=False).replace('"', "&#34;").replace("+", "&#43;"),
    "html of percent": lambda text: html.escape(quote(text, safe="&")),
    "percent, every byte": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent, as browsers write it": lambda text: quote(text, safe="!~*'()&\""),
    "percent, latin-1": lambda text: quote(text, safe="", encoding="latin-1"),
    "percent in percent": lambda text: quote(quote(text, safe=""), safe=""),
    "percent in json in json": lambda text: json.dumps(json.dumps({"a": f"https://x/?a={quote(text)}"})),
    "hex": lambda text: text.encode().hex(),
    "base64": plain64,
    "base64 without padding": lambda text: plain64(text).rstrip("="),
    "urlsafe": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64, percent": lambda text: quote(plain64(f"?>{text}"), safe=""),
    "base64, as .NET writes it": lambda text: plain64(f"?>{text}").replace("+", "\\u002B"),
    "base64, latin-1": lambda text: base64.b64encode(text.encode("latin-1")).decode(),
    "basic, latin-1": lambda text: base64.b64encode(f"{USER}:{text}".encode("latin-1")).decode(),
    "basic": lambda text: plain64(f"{USER}:{text}"),
    "plain": lambda text: plain64(f"\0{USER}\0{text}"),
    "plain with an identity": lambda text: plain64(f"{USER}\0{USER}\0{text}"),
    "inside of base64, 1": lambda text: plain64(f"x{text}yz"),
    "inside of base64, 2": lambda text: plain64(f"xy{text}z"),
    "inside of base64, 3": lambda text: plain64(f"xyz{text}"),
}


@pytest.mark.contract("CH8", "EV3")
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_hidden_in_each_form(form: str) -> None:
    known = KnownSecrets(pairs=[(USER, SECRET)])
    said = FORMS[form](SECRET)
    for text in (f"refused: {said} (535)", said, f'{{"a": "{said}"}}'):
        for shown in (masked(text, known=known), excerpt(text, known=known) or "", shown_id(text, known=known)):
            # Of base64, what is not shared with its neighbours is a character at each end.
            assert said not in shown
            assert said[3:-4] not in shown


@pytest.mark.contract("CH8", "EV3")
@pytest.mark.parametrize(
    "text", ["abc", "a%2Fb", "a\\nb", "a&amp;b", "%", "\\", "&#1114112;", "%ff%c3", "\\ud83d\\ude00", "\\ud83d", "&#0;"]
)
def test_escapes_that_hold_no_secret_stay_as_they_are(text: str) -> None:
    known = KnownSecrets(["opensesame"])
    assert masked(f"{text} and {text}", known=known) == f"{text} and {text}"
    assert masked(f"{text}opensesame{text} (535)", known=known) == f"{text}***{text} (535)"
    assert masked(f"{text} %6fpens\\u0065sam&#101; {text}", known=known) == f"{text} *** {text}"


@pytest.mark.contract("CH8")
def test_of_a_text_that_was_cut_in_a_secret_its_escaped_beginning_is_hidden_too() -> None:
    secret = "q/" * 40
    shown = excerpt("a " * 10 + quote(secret, safe="")[:200], known=KnownSecrets([secret]), was_cut=True)
    assert shown is not None
    assert "q%2F" not in shown


@pytest.mark.contract("CH8")
@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("https://me:s3same@example.org/x", ["me", "s3same"]),
        ("https://s3same@example.org/", ["s3same"]),
        ("https://me:s%2F3same@example.org/x", ["s%2F3same", "s/3same"]),
        ("https://hooks.slack.com/services/T000/B000/XyZ987", ["T000", "B000", "XyZ987"]),
        ("https://example.org/hook/open-sesame?wait=true&key=s3same#t0ken", ["open-sesame", "s3same", "t0ken"]),
        ("https://example.org/bot123456:AAHx/send", ["bot123456:AAHx", "AAHx"]),
        ("http://[::1", ["http://[::1"]),
    ],
)
def test_what_is_secret_in_a_url_is_known(url: str, secrets: list[str]) -> None:
    assert set(secrets) <= set(in_url(url))
    assert not {"services", "hook", "true", "example.org", ""} & set(in_url(url))


@pytest.mark.contract("CH8")
def test_what_is_secret_in_headers_is_known() -> None:
    headers = {"Authorization": "Bearer s3same", "X-Api-Key": "k3y", "Accept": "text/html", "Content-Language": "en"}
    assert in_headers(headers) == ["Bearer s3same", "s3same", "k3y"]
    basic = in_headers({"authorization": "Basic " + plain64("ann:hunter22")})
    assert {"ann:hunter22", "hunter22"} <= set(basic)


@pytest.mark.contract("CH8")
def test_a_signing_secret_is_known_as_what_it_stands_for_too() -> None:
    encoded = plain64("opensesameopensesameopensesame")
    assert {f"whsec_{encoded}", encoded, "opensesameopensesameopensesame"} <= set(in_signing_secret(f"whsec_{encoded}"))


def test_a_short_value_hides_whole_words_only_and_nothing_hides_all() -> None:
    known = KnownSecrets(["grey", "ab", "", " ", "x" * 9000])
    assert masked("greylisted: ab grey", known=known) == "greylisted: ab ***"
    assert "grey" not in repr(known)


@pytest.mark.contract("CH8")
@pytest.mark.parametrize(
    ("url", "options"),
    [
        (
            "https://me:s3same77@example.org:8443/services/T0/B1/t0kent0ken?key=qu3ry",
            {"headers": {"X-Key": "h3ader77"}},
        ),
        ("smtp://me:s3same77@127.0.0.1:2525/?sender=a@example.org", {}),
    ],
    ids=["webhook", "smtp"],
)
def test_of_a_channels_url_scheme_and_host_are_all_that_is_shown(url: str, options: dict[str, Any]) -> None:
    channel = build(url, **options)
    described = channel.describe()
    assert described.rstrip("/") in {"https://example.org:8443", "smtp://127.0.0.1:2525"}
    for secret in ("s3same77", "t0ken", "qu3ry", "h3ader77"):
        assert secret not in f"{described} {channel!r} {channel.known_secrets!r}"
    said = masked("s3same77 t0kent0ken qu3ry h3ader77", known=channel.known_secrets)
    assert "s3same77" not in said


@pytest.mark.contract("CH8")
@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://me:pw@example.org:8443/a?b=c#d", "https://example.org:8443"),
        ("HTTPS://Example.ORG/secret", "https://example.org"),
        ("http://[::1]:80/x", "http://[::1]:80"),
        ("tgram://TOKEN/chat", "tgram://***"),
        ("http://[::1/x", "http://***"),
        ("http://h:99999/x", "http://***"),
        ("secret", "***"),
        ("", "***"),
    ],
)
def test_where_a_url_leads_is_scheme_and_host(url: str, place: str) -> None:
    assert place_of(url) == place


CANARY = "CANARYx7"
LONG = "CANARYx7abcdef0123456789"
TEXTS = [
    f"404 for https://discord.com/api/webhooks/1234567890/{LONG}",
    f"404 for https://discord.com/api/webhooks/1234567890/{CANARY}?wait=true",
    f"url: /api/v10/webhooks/1234567890/{CANARY} (Caused by x)",
    f"POST https://hooks.slack.com/services/T000/B000/{CANARY} failed",
    f"Max retries exceeded with url: /services/T000/B000/{CANARY} (Caused by x)",
    rf'{{"url": "https:\/\/hooks.slack.com\/services\/T000\/B000\/{CANARY}"}}',
    f"https%3A%2F%2Fhooks.slack.com%2Fservices%2FT000%2FB000%2F{CANARY}",
    f"https://hooks.slack.com/workflows/T000/A000/1/{CANARY}",
    f"/bot123456789:{LONG}/sendMessage",
    f"sig={CANARY}", f"a&sig={CANARY}&b", f"pwd={CANARY}", f"jwt={CANARY}", f"key={CANARY}", f"?t={CANARY}",
    f"t={CANARY}",
    f"sign={CANARY}", f"auth={CANARY}", f"X-Amz-Signature={CANARY}", f"api_key={CANARY}", f"code={CANARY}",
    f"password: {CANARY}", f"secret '{CANARY}'", f'token "{CANARY}"', f"pass={CANARY}", f"passphrase = {CANARY}",
    f'password="correct horse {CANARY} staple"', f"{{'X-Api-Key': '{CANARY}'}}", f'{{"sig": "{CANARY}"}}',
    rf'{{"body": "{{\"token\": \"{CANARY}\"}}"}}', f"token%3D{CANARY}", f"client_secret={CANARY}",
    f"Authorization: Bearer {CANARY}", f"authorization: Bot {CANARY}", f"Authorization: Token {CANARY}",
    f"Authorization: AWS4-HMAC-SHA256 Credential={CANARY}/x, Signature={CANARY}", f"Cookie: {CANARY}",
    f"https://me:{CANARY}@h/x refused", f"https://{CANARY}@h/", f"smtp://me:a/{CANARY}@h", f"https://me:a@{CANARY}@h/",
    rf"https:\/\/me:{CANARY}@h\/x", f"xoxb-1-{CANARY}", f"xapp-1-{CANARY}", f"ghp_{LONG}", f"github_pat_{LONG}",
    f"glpat-{LONG}", f"sk_live_{LONG}", f"whsec_{LONG}", f"sk-{LONG}", "AKIA" + "CANARYX7" * 2, f"ya29.{LONG}",
    f"AIza{LONG}abcdefghij", f"eyJ{CANARY}abc.{CANARY}.{CANARY}", f"SG.{LONG}.{LONG}",
    f"[Errno 5] I/O: '/x/{LONG}'", f"GET /hooks/{LONG}) failed", f"https://x/{LONG}.",
]  # fmt: skip


@pytest.mark.contract("CH8", "EV3")
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_what_looks_like_a_secret_is_hidden_in_any_text(text: str) -> None:
    for shown in (masked(text), masked(f"x: {text} and more"), excerpt(f"line\n{text}\nline") or ""):
        assert "CANARY" not in shown
        assert "***" in shown
    once = hide_secrets(text)
    assert hide_secrets(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "HTTP 404 Not Found", "code=404", "status code=500, retry", "error_code: 400", "the key is missing",
        "keyboard=1",
        "535 5.7.8 Error: authentication failed", "KeyError: 'chat'", "monkey=banana", "design=blue", "at=5",
        "550 5.1.1 No such user here", "GET /hooks/orders?shop=7", "https://example.org/docs/errors", "port=443",
        "2026-11-28T09:00:00.000Z", "connection reset by peer", "bypass=no",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert masked(text) == text


SAID = f"no: https://me:{CANARY}@x/?api_key={CANARY} for ann@example.net: Hello there, SQLalchemy {SECRET}"


@pytest.mark.contract("CH8", "EV3", "ST10")
@pytest.mark.parametrize(
    "outcome",
    [
        Deferred(SAID, answer=SAID), RateLimited(SAID, answer=SAID), Rejected(SAID, answer=SAID),
        Redirected("bob", reason=SAID, answer=SAID), Unavailable(SAID, answer=SAID), Uncertain(SAID, answer=SAID),
        Delivered(f"id-https://me:{CANARY}@x/-{SECRET}", answer=SAID),
    ],
    ids=lambda outcome: type(outcome).__name__,
)  # fmt: skip
def test_no_outcome_shows_what_nobody_may_read(outcome: Any) -> None:
    known = KnownSecrets([SECRET])
    attempt = an_attempt("ann@example.net", text="Hello there")
    shown = fit_to_show(outcome, attempt, known, keep_answer=True)
    said = " ".join(str(getattr(shown, name)) for name in ("reason", "receipt", "answer") if hasattr(shown, name))
    for hidden in (CANARY, SECRET, "ann@example.net", "Hello there"):
        assert hidden not in said
    assert isinstance(shown, Outcome)


@pytest.mark.contract("ST10")
def test_a_success_keeps_its_answer_only_where_all_is_kept() -> None:
    assert fit_to_show(Delivered("r", answer="ok"), an_attempt(), keep_answer=False).answer is None
    assert fit_to_show(Delivered("r", answer="ok"), an_attempt(), keep_answer=True).answer == "ok"


@pytest.mark.parametrize(
    "receipt",
    [
        "<AZq0fV9xcRKaW3bQ0pYl2A000@example.org>", "0:1500415314455276%31bd1c9631bd1c96", "1701234567.123456",
        "projects/x/messages/550e8400-e29b-41d4-a716-446655440000", "wamid.HBgLNDkxNTExMjM0NTY3FQIAERgS",
        "+491511234567",
    ],
)  # fmt: skip
def test_a_platforms_own_id_stays_as_it_is(receipt: str) -> None:
    assert fit_to_show(Delivered(receipt), an_attempt(), keep_answer=False) == Delivered(receipt)


@pytest.mark.contract("EV3")
def test_all_texts_of_a_message_are_hidden_also_as_json() -> None:
    content = Content(text='say "hi"\nżółw', subject="about you", extra={"a": [{"b": "deep one"}]}, reply_to="that one")
    attempt = an_attempt("some body", content=content, thread="a thread", metadata={"n": "note that"})
    values = values_of(attempt)
    for piece in ('say "hi"\nżółw', "about you", "deep one", "that one", "some body", "a thread", "note that"):
        assert piece in values
        assert "***" in masked(f"got {json.dumps(piece)} back", *values)
    raw = an_attempt(content=Content(payload=b'{"k": ["inner text"]}', content_type="application/json"))
    assert "inner text" in values_of(raw)


@pytest.mark.contract("CH8")
def test_where_an_answer_was_cut_no_beginning_of_a_secret_is_left() -> None:
    known = KnownSecrets(["opensesameopensesame"])
    for length in range(990, 1024):
        outcome = Rejected("no", answer="n " * (length // 2) + "n" * (length % 2) + "opensesameopensesame" + "x" * 99)
        shown = fit_to_show(outcome, an_attempt(), known, keep_answer=False)
        assert "opens" not in (shown.answer or "")


def test_the_answer_keeps_its_lines_and_loses_what_gives_orders() -> None:
    assert excerpt(b"a\r\nb\x00\x1b[31m\tc\xff") == "a\r\nb [31m\tc\ufffd"
    assert excerpt(b"") is None
    assert excerpt("ż" * 5000) is not None
    assert len((excerpt("ż" * 5000) or "").encode()) <= 1024
    assert hide_secrets("https://x/?t=abc&a=1") == "https://x/?t=***&a=1"
