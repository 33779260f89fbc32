"""Keeps to what platforms take in a time: who may be leased now, and who is put off until when (contract FL1)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from pillarbox.domain.message import Leased
from pillarbox.domain.pace import Log, Pace
from pillarbox.store.steps.horizon import horizon
from pillarbox.store.steps.tx import Row
from pillarbox.store.steps.writing import Writing

_READ_MAX: Final = 250
_WHOLE: Final = ""
"""Stands for the whole channel where a recipient is named."""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Log).decode


class Ledger:
    """
    What may go through one channel now. Nobody else writes it while this transaction lasts.

    Logs have times of the lease clock: all machines agree on that one.
    """

    def __init__(self, tx: Writing, channel: str, pace: Pace, log: Log) -> None:
        self._tx, self._channel, self._pace = tx, channel, pace
        self._logs: dict[str, Log] = {_WHOLE: log}
        self._plans: dict[str, Log] = {}
        self._rests: dict[str, int] = {}
        self._granted: set[int] = set()
        self._led: dict[int, str] = {}
        tx.many("pace_over", (channel, tx.now))

    def free(self, room: int) -> int:
        """Return how many of *room* messages may go through the channel."""
        rates = self._pace.whole
        return min(room, self._logs[_WHOLE].free(rates, self._tx.lease_now)) if rates else room

    def next_ms(self) -> int:
        """Return when the next message may go through the channel."""
        at = self._logs[_WHOLE].next_ms(self._pace.whole, self._tx.lease_now)
        return self._wall_ms(at)

    def put_off(self, name: str, where: tuple[object, ...], wanted: int) -> tuple[int, int]:
        """
        Put off what stands before *wanted* messages that may go.

        Args:
            name: The statement that reads what is due, in the order in which it is claimed.

        Returns:
            How many of them were found, and how many others were put off; ``wanted`` are not there, where neither
            changes any more.
        """
        limit = min(_READ_MAX, 2 * wanted)
        rows = self._addressed(where[0], self._tx.many(name, (*where, self._tx.now, limit)))
        self._read({recipient for _, recipient in rows})
        late: list[Row] = []
        for seq, recipient in rows:
            if seq in self._granted:
                continue
            due_ms = self._slot_ms(recipient)
            if due_ms <= self._tx.now:
                self._granted.add(seq)
            else:
                late.append((seq, due_ms))
        self._tx.each("put_off", late)
        return len(rows) - len(late), len(late)

    def took(self, messages: Iterable[Leased]) -> None:
        """Remember what was leased."""
        changed: set[str] = set()
        for message in messages:
            to = self._led.get(message.seq, message.recipient)
            for name, rates in ((_WHOLE, self._pace.whole), (to, self._pace.rates(to))):
                if rates:
                    self._logs.setdefault(name, Log()).take(rates, self._tx.lease_now)
                    changed.add(name)
        self._tx.each("pace_set", [self._row(name) for name in sorted(changed)])

    def _addressed(self, queue: object, rows: list[Row]) -> list[Row]:
        """Return messages with the recipients to which they will be led, see `redirects`."""
        if self._tx.overview.redirected:
            found = self._tx.each("redirect_of", [(seq, queue, recipient) for seq, recipient in rows])
            self._led |= {seq: address for moved in found for seq, address in moved}
        return [(seq, self._led.get(seq, recipient)) for seq, recipient in rows]

    def _row(self, name: str) -> Row:
        log = self._logs[name]
        rates = self._pace.rates(name) if name else self._pace.whole
        next_ms = self._wall_ms(log.next_ms(rates, self._tx.lease_now))
        return self._channel, name, _encode(log).decode(), self._wall_ms(log.over_ms(rates)), next_ms

    def _read(self, recipients: set[str]) -> None:
        unknown = sorted(recipients - self._logs.keys())
        if not unknown:
            return
        self._logs |= {name: Log() for name in unknown}
        for name, log, rests_until in self._tx.many("pace_of", (self._channel, _encode(unknown).decode())):
            self._logs[name] = _log(log)
            if rests_until is not None:
                self._rests[name] = rests_until

    def _slot_ms(self, recipient: str) -> int:
        """Return when the next message to *recipient* may go, and give that time to nobody else."""
        at = self._tx.lease_now + max(0, self._rests.get(recipient, 0) - self._tx.now)
        rates = self._pace.rates(recipient)
        if rates:
            plan = self._plans.get(recipient)
            if plan is None:
                log = self._logs[recipient]
                log.free(rates, self._tx.lease_now)
                plan = self._plans[recipient] = Log(sent=list(log.sent))
            at = plan.next_ms(rates, at)
            plan.take(rates, at)
        return self._wall_ms(at)

    def _wall_ms(self, at: int) -> int:
        return self._tx.now + at - self._tx.lease_now


def ledgers(tx: Writing, queues: Iterable[int], paces: Mapping[str, Pace]) -> dict[int, Ledger | None]:
    """
    Write who rests and who rests no more; then return those of the *queues* that must be asked.

    All queues of a channel have the same one. Channels are locked here alone, all in one order, and after every message
    that this transaction may have to wait for: so nobody waits for one who waits for it. Whoever asks writes. A queue
    in which nothing is due is not asked for: it has ``None``, and nothing may go there.
    """
    rests = tx.rests
    if not paces and not rests and not tx.overview.resting:
        return {}
    named = {queue: tx.numbers.queue_name(queue)[1] for queue in queues}
    limited = paces.keys() | resting(tx)
    wanted = {queue: name for queue, name in named.items() if name in limited}
    due = {queue for queue in wanted if horizon(tx, queue).first_ms() <= tx.now}
    asked = {wanted[queue] for queue in due}
    made: dict[str, Ledger] = {}
    for name in sorted(asked | rests.keys()):
        (row,) = tx.many("pace_lock", (name,))
        for write in rests.get(name, ()):
            write()
        if name in asked:
            made[name] = Ledger(tx, name, paces.get(name, Pace()), _log(row[0]))
    return {queue: made[name] if queue in due else None for queue, name in wanted.items()}


def resting(tx: Writing) -> set[str]:
    """Return the channels in which a recipient may rest."""
    return {channel for (channel,) in tx.many("resting")} | tx.rests.keys() if tx.overview.resting else set()


def rest(tx: Writing, rows: Sequence[tuple[str, str, int, str | None]]) -> None:
    """Let recipients rest: for each its channel, itself, until when, and why; the longest of several rests counts."""
    last: dict[tuple[str, str], tuple[str, str, int, str | None]] = {}
    for channel, recipient, until, why in rows:
        _, _, longest, _ = last.get((channel, recipient), (channel, recipient, until, why))
        if until >= longest:
            last[channel, recipient] = (channel, recipient, until, why)
    for channel in sorted({channel for channel, _ in last}):
        _later(tx, channel, "pace_rest", [last[its, name] for its, name in sorted(last) if its == channel])
    tx.overview.resting = True


def rest_no_more(tx: Writing, channel: str, messages: Sequence[int] | None = None) -> None:
    """Let the recipients of *messages* of a channel rest no more; without any, all of the channel's."""
    if not tx.overview.resting:
        return
    if messages is None:
        _later(tx, channel, "pace_resume", [(channel,)])
    else:
        _later(tx, channel, "pace_retry", [(seq,) for seq in messages])


def _later(tx: Writing, channel: str, name: str, rows: Sequence[Row]) -> None:
    tx.rests[channel].append(lambda: tx.each(name, rows))


def _log(text: str) -> Log:
    with contextlib.suppress(msgspec.MsgspecError):
        return _decode(text)
    return Log()
