"""A shop that tells its customers: by mail at once, and in the chat half an hour later."""

from pillarbox.sync import Outbox


def confirm(box: Outbox, order: str, to: str) -> None:
    """Tell a customer of an order, once, and ask for a rating when it has arrived."""
    box.send("mail", to=to, subject=f"Order {order}", text="It is on its way.", key=f"order-{order}")
    box.send("chat", to=to, text=f"How was order {order}?", at="30m", key=f"rating-{order}")
