"""Django's places for us: mail, the transactions that it is part of, checks, the command of manage.py."""

from __future__ import annotations

import base64
import json
import sys
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import django
import pytest

from tests.integrations.programs import environment
from tests.run_to_end import run_to_end
from tests.store.postgres_server import server_url

SHOP = Path(__file__).parents[2] / "examples/django_shop/shop.py"
pytestmark = pytest.mark.timeout(600)  # each begins processes, on a machine that may be busy


def run(program: str, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = run_to_end(command, seconds=300, cwd=folder, env=environment(SHOP.parent))
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
from django.conf import settings
from django.core import mail
from django.test import override_settings
from pillarbox.errors import PillarboxError
from pillarbox.integrations.django.checks import check_settings
from pillarbox.integrations.django.mail import EmailBackend
from pillarbox.integrations.django.project import outbox

def refused(*to, bcc=(), silent=False):
    try:
        letter = mail.EmailMessage("Hello", "Text", to=to, bcc=bcc)
        return EmailBackend(fail_silently=silent).send_messages([letter])
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
    "refused": refused("ann"),
    "two": refused("ann@example.org, bob@example.org"),
    "comma": refused("Doe, Ann <ann@example.org>"),
    "more": refused("<ann@example.org> bob@example.org"),
    "line": refused("ann@example.org", bcc=["bob@example.org\\r\\nX: y"]),
    "none at all": refused("@"),
    "silent": refused("ann", silent=True),
    "named": refused('J. Doe <ann@example.org>', '"Doe, Ann" <ann@example.org>', "Jörg <jörg@bücher.example>"),
    "key": checked(PILLARBOX={"CONFG": "x"}),
    "kind": checked(PILLARBOX={"CONFIG": 1}),
    "none": checked(PILLARBOX={"CONFIG": "none.toml"}),
    "channel": checked(PILLARBOX={"CONFIG": "pillarbox.toml", "CHANNEL": "letters"}),
    "database": checked(PILLARBOX={"CONFIG": "pillarbox.toml", "DATABASE": "other"}),
}
settings.DATABASES["default"]["NAME"] = "outbox.db"
found["file"] = checked()
print(json.dumps(found))
"""


def test_what_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLARBOX_TEST_PG", "postgresql:///of_the_tests")
    found = json.loads(run(FORMS, tmp_path))
    assert found == {
        "nobody": 0,
        "several": 2,
        "stored": [f"newsletter {one}@example.org" for one in ("ann", "ann", "b", "b")],
        **dict.fromkeys(("refused", "two", "comma", "more", "line", "none at all"), "to: expected one mail address"),
        "silent": 0,
        "named": 1,
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


IN_A_BLOCK_ELSEWHERE = """
import sys, shop
dsns = sys.argv[1:]
shop.configure(dsns[1] if dsns else None)
said = f'db = "{dsns[0]}"' if dsns else 'db = "outbox.db"\\n[limits]\\nmessages = 2'
(shop.HERE / "pillarbox.toml").write_text(said)
from django.core.mail import EmailMessage
from django.db import connection, transaction
from pillarbox import InvalidMessage, QueueFull
from pillarbox.integrations.django.mail import EmailBackend
from pillarbox.integrations.django.project import outbox

def send(to, *, silent=False):
    return EmailBackend(fail_silently=silent).send_messages([EmailMessage("Hello", "Text", to=[to])])

def stored():
    return sorted(one.view.recipient for one in outbox().list())

class Undone(Exception):
    pass

with transaction.atomic(), connection.cursor() as cursor:
    send("ann@example.org")
    cursor.execute("SELECT 7")
    try:
        with transaction.atomic():
            send("bob@example.org")
            with transaction.atomic():
                send("bob@example.org")
            raise Undone
    except Undone:
        pass
    try:
        send("no\\x00body@example.org")
    except InvalidMessage as exc:
        print(exc)
    try:
        send("x" * 3000 + "@example.org")
    except InvalidMessage as exc:
        print("too long")
    print(stored())
print(stored())
if dsns:
    sys.exit()
with transaction.atomic():
    print(send("cho@example.org"), send("too@example.org", silent=True))
try:
    with transaction.atomic():
        send("dan@example.org")
except QueueFull:
    print("full")
print(stored())
"""


JUDGED = ["to: expected one mail address", "too long", "[]", "['ann@example.org']"]


@pytest.mark.contract("EN5", "EN9", "EN13")
def test_beside_the_outbox_a_mail_is_stored_after_the_commit_but_judged_at_once(tmp_path: Path) -> None:
    assert run(IN_A_BLOCK_ELSEWHERE, tmp_path).splitlines() == [
        *JUDGED,
        "1 1",
        "full",
        "['ann@example.org', 'cho@example.org']",
    ]


def test_so_it_is_on_another_database_of_postgresql(server: str, tmp_path: Path) -> None:
    assert run(IN_A_BLOCK_ELSEWHERE, tmp_path, server, server_url()).splitlines() == JUDGED


MAILERS = """
import json, shop
shop.configure(None)
from django.core import mail
from django.test import override_settings
from pillarbox.integrations.django.checks import check_settings
from pillarbox.integrations.django.project import outbox

OURS = "pillarbox.integrations.django.mail.EmailBackend"
mailers = {
    "default": {"BACKEND": OURS},
    "bulk": {"BACKEND": OURS, "OPTIONS": {"channel": "letters"}},
    "quiet": {"BACKEND": OURS, "OPTIONS": {"fail_silently": True, "channel": None}},
    "typo": {"BACKEND": OURS, "OPTIONS": {"chanel": "mail"}},
    "foreign": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": {"host": "localhost"}},
}
with override_settings(MAILERS=mailers):
    letter = mail.EmailMultiAlternatives("Hello", "Text", to=["Ann <ann@example.org>"])
    found = {
        "default": mail.send_mail("Hello", "Text", None, ["bob@example.org"], html_message="<b>Text</b>"),
        "bulk": mail.send_mail("Hello", "Text", None, ["cho@example.org"], using="bulk"),
        "message": letter.send(using="bulk"),
        "mass": mail.send_mass_mail([("Hello", "Text", None, ["dan@example.org"])], using="bulk"),
        "several": mail.mailers["bulk"].send_messages([letter, letter]),
        "quiet": mail.mailers["quiet"].send_messages([mail.EmailMessage("Hello", "Text", to=["ann"])]),
    }
    try:
        mail.mailers["typo"]
    except mail.InvalidMailer as exc:
        found["typo"] = str(exc)
    found["checks"] = [f"{one.id} {one.msg}" for one in check_settings()]
    found["stored"] = sorted(f"{one.view.channel} {one.view.recipient}" for one in outbox().list())
print(json.dumps(found))
"""


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
def test_each_of_the_mailers_has_its_channel(tmp_path: Path) -> None:
    found = json.loads(run(MAILERS, tmp_path))
    assert "'chanel'" in found.pop("typo")
    assert found == {
        **dict.fromkeys(("default", "bulk", "message", "mass"), 1),
        "several": 2,
        "quiet": 0,
        "checks": ["pillarbox.W001 no channel 'letters' is configured: mails are accepted and wait"],
        "stored": [
            *(f"letters {one}@example.org" for one in ("ann", "ann", "ann", "cho", "dan")),
            "mail bob@example.org",
        ],
    }


COMMANDS = """
import shop
shop.configure(None)
from pillarbox.integrations.django.management.commands.pillarbox import with_config
for line in ("status --json", "db status", "completion bash", "nonsense", "", "ls --config other.toml"):
    print(*with_config(line.split()))
"""


AS_BEFORE = """
import warnings, shop
warnings.simplefilter("ignore")  # Django's, of the setting and of fail_silently
shop.MAIL = {"EMAIL_BACKEND": shop.BACKEND}
shop.configure(None)
from django.core import mail
from pillarbox.integrations.django.project import outbox
print(mail.send_mail("Hello", "Text", None, ["ann@example.org"]))
print(mail.send_mail("Hello", "Text", None, ["nobody"], fail_silently=True))
print(mail.get_connection(shop.BACKEND, channel="letters").send_messages([mail.EmailMessage(to=["bob@example.org"])]))
print(sorted(f"{one.view.channel} {one.view.recipient}" for one in outbox().list()))
"""


def test_every_django_takes_the_setting_of_one_backend(tmp_path: Path) -> None:
    sent = "['letters bob@example.org', 'mail ann@example.org']"
    assert run(AS_BEFORE, tmp_path).splitlines() == ["1", "0", "1", sent]


NO_DATABASE = """
import shop
shop.configure(None)
from django.conf import settings
settings.DATABASES = {}
from django.core.mail import send_mail
from pillarbox.integrations.django.checks import check_settings
print(check_settings(), send_mail("Hello", "Text", None, ["ann@example.org"]))
"""


def test_a_project_needs_no_database(tmp_path: Path) -> None:
    assert run(NO_DATABASE, tmp_path) == "[] 1\n"


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


DJANGO_S_OPTIONS = """
import shop
shop.configure(None)
from django.core.management import execute_from_command_line
execute_from_command_line("manage.py pillarbox --settings shop config --pythonpath=. show --settings=shop".split())
"""


def test_options_that_every_command_of_manage_py_takes_are_taken(tmp_path: Path) -> None:
    assert "outbox.db" in run(DJANGO_S_OPTIONS, tmp_path)


FROM_A_PROGRAM = """
import shop
shop.configure(None)
from django.core.mail import send_mail
from django.core.management import CommandError, call_command
send_mail("Hello", "Text", None, ["ann@example.org"])
call_command("pillarbox", "run", "--drain", "--quiet")
try:
    call_command("pillarbox", "show", "nonsense")
except CommandError as exc:
    print(exc.returncode)
"""


def test_a_program_calls_the_command_with_its_options(tmp_path: Path) -> None:
    assert run(FROM_A_PROGRAM, tmp_path).splitlines() == [
        "1 delivered, 0 failed, 0 expired, 0 exhausted, 0 uncertain",
        "left: 0 due, 0 for later",
        "3",
    ]


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
