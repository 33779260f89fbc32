"""Whatever a message is on its way, it has the whole envelope."""

from __future__ import annotations

from pillarbox.domain.envelope import Envelope
from pillarbox.domain.message import Draft, Leased, MessageView
from pillarbox.store.steps.columns import CARRIED, LEASED, VIEW


def test_every_station_of_a_message_has_the_whole_envelope() -> None:
    for station in (Draft, Leased, MessageView):
        assert station.__struct_fields__[: len(Envelope.__struct_fields__)] == Envelope.__struct_fields__
    assert set(CARRIED) <= set(LEASED) & set(VIEW)
