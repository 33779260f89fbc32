"""
What an SMTP server's refusal means: one table, read from the top, in which the first rule that fits wins. Pure.

A rule looks at the reply's code, its enhanced status code (RFC 3463) and the command it answers, and at the text last
(contract CL2).

A reply's first digit decides whether it may work later (RFC 5321 §4.2.1); an enhanced code of another class is
ignored (RFC 2034 §4). The rest of the table says who is at fault: the message, its recipient, or this channel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, assert_never

from pillarbox.channels.privacy.foreign_text import FOREIGN_LENGTH_MAX, excerpt, masked
from pillarbox.channels.privacy.known_secrets import NOTHING_KNOWN, KnownSecrets
from pillarbox.domain.outcome import AnyOutcome, Deferred, RateLimited, Rejected, Unavailable, Uncertain
from pillarbox.errors import ConfigError

# What postgrey(8) asks for by default. RFC 5321 §4.5.4.1 would have us wait longer, and the schedule does.
GREYLIST_SECONDS: Final = 300.0
# Google's limits are counted over a day; asking hourly is soon enough.
DAILY_LIMIT_SECONDS: Final = 3600.0
# A limit by the hour is over within one.
HOURLY_LIMIT_SECONDS: Final = 3600.0


class Stage(StrEnum):
    """What the server was answering, in the words of operators and of a configuration."""

    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    FINAL = "."


class Verdict(StrEnum):
    """The outcomes a refusal can have (contract CL1), some with their detail."""

    REJECTED = "rejected"
    REJECTED_RECIPIENT = "rejected_recipient"
    DEFERRED = "deferred"
    GREYLISTED = "greylisted"  # deferred for five minutes at least
    UNCLASSIFIED = "unclassified"  # deferred, at most three attempts (contract CL5)
    RATE_LIMITED = "rate_limited"
    RATE_LIMITED_BOUNDED = "rate_limited_bounded"  # by its words, with a code that says never: at most three attempts
    RATE_LIMITED_DAILY = "rate_limited_daily"
    RATE_LIMITED_RECIPIENT = "rate_limited_recipient"
    UNAVAILABLE = "unavailable"
    AUTH = "auth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    One reply.

    Attributes:
        code: Three digits; below 0 for what is no reply at all.
        text: Every line, without the codes in front.
        hide: What must not be shown of it: the recipient, the message's text.
        known: The channel's own secrets; a server may repeat what it was sent.
    """

    code: int
    text: str = ""
    hide: tuple[str, ...] = field(default=(), repr=False)
    known: KnownSecrets = field(default=NOTHING_KNOWN, repr=False)

    @property
    def enhanced(self) -> tuple[str, ...]:
        """RFC 3463 ``class.subject.detail``, split at its dots; empty where there is none of the reply's class."""
        match = _ENHANCED.match(self.text)
        return match.groups() if match and match[1] == str(self.code)[:1] else ()

    @property
    def is_positive(self) -> bool:
        """RFC 5321 §4.2.1: 2yz."""
        return 200 <= self.code < 300

    def shown(self) -> str:
        """Return code and text as operators may see them."""
        said = f"{self.code} {self.text}" if self.code > 0 else "no SMTP reply"
        return masked(said, *self.hide, known=self.known)

    def excerpt(self) -> str | None:
        """Return as much of both as is kept for people, line by line."""
        return excerpt(f"{self.code} {self.text}", *self.hide, known=self.known) if self.code > 0 else None


_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    Matches a reply if all that it names fits; what it leaves empty fits everything.

    Attributes:
        codes: Beginnings of reply codes: ``4``, ``550``.
        enhanced: Enhanced codes, or beginnings up to a dot: ``5.1`` is every 5.1.x.
        text: Found anywhere in the reply's first 4096 characters, in any case.
        unless: Not found anywhere in them.
    """

    verdict: Verdict
    source: str
    codes: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    text: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None

    def matches(self, stage: Stage, reply: Reply) -> bool:
        """Whether this rule is about *reply* at *stage*."""
        if self.codes and not str(reply.code).startswith(self.codes):
            return False
        if self.stages and stage not in self.stages:
            return False
        code = reply.enhanced
        if self.enhanced and not any(_begins(code, prefix) for prefix in self.enhanced):
            return False
        said = reply.text[:FOREIGN_LENGTH_MAX]
        if self.unless is not None and self.unless.search(said):
            return False
        return self.text is None or self.text.search(said) is not None


def _begins(code: tuple[str, ...], prefix: str) -> bool:
    """Whether one begins with the other, by whole numbers: 5.1.1 does not begin 5.1.10."""
    wanted = tuple(prefix.split("."))
    return code[: len(wanted)] == wanted


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


_GREY = _words(r"gr[ea]y[ -]?list(?:ed|ing)?")
_TOO_MUCH = _words(
    r"rate[ -]?limit(?:ed|s|ing)?|(?:sending|unusual|at a) rate|throttl(?:ed|ing)|slow down"
    r"|too (?:many|much|fast|quickly)(?! recipients| hops| errors)"
    r"|(?:limit|quota) (?:has been |was )?(?:exceeded|reached)"
    r"|exceeded (?:[\w ]{0,40} )?(?:limit|quota)"
)
# Of 5yz: also without the word "rate", but only where it is about how much was sent; not how large it is, how much a
# mailbox holds, how bad a mail looks, or what must not be tried again.
_TOO_MUCH_FOR_NOW = _words(
    r"(?:rate|frequency)[ -]?limit(?:ed|s|ing)?"
    r"|(?:rate|frequency) (?:is |was |has been )?(?:exceed(?:ed|s)|limited|too high)"
    r"|exceed(?:ed|s|ing)? (?:[\w' -]{0,40} )?(?:rate|frequency)|(?:sending|unusual|at a) rate"
    r"|throttl(?:ed|ing)|slow down|too (?:fast|frequent(?:ly)?|quickly)|too much (?:e?-?mail|traffic)(?! data)"
    r"|too many (?:[\w-]{1,20} ){0,3}(?:connections?|messages|e?-?mails|sessions|requests|recipients|deliveries)"
    r"|(?:limits?|quotas?|thresholds?|max(?:imum)?)\b[\s\S]{0,80}?\b(?:exceeded|reached)"
    r"|(?:exceed(?:ed|s|ing)?|reached|over)\b[\s\S]{0,80}?\b(?:limits?|quotas?|thresholds?|max(?:imum)?)"
    r"|(?:hourly|daily) (?:\w{1,20} )?(?:limit|quota)|(?:per|each) (?:second|minute|hour|day)"
)
_NOT_HOW_OFTEN = _words(
    r"(?:message|mail|file|data|content|header|attachment|body|total) (?:is )?(?:too (?:big|large|long)|size|length)"
    r"|(?:message|mail|file|data|body) exceeds(?! (?:[\w-]{1,20} ){0,2}(?:rate|hourly|daily|sending|frequency))"
    r"|(?:size|length|line|header|hop|attachment|content)s?(?: \w{1,20})? (?:limit|exceed(?:s|ed)?|maximum)"
    r"|(?:maximum|fixed) \w{0,20} ?size|too (?:big|large|long)|mail data|hops|hop count|received headers?|attachments?"
    r"|(?:mailbox|inbox|recipient)[\s\S]{0,40}?\b(?:over ?quota|quota|full|storage)"
    r"|over ?quota|storage|disk (?:quota|space)"
    r"|scored?|spam (?:limit|threshold|content|filter|points|level)|virus(?:es)?|urls|links"
    r"|(?:do not|don'?t|never|not to|not be) (?:re-?)?(?:try|tried|retry|retried|resend|attempt|attempted)"
)
_BY_THE_HOUR = _words(r"(?:per|an|each|one|24|in) (?:hours?|days?)|hourly|daily")
_FOR_RECIPIENT = _words(r"user you are trying to contact is receiving mail|recipient thread limit")
_DAILY = _words(r"daily (?:[\w ]{0,40} )?(?:limit|quota) exceeded")
# Not in a host's name: a mailbox may be unknown at relay.example.org.
_RELAY = re.compile(r"(?<![\w.-])relay(?:ed|ing)?(?![.-]?\w)", re.IGNORECASE)
_SENDER = _words(
    r"sender (?:address )?(?:is )?(?:rejected|refused|denied|not allowed|not owned)|not owned by (?:user|auth)"
    r"|send ?as(?: denied)?|not (?:allowed|permitted|authorized) to send (?:as|from)"
)
_CLIENT = _words(r"client (?:host|address|ip) .{0,80}?(?:blocked|rejected|denied|listed)")

_OPENING: Final = (Stage.BANNER, Stage.EHLO, Stage.STARTTLS)
# RFC 5321 §4.2.3: 552 is about storage, and a mail that is too large.
_BUT_552: Final = tuple(str(code) for code in range(500, 600) if code != 552)
_TO_RECIPIENT: Final = (Stage.RCPT, Stage.DATA, Stage.FINAL)

RULES: Final[tuple[Rule, ...]] = (
    # --- 4yz: not now ---------------------------------------------------------------------------------------------
    Rule(
        verdict=Verdict.RATE_LIMITED,
        codes=("4",),
        enhanced=("4.7.28",),
        source="Google, Gmail SMTP errors and codes (support.google.com/a/answer/3726730): 421 4.7.28",
    ),
    Rule(
        verdict=Verdict.RATE_LIMITED_RECIPIENT,
        codes=("4",),
        text=_FOR_RECIPIENT,
        source="Google, Gmail SMTP errors and codes: 450 4.2.1; Exchange Online: 432 4.3.2",
    ),
    Rule(verdict=Verdict.GREYLISTED, codes=("4",), text=_GREY, source="RFC 6647 §2 and §5"),
    Rule(
        verdict=Verdict.RATE_LIMITED,
        codes=("4",),
        enhanced=("4.7", "4.3.2", "4.2.1"),
        text=_TOO_MUCH,
        source="Postfix anvil(8) and smtpd(8): 421 4.7.0, 450 4.7.1; Exchange: 421 4.3.2; Gmail: 421 4.7.0, 450 4.2.1",
    ),
    Rule(verdict=Verdict.RATE_LIMITED, codes=("421",), text=_TOO_MUCH, source="RFC 5321 §4.2.2, by its text"),
    Rule(
        verdict=Verdict.GREYLISTED,
        codes=("450", "451"),
        stages=(Stage.RCPT,),
        source="RFC 6647 §2.1: a grey list answers RCPT so, often without saying what it is",
    ),
    Rule(verdict=Verdict.DEFERRED, codes=("4",), source="RFC 5321 §4.2.1: transient; RFC 4954 §6: 432 and 454 too"),
    # --- 5yz: this channel's fault --------------------------------------------------------------------------------
    Rule(verdict=Verdict.AUTH, codes=("535",), source="RFC 4954 §6: authentication credentials invalid"),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=("530", "534", "538"),
        source="RFC 4954 §6 and RFC 3207 §4: credentials, mechanism or encryption",
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=("5",),
        enhanced=("5.7.60",),
        source="Exchange: 550 5.7.60 SMTP; Client does not have permissions to send as this sender",
    ),
    Rule(
        verdict=Verdict.RATE_LIMITED,
        codes=("5",),
        stages=_OPENING,
        text=_TOO_MUCH_FOR_NOW,
        unless=_NOT_HOW_OFTEN,
        source="Exim smtp_accept_max; Tencent Exmail: 550 Connection frequency limited. No mail was named yet",
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=("5",),
        stages=(Stage.EHLO, Stage.STARTTLS, Stage.AUTH),
        source="RFC 5321 §4.1.4, RFC 3207 §4, RFC 4954 §4: every message would meet it",
    ),
    Rule(
        verdict=Verdict.DEFERRED,
        codes=("5",),
        stages=(Stage.BANNER,),
        source="RFC 5321 §3.1: 554 instead of a greeting; servers also say it when overloaded (554 5.3.2)",
    ),
    Rule(
        verdict=Verdict.RATE_LIMITED_DAILY,
        codes=("5",),
        enhanced=("5.4.5", "5.7.1"),
        text=_DAILY,
        source="Google, Gmail SMTP errors and codes: 550 5.4.5 and 5.7.1, daily limit exceeded",
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=("5",),
        enhanced=("5.1.7", "5.1.8"),
        source="RFC 3463 §3.2 and RFC 7505 §4: the sender's address, which is the channel's",
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=("5",),
        stages=(Stage.MAIL, Stage.RCPT),
        text=_SENDER,
        source="Postfix smtpd_sender_restrictions: 553 5.7.1 Sender address rejected: not owned by user",
    ),
    # --- 5yz: the message's fault ---------------------------------------------------------------------------------
    Rule(
        verdict=Verdict.REJECTED,
        codes=("5",),
        enhanced=("5.3.4", "5.2.3"),
        source="RFC 1870 §6 and RFC 3463 §3.3, §3.4: too big for the system, or for the mailbox",
    ),
    Rule(
        verdict=Verdict.REJECTED, codes=("5",), enhanced=("5.5", "5.6"), source="RFC 3463 §3.6, §3.7: protocol, content"
    ),
    # --- 5yz: the recipient's -------------------------------------------------------------------------------------
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        codes=("5",),
        enhanced=("5.1", "5.2"),
        stages=_TO_RECIPIENT,
        source="RFC 3463 §3.2, §3.3: no such address, mailbox disabled or full (552 5.2.2); RFC 7505 §4.3: 5.1.10",
    ),
    Rule(
        verdict=Verdict.REJECTED,
        codes=("5",),
        enhanced=("5.1", "5.2"),
        source="RFC 3463 §3.2, §3.3, in answer to another command: an address or a mailbox all the same",
    ),
    # After 5.1 and 5.2, which say that it is the recipient, whatever words they use; before 5.7, which does not.
    Rule(
        verdict=Verdict.RATE_LIMITED_BOUNDED,
        codes=_BUT_552,
        text=_TOO_MUCH_FOR_NOW,
        unless=_NOT_HOW_OFTEN,
        source=(
            "Proofpoint Essentials: 554 5.7.0 ... limit ... exceeded. Try again later; Tencent Exmail: 550 Connection"
            " frequency limited; cPanel: 550 Domain ... has exceeded the max emails per hour; Microsoft 365: 550 5.7.1"
            " rate limit"
        ),
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=("5",),
        stages=(Stage.RCPT,),
        text=_RELAY,
        source="Postfix: 554 5.7.1 Relay access denied; Sendmail: 550 5.7.1 Relaying denied; Exchange: 550 5.7.54",
    ),
    Rule(
        verdict=Verdict.UNAVAILABLE,
        codes=("5",),
        stages=(Stage.MAIL, Stage.RCPT),
        text=_CLIENT,
        source="Postfix default_rbl_reply: 554 5.7.1 Service unavailable; Client host [...] blocked using ...",
    ),
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        codes=("5",),
        enhanced=("5.4", "5.7"),
        stages=(Stage.RCPT,),
        source="RFC 3463 §3.5, §3.8: no route there, or mail from us is not wanted there",
    ),
    Rule(
        verdict=Verdict.REJECTED_RECIPIENT,
        codes=("550", "551", "552", "553"),
        stages=(Stage.RCPT,),
        source="RFC 5321 §4.2.2 and §4.3.2: mailbox unavailable, not local, full, name not allowed",
    ),
    Rule(
        verdict=Verdict.REJECTED,
        codes=("5",),
        source="RFC 5321 §4.2.1: permanent; RFC 3463 §3.8: 5.7.x at DATA is spam or policy, such as 5.7.26 (DMARC)",
    ),
)

UNKNOWN: Final = Rule(verdict=Verdict.UNCLASSIFIED, source="RFC 5321 §4.3.2 lists no such reply to this command")

_OVERRIDE = re.compile(r"([45](?:\d\d)?)(?: ([45](?:\.\d{1,3}){1,2}))?(?: ([a-z.]+))?", re.ASCII)


def parse_overrides(table: Mapping[str, str], *, field: str) -> tuple[Rule, ...]:
    """
    Read a configuration's own rules, which go before the table.

    Keys are a code or its first digit, then an enhanced code, then a command, the last two optional: ``550``,
    ``550 5.7.1``, ``5 5.7 rcpt``, ``554 banner``, ``552 .``. Values are those of `Verdict`.

    Raises:
        ConfigError: Names the key.
    """
    rules = []
    for key, word in table.items():
        match = _OVERRIDE.fullmatch(key)
        if match is None or (match[3] and match[3] not in tuple(Stage)):
            raise ConfigError(f"{field}.{key}", "expected a key such as '550', '550 5.7.1' or '550 5.7.1 rcpt'")
        if word not in tuple(Verdict):
            raise ConfigError(f"{field}.{key}", f"expected one of {', '.join(Verdict)}, not {word!r}")
        rules.append(
            Rule(
                verdict=Verdict(word),
                source="configuration",
                codes=(match[1],),
                enhanced=(match[2],) if match[2] else (),
                stages=(Stage(match[3]),) if match[3] else (),
            )
        )
    return tuple(rules)


def rule_for(stage: Stage, reply: Reply, overrides: tuple[Rule, ...] = ()) -> Rule:
    """Return the first rule that matches, *overrides* first; `UNKNOWN` for a reply no rule is about."""
    return next((rule for rule in (*overrides, *RULES) if rule.matches(stage, reply)), UNKNOWN)


def classify(stage: Stage, reply: Reply, overrides: tuple[Rule, ...] = ()) -> AnyOutcome:
    """Turn a refusal into an outcome; whatever else a server answers after the final dot is uncertain (RFC 1047)."""
    outcome = _outcome(rule_for(stage, reply, overrides), stage, reply)
    outcome.answer = reply.excerpt()
    return outcome


def _outcome(rule: Rule, stage: Stage, reply: Reply) -> AnyOutcome:
    reason = f"{stage}: {reply.shown()}"
    match rule.verdict:
        case Verdict.REJECTED:
            return Rejected(reason)
        case Verdict.REJECTED_RECIPIENT:
            return Rejected(reason, about="recipient")
        case Verdict.DEFERRED:
            return Deferred(reason)
        case Verdict.GREYLISTED:
            return Deferred(reason, after=GREYLIST_SECONDS)
        case Verdict.UNCLASSIFIED:
            return Uncertain(reason) if stage is Stage.FINAL else Deferred(reason, unclassified=True)
        case Verdict.RATE_LIMITED:
            return RateLimited(reason, scope="channel")
        case Verdict.RATE_LIMITED_BOUNDED:
            after = HOURLY_LIMIT_SECONDS if _BY_THE_HOUR.search(reply.text) else None
            return RateLimited(reason, scope="channel", after=after, bounded=True)
        case Verdict.RATE_LIMITED_DAILY:
            return RateLimited(reason, scope="channel", after=DAILY_LIMIT_SECONDS)
        case Verdict.RATE_LIMITED_RECIPIENT:
            return RateLimited(reason, scope="recipient")
        case Verdict.UNAVAILABLE:
            return Unavailable(reason)
        case Verdict.AUTH:
            return Unavailable(reason, auth=True)
        case _:
            assert_never(rule.verdict)
