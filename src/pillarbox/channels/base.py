"""
What an adapter is: a declaration of what its platform can do, a check at accept time, and one `send`.

Expected failures are outcomes. An exception that leaves `send` is a bug; the executor records it as ``Uncertain``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypedDict, final

import msgspec

from pillarbox.channels.privacy.known_secrets import NOTHING_KNOWN, KnownSecrets
from pillarbox.channels.privacy.outcomes import fit_to_show
from pillarbox.clock import Clock, SystemClock
from pillarbox.domain.envelope import Op
from pillarbox.domain.ids import PARTS_MAX
from pillarbox.domain.message import Admission, Content, File, Format, encode_content
from pillarbox.domain.outcome import AnyOutcome, Uncertain, checked_recipient, name_of
from pillarbox.domain.pace import UNLIMITED, Pace
from pillarbox.domain.retry import CHAT, Policy, UncertainAction
from pillarbox.entropy import Entropy, SystemEntropy
from pillarbox.errors import InvalidMessage, InvalidOutcome

Unit = Literal["utf16", "bytes", "codepoints"]
Mode = Literal["paragraph", "newline", "sentence", "length"]
Receipts = Literal["none", "accepted", "delivered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """
    What the platform can do (contract UN5).

    Attributes:
        text_limit: Longest text of one part, in ``unit``; ``None`` for no limit. Text in Markdown keeps its code blocks
            whole where it is cut; all other text is cut as it stands.
        receipts: What a delivered message means: nothing, accepted by the platform, or read back from it.
        edits: `Attempt.op` may be an edit of ``target``, the platform's id of a message. ``deletes``: or its deletion.
        looks_up: `Channel.look_up` can ask the platform whether it has a message.
    """

    text_limit: int | None = None
    unit: Unit = "codepoints"
    receipts: Receipts = "accepted"
    edits: bool = False
    deletes: bool = False
    looks_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """
    For how long a platform drops a second copy of a message (contract UN5).

    Attributes:
        seconds: At least so long after the first copy; 0 where nobody may count on it, ``None`` where it drops them and
            does not say for how long.
        why: One sentence for people.
        asking: Another one: what the platform can say where it is asked for a message (`Channel.look_up`).
    """

    seconds: float | None
    why: str
    asking: str = "the platform cannot be asked here whether it has a message"


class Progress(msgspec.Struct, eq=False):
    """
    How far a send has come, for the code that may have to cut it off.

    ``written`` false: nothing of the request has left, so it was surely not sent. ``None`` means that the adapter does
    not say, and reads as true.

    ``rest`` is set by an adapter whose send was cut off while what it began goes on where it cannot be stopped, as in a
    thread: it ends with what came of it after all. A delivery is recorded then, however late.
    """

    written: bool | None = None
    rest: asyncio.Future[AnyOutcome] | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """
    One try to send one part.

    Attributes:
        id: The message's id: 22 characters of base64url.
        to: The recipient, as admitted.
        content: What to say; of this part only where the message was split.
        number: 1 for the first claim of the message, then growing; gaps are claims that never reached the channel.
        token: The same for every attempt of this part (contract UN2); 25 characters.
        receipts: Receipts of the parts before this one.
        deadline_seconds: The executor cancels the send after so long.
        progress: Where an adapter notes whether its request was written, so that a stop before that costs nothing.
        created_ms: When the message was accepted, milliseconds since 1970.
        reconciles: In doubt the platform is asked whether it has it (``uncertain = "reconcile"``): the token is to be
            where it can be read again.
    """

    id: str
    channel: str
    to: str
    content: Content
    number: int
    token: str
    part: int = 0
    part_count: int = 1
    receipts: tuple[str | None, ...] = ()
    account: str = ""
    thread: str | None = None
    op: Op = Op.SEND
    target: str | None = None
    tenant: str = ""
    correlation_id: str | None = None
    origin: str | None = None
    traceparent: str | None = None
    metadata: dict[str, object] = {}
    deadline_seconds: float = 30.0
    created_ms: int = 0
    reconciles: bool = False
    progress: Progress = msgspec.field(default_factory=Progress)

    @property
    def text(self) -> str:
        """The text to send; empty for a raw payload."""
        return self.content.text or ""

    @property
    def files(self) -> tuple[File, ...]:
        """The files to send."""
        return self.content.files


class Keep(Protocol):
    """
    One text that a channel keeps, the same for every worker of its store, such as tokens that it was given.

    It is seen in no listing, event or export. Both methods raise `StoreError`: nothing was kept, or it is not known
    whether something was. ``lasts`` where it outlives the process.
    """

    @property
    def lasts(self) -> bool:
        """See the class."""

    async def read(self) -> str | None:
        """Return what is kept now; ``None`` for nothing."""

    async def replace(self, old: str | None, new: str) -> bool:
        """Keep *new* in the place of *old*; return whether it is what is kept now. Of several who do so, one does."""


class KeptInMemory:
    """What is kept where there is no store: for as long as the process lives."""

    __slots__ = ("_text",)
    lasts = False

    def __init__(self) -> None:
        self._text: str | None = None

    async def read(self) -> str | None:
        """See `Keep`."""
        return self._text

    async def replace(self, old: str | None, new: str) -> bool:
        """See `Keep`."""
        if self._text == old:
            self._text = new
        return self._text == new


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """What the world looks like to an adapter. ``keep`` is a channel's own."""

    clock: Clock = field(default_factory=SystemClock)
    entropy: Entropy = field(default_factory=SystemEntropy)
    keep: Keep = field(default_factory=KeptInMemory)


def room_for_mark(wanted: int, limit: int) -> int:
    """Return *wanted*, what a mark takes of a text's *limit*. Raises InvalidMessage where little else would fit."""
    if 2 * wanted > limit:
        raise InvalidMessage("uncertain_mark", f"expected one that leaves half of the {limit} of a part to its text")
    return wanted


def checked_admission(admission: object) -> Admission:
    """
    Return *admission* if it can be stored; an adapter's `Channel.admit` returned it.

    Raises:
        InvalidOutcome: Names the field; it is the adapter's bug.
    """
    if type(admission) is not Admission:
        raise InvalidOutcome("Channel", "admit", f"expected an Admission, not {name_of(type(admission))}")
    recipient: object = admission.recipient
    if not issubclass(type(recipient), str):
        raise InvalidOutcome("Admission", "recipient", f"expected text, not {name_of(type(recipient))}")
    checked_recipient("Admission", recipient)
    parts, splitter = admission.parts, admission.splitter
    if type(parts) is not tuple or not all(type(part) is bytes for part in parts):
        raise InvalidOutcome("Admission", "parts", "expected a tuple of bytes")
    if splitter is not None and type(splitter) is not str:
        raise InvalidOutcome("Admission", "splitter", f"expected text or None, not {name_of(type(splitter))}")
    return admission


def admitted(
    channel: Channel, *, to: str, content: Content, thread: str | None, policy: Policy, op: Op = Op.SEND
) -> Admission:
    """
    Return what *channel* makes of a message, with room for the mark of a copy where its policy wants one.

    Raises:
        InvalidMessage: As `Channel.admit`.
        InvalidOutcome: What it made cannot be stored.
    """
    if policy.uncertain is UncertainAction.RESEND_MARKED and op is Op.SEND and content.payload is None:
        content = msgspec.structs.replace(content, mark=policy.uncertain_mark)
    made = channel.admit(to=to, content=content, thread=thread)
    if type(made) is Admission and made.recipient is to and made.parts is _WHOLE and made.splitter is None:
        return made  # what nearly always comes: nothing in it is new
    return checked_admission(made)


_WHOLE: Final[tuple[bytes, ...]] = ()


class Cut(TypedDict, total=False):
    """What `Channel.split` adds to an admission."""

    parts: tuple[bytes, ...]
    splitter: str


def stored_parts(parts: Iterable[Content]) -> tuple[bytes, ...]:
    """Return what is stored of the parts of a message: none of them is a copy yet."""
    return tuple(encode_content(msgspec.structs.replace(part, mark=None)) for part in parts)


class Channel(ABC):
    """
    One configured way out. Subclasses are adapters.

    ``kind`` names the adapter, ``policy`` is its default with the source of its numbers, ``send_timeout_seconds``
    bounds one attempt, ``concurrency`` is how many sends may run at once, ``pace`` how many its platform takes in a
    time, of all workers of the store together; ``ordered`` whether messages get the default lane. ``split_mode`` is
    where long text is preferably cut. ``known_secrets`` are its own, which are hidden in all that comes back from it.
    ``recognised_seconds`` is how long its platform surely drops a second copy, counted from the first. Where it is
    ``covered``, an attempt without an answer says so too (`Uncertain`), and goes again meanwhile under every policy.
    """

    kind: str = "channel"
    capabilities: Capabilities = Capabilities()
    policy: Policy = CHAT
    ordered: bool = True
    concurrency: int = 64
    pace: Pace = UNLIMITED
    send_timeout_seconds: float = 30.0
    split_mode: Mode = "paragraph"
    known_secrets: KnownSecrets = NOTHING_KNOWN
    covered: bool = False

    @property
    def recognised_seconds(self) -> float:
        """See the class; 0 where nobody may count on it."""
        return 0.0

    async def start(self, seams: Seams) -> None:  # noqa: B027 — optional on purpose
        """Open what sending needs. Called once, on the loop that sends, before the first send."""

    async def close(self) -> None:  # noqa: B027 — optional on purpose
        """Close what `start` opened. Called when no send is under way."""

    def admit(self, *, to: str, content: Content, thread: str | None = None) -> Admission:  # noqa: ARG002
        """
        Check a message and settle what needs the channel: recipient syntax, defaults, the split. Pure: no I/O.

        Raises:
            InvalidMessage: Names the field; the message is refused, or dead if it is already stored.
        """
        return Admission(recipient=to, **self.split(content))

    def split(self, content: Content) -> Cut:
        """
        Cut text that is longer than the platform takes; empty where it goes out as one part, or is no text.

        Raises:
            InvalidMessage: The text makes more than 4096 parts, or the limit is below one of its code points.
        """
        parts = self._cut(content)
        if len(parts) <= 1:
            return Cut()
        if len(parts) > PARTS_MAX:
            raise InvalidMessage("text", f"expected at most {PARTS_MAX} parts, not {len(parts)}")
        from pillarbox.channels.text.split import SPLITTER

        # What introduces the message stays with its first part, and what hangs on it too.
        first, *others = parts
        others = [msgspec.structs.replace(part, subject=None, files=(), mirror=None) for part in others]
        return Cut(parts=stored_parts((first, *others)), splitter=SPLITTER)

    def fitted(self, content: Content) -> Content:
        """
        Leave out the white space at a text's ends that alone makes it longer than the platform takes.

        Such a text is one part, which nothing is stored for. Everything else is given back as it is: what fits, and
        what was admitted under another limit, of which the platform is to judge.
        """
        if self.capabilities.text_limit is None:
            return content
        try:
            parts = self._cut(content)
        except InvalidMessage:
            return content
        if len(parts) > 1:
            return content
        return parts[0] if parts else msgspec.structs.replace(content, text=None)

    def _cut(self, content: Content) -> tuple[Content, ...]:
        """
        Return what *content* goes out in: itself where it fits; nothing where a too long text is blank.

        Raises:
            InvalidMessage: The limit is below one code point of its text.
        """
        limit, text = self.capabilities.text_limit, content.text
        # No unit is finer than a byte of UTF-8, of which a code point has four at most.
        if limit is None or text is None or (content.mark is None and 4 * len(text) <= limit):
            return (content,)
        unit = self.capabilities.unit
        # Most channels never cut anything; the others load what they need with their first message.
        from pillarbox.channels.text.split import length, split_text

        if content.mark is not None:
            from pillarbox.channels.text.mark import longest_lead

            limit -= room_for_mark(length(longest_lead(content.mark, content.format), unit), limit)
        if length(text, unit) <= limit:
            return (content,)
        fences = content.format is Format.MARKDOWN
        try:
            texts = split_text(text, limit=limit, unit=unit, mode=self.split_mode, fences=fences)
        except ValueError as exc:
            raise InvalidMessage("text", f"expected text that can be cut: {exc}") from None
        return tuple(msgspec.structs.replace(content, text=text) for text in texts)

    def marked(self, content: Content, mark: str) -> Content:
        """
        Return *content* as a copy that says that it may be a second one (``uncertain = "resend_marked"``).

        Here *mark* is a line before the text, in the language of the text, and `Content.mark` says so to whoever sends
        it. `admit` has left room for it. A raw payload stays as it is.
        """
        from pillarbox.channels.text.mark import with_marked_text

        return with_marked_text(content, mark)

    @abstractmethod
    async def send(self, attempt: Attempt) -> AnyOutcome:
        """Try once. Cancelled at the deadline."""

    async def look_up(self, attempt: Attempt, *, since_ms: int) -> AnyOutcome | None:  # noqa: ARG002 — for those that can
        """
        Ask the platform whether it has an earlier attempt of this part. Called where `Capabilities.looks_up` says so.

        Args:
            since_ms: When the first attempt began that may have arrived, milliseconds since 1970.

        Returns:
            ``Delivered`` with its receipt; ``None`` where it surely does not have it: then it is sent. ``Uncertain``
            where the platform cannot say: then a person decides. Any other outcome where it is to be asked later.
        """
        return Uncertain("the channel cannot ask its platform")

    async def guarantee(self) -> Guarantee:
        """Return what becomes of a second copy. Called between `start` and `close`: it may ask the platform."""
        return Guarantee(seconds=0.0, why="nothing is known here by which a second copy would be recognised")

    @final
    def fit_to_show(self, outcome: AnyOutcome, attempt: Attempt, *, keep_answer: bool) -> AnyOutcome:
        """
        Return *outcome* without what nobody may read (contract EV3, CH8).

        Args:
            keep_answer: Keep what was said to a success too (history ``full``).
        """
        return fit_to_show(outcome, attempt, self.known_secrets, keep_answer=keep_answer)

    def describe(self) -> str:
        """Return where messages go: of a URL its scheme and host, and nothing else (contract CH8)."""
        return self.kind
