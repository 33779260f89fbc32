"""`Shards`: who asks the right one of several outboxes, or all of them, and says who did not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from pillarbox.domain.outgoing import positioned
from pillarbox.domain.plain_values import word_of
from pillarbox.domain.shards import Place, home_of
from pillarbox.errors import InvalidMessage, NotFound, NotStarted, ShardsUnavailable, StoreError

if TYPE_CHECKING:
    from pillarbox.outbox.composition import Inside
    from pillarbox.store.base import Query

A = TypeVar("A")
R = TypeVar("R")


class Shard:
    """One of several databases, and the outbox on it. ``name`` is for people, and holds no secret."""

    def __init__(self, place: Place, name: str, inside: Inside) -> None:
        self.place = place
        self.name = name
        self.inside = inside

    async def asked(self, answer: Awaitable[A]) -> A:
        """
        Return what this shard alone is asked.

        Raises:
            StoreError: As the outbox on it does; the text says which shard it is.
        """
        try:
            return await answer
        except StoreError as exc:
            # Its class and its fields are what callers go by, and several may be told of one and the same error.
            if not str(exc).startswith(self.name):
                exc.args = (f"{self.name}: {exc}",)
            raise


class Shards:
    """
    All shards of one outbox.

    Attributes:
        down: Why each shard could not be opened, by its number; it is tried again (`ShardedLifetime`).
        lenient: Return what is there where some do not answer, and note them in *unanswered*, for commands; otherwise
            ShardsUnavailable is raised, which has it too.
    """

    def __init__(self, each: Sequence[Shard]) -> None:
        self.each = tuple(each)
        self.down: dict[int, StoreError] = {}
        self.lenient = False
        self.unanswered: dict[str, str] = {}

    def __iter__(self) -> Iterator[Shard]:
        """Return the shards in order."""
        return iter(self.each)

    def home(self, tenant: object) -> Shard:
        """
        Return where *tenant* is at home.

        Raises:
            InvalidMessage: That is no tenant.
            ShardsUnavailable: It could not be opened.
        """
        shard = self._at_home(tenant)
        self._must_answer(shard)
        return shard

    async def ask_home(self, tenant: object, ask: Callable[[Inside], Awaitable[A]]) -> A:
        """Return what the home of *tenant* answers, which judges the arguments first. Raises as `home`."""
        shard = self._at_home(tenant)
        try:
            return await shard.asked(ask(shard.inside))
        except NotStarted:
            self._must_answer(shard)
            raise

    def _must_answer(self, shard: Shard) -> None:
        if shard.place.number in self.down:
            raise ShardsUnavailable({shard.name: str(self.down[shard.place.number])})

    def _at_home(self, tenant: object) -> Shard:
        return self.each[home_of(word_of("tenant", "" if tenant is None else tenant), len(self.each)) - 1]

    def possible(self, query: Query) -> tuple[Shard, ...]:
        """Return the shards that may have what a query asks for: of one tenant, its home alone."""
        return self.each if query.tenant is None else (self._at_home(query.tenant),)

    def home_of_all(self, tenants: Iterable[object]) -> Shard:
        """
        Return where all of *tenants* are at home; none are those of no tenant.

        Raises:
            InvalidMessage: They are at home on different shards; names the first that is elsewhere than the one before.
            ShardsUnavailable: As `home`.
        """
        found: Shard | None = None
        for position, tenant in enumerate(tenants):
            with positioned(position):
                shard = self.home(tenant)
            if found is not None and shard is not found:
                raise InvalidMessage(
                    f"messages[{position}].tenant",
                    f"{tenant!r} is at home on {shard.place}, and those before on {found.place}: all or none needs one"
                    " database",
                )
            found = shard
        return found or self.home("")

    async def holding(self, identity: object) -> Shard:
        """
        Return the shard that has the message of that id.

        Raises:
            NotFound: None has.
            ShardsUnavailable: None that answered has.
            InvalidMessage: That is no text.
        """
        wanted = word_of("id", identity)
        return await self.first(
            lambda inside: inside.reads.get(wanted), found=lambda shard, _: shard, missing=NotFound("message", wanted)
        )

    async def first(
        self, ask: Callable[[Inside], Awaitable[A]], *, found: Callable[[Shard, A], R], missing: NotFound
    ) -> R:
        """
        Return *found* of the first answer that is not empty.

        Raises:
            NotFound: *missing*, where all answers are empty.
            ShardsUnavailable: All answers are empty, and some shards did not answer, whatever is lenient.
        """
        answers, silent = await self._asked(ask)
        for shard, answer in answers:
            if answer:
                return found(shard, answer)
        if silent:
            raise ShardsUnavailable(silent)
        raise missing

    async def ask_all(self, ask: Callable[[Inside], Awaitable[A]], merge: Callable[[list[A]], R]) -> R:
        """
        Return what *merge* makes of all answers.

        Raises:
            ShardsUnavailable: Some did not answer; ``partial`` is what is made of the others' answers.
        """
        answers, silent = await self._asked(ask)
        return self.whole([answer for _, answer in answers], merge, silent)

    async def ask_surely(self, ask: Callable[[Inside], Awaitable[A]], merge: Callable[[list[A]], R]) -> R:
        """As `ask_all`, for what only all of them together know: nothing is lenient here."""
        answers, silent = await self._asked(ask)
        merged = merge([answer for _, answer in answers])
        if silent:
            raise ShardsUnavailable(silent, partial=merged if answers else None)
        return merged

    async def ask_each(
        self,
        ask: Callable[[Shard], Awaitable[A]],
        merge: Callable[[list[tuple[Shard, A]]], R],
        *,
        of: Sequence[Shard] | None = None,
    ) -> R:
        """As `ask_all`, one shard after the other, and with the shard of each answer; *of* some of them alone."""
        answers: list[tuple[Shard, A]] = []
        silent: dict[str, str] = {}
        for shard in self.each if of is None else of:
            try:
                answers.append((shard, await self._ask(shard, ask)))
            except StoreError as exc:
                silent[shard.name] = str(exc)
        return self.whole(answers, merge, silent)

    def whole(self, answers: list[A], merge: Callable[[list[A]], R], silent: dict[str, str]) -> R:
        """Return what is made of *answers*, if none is missing, or it is enough to note that. Raises as `ask_all`."""
        if not silent:
            return merge(answers)
        if not answers:
            raise ShardsUnavailable(silent)
        if not self.lenient:
            raise ShardsUnavailable(silent, partial=merge(answers))
        self.unanswered |= silent
        return merge(answers)

    async def _asked(self, ask: Callable[[Inside], Awaitable[A]]) -> tuple[list[tuple[Shard, A]], dict[str, str]]:
        """Ask all at the same time; return the answers, and why there are no others, by the names of the shards."""
        found = await asyncio.gather(
            *(self._ask(shard, lambda shard: ask(shard.inside)) for shard in self.each), return_exceptions=True
        )
        answers: list[tuple[Shard, A]] = []
        silent: dict[str, str] = {}
        for shard, one in zip(self.each, found, strict=True):
            if isinstance(one, StoreError):
                silent[shard.name] = str(one)
            elif isinstance(one, BaseException):
                raise one
            else:
                answers.append((shard, one))
        return answers, silent

    async def _ask(self, shard: Shard, ask: Callable[[Shard], Awaitable[A]]) -> A:
        try:
            return await ask(shard)
        except NotStarted:
            # Only now: what is wrong with an argument is said before it is missed.
            self.must_be_up(shard)
            raise

    def must_be_up(self, shard: Shard) -> None:
        """Raise the StoreError by which *shard* could not be opened."""
        why = self.down.get(shard.place.number)
        if why is not None:
            raise why
