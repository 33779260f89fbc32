"""
`EmailBackend`: Django's mail through the outbox: `send_mail()` returns when it is stored, and the server may be away.

A mail goes to each of its recipients as a message of its own, with the same text: To, Cc and Bcc alike. In an atomic
block on the outbox's own PostgreSQL it is part of the transaction; elsewhere it is judged at once, and stored after the
commit.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable
from email.errors import HeaderParseError, InvalidHeaderDefect
from email.headerregistry import Address, HeaderRegistry
from functools import partial
from typing import Any, Final

from django.core.mail.backends.base import BaseEmailBackend
from django.db import connections, transaction

from pillarbox.domain.outgoing import Outgoing
from pillarbox.errors import InvalidMessage, OtherDatabase, PillarboxError
from pillarbox.integrations.django.project import outbox, project
from pillarbox.outbox.outbox import inside
from pillarbox.sync import Outbox

RFC822: Final = "message/rfc822"
_SERVER: Final = ("postgresql://", "postgres://")
_PLAIN: Final = re.compile(r"""[^\s\0-\x1f\x7f<>"(),:;@\\\[\]]+@[^\s\0-\x1f\x7f<>"(),:;@\\\[\]]+""")
_HEADERS: Final = HeaderRegistry()
_logger: Final = logging.getLogger("pillarbox.django")


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
            QueueFull, StoreError: It is not stored. Of an atomic block that is not joined, its end raises this.
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
        elif connection.vendor != "postgresql" or not _joined(box, connection, whole):
            # What may not be is refused while the block can still end otherwise.
            box.run(inside(box.core).joins.ready_many([whole]))
            transaction.on_commit(partial(self._send, whole), using=said.database)
        return 1

    def _send(self, whole: Outgoing) -> None:
        try:
            outbox().send_many([whole])
        except PillarboxError:
            if not self.fail_silently:
                raise


def _joined(box: Outbox, connection: Any, whole: Outgoing) -> bool:  # noqa: ANN401 — Django's own
    """Store it in the open transaction, and return True; False where the outbox is in another database."""
    if not box.core.settings.db.startswith(_SERVER):
        return False
    try:
        box.enqueue_many(connection, [whole])
    except OtherDatabase as exc:
        _logger.info("A mail of an atomic block is stored after its commit: %s", exc)
        return False
    return True


def _address(recipient: object) -> str:
    """
    Return the address alone: the name beside it stands in the mail's own header.

    Raises:
        InvalidMessage: It is none, or several: the others would get nothing.
    """
    text = str(recipient).strip(" ")
    if _PLAIN.fullmatch(text):
        return text
    addresses: tuple[Address, ...] = ()
    # The standard library's parser stumbles over some texts.
    with contextlib.suppress(HeaderParseError, IndexError, ValueError):
        header: Any = _HEADERS("To", text)
        addresses = () if _wrong(header.defects) else header.addresses
    if len(addresses) != 1 or not text.isprintable():
        raise InvalidMessage("to", "expected one mail address")
    return addresses[0].addr_spec


def _wrong(defects: Iterable[Exception]) -> bool:
    """Whether one of them is more than an old way to write it, or letters beyond ASCII."""
    return any(type(defect) is InvalidHeaderDefect for defect in defects)
