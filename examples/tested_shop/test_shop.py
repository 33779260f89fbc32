"""The shop's tests."""

import unittest

import pytest
from shop import confirm

from pillarbox import InvalidMessage, Rejected, Unavailable
from pillarbox.testing.recording_outbox import RecordingSyncOutbox


def test_a_customer_is_told_once(outbox: RecordingSyncOutbox) -> None:
    confirm(outbox, "812", "ann@example.org")
    confirm(outbox, "812", "ann@example.org")
    outbox.assert_sent(to="ann@example.org", text__contains="on its way", count=1)


def test_a_rating_is_asked_for_later(outbox: RecordingSyncOutbox) -> None:
    confirm(outbox, "812", "ann@example.org")
    assert [one.channel for one in outbox.sent] == ["mail"]
    outbox.advance("1h")
    outbox.assert_sent(channel="chat", text="How was order 812?")


def test_an_address_that_the_mail_channel_would_refuse_is_refused(outbox: RecordingSyncOutbox) -> None:
    with pytest.raises(InvalidMessage):
        confirm(outbox, "812", "ann")
    outbox.assert_nothing_sent()


def test_a_server_that_is_away_is_tried_again(outbox: RecordingSyncOutbox) -> None:
    outbox.script("mail", Unavailable("down for maintenance"), Rejected("no such mailbox"))
    message = outbox.send("mail", to="ann@example.org", text="Hello")
    outbox.advance("1h")
    assert message.wait().error == "no such mailbox"


class ShopTest(unittest.TestCase):
    """The same without pytest."""

    def test_a_customer_is_told(self) -> None:
        """Nothing but the standard library's own is needed."""
        box = self.enterContext(RecordingSyncOutbox(["mail", "chat"]))
        confirm(box, "812", "ann@example.org")
        box.assert_sent(to="ann@example.org", subject="Order 812")
