"""Django's places for us: mail, the transactions that it is part of, checks, the command of manage.py."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

SHOP = Path(__file__).parents[2] / "examples/django_shop/shop.py"
pytestmark = pytest.mark.timeout(600)  # each begins processes, on a machine that may be busy


def run(program: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SHOP.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def mails(folder: Path) -> list[tuple[str, Any]]:
    """Return what the channel was given: to whom, and the mail."""
    rows = [json.loads(line) for line in (folder / "mails.jsonl").read_text("utf-8").splitlines()]
    assert {row["content_type"] for row in rows} == {"message/rfc822"}
    return [
        (row["to"], message_from_bytes(base64.b64decode(row["payload"]), policy=policy.default))
        for row in sorted(rows, key=lambda row: str(row["to"]))
    ]


@pytest.mark.contract("EN9", "EN15")
@pytest.mark.parametrize("database", ["file", "server"])
def test_the_mails_of_what_was_committed_go_out_and_no_others(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    arguments = [request.getfixturevalue("server")] if database == "server" else []
    said = run("import shop; shop.main()", tmp_path, *arguments)
    assert said.startswith("System check identified no issues")
    sent = mails(tmp_path)
    assert [to for to, _ in sent] == ["ann@example.org", "archive@example.org", "bob@example.org"]
    for _, mail in sent[:2]:
        assert (mail["To"], mail["Subject"], mail["Bcc"]) == ("Ann <ann@example.org>", "Order 7", None)
        assert "<b>way</b>" in mail.get_body(("html",)).get_content()
        assert "on its way" in mail.get_body(("plain",)).get_content()
        (invoice,) = mail.iter_attachments()
        assert (invoice.get_filename(), invoice.get_content()) == ("invoice.pdf", b"%PDF")
    assert len({mail["Message-ID"] for _, mail in sent[:2]}) == 1


IN_A_BLOCK = """
import sys, shop
shop.configure(sys.argv[1])
from django.core.mail import send_mail
from django.db import connection, transaction
from pillarbox.integrations.django.project import outbox
box = outbox()
with transaction.atomic():
    send_mail("Hello", "Text", None, ["ann@example.org"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pillarbox.message")
        print(cursor.fetchone()[0], len(box.list()))
    try:
        with transaction.atomic():
            send_mail("Savepoint", "Text", None, ["bob@example.org"])
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
print(len(box.list()))
"""


@pytest.mark.contract("EN9")
def test_on_a_server_a_mail_is_part_of_the_open_block(server: str, tmp_path: Path) -> None:
    assert run(IN_A_BLOCK, tmp_path, server) == "1 0\n1\n"


FORMS = """
import json, sys, shop
shop.configure(None)
from django.core import mail
from django.test import override_settings
from pillarbox.errors import PillarboxError
from pillarbox.integrations.django.checks import check_settings
from pillarbox.integrations.django.mail import EmailBackend
from pillarbox.integrations.django.project import outbox

def refused(**options):
    try:
        return mail.send_mail("Hello", "Text", None, ["ann"], **options)
    except PillarboxError as exc:
        return str(exc)

def checked(**settings):
    with override_settings(**settings):
        return [f"{one.id} {one.msg}" for one in check_settings()]

several = mail.EmailMessage("Hello", "Text", to=["Ann <ann@example.org>"], cc=["b@example.org"], bcc=["b@example.org"])
found = {
    "nobody": mail.EmailMessage("Hello", "Text").send(),
    "several": EmailBackend(channel="newsletter").send_messages([several, several]),
    "stored": sorted(f"{one.view.channel} {one.view.recipient}" for one in outbox().list()),
    "refused": refused(),
    "silent": refused(fail_silently=True),
    "key": checked(PILLARBOX={"CONFG": "x"}),
    "kind": checked(PILLARBOX={"CONFIG": 1}),
    "none": checked(PILLARBOX={"CONFIG": "none.toml"}),
    "channel": checked(PILLARBOX={"CONFIG": "pillarbox.toml", "CHANNEL": "letters"}),
    "database": checked(PILLARBOX={"CONFIG": "pillarbox.toml", "DATABASE": "other"}),
    "file": checked(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "outbox.db"}}),
}
print(json.dumps(found))
"""


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    found = json.loads(run(FORMS, tmp_path))
    assert found == {
        "nobody": 0,
        "several": 2,
        "stored": [f"newsletter {one}@example.org" for one in ("ann", "ann", "b", "b")],
        "refused": "to: expected a mail address",
        "silent": 0,
        "key": ["pillarbox.E001 PILLARBOX['CONFG']: no such key; expected one of CONFIG, CHANNEL, DATABASE"],
        "kind": ["pillarbox.E001 PILLARBOX['CONFIG']: expected the path of a file"],
        "none": found["none"],
        "channel": ["pillarbox.W001 no channel 'letters' is configured: mails are accepted and wait"],
        "database": ["pillarbox.E002 PILLARBOX['DATABASE']: there is no 'other' in DATABASES"],
        "file": [
            found["file"][0],
        ],
    }
    assert found["file"][0].startswith("pillarbox.E003 the outbox's file is the one of DATABASES['default']: ")
    assert len(found["none"]) == 1
    assert found["none"][0].startswith("pillarbox.E001 pillarbox: none.toml")


COMMANDS = """
import shop
shop.configure(None)
from pillarbox.integrations.django.management.commands.pillarbox import with_config
for line in ("status --json", "db status", "completion bash", "nonsense", "", "ls --config other.toml"):
    print(*with_config(line.split()))
"""


FORKED_WHILE_IT_OPENS = """
import os, signal, threading, shop
shop.configure(None)
from django.core.mail import send_mail
from pillarbox.integrations.django import project
from pillarbox.sync import Outbox

begun, go_on = threading.Event(), threading.Event()

class Slow(Outbox):
    def start(self):
        begun.set()
        go_on.wait(60)
        super().start()

project.Outbox = Slow
thread = threading.Thread(target=project.outbox)
thread.start()
begun.wait(30)
child = os.fork()
project.Outbox = Outbox
if not child:
    signal.alarm(20)
    send_mail("Hello", "Text", None, ["ann@example.org"])
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go_on.set()
thread.join(30)
print([one.view.recipient for one in project.outbox().list()])
"""


def test_a_child_that_was_forked_while_another_thread_opened_it_opens_its_own(tmp_path: Path) -> None:
    program = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + FORKED_WHILE_IT_OPENS
    assert run(program, tmp_path).splitlines() == ["0", "['ann@example.org']"]


def test_manage_py_has_the_command_line_with_the_project_s_configuration(tmp_path: Path) -> None:
    config = f"--config {tmp_path}/pillarbox.toml"
    assert run(COMMANDS, tmp_path).splitlines() == [
        f"status {config} --json",
        f"db status {config}",
        "completion bash",
        "nonsense",
        "",
        "ls --config other.toml",
    ]
