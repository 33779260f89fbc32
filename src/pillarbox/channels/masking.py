"""
A URL as people may see it: what in it is a secret becomes ``***`` (contract EV3).

Works on text, not on a parsed URL, because a URL that cannot be parsed ends up in an error message first of all.
Masking too much is a nuisance, masking too little is a leak: so an unknown scheme shows nothing but itself.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"

# The schemes whose host and path say where, not who: everything else (tgram://TOKEN, discord://ID/TOKEN) is hidden.
_OPEN_SCHEMES = frozenset({"http", "https", "smtp", "smtps", "file", "console"})
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]{0,30}):", re.IGNORECASE)
# All up to the last "@", on purpose: a password may itself hold "@" and, written carelessly, "/".
_AUTHORITY = re.compile(r"(?P<slashes>//)(?P<rest>(?:[^/?#@:]*+:)?[^?#\s]*+)")
_USER = re.compile(r"([^/?#@:]++):")
_TELLING = (  # how the name of a parameter ends
    r"(?:[^=&;#?]*[-_.])?(?:sig|sign|signature|token|key|secret|pass|password|passwd|pwd|auth|authorization"
    r"|code|credential|hmac|apikey|accesstoken|authtoken)"
)
_QUERY = re.compile(rf"(?P<name>[?&;#]{_TELLING})=[^&;#\s]*", re.IGNORECASE)

# Where platforms put a secret into the path. Each group "keep" stays.
_PATHS: tuple[re.Pattern[str], ...] = (
    # https://core.telegram.org/bots/api#making-requests: /bot<token>/METHOD and /file/bot<token>/PATH
    re.compile(r"(?P<keep>/bot)\d+(?::|%3A)[^/?#\s]*", re.IGNORECASE),
    # https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks: /services/T/B/SECRET, also /workflows
    re.compile(r"(?P<keep>//hooks\.slack(?:-gov)?\.com(?::\d+)?/[^/?#\s]+/)[^?#\s]*", re.IGNORECASE),
    # https://docs.discord.com/developers/resources/webhook#execute-webhook: /api/webhooks/ID/TOKEN
    re.compile(r"(?P<keep>/webhooks/\d+/)[^/?#\s]+", re.IGNORECASE),
    # Anything long that mixes letters and digits, wherever it stands: Mattermost's /hooks/<26 characters> and the like.
    re.compile(r"(?P<keep>(?<![/:])/)(?=[^/?#\s]*\d)(?=[^/?#\s]*[A-Za-z])[A-Za-z0-9_~.:%+-]{20,}(?=[/?#\s]|\Z)"),
)


def mask_url(url: str) -> str:
    """
    Give *url* without its secrets. Never raises; safe to repeat.

    Hidden: the password of ``user:password@`` (all of a lone ``token@``), query values whose name says secret, path
    secrets of Telegram, Slack and Discord, and long path segments that look random. Of an unknown scheme only the
    scheme is left, of a text without one nothing.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return MASK
    if scheme[1].lower() not in _OPEN_SCHEMES:
        return f"{scheme[1].lower()}://{MASK}"
    masked = _AUTHORITY.sub(_without_password, url)
    for path in _PATHS:
        masked = path.sub(lambda found: f"{found['keep']}{MASK}", masked)
    return _QUERY.sub(lambda found: f"{found['name']}={MASK}", masked)


def _without_password(found: re.Match[str]) -> str:
    userinfo, at, host = found["rest"].rpartition("@")
    if not at:
        return found[0]
    user = _USER.match(userinfo)
    return f"{found['slashes']}{user[1]}:{MASK}@{host}" if user else f"{found['slashes']}{MASK}@{host}"
