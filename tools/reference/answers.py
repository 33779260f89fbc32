"""The page of answers: what each platform's answers mean, row by row, as the adapters read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pillarbox.channels.discord import HOOK_RULES as DISCORD_WEBHOOK
from pillarbox.channels.discord import RULES as DISCORD
from pillarbox.channels.http.rules import HTTP_RULES
from pillarbox.channels.matrix import RULES as MATRIX
from pillarbox.channels.slack_rules import HOOK_RULES as SLACK_WEBHOOK
from pillarbox.channels.slack_rules import RULES as SLACK
from pillarbox.channels.telegram import RULES as TELEGRAM
from tools.reference.page import code, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pillarbox.channels.http.rules import Rule

PLATFORMS: Final[dict[str, tuple[Rule, ...]]] = {
    "telegram": TELEGRAM,
    "slack": SLACK,
    "slack-webhook": SLACK_WEBHOOK,
    "discord": DISCORD,
    "discord-webhook": DISCORD_WEBHOOK,
    "matrix": MATRIX,
    "http": HTTP_RULES,
}
_TITLES: Final = ("Status", "Code", "Text", "Means", "Once more without", "Source")
_BEFORE, _AFTER = r"(?<!\w)(?:", r")(?!\w)"


def blocks() -> dict[str, str]:
    """Return the table of each platform."""
    return {name: table(_TITLES, map(_row, rules)) for name, rules in PLATFORMS.items()}


def _row(rule: Rule) -> tuple[str, ...]:
    text = "" if rule.text is None else rule.text.pattern.removeprefix(_BEFORE).removesuffix(_AFTER)
    return (
        _listed(rule.statuses),
        _listed(rule.codes),
        code(text),
        code(rule.verdict),
        "" if rule.without is None else f"its {rule.without}",
        rule.source,
    )


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(code, words))
