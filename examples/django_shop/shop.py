"""A Django project in one file. With a PostgreSQL DSN as its argument, mails are part of its transactions."""

import sys
from contextlib import suppress
from pathlib import Path

import django
from django.conf import settings
from django.core.mail import EmailMultiAlternatives, send_mail
from django.core.management import execute_from_command_line
from django.db import connection, transaction
from psycopg.conninfo import conninfo_to_dict

HERE = Path.cwd()
BACKEND = "pillarbox.integrations.django.mail.EmailBackend"
MAIL = {"MAILERS": {"default": {"BACKEND": BACKEND}}} if django.VERSION >= (6, 1) else {"EMAIL_BACKEND": BACKEND}
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "shop.db"}


def database(dsn: str) -> dict[str, object]:
    """Return Django's words for a DSN."""
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    told = conninfo_to_dict(dsn)
    return {"ENGINE": "django.db.backends.postgresql"} | {name: told.get(ours, "") for name, ours in names.items()}


def configure(dsn: str | None) -> None:
    """Do what settings.py does."""
    db = dsn or "outbox.db"
    (HERE / "pillarbox.toml").write_text(f'db = "{db}"\n[channels.mail]\nurl = "file://{HERE}/mails.jsonl"\n')
    settings.configure(
        INSTALLED_APPS=["pillarbox.integrations.django"],
        DATABASES={"default": database(dsn) if dsn else SQLITE},
        PILLARBOX={"CONFIG": HERE / "pillarbox.toml"},
        DEFAULT_FROM_EMAIL="shop@example.org",
        USE_TZ=True,
        **MAIL,
    )
    django.setup()


def order(number: int, *, paid: bool) -> None:
    """Store an order and tell of it: both, or neither."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_order (number) VALUES (%s)", [number])
        mail = EmailMultiAlternatives(
            f"Order {number}", "It is on its way.", to=["Ann <ann@example.org>"], bcc=["archive@example.org"]
        )
        mail.attach_alternative("<p>It is on its <b>way</b>.</p>", "text/html")
        mail.attach("invoice.pdf", b"%PDF", "application/pdf")
        mail.send()
        if not paid:
            raise ValueError("not paid")


def main() -> None:
    """Take two orders, of which one is not paid, and deliver."""
    configure(sys.argv[1] if len(sys.argv) > 1 else None)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE shop_order (number integer)")
    order(7, paid=True)
    with suppress(ValueError):
        order(8, paid=False)
    send_mail("Hello", "A mail of no transaction.", None, ["bob@example.org"])
    execute_from_command_line(["manage.py", "check"])
    execute_from_command_line(["manage.py", "pillarbox", "run", "--drain", "--quiet"])


if __name__ == "__main__":
    main()
