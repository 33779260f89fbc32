"""What a person may ask of messages, field by field: the values that filters are made of."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Field(StrEnum):
    """What a condition looks at: the words of the filter grammar. A text that is not there counts as empty."""

    ID = "id"
    CHANNEL = "channel"
    TO = "to"
    TENANT = "tenant"
    ACCOUNT = "account"
    THREAD = "thread"
    KIND = "kind"
    PRIORITY = "priority"
    LANE = "lane"
    REASON = "reason"
    ERROR = "error"
    KEY = "key"
    CORRELATION = "correlation"
    COLLAPSE = "collapse"
    ORIGIN = "origin"
    REPLAYED = "replayed"


class Replayed(StrEnum):
    """Whether a message was replayed, as a new one that is still there."""

    YES = "yes"
    NO = "no"


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """
    One condition on a message.

    Attributes:
        values: At least one; any of them will do. Kinds by their names, priorities by their numbers, lanes as people
            see them: their pieces joined by slashes.
        contains: The field need only contain a value, whatever the case of ASCII letters.
        negated: None of them will do.
    """

    field: Field
    values: tuple[str, ...]
    contains: bool = False
    negated: bool = False
