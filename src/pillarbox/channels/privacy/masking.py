"""
What is hidden as a secret, for every module, in any text that others wrote (contract EV3, CH8).

The only table of that kind. It knows how secrets look; the very values that a channel holds are in `known_secrets`.

Works on text, not on a parsed URL, because a URL that cannot be parsed ends up in an error message first of all.
Masking too much is a nuisance, masking too little is a leak: so an unknown scheme shows nothing but itself.

A text is cut to 4096 characters before it gets here (`foreign_text`), and each pattern takes time in proportion to it:
each begins where a word does, or its scan has a bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pillarbox.channels.privacy.escapes import levels
from pillarbox.domain.casefold import Span, put
from pillarbox.domain.url_schemes import MASK, SCHEME, WITH_A_HOST, mask_url, scheme_of

# The schemes whose host and path say where, not who: everything else (tgram://TOKEN, discord://ID/TOKEN) is hidden.
_OPEN_SCHEMES: Final = WITH_A_HOST | {"file", "console"}


class Kind(IntEnum):
    """What a row of the table is about, the surest first."""

    SECRET = 0
    LIKELY = 1  # looks like one; ids of platforms may too
    RECIPIENT = 2  # somebody's address, if not this message's


class _Row(NamedTuple):
    """``needs``: in lower case, of which one must be there; so that most texts cost no search."""

    kind: Kind
    pattern: re.Pattern[str]
    replacement: str
    needs: tuple[str, ...]


def _row(
    needs: tuple[str, ...], pattern: str, replacement: str = MASK, kind: Kind = Kind.SECRET, *, cased: bool = False
) -> _Row:
    return _Row(kind, re.compile(pattern, 0 if cased else re.IGNORECASE), replacement, needs)


_QUOTES: Final = ("'", '"', "`")
# A slash as it stands in a URL, in JSON of some languages, and in a URL inside of a URL.
_SLASH: Final = r"(?:\\?/|%2F)"
_END: Final = r"\s\"'`<>\\"
# A value behind a name: what stands in quotation marks, which may be escaped, or a word.
_VALUE: Final = r"(?P<quote>\\{0,3}[\"'`])?+(?(quote)[^\"'`\\\n]{0,256}+|[^\s\"'`&,;<>\\]++)"
_IS: Final = r"(?:\\{0,3}[\"'`])?+\s*+(?:=>|[=:]|%3D)\s*+"
_SURE_NAMES: Final = (
    r"token|secret|password|passwd|passphrase|passcode|pwd|(?<![a-z])pass|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|signature|authorization|credentials?|jwt|hmac|cookie|session[_-]?id"
)
# Names that mean something else in prose, and something secret before an equals sign.
_SHORT_NAMES: Final = r"sig|sign|key|auth|code|sid|otp|t"

_ROWS: Final[tuple[_Row, ...]] = (
    # RFC 3986 §3.2.1: user information in a URL. All up to the last "@", on purpose: a password may itself hold "@"
    # and, written carelessly, "/".
    _row(("@",), rf"(\b{SCHEME}:{_SLASH}{{2}})[^@{_END}]{{1,256}}+@(?:[^@{_END}]{{0,256}}+@)*+", rf"\1{MASK}@"),
    # https://core.telegram.org/bots/api#authorizing-your-bot: the token stands in the path.
    _row((":", "%3a"), r"\b(?:bot)?\d{6,12}+(?::|%3A)[\w-]{20,}+"),
    # Slack: /services/T…/B…/SECRET, /workflows/T…/A…/…/SECRET, /triggers/…, with the host or without it.
    _row(
        ("slack",),
        rf"(hooks\.slack(?:-gov)?\.com(?::\d{{1,5}})?{_SLASH}\w{{1,20}}{_SLASH})(?:[^?#{_END}]|\\/)++",
        rf"\1{MASK}",
    ),
    _row(
        ("/", "%2f"),
        rf"({_SLASH}(?:services|workflows|triggers){_SLASH})[TE][A-Z0-9]{{2,20}}{_SLASH}(?:[^?#{_END}]|\\/)++",
        rf"\1{MASK}",
    ),
    # Discord: /api/webhooks/ID/TOKEN.
    _row(("webhooks",), rf"({_SLASH}webhooks{_SLASH}\d{{1,20}}+{_SLASH})[^/?#{_END}]++", rf"\1{MASK}"),
    # RFC 9110 §11.4: credentials of an Authorization field, with their scheme or without one.
    _row(
        ("bearer", "basic", "digest", "negotiate"),
        r"\b(bearer|basic|digest|negotiate)\s++[\w.~+/=-]{6,}+",
        rf"\1 {MASK}",
    ),
    _row(
        ("authorization",),
        rf"(authorization{_IS}(?:\\{{0,3}}[\"'`])?+)(?:[a-z][\w-]{{0,30}}+[ \t]++)?+[^\s\"'`,;\\]++",
        rf"\1{MASK}",
    ),
    _row(("=", ":", "%3d"), rf"({_SURE_NAMES})({_IS}){_VALUE}", rf"\1\2\g<quote>{MASK}"),
    # secret 'like this'
    _row((*_QUOTES,), rf"({_SURE_NAMES})(\s++)(?=[\"'`\\]){_VALUE}", rf"\1\2\g<quote>{MASK}"),
    # Not "code=404": a short number is no secret.
    _row(("=", "%3d"), rf"(?<![^\W_])({_SHORT_NAMES})(=|%3D)(?!\d{{1,5}}+(?!\w)){_VALUE}", rf"\1\2\g<quote>{MASK}"),
    _row(
        (":",),
        rf"(?<![^\W_])((?:sig|sign|key|auth|otp)\\{{0,3}}[\"'`]\s*+:\s*+)(?=[\"'`\\]){_VALUE}",
        rf"\1\g<quote>{MASK}",
    ),
    # Tokens with a beginning by which they can be found, as their makers say: Slack, GitHub, GitLab, Stripe and
    # Standard Webhooks, OpenAI, npm, PyPI, Mailgun.
    _row(
        ("-", "_"),
        r"(?<![^\W_])(?:xox[a-z](?:\.xox[a-z])?-|xapp-|gh[oprsu]_|github_pat_|glpat-|[prs]k_(?:live|test)_|whsec_"
        r"|npm_|pypi-|key-)[\w+/=-]{8,}+",
        cased=True,
    ),
    _row(("sk-",), r"(?<![\w-])sk-[\w-]{16,}+", cased=True),
    # AWS, "Understanding unique ID prefixes"; Google API keys and access tokens; Twilio.
    _row(
        ("akia", "asia", "aiza", "ya29.", "sk"),
        r"(?<!\w)(?:(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}+|ya29\.[\w.-]{16,}+|SK[0-9a-f]{32})",
        cased=True,
    ),
    # RFC 7519 §3.1: a JWT is JSON in base64url, so it begins with '{"'.
    _row(("eyj",), r"(?<![\w-])eyJ[\w-]{8,}+\.[\w.-]{4,}+", cased=True),
    # SendGrid; a Discord bot's token.
    _row(("sg.",), r"(?<![\w.-])SG\.[\w-]{16,}+\.[\w-]{16,}+", cased=True),
    _row((".",), r"(?<![\w.-])[\w-]{23,28}+\.[\w-]{6,7}+\.[\w-]{27,}+", cased=True),
    # Anything long that mixes letters and digits, wherever it stands: Mattermost's /hooks/<26 characters> and the like.
    _row(
        ("/",),
        r"(?P<keep>(?<![/:])/)(?=[^/?#\s\d]*+\d)(?=[^/?#\sA-Za-z]*+[A-Za-z])[A-Za-z0-9_~.:%+=-]{20,}+",
        rf"\g<keep>{MASK}",
        Kind.LIKELY,
        cased=True,
    ),
    # Addresses and E.164 numbers. Looked for from where one begins only, and not from each of its characters.
    _row(
        ("@",),
        r"(?<![^\s<>\"'(),;:=])[^\s<>\"'(),;:=@]++@(?:[^\s<>\"'(),;:=@]*+@)*[\w-]++(?:\.[\w-]++)++",
        kind=Kind.RECIPIENT,
        cased=True,
    ),
    _row(("+",), r"(?<!\w)\+\d{7,15}\b", kind=Kind.RECIPIENT, cased=True),
)


# How those secrets begin that are nothing but letters and digits.
_ALNUM_BEGINNINGS: Final = ("AKIA", "ASIA", "AIza", "SK")


def hide_secrets(text: str, *, up_to: Kind = Kind.RECIPIENT) -> str:
    """Return *text* without what looks like a secret, beneath escapes too, *up_to* which kind. Safe to repeat."""
    if text.isalnum() and not text.startswith(_ALNUM_BEGINNINGS):
        return text  # most ids of platforms
    low = text.lower()
    for kind, pattern, replacement, needs in _ROWS:
        if kind <= up_to and any(need in low for need in needs):
            text = pattern.sub(replacement, text)
    spans = [span for read in islice(levels(text), 1, None) for span in _beneath(*read, up_to=up_to)]
    return put(text, spans, MASK) if spans else text


def _beneath(text: str, starts: list[int], *, up_to: Kind) -> Iterator[Span]:
    """List where in the first text those secrets stand that are seen in one without its escapes only."""
    low = text.lower()
    for kind, pattern, replacement, needs in _ROWS:
        if kind > up_to or not any(need in low for need in needs):
            continue
        for secret in pattern.finditer(text):
            whole, shown = secret[0], secret.expand(replacement)
            if not shown.startswith(whole):
                # What stands before the secret stays: its name, say.
                begins = next(at for at, said in enumerate(whole) if not shown.startswith(said, at))
                yield starts[secret.start() + begins], starts[secret.end()]


def place_of(url: str) -> str:
    """
    Return where a channel's URL leads: scheme, host and port, and nothing else (contract CH8). Never raises.

    Of a scheme whose host may be a secret only the scheme is left, of a text without one nothing.
    """
    scheme = scheme_of(url)
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return mask_url(url).lower()
    if scheme not in _OPEN_SCHEMES or not host:
        return mask_url(url).lower()
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port is not None else ''}"
