"""The console channel: one readable line per part on standard output or error, for trying things out."""

from __future__ import annotations

import asyncio
import sys
from typing import Final, Literal

from pillarbox.channels.base import Attempt, Capabilities, Channel
from pillarbox.channels.thread_pool import answer_of
from pillarbox.channels.url_parts import Options, parse_url
from pillarbox.domain.outcome import AnyOutcome, Delivered, Unavailable, Uncertain
from pillarbox.domain.plain_characters import visible
from pillarbox.errors import ConfigError

Stream = Literal["stdout", "stderr"]
_STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")


class ConsoleChannel(Channel):
    """Print to *stream*, whichever it is when a message is sent."""

    kind = "console"
    capabilities = Capabilities(receipts="none")
    # One line after the other, so that lines do not mix.
    concurrency = 1

    def __init__(self, stream: Stream = "stdout") -> None:
        self._stream: Stream = stream

    @classmethod
    def from_url(cls, url: str) -> ConsoleChannel:
        """Make the channel of ``console:``, ``console://stdout`` or ``console://stderr``. Raises ConfigError."""
        parsed = parse_url(url, schemes=("console",))
        Options(parsed, {}, known=())
        host = parsed.host or "stdout"
        if parsed.path not in {"", "/"} or parsed.user or parsed.port or host not in _STREAMS:
            raise ConfigError("url", "expected console:, console://stdout or console://stderr")
        return cls("stderr" if host == "stderr" else "stdout")

    def describe(self) -> str:
        """See `Channel`."""
        return f"console://{self._stream}"

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        printing = asyncio.get_running_loop().run_in_executor(None, self._print, readable(attempt))
        return await answer_of(printing, attempt.progress, lambda outcome: outcome)

    def _print(self, line: str) -> AnyOutcome:
        stream = sys.stderr if self._stream == "stderr" else sys.stdout
        if stream is None or stream.closed:  # pythonw, or a daemon that closed it
            return Unavailable(f"console: {self._stream} is closed")
        encoding = stream.encoding or "utf-8"
        try:
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            stream.flush()
        except BrokenPipeError:
            return Unavailable(f"console: nobody reads {self._stream} any more")
        except (OSError, ValueError) as exc:
            return Uncertain(f"console: {type(exc).__name__} while printing")
        return Delivered()


def readable(attempt: Attempt) -> str:
    """Return the part as one line; control characters are spelt out, as some of them give orders to a terminal."""
    content = attempt.content
    part = f" ({attempt.part + 1}/{attempt.part_count})" if attempt.part_count > 1 else ""
    subject = f"{content.subject}: " if content.subject else ""
    if content.payload is None:
        said = attempt.text
    else:
        said = f"{len(content.payload)} bytes of {content.content_type or 'application/octet-stream'}"
    verb = "" if attempt.op == "send" else f" {attempt.op} {attempt.target}"
    return visible(f"{attempt.channel} → {attempt.to}{part}{verb}: {subject}{said}")
