"""
What is wrong at this moment, by a stable word: set where it begins, cleared where it ends, listed by `health`.

An alarm tells of an event once; a trouble lasts.
"""

from __future__ import annotations

from collections.abc import Callable


class Troubles:
    """
    The troubles of one open outbox.

    A trouble is known by its word, and by what it is about where there can be several of one kind. Its sentence is for
    people, and holds no text of a message, no recipient and no secret.
    """

    def __init__(self) -> None:
        self._lasting: dict[tuple[str, str], str] = {}
        self._questions: list[Callable[[], str | None]] = []

    def begin(self, word: str, sentence: str, *, about: str = "") -> None:
        """Note that something is wrong from now on. When repeated, the newer *sentence* stands."""
        self._lasting[word, about] = sentence

    def end(self, word: str, *, about: str = "") -> None:
        """Note that it is not wrong any more. Safe to repeat, and to call for what never began."""
        self._lasting.pop((word, about), None)

    def has(self, word: str, *, about: str = "") -> bool:
        """Whether this is wrong now."""
        return (word, about) in self._lasting

    def watch(self, question: Callable[[], str | None]) -> None:
        """Call *question* whenever troubles are read: it returns a sentence while something is wrong, else ``None``."""
        self._questions.append(question)

    def sentences(self) -> tuple[str, ...]:
        """Return one sentence for each thing that is wrong now, in the order in which they began."""
        answers = (question() for question in self._questions)
        return (*self._lasting.values(), *(answer for answer in answers if answer))
