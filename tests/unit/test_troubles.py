"""What is wrong now is listed from its beginning to its end, however often either is said."""

from __future__ import annotations

from pillarbox.events.troubles import Troubles


def test_a_trouble_is_listed_until_it_ends() -> None:
    troubles = Troubles()
    troubles.begin("store_failed", "messages cannot be stored")
    troubles.begin("slot_written_off", "channel a lost a slot", about="a")
    troubles.begin("slot_written_off", "channel b lost a slot", about="b")
    troubles.begin("store_failed", "messages cannot be stored: the disk is full")
    troubles.end("slot_written_off", about="a")
    troubles.end("never_began")
    assert troubles.sentences() == ("messages cannot be stored: the disk is full", "channel b lost a slot")
    assert troubles.has("store_failed")
    assert not troubles.has("slot_written_off", about="a")
    troubles.end("store_failed")
    troubles.end("store_failed")
    assert troubles.sentences() == ("channel b lost a slot",)


def test_what_is_watched_is_asked_whenever_somebody_looks() -> None:
    troubles, answers = Troubles(), [None, "the committer is behind", None]
    troubles.watch(lambda: answers.pop(0))
    assert [troubles.sentences() for _ in range(3)] == [(), ("the committer is behind",), ()]
