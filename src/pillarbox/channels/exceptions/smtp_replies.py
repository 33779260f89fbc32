"""What an exception of a mail library carries of a server's replies, judged by the table of mail (`mail.replies`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pillarbox.channels.exceptions.foreign_objects import attribute, names_of, text_of_value, whole
from pillarbox.channels.mail.replies import Reply, Stage, classify
from pillarbox.domain.outcome import AnyOutcome, Deferred, RateLimited, Unavailable
from pillarbox.user_code import pass_on

_RECIPIENTS_MAX: Final = 100
_CODES: Final = range(100, 1000)

# Which command a refusal answers, by the class that both libraries call so.
_STAGES: Final[Mapping[str, Stage]] = {
    "SMTPConnectError": Stage.BANNER,
    "SMTPConnectResponseError": Stage.BANNER,
    "SMTPHeloError": Stage.EHLO,
    "SMTPAuthenticationError": Stage.AUTH,
    "SMTPSenderRefused": Stage.MAIL,
    "SMTPRecipientRefused": Stage.RCPT,
    "SMTPRecipientsRefused": Stage.RCPT,
    "SMTPDataError": Stage.FINAL,
}


def refusal(exc: BaseException, *, hide: tuple[str, ...]) -> AnyOutcome | None:
    """
    Return what an SMTP server's reply means that *exc* carries; ``None`` if it carries none.

    Args:
        hide: What must not be repeated: the recipient, the message's text.
    """
    names = names_of(exc)
    is_mail = any(name.startswith(("smtplib.", "aiosmtplib.")) for name in names)
    replies = _replies(exc, is_mail=is_mail)
    if not replies:
        return None
    bare = (name.rpartition(".")[2] for name in names)
    # Where nobody says which command it answers, the code decides.
    stage = next((_STAGES[name] for name in bare if name in _STAGES), Stage.DATA)
    judged = [classify(stage, Reply(code=code, text=text, hide=hide)) for code, text in replies]
    # All of them were refused, or there would be no exception: what may change for one is tried again for it.
    return min(judged, key=_hopelessness)


def _hopelessness(outcome: AnyOutcome) -> int:
    order = (RateLimited, Deferred, Unavailable)
    return next((place for place, kind in enumerate(order) if isinstance(outcome, kind)), len(order))


def _replies(exc: BaseException, *, is_mail: bool) -> list[tuple[int, str]]:
    code, text = attribute(exc, "smtp_code"), attribute(exc, "smtp_error")
    if is_mail and code is None:
        code, text = attribute(exc, "code"), attribute(exc, "message")
    number = whole(code, _CODES)
    if number is not None:
        return [(number, text_of_value(text or ""))]
    if not is_mail:
        return []
    replies = []
    try:
        recipients = attribute(exc, "recipients")
        several = recipients.values() if isinstance(recipients, Mapping) else recipients
        for item in list(several or ())[:_RECIPIENTS_MAX]:
            if isinstance(item, tuple) and len(item) == 2:
                number, text = whole(item[0], _CODES), item[1]
            else:
                number, text = whole(attribute(item, "code"), _CODES), attribute(item, "message")
            if number is not None:
                replies.append((number, text_of_value(text or "")))
    except BaseException as worse:  # noqa: BLE001 — anybody's code
        pass_on(worse)
    return replies
