"""What an answer means: each row of the tables, the order in which they are read, and what a user says instead."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pillarbox.channels.exceptions import http_answers
from pillarbox.channels.http.answers import Answer, judged, status_text
from pillarbox.channels.http.rules import HTTP_RULES, UNKNOWN, Rule, parse_overrides, rule_for
from pillarbox.channels.verdicts import Verdict, outcome_of
from pillarbox.domain.outcome import Deferred, Delivered, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.errors import ConfigError

EXAMPLES: dict[Verdict, tuple[int, ...]] = {
    Verdict.DELIVERED: (200, 201, 202, 204, 226, 299),
    Verdict.REJECTED: (400, 413, 415, 422),
    Verdict.DEFERRED: (408, 409, 425, 300, 301, 302, 303, 304, 307, 308, 399),
    Verdict.OUTAGE: (503,),
    Verdict.CLOSED: (410,),
    Verdict.RATE_LIMITED: (429,),
    Verdict.UNCERTAIN: (500, 501, 502, 504, 505, 507, 511, 599),
    Verdict.UNCLASSIFIED: (401, 402, 403, 404, 405, 406, 411, 418, 423, 451, 499),
}


@pytest.mark.contract("CL2", "CL5")
@pytest.mark.parametrize(("verdict", "status"), [(verdict, one) for verdict, all_ in EXAMPLES.items() for one in all_])
def test_what_a_status_means_where_no_platform_says_more(verdict: Verdict, status: int) -> None:
    assert rule_for(HTTP_RULES, status).verdict is verdict


def test_every_row_decides_about_some_status() -> None:
    deciding = {id(rule_for(HTTP_RULES, status)) for all_ in EXAMPLES.values() for status in all_}
    assert deciding == {id(rule) for rule in HTTP_RULES}


@pytest.mark.parametrize("rule", [*http_answers.RULES, UNKNOWN], ids=lambda rule: rule.source[:30])
def test_every_row_has_a_source_and_names_what_exists(rule: Rule) -> None:
    assert re.search(r"RFC \d{4} §|Standard Webhooks|Contract CL5|botocore", rule.source)
    assert all(re.fullmatch(r"[1-5](\d\d|xx)", status) for status in rule.statuses)


@pytest.mark.contract("CL5")
@pytest.mark.parametrize("status", [100, 101, 199, 600, 999, 0])
def test_a_status_that_nobody_knows_is_tried_again_a_few_times(status: int) -> None:
    assert rule_for(HTTP_RULES, status) is UNKNOWN
    assert outcome_of(UNKNOWN.verdict, "") == Deferred("", unclassified=True)


@pytest.mark.contract("CL2")
@pytest.mark.parametrize("code", http_answers.RULES[0].codes)
def test_a_throttled_call_of_aws_is_a_limit_whatever_its_status(code: str) -> None:
    assert rule_for(http_answers.RULES, 400, code=code).verdict is Verdict.RATE_LIMITED
    assert rule_for(http_answers.RULES, 400, code=f"{code}!").verdict is Verdict.REJECTED
    assert rule_for(http_answers.RULES, 400).verdict is Verdict.REJECTED


# A platform that answers 200 to everything, as Slack does.
PLATFORM = (
    Rule(verdict=Verdict.REJECTED_RECIPIENT, statuses=("200",), codes=("no_such_room",), source="test"),
    Rule(verdict=Verdict.REJECTED, statuses=("200",), codes=("msg_*",), source="test"),
    Rule(verdict=Verdict.UNAVAILABLE, statuses=("4xx",), text=re.compile(r"\btoken\b", re.IGNORECASE), source="test"),
    Rule(verdict=Verdict.UNCLASSIFIED, statuses=("200",), codes=("*",), source="test"),
    *HTTP_RULES,
)


@pytest.mark.contract("CL2")
@pytest.mark.parametrize(
    ("status", "code", "text", "verdict"),
    [
        (200, "", "", Verdict.DELIVERED),
        (200, "no_such_room", "", Verdict.REJECTED_RECIPIENT),
        (200, "msg_too_long", "", Verdict.REJECTED),
        (200, "msg_", "", Verdict.REJECTED),
        (200, "something_new", "", Verdict.UNCLASSIFIED),
        (404, "no_such_room", "", Verdict.UNCLASSIFIED),
        (401, "", "Bad Token!", Verdict.UNAVAILABLE),
        (401, "", "tokens", Verdict.UNCLASSIFIED),
        (401, "", " " * 4096 + "token", Verdict.UNCLASSIFIED),
    ],
)
def test_a_rule_fits_by_status_code_and_text_and_the_first_wins(
    status: int, code: str, text: str, verdict: Verdict
) -> None:
    assert rule_for(PLATFORM, status, code=code, text=text).verdict is verdict


@pytest.mark.contract("CL2")
def test_a_user_may_overrule_one_of_a_platforms_codes() -> None:
    given = {"2xx": "uncertain", "200": "delivered", "200 msg_too_long": "deferred"}
    rules = (*parse_overrides(given, field="outcomes", coded=True), *PLATFORM)
    assert rule_for(rules, 200, code="msg_too_long").verdict is Verdict.DEFERRED
    assert rule_for(rules, 200, code="msg_other").verdict is Verdict.DELIVERED
    assert rule_for(rules, 201).verdict is Verdict.UNCERTAIN
    with pytest.raises(ConfigError, match="404, 4xx or '404 code'"):
        parse_overrides({"msg_too_long": "deferred"}, field="outcomes", coded=True)


@pytest.mark.contract("CL2", "ST10", "EV3")
def test_an_answer_is_judged_with_its_hint_and_without_what_must_not_be_repeated() -> None:
    answer = Answer(status=404, headers={"Retry-After": "7"}, body=b"no room for ann, token=hunter22")
    found = judged(answer, rule_for(HTTP_RULES, 404), now_ms=0, hide=("no room",))
    assert found == Deferred("HTTP 404 Not Found", after=7.0, unclassified=True)
    assert found.answer == "*** for ann, token=***"
    assert judged(answer, rule_for(HTTP_RULES, 404), now_ms=0, reason="HTTP 404: M_NOT_FOUND") == Deferred(
        "HTTP 404: M_NOT_FOUND", after=7.0, unclassified=True
    )
    assert "hunter22" not in repr(answer)


@pytest.mark.contract("CL1")
@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Verdict.DELIVERED, Delivered()),
        (Verdict.REJECTED, Rejected("why")),
        (Verdict.REJECTED_RECIPIENT, Rejected("why", about="recipient")),
        (Verdict.CLOSED, Rejected("why", about="endpoint")),
        (Verdict.DEFERRED, Deferred("why", after=2.5)),
        (Verdict.UNCLASSIFIED, Deferred("why", after=2.5, unclassified=True)),
        (Verdict.RATE_LIMITED, RateLimited("why", scope="channel", after=2.5)),
        (Verdict.RATE_LIMITED_RECIPIENT, RateLimited("why", scope="recipient", after=2.5)),
        (Verdict.UNAVAILABLE, Unavailable("why", after=2.5)),
        (Verdict.AUTH, Unavailable("why", after=2.5, auth=True)),
        (Verdict.UNCERTAIN, Uncertain("why", after=2.5, covered=True)),
    ],
)
def test_each_verdict_is_one_outcome(verdict: Verdict, outcome: Any) -> None:
    assert outcome_of(verdict, "why", after=2.5, covered=True) == outcome


def test_every_verdict_has_its_outcome() -> None:
    for verdict in Verdict:
        outcome_of(verdict, "", after=None, covered=False)


DEFAULT = (
    Rule(verdict=Verdict.DELIVERED, statuses=("2xx",), source="test"),
    Rule(verdict=Verdict.REJECTED, statuses=("404",), source="test"),
    Rule(verdict=Verdict.UNCLASSIFIED, statuses=("4xx",), source="test"),
)


@pytest.mark.contract("CL2")
@pytest.mark.parametrize(
    ("given_", "status", "verdict"),
    [
        ({}, 200, Verdict.DELIVERED),
        ({}, 404, Verdict.REJECTED),
        ({}, 499, Verdict.UNCLASSIFIED),
        ({}, 302, Verdict.UNCLASSIFIED),
        ({"404": "unavailable"}, 404, Verdict.UNAVAILABLE),
        ({404: "unavailable"}, 404, Verdict.UNAVAILABLE),
        ({"4xx": "deferred"}, 404, Verdict.DEFERRED),
        ({"4xx": "deferred", "404": "delivered"}, 404, Verdict.DELIVERED),
        ({"5xx": "deferred"}, 503, Verdict.DEFERRED),
        ({"202": "uncertain"}, 200, Verdict.DELIVERED),
        ({"4xx": "deferred", "404": "rejected_recipient"}, 404, Verdict.REJECTED_RECIPIENT),
    ],
)
def test_a_users_verdict_overrules_the_adapters(given_: Any, status: int, verdict: Verdict) -> None:
    rules = (*parse_overrides(given_, field="outcomes"), *DEFAULT)
    assert rule_for(rules, status).verdict is verdict


@pytest.mark.parametrize(
    ("given_", "field"),
    [
        ({"600": "deferred"}, "outcomes"),
        ({"40x": "deferred"}, "outcomes"),
        ({"": "deferred"}, "outcomes"),
        ({"4042": "deferred"}, "outcomes"),
        ({"404 M_NOT_FOUND": "deferred"}, "outcomes"),
        ({"404 ": "deferred"}, "outcomes"),
        ({"404": "retry"}, "outcomes.404"),
        ({"404": 7}, "outcomes.404"),
        ({"404": None}, "outcomes.404"),
        (["404"], "outcomes"),
        ("404=deferred", "outcomes"),
    ],
)
def test_a_bad_verdict_is_named(given_: Any, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_overrides(given_, field="outcomes")
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (503, "HTTP 503 Service Unavailable"),
        (599, "HTTP 599"),
        (414, "HTTP 414 URI Too Long"),
        (422, "HTTP 422 Unprocessable Content"),
        (301, "HTTP 301 Moved Permanently: redirects are not followed, set the URL to the new address"),
    ],
)
def test_a_status_is_named_in_our_words(status: int, text: str) -> None:
    assert status_text(status) == text
