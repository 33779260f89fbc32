"""What the tests of every adapter's table share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pillarbox.channels.http.answers import Answer as Read
from pillarbox.channels.http.rules import HTTP_RULES, Rule, rule_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pillarbox.channels.http.chat import ChatChannel
    from pillarbox.testing.receiver import Answer


def rules_without_an_answer(channel: ChatChannel, answers: Iterable[Answer]) -> list[Rule]:
    """The rows of a channel's table that none of *answers* is judged by, or that have no source."""
    met = set()
    for answer in answers:
        said = channel.said(Read(status=answer.status, headers={}, body=answer.body))
        met.add(rule_for((*channel.rules, *HTTP_RULES), answer.status, code=said.code, text=said.text))
    return [rule for rule in channel.rules if rule not in met or not rule.source]
