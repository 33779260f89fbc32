"""Whole numbers on the command line: what is expected is said in words, with the least and the most."""

from __future__ import annotations

import contextlib

import click


class WholeNumber(click.IntRange):
    """A whole number from *least* to *most*, both included; ``None`` leaves that end to whoever takes the number."""

    def __init__(self, least: int | None = None, most: int | None = None) -> None:
        super().__init__(least, most)

    def _describe_range(self) -> str:
        """Return what the help says of it: click shows a number without ends as up to None."""
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See `click.ParamType`. Whatever is no such number is answered with one sentence."""
        with contextlib.suppress(ValueError):
            number = int(value)
            if (self.min is None or number >= self.min) and (self.max is None or number <= self.max):
                return number
        ends = {
            (True, True): "",
            (False, True): f" from {self.min} on",
            (True, False): f" up to {self.max}",
            (False, False): f" from {self.min} to {self.max}",
        }[self.min is None, self.max is None]
        return self.fail(f"expected a whole number{ends}, not {value!r}.", param, ctx)
