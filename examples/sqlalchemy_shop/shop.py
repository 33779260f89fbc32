"""A shop on SQLAlchemy: an order, its webhook and its mail are there together, or none of them is."""

import sys
from contextlib import suppress

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pillarbox import Attempt
from pillarbox.sync import Outbox

DSN = sys.argv[1] if len(sys.argv) > 1 else "sqlite3:///shop.db"
box = Outbox(DSN)


@box.channel("hook")
async def hook(attempt: Attempt) -> None:
    """Stand for a receiver of webhooks: ``channels={"hook": "https://…"}`` leads there, whatever ``to`` says."""
    print("webhook to", attempt.to, attempt.content.payload.decode())


@box.channel("mail")
async def mail(attempt: Attempt) -> None:
    """Stand for a mail server: ``channels={"mail": "smtp://…"}``."""
    print("mail to", attempt.to, attempt.text)


class Base(DeclarativeBase):
    """What the tables have in common."""


class Order(Base):
    """An order, and the id of the mail that tells of it."""

    __tablename__ = "shop_order"
    number: Mapped[int] = mapped_column(primary_key=True)
    mail: Mapped[str | None]


def engine() -> Engine:
    """Return SQLAlchemy's engine on the database of the outbox."""
    if not DSN.startswith("sqlite3:"):
        return create_engine(DSN.replace("postgresql:", "postgresql+psycopg:", 1))
    made = create_engine(DSN.replace("sqlite3:", "sqlite:", 1))

    @event.listens_for(made, "connect")
    def connected(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = EXTRA")

    @event.listens_for(made, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return made


def buy(session: Session, number: int, *, paid: bool) -> None:
    """Store an order and tell of it twice."""
    order = Order(number=number)
    session.add(order)
    box.enqueue(session, "hook", to="https://example.org/orders", payload={"order": number}, key=f"hook-{number}")
    told = box.enqueue(session, "mail", to="ann@example.org", text=f"Order {number}: thank you", key=f"mail-{number}")
    order.mail = told.id  # good before the commit
    session.flush()
    if not paid:
        raise ValueError("not paid")


def main() -> None:
    """Take two orders, of which one is not paid, and deliver."""
    shop = engine()
    Base.metadata.create_all(shop)
    with box:
        with Session(shop) as session, session.begin():
            buy(session, 7, paid=True)
        with suppress(ValueError), Session(shop) as session, session.begin():
            buy(session, 8, paid=False)
        box.drain(30)
        with Session(shop) as session:
            for order in session.scalars(select(Order)):
                print("order", order.number, box.get(order.mail).state)
        print(len(box.list()), "messages")
    shop.dispose()


if __name__ == "__main__":
    main()
