"""What others write may have any length and any shape: it costs no more than its length, and shows no secret."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest

from pillarbox.channels.exceptions.judge import classify_exception
from pillarbox.channels.exceptions.text_patterns import classify_text
from pillarbox.channels.mail.compose import default_subject
from pillarbox.channels.mail.replies import Reply, Stage, classify
from pillarbox.channels.privacy.foreign_text import FOREIGN_LENGTH_MAX, masked, without
from pillarbox.channels.privacy.masking import place_of
from pillarbox.channels.text.html import html_to_text
from pillarbox.domain.casefold import folded, found, put
from pillarbox.domain.outcome import Rejected, Uncertain
from pillarbox.errors import PillarboxError
from pillarbox.outbox.filters import parse
from pillarbox.settings.explain import mask_dsn
from tests.unit.linear_time import is_linear

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = [
    "a", "a-", "a.", "1", "x@y.", "a@", "bot not ", "bot", "token", "token=", "exceeded a ", "://", "a://b", "//a:",
    "client host ", "retry after ", "Bearer ", '<a x="', "<a ", "<!--", "</", "&#", "<", "\n", " ", "\r\n", "é", "İ",
    '"', "'", "\\", "rate limit", "&a=", "/1a",
]  # fmt: skip


def of(unit: str) -> Callable[[int], str]:
    return lambda size: unit * (size // len(unit)) + "\0"


def filtered(text: str) -> None:
    with contextlib.suppress(PillarboxError):
        parse(text, now_ms=0)


LOOKS: dict[str, Callable[[str], Any]] = {
    "exception": lambda text: classify_exception(ValueError(text)),
    "text": classify_text,
    "hidden": lambda text: masked("an answer about " + text[: len(text) // 2], text, text[1:]),
    "lines": lambda text: without(text, text.replace("a", "a\n"), "ann@example.org"),
    "reply": lambda text: classify(Stage.RCPT, Reply(code=550, text=text, hide=("ann@example.org",))),
    "url": lambda text: place_of("https:" + text),
    "dsn": lambda text: mask_dsn("postgres://" + text),
    "html": html_to_text,
    "subject": default_subject,
    "folding": lambda text: put(text[:1000], found(folded(text[:1000]), "aab"), "***"),
    "filter": filtered,
}


@pytest.mark.contract("LA2", "EN8")
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("unit", SHAPES)
def test_a_look_at_foreign_text_takes_time_in_proportion_to_it(unit: str, look: str) -> None:
    assert is_linear(LOOKS[look], of(unit), small=3_000)


@pytest.mark.contract("LA2", "EN8")
@pytest.mark.parametrize("unit", SHAPES)
@pytest.mark.parametrize("look", ["exception", "text", "reply"])
def test_of_a_long_answer_only_the_beginning_is_looked_at(unit: str, look: str) -> None:
    # Sixty-four times as much, and no more work than for a few kilobytes.
    assert is_linear(
        LOOKS[look], lambda size: of(unit)(size * 16 if size > FOREIGN_LENGTH_MAX * 2 else size), small=5_000
    )


SECRETS = [
    ("https://me:{}@example.org/x", "hunter2hunter2"),
    ("see https://{}@example.org/", "s3cr3t-t0ken"),
    ("POST https://api.telegram.org/bot123456789:{}/sendMessage", "AAEhBOweik9ai2o01aMtVq4711"),
    ("Authorization: Bearer {}", "abcdef.ghijkl.mnopqr-123"),
    ("token={}", "opensesame77"),
    ('{{"access_token": "{}"}}', "opensesame77"),
    ("xoxb-{}", "1234567890-abcdef"),
    ("no such user {}@example.org", "ann.miller"),
    ("no such number +{}", "4915112345678"),
]


@pytest.mark.contract("EV3")
@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_that_the_cut_goes_through_is_not_shown(text: str, secret: str) -> None:
    whole = text.format(secret)
    for offset in range(len(whole) + 2):
        before = "n " * FOREIGN_LENGTH_MAX
        shown = masked(before[: FOREIGN_LENGTH_MAX - offset] + whole + " and more" * 9, limit=10_000)
        assert not any(secret[:length] in shown for length in range(5, len(secret) + 1)), offset


@pytest.mark.contract("EV3")
@pytest.mark.parametrize("length", [5, 15, 16, 17, 40, 500, 4095, 4096, 4097, 9000])
def test_what_is_to_be_hidden_is_not_shown_where_the_cut_goes_through_it(length: int) -> None:
    letters = random.Random(length)
    value = "".join(letters.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(length - 1)).strip() + "z"
    for before in (0, 1, 20, 190, 4000, 4080, 4090, 4096 - length // 2):
        if before >= 0:
            shown = masked("#" * before + " " + value + " cannot be sent" * 400, value.upper(), limit=10_000)
            for at in range(max(1, len(value) - 6)):
                assert value[at : at + 7] not in shown or length <= 5, (before, at)


@pytest.mark.contract("EV3")
def test_a_long_text_that_is_repeated_whole_hides_only_itself() -> None:
    text = "Hello, " + "how are you? " * 200
    assert masked(f"chat not found: {text} (400)", text) == "chat not found: *** (400)"
    assert isinstance(classify_text(f"{text}: chat not found", hide=(text,)), Rejected)


class Odd(Exception):
    def __init__(self, says: Any) -> None:
        self.says = says

    def __str__(self) -> str:
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says  # type: ignore[no-any-return]


class Twisted(str):
    __slots__ = ()

    def __getitem__(self, key: object) -> str:
        raise RuntimeError("cut")

    def __str__(self) -> str:
        raise RuntimeError("shown")


@pytest.mark.contract("EN8", "CL2")
@pytest.mark.parametrize(
    "exc",
    [
        Odd(RuntimeError("again")),
        Odd(None),
        Odd(b"bytes"),
        Odd(Twisted("token=hunter22 chat")),
        Odd("x" * 20_000_000),
        Odd("\ud800\0\x1b[31m"),
        type("T" * 100_000, (Exception,), {})("x"),
        RecursionError("maximum recursion depth exceeded"),
    ],
    ids=range(8),
)
def test_an_exception_that_shows_itself_oddly_is_an_exception(exc: Exception) -> None:
    outcome = classify_exception(exc)
    assert isinstance(outcome, Uncertain)
    assert len(outcome.reason) <= 200
    assert "hunter22" not in outcome.reason
    assert outcome.reason.isprintable()


@pytest.mark.contract("EN8", "CL2")
def test_a_chain_of_ten_thousand_causes_and_a_deep_group_are_one_exception() -> None:
    chained: Exception = ValueError("the first")
    for _ in range(10_000):
        following = ValueError("another")
        following.__cause__ = chained
        chained = following
    assert isinstance(classify_exception(chained), Uncertain)
    group: ExceptionGroup[Any] = ExceptionGroup("deepest", [ValueError("x")])
    for _ in range(900):
        group = ExceptionGroup("outer", [group])
    assert isinstance(classify_exception(group), Uncertain)
    while chained.__cause__ is not None:  # taken apart: to let go of it at once would go as deep
        chained, chained.__cause__ = chained.__cause__, None  # type: ignore[assignment]


@pytest.mark.contract("CL2")
def test_html_that_a_browser_shows_is_read_as_before() -> None:
    assert (
        html_to_text("<p>a &lt; b<p><a href='https://x.y/?a=1&amp;b=2'>here</a>")
        == "a < b\n\nhere <https://x.y/?a=1&b=2>"
    )
    assert html_to_text("<script>if (a<b) {}</script>seen<style>p{}</style> <b title='x > y'>too</b>") == "seen too"
    assert html_to_text("1 < 2 <!-- > --> and <br>3") == "1 < 2 and\n3"
    assert html_to_text('<a href="x>never closed</a> tail') == "never closed tail"
    assert html_to_text("&#" + "9" * 5000 + ";") == "\ufffd"
