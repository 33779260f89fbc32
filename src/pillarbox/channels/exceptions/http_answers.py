"""
What an exception of an HTTP library carries of an answer: its status, its headers, its body.

Found by attributes, so that no library is loaded for it; and nothing is read that would have to come over a connection
first. It is judged by the table that every adapter's answers are (`http.rules.HTTP_RULES`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pillarbox.channels.exceptions.foreign_objects import attribute, text_of_value, whole
from pillarbox.channels.http.answers import Answer, judged, status_text
from pillarbox.channels.http.rules import HTTP_RULES, Rule, rule_for
from pillarbox.channels.privacy.foreign_text import FOREIGN_LENGTH_MAX
from pillarbox.channels.verdicts import Verdict
from pillarbox.domain.outcome import AnyOutcome
from pillarbox.user_code import pass_on

_HEADERS_MAX: Final = 200

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        verdict=Verdict.RATE_LIMITED,
        codes=(
            "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled",
            "TooManyRequestsException", "ProvisionedThroughputExceededException", "TransactionInProgressException",
            "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException", "SlowDown",
            "PriorRequestNotComplete", "EC2ThrottledException",
        ),
        source="botocore, retries/standard.py, ThrottledRetryableChecker: AWS says so with status 400",
    ),
    *HTTP_RULES,
)  # fmt: skip


def refusal(exc: BaseException, reason: str, *, hide: tuple[str, ...], now_ms: int) -> AnyOutcome | None:
    """
    Return what the HTTP answer means that *exc* carries; ``None`` if it carries none.

    Args:
        reason: What may be shown of the exception: its type and text.
        hide: What must not be repeated: the recipient, the message's text.
        now_ms: What dates in headers are relative to.
    """
    found = _answer_of(exc)
    if found is None:
        return None
    answer, code = found
    rule = rule_for(RULES, answer.status, code=code)
    return judged(answer, rule, now_ms=now_ms, reason=f"{status_text(answer.status)}: {reason}", hide=hide)


def _answer_of(exc: BaseException) -> tuple[Answer, str] | None:
    """Return the answer that an exception carries, with a status that is no success; and the platform's code for it."""
    response = attribute(exc, "response")
    answer = _of_mapping(response) if isinstance(response, Mapping) else None
    if answer is not None:
        return answer
    # Google's client calls it "resp".
    for holder in (response, attribute(exc, "resp"), exc):
        if holder is None:
            continue
        status = _status(holder, is_exception=holder is exc)
        if status is not None:
            headers, body = _headers(holder) or _headers(exc), _body(holder) or _body(exc)
            return Answer(status=status, headers=headers, body=body), ""
    return None


def _of_mapping(response: Mapping[object, object]) -> tuple[Answer, str] | None:
    """Read botocore's form: ``ResponseMetadata`` with status and headers, ``Error`` with code and text."""
    try:
        about, error = response.get("ResponseMetadata"), response.get("Error")
        if not isinstance(about, Mapping):
            return None
        status = whole(about.get("HTTPStatusCode"), range(300, 600))
        if status is None:
            return None
        said = error if isinstance(error, Mapping) else {}
        code, text = said.get("Code"), said.get("Message")
        body = ": ".join(one for one in (code, text) if isinstance(one, str))
        answer = Answer(status=status, headers=_lowered(about.get("HTTPHeaders")), body=body.encode("utf-8", "replace"))
        return answer, str.__str__(code) if isinstance(code, str) else ""
    except BaseException as exc:  # noqa: BLE001 — a mapping is anybody's code
        pass_on(exc)
        return None


def _status(holder: object, *, is_exception: bool) -> int | None:
    """
    Return a status from 300 to 599.

    An exception that carries a success was raised about something else: what the answer says, or how it reads.
    """
    names = ["status_code", "status", "http_status"]
    # A code alone is anybody's number: of a process, a socket, another protocol.
    says_http = any("HTTP" in cls.__name__.upper() for cls in type(holder).__mro__)
    if not is_exception or says_http or attribute(holder, "headers") is not None:
        names.append("code")
    for name in names:
        status = whole(attribute(holder, name), range(300, 600))
        if status is not None:
            return status
    return None


class _Headers(dict[str, str]):
    """Holds names in lower case, and finds them in any."""

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 — as of a dict
        return super().get(name.lower(), default)


def _headers(holder: object) -> _Headers:
    said = _lowered(attribute(holder, "headers")) or _lowered(attribute(holder, "hdrs"))
    # httplib2's answer is the mapping of its headers itself.
    return said or (_lowered(holder) if isinstance(holder, Mapping) else said)


def _lowered(headers: object) -> _Headers:
    """Read headers of any kind: a mapping, a mail message, or pairs; of texts or bytes."""
    found = _Headers()
    try:
        items = headers.items() if hasattr(headers, "items") else headers
        if not isinstance(items, Iterable):
            return found
        for number, (name, value) in enumerate(items):
            if number == _HEADERS_MAX:
                break
            # The first of several of one name, as most libraries do.
            found.setdefault(text_of_value(name).lower(), text_of_value(value))
    except BaseException as exc:  # noqa: BLE001 — headers are anybody's code, and may be no pairs at all
        pass_on(exc)
    return found


def _body(holder: object) -> bytes:
    """
    Return what was read of an answer's body.

    No property ``content`` or ``text``: of a response that streams, looking at it reads from the network, on the loop.
    """
    for name in ("_content", "body", "text", "data", "content"):
        if name in {"text", "data", "content"} and not _is_plain(holder, name):
            continue
        said = attribute(holder, name)
        if isinstance(said, bytes | bytearray):
            return bytes(said[: 4 * FOREIGN_LENGTH_MAX])
        if isinstance(said, str):
            return str.__str__(said)[: FOREIGN_LENGTH_MAX + 1].encode("utf-8", "replace")
    return b""


def _is_plain(holder: object, name: str) -> bool:
    """Whether an attribute is a value, and no code that runs when it is looked at."""
    return not hasattr(type(holder), name) or not isinstance(getattr(type(holder), name), property)
