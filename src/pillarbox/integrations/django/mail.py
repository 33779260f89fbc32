"""
`EmailBackend`: Django's mail through the outbox: `send_mail()` returns when it is stored, and the server may be away.

A mail goes to each of its recipients as a message of its own, with the same text: To, Cc and Bcc alike. In an atomic
block on the outbox's own PostgreSQL it is part of the transaction; elsewhere it is stored after the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from email.utils import parseaddr
from functools import partial
from typing import Any, Final

from django.core.mail.backends.base import BaseEmailBackend
from django.db import connections, transaction

from pillarbox.domain.outgoing import Outgoing
from pillarbox.errors import InvalidMessage, PillarboxError
from pillarbox.integrations.django.project import outbox, project
from pillarbox.sync import Outbox

RFC822: Final = "message/rfc822"
_SERVER: Final = ("postgresql://", "postgres://")


class EmailBackend(BaseEmailBackend):
    """
    ``EMAIL_BACKEND = "pillarbox.integrations.django.mail.EmailBackend"``, or ``BACKEND`` of one of ``MAILERS``.

    Args:
        fail_silently: Drop what is refused, instead of raising.
        channel: Through which channel; default: ``PILLARBOX["CHANNEL"]``. Of ``MAILERS``, one of its ``OPTIONS``.
        options: As Django's own backends: what `get_connection` or ``OPTIONS`` say.
    """

    def __init__(self, fail_silently: bool = False, *, channel: str | None = None, **options: Any) -> None:  # noqa: ANN401, FBT001, FBT002 — Django's own
        super().__init__(**options)
        self.fail_silently = fail_silently
        self._channel = channel

    def send_messages(self, email_messages: Iterable[Any]) -> int:
        """
        Accept mails, each of them whole or not at all.

        Returns:
            How many.

        Raises:
            InvalidMessage: A recipient is no address, or a mail is too large; names the field.
            QueueFull, StoreError: It is not stored. In an atomic block that is not joined, this comes from its end.
        """
        accepted = 0
        for mail in email_messages or ():
            try:
                accepted += self._accept(mail)
            except PillarboxError:
                if not self.fail_silently:
                    raise
        return accepted

    def _accept(self, mail: Any) -> int:  # noqa: ANN401 — a django.core.mail.EmailMessage
        recipients = list(dict.fromkeys(_address(each) for each in mail.recipients()))
        if not recipients:
            return 0
        said = project()
        # Composed here: what it is made of may change before the commit.
        whole = Outgoing(
            channel=self._channel or said.channel,
            to=recipients,
            payload=mail.message().as_bytes(),
            content_type=RFC822,
        )
        box = outbox()
        connection = connections[said.database]
        if not connection.in_atomic_block:
            box.send_many([whole])
        elif connection.vendor == "postgresql" and box.core.settings.db.startswith(_SERVER):
            box.enqueue_many(connection, [whole])
        else:
            transaction.on_commit(partial(_send, box, [whole]), using=said.database)
        return 1


def _send(box: Outbox, messages: Sequence[Outgoing]) -> None:
    box.send_many(messages)


def _address(recipient: object) -> str:
    """Return the address alone: the name beside it stands in the mail's own header."""
    address = parseaddr(str(recipient))[1]
    if "@" not in address:
        raise InvalidMessage("to", "expected a mail address")
    return address
