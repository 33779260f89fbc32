"""
Calls listeners when another handle wrote: at once where a datagram says so, else when the file was looked at.

Everything happens on the event loop of those who listen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pillarbox.clock import Clock, Timer


class Notices:
    """
    Those who listen, and the timer by which the file is looked at for them.

    Args:
        news: Whether another handle wrote since it was called last. Takes microseconds.
        clock: Sets the timer.
    """

    def __init__(self, news: Callable[[], bool], clock: Clock) -> None:
        self._news = news
        self._clock = clock
        self._listeners: dict[object, tuple[Callable[[], None], float]] = {}
        self._timer: Timer | None = None
        self._looks_at = 0.0

    def add(self, listener: Callable[[], None], *, seconds: float) -> Callable[[], None]:
        """Call *listener* from now on, at most *seconds* late; return a function that ends that, safe to repeat."""
        if not self._listeners:
            # What was written before is no news to anybody.
            self._news()
        key = object()
        self._listeners[key] = (listener, seconds)
        # Those who came before are not kept waiting by this one: whoever comes again and again would do so for ever.
        if self._timer is None or self._clock.mono() + seconds < self._looks_at:
            self._arm()

        def end() -> None:
            self._listeners.pop(key, None)
            if not self._listeners:
                self.end()

        return end

    def tell(self) -> None:
        """Call every listener."""
        for listener, _ in tuple(self._listeners.values()):
            listener()

    def look(self) -> None:
        """Look at the file once, and again in time."""
        if self._listeners:
            self._arm()
            if self._news():
                self.tell()

    def end(self) -> None:
        """Call no listener any more."""
        self._listeners.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        soonest = min(seconds for _, seconds in self._listeners.values())
        self._looks_at = self._clock.mono() + soonest
        self._timer = self._clock.call_later(soonest, self.look)
