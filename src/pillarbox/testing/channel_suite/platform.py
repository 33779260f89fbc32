"""The other side of a channel in a test: a local server, a file, a function, which does what the suite says."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass

from pillarbox.channels.base import Channel
from pillarbox.domain.outcome import Scope
from pillarbox.testing.fakes import FakeClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """
    One way in which the platform says that too much was sent.

    Attributes:
        name: What the platform is asked for, such as the header it says it in.
        after: The wait in seconds that the channel must understand; ``None`` where the platform does not say.
        scope: What rests until then.
    """

    name: str
    after: float | None
    scope: Scope


class Platform(ABC):
    """
    One platform, with one channel's account on it.

    A method such as `reject_message` says what becomes of every send from now on, until another one is called. Those
    that a platform has no use for stay as they are: their point is then one of ``ChannelSuite.absent``.

    Attributes:
        clock: The channel's time, which stands still.
        recipient: To whom the suite sends.
        secrets: What in the channel's settings nobody may read. Not empty where the channel has any.
        covered: The platform drops a second copy with the same token.
    """

    recipient: str = "ann"
    secrets: tuple[str, ...] = ()
    covered: bool = False

    def __init__(self) -> None:
        self.clock = FakeClock()

    @abstractmethod
    def make_channel(self) -> Channel:
        """Return a new channel that leads here, with `secrets` in its settings. Another one each time."""

    @abstractmethod
    def accept(self) -> None:
        """Take what comes."""

    @abstractmethod
    def received(self) -> list[str]:
        """Return the texts that were accepted, in order."""

    @abstractmethod
    def receipt(self, token: str) -> str | None:
        """Return the receipt of what was accepted last, whose attempt had *token*; ``None`` where there is none."""

    def reject_message(self) -> None:
        """Refuse what is said."""
        raise _unsaid("reject_message")

    def reject_recipient(self) -> None:
        """Refuse for whom it is."""
        raise _unsaid("reject_recipient")

    def limits(self) -> tuple[Limit, ...]:
        """Return every way in which the platform limits."""
        return ()

    def limit(self, limit: Limit) -> None:  # noqa: ARG002 — for those that have one
        """Refuse because too much was sent, and answer like *limit*."""
        raise _unsaid("limit")

    def refuse_credentials(self) -> None:
        """Refuse the channel's token, password or key."""
        raise _unsaid("refuse_credentials")

    async def vanish(self) -> None:
        """Refuse connections; those that stand are closed."""
        raise _unsaid("vanish")

    async def serve_tls(self, tls: ssl.SSLContext | None) -> None:  # noqa: ARG002 — for those that can
        """
        Serve with TLS from now on, at a new port of 127.0.0.1; ``None`` speaks plainly to whoever wants TLS.

        What `make_channel` returns afterwards wants TLS, and trusts the system's certificates.
        """
        raise _unsaid("serve_tls")

    def cut(self) -> None:
        """Read what was sent to its end, and break the connection without an answer."""
        raise _unsaid("cut")

    def answer_at_length(self) -> None:
        """Accept, with an answer of many megabytes, or one that goes on for as long as it is read."""
        raise _unsaid("answer_at_length")

    def answer_endlessly(self) -> None:
        """Accept, with an answer that drips on for longer than any attempt lasts."""
        raise _unsaid("answer_endlessly")

    def nonsense(self) -> tuple[str, ...]:
        """Return the name of every way in which `talk_nonsense` answers."""
        raise _unsaid("nonsense")

    def talk_nonsense(self, name: str) -> None:  # noqa: ARG002 — for those that can
        """Answer with what the platform would never say: it may have taken the message, or not."""
        raise _unsaid("talk_nonsense")

    def redirect(self) -> None:
        """Send whoever comes to another place on this machine; count those who go there in `led_astray`."""
        raise _unsaid("redirect")

    @property
    def led_astray(self) -> int:
        """Return how many went where `redirect` sent them."""
        raise _unsaid("led_astray")

    def hang(self) -> None:
        """Take what comes, and do not answer until `accept` is called."""
        raise _unsaid("hang")

    async def reached(self) -> None:
        """Wait until a send hangs here, or is being answered without an end."""
        raise _unsaid("reached")

    def repeat(self) -> None:
        """Refuse, and repeat all that was sent: headers, commands and text, and `secrets` too."""
        raise _unsaid("repeat")

    async def quiet(self) -> None:  # noqa: B027 — not every platform has connections
        """Wait until no connection is open here."""


def _unsaid(name: str) -> NotImplementedError:
    return NotImplementedError(f"give the platform {name}(), or say in the suite's `absent` why it has none")
