"""
What every database's statements take from the rules: columns in the order in which the steps read them, and states.

What a column is made of, each database says for itself.
"""

from __future__ import annotations

from typing import Final

from pillarbox.domain.orders import ORDERS

FRAGMENTS: Final = {
    f"{order}_states": ", ".join(str(state.code) for state in scope.possible if state in scope.states)
    for order, scope in ORDERS.items()
}
"""The numbers of the states in which each order is carried out."""

VIEW_FIELDS: Final = (  # noqa: SIM905 — compared with the SQL beside it more easily than one name a line
    "id seq state tenant channel recipient account thread kind op target priority lane waiting created_ms "
    "not_before_ms due_ms expires_ms claimed_ms completed_ms claims charged lost max_attempts policy receipt "
    "also_arrived_ms extra_copies terminal_reason error_class last_error key collapse_key correlation_id origin "
    "traceparent metadata replay_of group_id cancel_requested_ms prepared part_count part_next worker content_size "
    "content splitter parts_delivered maybe_arrived"
).split()
