from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.channels.privacy.masking import hide_secrets, place_of
from pillarbox.domain.url_schemes import mask_url

CANARY = "CANARY7f3a9"

TABLE = [
    # What is no secret stays readable.
    ("https://example.com/hooks/orders?shop=7", "https://example.com/hooks/orders?shop=7"),
    ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
    ("https://[::1]:8443/a/b", "https://[::1]:8443/a/b"),
    ("file:///var/log/out.jsonl", "file:///var/log/out.jsonl"),
    ("console:", "console:"),
    ("https://example.com/?monkey=1&design=2&keyboard=3", "https://example.com/?monkey=1&design=2&keyboard=3"),
    ("https://example.com/robot12/bots", "https://example.com/robot12/bots"),
    # User and password.
    (f"smtp://me:{CANARY}@mail.example.org", "smtp:***"),
    (f"https://me:{CANARY}@example.com/x", "https:***/x"),
    (f"https://me:a/b@{CANARY}@example.com/x", "https:***/x"),
    (f"https://{CANARY}@example.com/x", "https:***/x"),
    (f"https://:{CANARY}@example.com/x", "https:***/x"),
    # Names in queries.
    (f"https://example.com/a?sig={CANARY}&v=1", "https://example.com/a?sig=***&v=1"),
    (f"https://example.com/a?v=1&token={CANARY}", "https://example.com/a?v=1&token=***"),
    (f"https://example.com/a?KEY={CANARY}", "https://example.com/a?KEY=***"),
    (f"https://example.com/a?client_secret={CANARY}#x", "https://example.com/a?client_secret=***"),
    (f"https://example.com/a?X-Amz-Signature={CANARY}", "https://example.com/a?X-Amz-Signature=***"),
    (f"https://example.com/a?api-key={CANARY}", "https://example.com/a?api-key=***"),
    (f"https://example.com/a?password={CANARY};b=1", "https://example.com/a?password=***;b=1"),
    (f"https://example.com/a#access_token={CANARY}&b=1", "https://example.com/a#access_token=***&b=1"),
    (
        f"https://prod-1.westeurope.logic.azure.com/workflows/x?sp=%2Ftriggers&sv=1.0&sig={CANARY}",
        "https://prod-1.westeurope.logic.azure.com/workflows/x?sp=%2Ftriggers&sv=1.0&sig=***",
    ),
    # Secrets in paths.
    (f"https://api.telegram.org/bot12345:{CANARY}/sendMessage", "https://api.telegram.org/***/sendMessage"),
    (f"https://api.telegram.org/file/bot12345:{CANARY}/a.jpg", "https://api.telegram.org/file/***/a.jpg"),
    (f"http://localhost:8081/BOT12345%3A{CANARY}/x", "http://localhost:8081/***/x"),
    (f"https://hooks.slack.com/services/T01/B02/{CANARY}", "https://hooks.slack.com/services/***"),
    (f"https://hooks.slack.com/workflows/T01/A02/1/{CANARY}?x=1", "https://hooks.slack.com/workflows/***?x=1"),
    (f"HTTPS://HOOKS.SLACK.COM/services/T01/{CANARY}", "HTTPS://HOOKS.SLACK.COM/services/***"),
    (f"https://discord.com/api/webhooks/123/{CANARY}?wait=true", "https://discord.com/api/webhooks/123/***?wait=true"),
    (f"https://discordapp.com/api/v10/webhooks/1/{CANARY}", "https://discordapp.com/api/v10/webhooks/1/***"),
    (f"https://chat.example.com/hooks/{CANARY}abcdefghi1", "https://chat.example.com/hooks/***"),
]


SCHEMES = [
    # Schemes whose host or path is the secret, and what is no URL.
    (f"tgram://{CANARY}", "tgram://***"),
    (f"discord://123/{CANARY}", "discord://***"),
    (f"postgresql://me:{CANARY}@db/x", "postgresql://***"),
    (CANARY, "***"),
    (f"//{CANARY}@example.com", "***"),
    ("", "***"),
]


@pytest.mark.contract("EV3")
@pytest.mark.parametrize(("url", "masked"), TABLE, ids=[str(place) for place in range(len(TABLE))])
def test_what_is_secret_in_a_url_is_hidden_and_the_rest_is_not(url: str, masked: str) -> None:
    assert hide_secrets(url) == masked
    assert CANARY not in hide_secrets(url)
    assert hide_secrets(masked) == masked


@pytest.mark.contract("EV3", "CH8")
@pytest.mark.parametrize(("url", "masked"), SCHEMES, ids=[str(place) for place in range(len(SCHEMES))])
def test_of_a_url_whose_host_may_be_a_secret_the_scheme_is_left(url: str, masked: str) -> None:
    assert mask_url(url) == place_of(url) == masked
    assert mask_url(masked) == masked


@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    assert isinstance(mask_url(text), str)
    assert isinstance(place_of(text), str)
    assert isinstance(hide_secrets(text), str)


@given(st.text(alphabet="abc:/@?&=#.%", max_size=40))
def test_a_password_is_hidden_whatever_surrounds_it(around: str) -> None:
    assert CANARY not in place_of(f"https://me:{CANARY}@example.com/{around}")
    assert CANARY not in hide_secrets(f"https://me:{CANARY}@example.com/{around}")
    assert CANARY not in hide_secrets(f"https://example.com/x?a={around.replace('#', '')}&token={CANARY}")


@pytest.mark.contract("CH8", "EV3")
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("at https%3A%2F%2Fuser%3As3same%40host%2Fx", "at https%3A%2F%2F***host%2Fx"),
        ("token%253Ds3same", "token%253D***"),
        (r"{\u0022token\u0022:\u0022s3same\u0022}", r"{\u0022token\u0022:\u0022***\u0022}"),
        (r"a?b=1\u0026sig\u003ds3same", r"a?b=1\u0026sig\u003d***"),
        ("{&quot;token&quot;:&quot;s3same&quot;}", "{&quot;token&quot;:&quot;***&quot;}"),
        ("password&#61;s3same &amp; more", "password&#61;*** &amp; more"),
        ("Authorization%3A%20Bearer%20s3sames3same", "Authorization%3A%20***"),
        ("xoxb%2D12345678%2Dabcdefgh is gone", "*** is gone"),
        ("%70w: %70assword=* %20", "%70w: %70assword=* %20"),
    ],
)
def test_what_looks_like_a_secret_is_seen_beneath_escapes_too(said: str, shown: str) -> None:
    assert hide_secrets(said) == shown
    assert hide_secrets(shown) == shown
