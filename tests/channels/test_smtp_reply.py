from __future__ import annotations

import pytest

from pillarbox.channels.mail.replies import RULES, Reply, Stage, Verdict, classify, parse_overrides, rule_for
from pillarbox.domain.outcome import Deferred, Outcome, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.errors import ConfigError

DEFERRED = Deferred("")
GREYLISTED = Deferred("", after=300.0)
CHANNEL_LIMITED = RateLimited("", scope="channel")
BOUNDED = RateLimited("", scope="channel", bounded=True)
BY_THE_HOUR = RateLimited("", scope="channel", after=3600.0, bounded=True)
MESSAGE = Rejected("", about="message")
RECIPIENT = Rejected("", about="recipient")
UNAVAILABLE = Unavailable("")

TABLE: list[tuple[Stage, int, str, Outcome]] = [
    # Not now.
    (Stage.BANNER, 421, "4.3.2 Service shutting down", DEFERRED),
    (Stage.BANNER, 554, "5.3.2 System not accepting messages", DEFERRED),
    (Stage.BANNER, 554, "No SMTP service here", DEFERRED),
    (Stage.EHLO, 421, "Too busy", DEFERRED),
    (Stage.MAIL, 421, "4.7.0 Try again later, closing connection", DEFERRED),
    (Stage.MAIL, 451, "4.3.0 Temporary lookup failure", DEFERRED),
    (Stage.MAIL, 452, "4.3.1 Insufficient system storage", DEFERRED),
    (Stage.MAIL, 455, "Server unable to accommodate parameters", DEFERRED),
    (Stage.RCPT, 452, "4.2.2 Mailbox full", DEFERRED),
    (Stage.RCPT, 452, "4.5.3 Too many recipients", DEFERRED),
    (Stage.DATA, 421, "4.3.0 Error: queue file write error", DEFERRED),
    (Stage.FINAL, 450, "4.0.0 Deferred", DEFERRED),
    (Stage.FINAL, 451, "4.3.0 Error: queue file write error", DEFERRED),
    (Stage.AUTH, 454, "4.7.0 Temporary authentication failure", DEFERRED),
    (Stage.AUTH, 432, "4.7.12 A password transition is needed", DEFERRED),
    (Stage.STARTTLS, 454, "4.7.0 TLS not available due to temporary reason", DEFERRED),
    # Grey lists, named or not.
    (Stage.RCPT, 450, "4.2.0 <ann@example.org>: Recipient address rejected: Greylisted", GREYLISTED),
    (Stage.RCPT, 450, "4.2.0 greylist", GREYLISTED),
    (Stage.RCPT, 450, "4.3.0 Error: command failed", GREYLISTED),
    (Stage.RCPT, 451, "4.7.1 Please try again later", GREYLISTED),
    (Stage.RCPT, 451, "Gray listed", GREYLISTED),
    (Stage.FINAL, 451, "4.7.1 Greylisting in action, please come back later", GREYLISTED),
    # Too much.
    (Stage.FINAL, 421, "4.7.28 Gmail has detected an unusual rate of mail from your domain", CHANNEL_LIMITED),
    (Stage.BANNER, 421, "4.7.28 Our system has detected something", CHANNEL_LIMITED),
    (Stage.RCPT, 450, "4.7.1 Error: too much mail from 192.0.2.7", CHANNEL_LIMITED),
    (Stage.MAIL, 450, "4.7.1 Error: rate limit exceeded", CHANNEL_LIMITED),
    (Stage.BANNER, 421, "4.7.0 mx.example.org Error: too many connections from 192.0.2.7", CHANNEL_LIMITED),
    (Stage.MAIL, 421, "4.3.2 The maximum number of concurrent connections has exceeded a limit", CHANNEL_LIMITED),
    (Stage.MAIL, 421, "Too many concurrent SMTP connections", CHANNEL_LIMITED),
    (Stage.RCPT, 450, "4.2.1 Peak SMTP relay limit exceeded for customer", CHANNEL_LIMITED),
    (
        Stage.RCPT,
        450,
        "4.2.1 The user you are trying to contact is receiving mail too quickly",
        RateLimited("", scope="recipient"),
    ),
    (
        Stage.MAIL,
        550,
        "5.4.5 Daily user sending limit exceeded",
        RateLimited("", scope="channel", after=3600.0),
    ),
    # By its words a limit, by its code for ever.
    (Stage.FINAL, 554, "5.7.0 Your message could not be sent. The limit on outgoing messages was exceeded", BOUNDED),
    (Stage.FINAL, 554, "5.7.0 The limit on the number of allowed messages was exceeded. Try again later.", BOUNDED),
    (Stage.MAIL, 550, "Connection frequency limited", BOUNDED),
    (Stage.RCPT, 550, "Connection frequency limited", BOUNDED),
    (Stage.RCPT, 550, "5.7.1 Rate limit exceeded, try later", BOUNDED),
    (Stage.DATA, 550, "5.7.1 Message rate exceeded", BOUNDED),
    (Stage.MAIL, 554, "5.7.1 Error: too many connections from 192.0.2.7", BOUNDED),
    (Stage.RCPT, 554, "5.7.0 Too many messages, slow down", BOUNDED),
    (Stage.RCPT, 550, "5.7.1 mail from me@example.org is throttled", BOUNDED),
    (Stage.FINAL, 550, "5.7.705 Access denied, tenant has exceeded threshold", BOUNDED),
    (Stage.FINAL, 554, "Transaction failed: sending\nlimits were exceeded", BOUNDED),
    (Stage.RCPT, 550, "Domain example.org has exceeded the max emails per hour (200/200 (100%)) allowed", BY_THE_HOUR),
    (Stage.FINAL, 554, "5.7.1 You have exceeded your hourly sending limit", BY_THE_HOUR),
    (Stage.FINAL, 550, "The user has exceeded its 24-hour sending limit, see above; 500 messages per day", BY_THE_HOUR),
    (Stage.BANNER, 554, "5.7.1 too many connections", CHANNEL_LIMITED),
    (Stage.EHLO, 550, "Connection frequency limited", CHANNEL_LIMITED),
    # No such limit: something is too large, too full or too bad, or must not come again.
    (Stage.MAIL, 550, "5.1.1 rate limit exceeded", MESSAGE),
    (Stage.FINAL, 550, "5.1.1 user unknown, rate limit exceeded", RECIPIENT),
    (Stage.RCPT, 552, "5.2.2 quota limit exceeded", RECIPIENT),
    (Stage.RCPT, 552, "5.2.2 quota", RECIPIENT),
    (Stage.RCPT, 552, "quota limit exceeded", RECIPIENT),
    (Stage.RCPT, 550, "mailbox quota exceeded", RECIPIENT),
    (Stage.RCPT, 550, "The recipient is over quota", RECIPIENT),
    (Stage.FINAL, 552, "Message size limit exceeded", MESSAGE),
    (Stage.FINAL, 550, "Maximum message size exceeded", MESSAGE),
    (Stage.FINAL, 554, "message line length limit exceeded", MESSAGE),
    (Stage.FINAL, 554, "Too many hops: limit exceeded", MESSAGE),
    (Stage.FINAL, 554, "5.7.1 spam, do not try again", MESSAGE),
    (Stage.FINAL, 554, "5.7.1 rate limit exceeded, do not try again", MESSAGE),
    (Stage.FINAL, 554, "5.7.1 spam score exceeds the limit", MESSAGE),
    # The recipient.
    (Stage.RCPT, 550, "5.1.1 user unknown", RECIPIENT),
    (Stage.RCPT, 550, "5.1.1 <ann@example.org>: no such mailbox at relay.example.org", RECIPIENT),
    (Stage.RCPT, 550, "5.1.2 bad destination system", RECIPIENT),
    (Stage.RCPT, 553, "5.1.3 bad address syntax", RECIPIENT),
    (Stage.RCPT, 550, "5.1.6 mailbox has moved", RECIPIENT),
    (Stage.RCPT, 550, "5.1.10 recipient not found", RECIPIENT),
    (Stage.RCPT, 556, "5.1.10 domain does not accept mail", RECIPIENT),
    (Stage.RCPT, 550, "5.2.1 mailbox disabled", RECIPIENT),
    (Stage.RCPT, 552, "5.2.2 mailbox full", RECIPIENT),
    (Stage.FINAL, 552, "5.2.2 mailbox full", RECIPIENT),
    (Stage.FINAL, 550, "5.1.1 user unknown", RECIPIENT),
    (Stage.RCPT, 550, "No such user here", RECIPIENT),
    (Stage.RCPT, 551, "User not local", RECIPIENT),
    (Stage.RCPT, 553, "Mailbox name not allowed", RECIPIENT),
    (Stage.RCPT, 550, "5.4.1 Recipient address rejected: Access denied", RECIPIENT),
    (Stage.RCPT, 550, "5.7.1 Mail from you is not wanted here", RECIPIENT),
    # The message.
    (Stage.MAIL, 552, "5.3.4 Error: message too big", MESSAGE),
    (Stage.MAIL, 552, "Error: message size exceeds fixed maximum message size", MESSAGE),
    (Stage.MAIL, 523, "5.3.4 too big", MESSAGE),
    (Stage.RCPT, 552, "5.3.4 message too big", MESSAGE),
    (Stage.FINAL, 552, "5.2.3 message exceeds the mailbox's limit", MESSAGE),
    (Stage.FINAL, 552, "Too much mail data", MESSAGE),
    (Stage.FINAL, 550, "5.7.1 looks like spam", MESSAGE),
    (Stage.FINAL, 550, "5.7.26 unauthenticated mail is not accepted (DMARC)", MESSAGE),
    (Stage.FINAL, 554, "5.6.0 malformed content", MESSAGE),
    (Stage.DATA, 554, "5.7.1 policy", MESSAGE),
    (Stage.RCPT, 500, "5.3.0 Error: command failed", MESSAGE),
    (Stage.MAIL, 501, "5.5.4 Syntax error", MESSAGE),
    (Stage.MAIL, 555, "parameters not recognized", MESSAGE),
    (Stage.FINAL, 554, "Transaction failed", MESSAGE),
    # The channel.
    (Stage.RCPT, 554, "5.7.1 <ann@example.org>: Relay access denied", UNAVAILABLE),
    (Stage.RCPT, 550, "5.7.1 relay denied", UNAVAILABLE),
    (Stage.RCPT, 550, "5.7.1 ann@example.org... Relaying denied", UNAVAILABLE),
    (Stage.RCPT, 550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain", UNAVAILABLE),
    (Stage.RCPT, 550, "relay not permitted", UNAVAILABLE),
    (Stage.AUTH, 535, "5.7.8 Authentication credentials invalid", Unavailable("", auth=True)),
    (Stage.MAIL, 530, "5.7.0 Authentication required", UNAVAILABLE),
    (Stage.MAIL, 530, "5.7.0 Must issue a STARTTLS command first", UNAVAILABLE),
    (Stage.AUTH, 534, "5.7.9 Authentication mechanism is too weak", UNAVAILABLE),
    (Stage.AUTH, 538, "5.7.11 Encryption required", UNAVAILABLE),
    (Stage.AUTH, 504, "Unrecognized authentication type", UNAVAILABLE),
    (Stage.FINAL, 550, "5.7.60 SMTP; Client does not have permissions to send as this sender", UNAVAILABLE),
    (Stage.RCPT, 553, "5.7.1 <me@example.org>: Sender address rejected: not owned by user", UNAVAILABLE),
    (Stage.MAIL, 550, "5.1.8 Domain of sender address does not exist", UNAVAILABLE),
    (Stage.RCPT, 554, "5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen", UNAVAILABLE),
    (Stage.EHLO, 550, "Access denied", UNAVAILABLE),
    (Stage.STARTTLS, 502, "5.5.1 not implemented", UNAVAILABLE),
    # What no table knows.
    (Stage.DATA, 250, "fine", Deferred("", unclassified=True)),
    (Stage.MAIL, 334, "", Deferred("", unclassified=True)),
    (Stage.MAIL, -1, "", Deferred("", unclassified=True)),
    (Stage.FINAL, 354, "go on", Uncertain("")),
    (Stage.FINAL, -1, "not SMTP", Uncertain("")),
]


def without_reason(outcome: Outcome) -> Outcome:
    outcome.reason = ""  # type: ignore[attr-defined]
    return outcome


@pytest.mark.contract("CL1", "CL2", "CL6")
@pytest.mark.parametrize(
    ("stage", "code", "text", "expected"), TABLE, ids=[f"{row[0]}-{row[1]}-{row[2][:24]}" for row in TABLE]
)
def test_a_refusal_means_what_the_table_says(stage: Stage, code: int, text: str, expected: Outcome) -> None:
    assert without_reason(classify(stage, Reply(code=code, text=text))) == expected


@pytest.mark.contract("CL2")
@pytest.mark.parametrize("stage", list(Stage))
def test_the_first_digit_decides_whether_it_may_work_later(stage: Stage) -> None:
    for code in range(400, 600):
        outcome = classify(stage, Reply(code=code, text="no words that a rule knows"))
        if code < 500:
            assert isinstance(outcome, Deferred)
            assert not outcome.unclassified
        elif stage is Stage.BANNER and code not in {530, 534, 535, 538}:
            assert isinstance(outcome, Deferred)
        else:
            assert isinstance(outcome, Rejected | Unavailable)


@pytest.mark.contract("CL2")
def test_an_enhanced_code_of_another_class_is_ignored() -> None:
    assert isinstance(classify(Stage.RCPT, Reply(code=450, text="5.1.1 user unknown")), Deferred)
    assert without_reason(classify(Stage.MAIL, Reply(code=550, text="4.2.2 full"))) == MESSAGE


@pytest.mark.contract("CL2")
def test_enhanced_codes_are_compared_by_whole_numbers() -> None:
    assert Reply(code=550, text="5.7.60 no").enhanced == ("5", "7", "60")
    assert without_reason(classify(Stage.FINAL, Reply(code=550, text="5.7.6 policy"))) == MESSAGE
    assert without_reason(classify(Stage.FINAL, Reply(code=550, text="5.7.601 policy"))) == MESSAGE


@pytest.mark.contract("CL2")
def test_every_rule_cites_its_source_and_is_reached_by_some_reply() -> None:
    assert all(rule.source for rule in RULES)
    reached = [rule_for(stage, Reply(code=code, text=text)) for stage, code, text, _ in TABLE]
    assert [rule for rule in RULES if rule not in reached] == []


@pytest.mark.contract("CL2")
def test_a_configuration_can_overrule_the_table() -> None:
    overrides = parse_overrides(
        {"550 5.7.1 rcpt": "rejected_recipient", "552": "deferred", "5 5.6": "unavailable"}, field="outcomes"
    )
    relay = Reply(code=550, text="5.7.1 relay denied")
    assert without_reason(classify(Stage.RCPT, relay, overrides)) == RECIPIENT
    assert without_reason(classify(Stage.FINAL, relay, overrides)) == MESSAGE
    assert without_reason(classify(Stage.RCPT, Reply(code=552, text="5.2.2 full"), overrides)) == DEFERRED
    assert without_reason(classify(Stage.FINAL, Reply(code=554, text="5.6.3 no"), overrides)) == UNAVAILABLE


@pytest.mark.contract("CF2", "CL2")
@pytest.mark.parametrize(
    ("key", "word"), [("250", "deferred"), ("55", "deferred"), ("550 rcpt 5.1.1", "deferred"), ("550 mial", "deferred")]
)
def test_a_malformed_rule_is_refused_by_its_key(key: str, word: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_overrides({key: word}, field="outcomes")
    assert refused.value.field == f"outcomes.{key}"


@pytest.mark.contract("CF2")
def test_an_unknown_verdict_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="rejected_recipient") as refused:
        parse_overrides({"550": "bounce"}, field="outcomes")
    assert refused.value.field == "outcomes.550"
    assert "delivered" not in tuple(Verdict)


@pytest.mark.contract("EV3")
def test_a_reason_names_neither_the_recipient_nor_a_password_nor_breaks_a_line() -> None:
    reply = Reply(
        code=550,
        text="5.1.1 <Ann@Example.org>: unknown\r\n(you are me with hunter22, see http://u:p@x/)",
        hide=("ann@example.org", "hunter22"),
    )
    outcome = classify(Stage.RCPT, reply)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "rcpt: 550 5.1.1 <***>: unknown (you are me with ***, see http://***@x/)"
    long = classify(Stage.RCPT, Reply(code=550, text="word " * 500))
    assert isinstance(long, Rejected)
    assert len(long.reason) < 220
