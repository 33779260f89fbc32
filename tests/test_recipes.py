"""
CONTRIBUTING.md's recipes name every file that they touch: each is followed here, on a copy of the tree.

What was changed in the copy is compared with what the recipe lists; that the result works, a process says that runs the
copy's own commands.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.run_to_end import run_to_end
from tests.store.postgres_server import connected, fresh_database
from tests.test_house import rooms_not_on_the_map, rooms_without_a_word
from tests.test_tidy import statements_of_one_database_only

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = "src/pillarbox"
COPIED: Final = (SOURCE, "tools", "docs/reference", "ARCHITECTURE.md")
# Tests are written anew with each change; no recipe says exactly which.
OF_TESTS: Final = ("tests/", f"{SOURCE}/testing/")
_FILE: Final = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def recipe(title: str, name: str) -> set[str]:
    """The files that a recipe lists, tests aside; *name* is what is added."""
    _, found, rest = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition(f"\n## {title}\n")
    assert found, f"CONTRIBUTING.md has no recipe {title!r}"
    files = _FILE.findall(rest.partition("\n## ")[0])
    return {path.replace("<name>", name) for path in files if not path.startswith(OF_TESTS)}


class Copy:
    """A copy of the tree, to be changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for place in COPIED:
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / place).is_dir():
                # What other tests compile meanwhile has such a name first, and is gone before it can be copied.
                shutil.copytree(ROOT / place, root / place, ignore=shutil.ignore_patterns("*.pyc.*"))
            else:
                shutil.copy(ROOT / place, root / place)
        self._before = self.tree()

    def read(self, path: str) -> str:
        return (self.root / path).read_text("utf-8")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, "utf-8")

    def insert(self, path: str, text: str, *, before: str) -> None:
        """Put *text* before the one place where *before* stands."""
        self.replace(path, before, text + before)

    def replace(self, path: str, old: str, new: str) -> None:
        assert self.read(path).count(old) == 1, (path, old)
        self.write(path, self.read(path).replace(old, new))

    def add_twin(self, path: str, begin: str, end: str, names: Mapping[str, str]) -> None:
        """Write what stands from *begin* up to *end* once more, before itself, under other names."""
        _, found, rest = self.read(path).partition(begin)
        assert found, (path, begin)
        twin = begin + rest.partition(end)[0]
        for old, new in names.items():
            twin = twin.replace(old, new)
        self.insert(path, twin, before=begin)

    def tree(self) -> dict[str, str]:
        files = (path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(self.root)): path.read_text("utf-8") for path in files}

    def changed(self) -> set[str]:
        now = self.tree()
        return {path for path in now | self._before if now.get(path) != self._before.get(path)}

    def python(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PILLARBOX_")}
        path = os.pathsep.join((str(self.root / "src"), str(self.root)))
        environment = kept | {"PYTHONPATH": path, "XDG_STATE_HOME": str(self.root / "state")} | variables
        return run_to_end([sys.executable, *arguments], seconds=250, cwd=self.root, env=environment)

    def said(self, *arguments: str, **variables: str) -> str:
        done = self.python(*arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pillarbox(self, *arguments: str, **variables: str) -> str:
        return self.said("-m", "pillarbox", *arguments, **variables)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")


SEND_ONE = """
import asyncio, sys, pillarbox

async def main(db, url):
    async with pillarbox.Outbox(db, channels={"ops": url}) as box:
        message = await box.send("ops", to="ann", text="Deploy done")
        await message.wait()
        print(message.state)

print(pillarbox.__file__)
asyncio.run(main(*sys.argv[1:]))
"""


def test_the_copy_is_what_runs_and_it_is_unchanged_at_first(copy: Copy) -> None:
    assert copy.said("-c", "import pillarbox; print(pillarbox.__file__)").startswith(str(copy.root))
    assert copy.changed() == set()


def test_add_a_setting(copy: Copy) -> None:
    copy.insert(
        f"{SOURCE}/settings/model.py",
        "    quiet_seconds: float = _setting(\n"
        '        "Quiet", "How long it is quiet.", Span(unit="seconds", most_ms=_HOUR_MS), default=5.0, reload=False\n'
        "    )\n",
        before="    prune_interval_ms: int = _setting(\n",
    )
    copy.said("-m", "tools.reference")
    assert copy.changed() == recipe("Add a setting", "quiet_seconds")
    row = next(line for line in copy.read("docs/reference/settings.md").splitlines() if "`quiet_seconds`" in line)
    for told in ("How long it is quiet.", "| span |", "`5`", "to 1h", "`PILLARBOX_QUIET_SECONDS`", "after a restart"):
        assert told in row
    explained = copy.pillarbox("config", "explain", "quiet_seconds")
    assert "How long it is quiet." in explained
    assert "PILLARBOX_QUIET_SECONDS" in explained
    shown = copy.pillarbox("config", "show", "--origin", PILLARBOX_QUIET="7s").splitlines()
    assert [line.split()[:4] for line in shown if "quiet" in line] == [["quiet_seconds", "7", "env", "PILLARBOX_QUIET"]]
    refused = copy.python("-m", "pillarbox", "config", "check", PILLARBOX_QUIET="2h")
    assert refused.returncode == 4
    assert "quiet" in refused.stdout + refused.stderr


CAMPAIGN = """
import asyncio, sys, pillarbox

async def main(db):
    refuse = lambda attempt: pillarbox.Rejected("no")
    async with pillarbox.Outbox(db, channels={"chat": refuse}) as box:
        message = await box.send("chat", to="ann", text="Deploy done", campaign="spring")
        await message.wait()
        again = await box.replay(message.id)
        print((await box.get(message.id)).view.campaign, (await box.get(again.id)).view.campaign)
        print(*[message.view.campaign for message in await box.list()])
        try:
            await box.send("chat", to="ann", text="Hello", campaign="two\\nlines")
        except pillarbox.InvalidMessage as refused:
            print(refused.field)

asyncio.run(main(*sys.argv[1:]))
"""
SEND_BEFORE = """
import asyncio, sys, pillarbox

async def main(db):
    async with pillarbox.Outbox(db, deliver=False) as box:
        await box.send("ops", to="ann", text="Before")

asyncio.run(main(*sys.argv[1:]))
"""


def test_add_a_field_that_travels(copy: Copy, tmp_path: Path) -> None:
    db = str(tmp_path / "outbox.db")
    copy.said("-c", SEND_BEFORE, db)
    checks, schemas = f"{SOURCE}/outbox/checks.py", f"{SOURCE}/store/sql"
    copy.insert(f"{SOURCE}/domain/outgoing.py", "    campaign: Any = None\n", before="    traceparent: Any = None\n")
    copy.insert(checks, "    campaign: str | None\n", before="    traceparent: str | None\n")
    copy.insert(checks, 'campaign=_optional_line("campaign", o.campaign), ', before="traceparent=None if ")
    last = "    traceparent: str | None = None\n"
    copy.replace(f"{SOURCE}/domain/envelope.py", last, f"{last}    campaign: str | None = None\n")
    for database, text, version in (("sqlite", "TEXT", 3), ("postgres", "text", 4)):
        schema = f"{schemas}/{database}/schema.sql"
        copy.insert(schema, f"    campaign {text},\n", before=f"    traceparent {text},\n")
        added = f"-- version_{version} --\nALTER TABLE message ADD COLUMN campaign {text};\n\n"
        copy.insert(schema, added, before="-- recipient_counting --\n")
    listed = recipe("Add a field that travels", "campaign")
    assert copy.changed() == listed
    assert len(listed) <= 5
    assert statements_of_one_database_only(copy.tree()) == []
    kept = ["spring spring", "spring spring None", "campaign"]
    assert copy.said("-c", CAMPAIGN, db).splitlines() == kept
    kept[1] = "spring spring"
    assert copy.said("-c", CAMPAIGN, str(tmp_path / "new.db")).splitlines() == kept
    # What there is to be said of every message, whoever moves or mends it.
    copy.pillarbox("db", "copy", db, f"{tmp_path}/copied.db")
    assert copy.said("-c", CAMPAIGNS, f"{tmp_path}/copied.db").split() == ["spring", "spring", "None"]
    assert copy.said("-c", MENDED).split() == ["True", "True"]
    with schema_of_its_own() as url:
        assert copy.said("-c", CAMPAIGN, url).splitlines() == kept


@contextlib.contextmanager
def schema_of_its_own() -> Iterator[str]:
    """Make the URL of a schema on a server that no other test gets afterwards."""
    with fresh_database() as fresh:
        base, _, schema = fresh.partition("schema=")
        yield f"{base}schema=recipe_{schema}"
        with connected(base) as connection:
            connection.execute(f"DROP SCHEMA recipe_{schema} CASCADE")


CAMPAIGNS = """
import asyncio, sys, pillarbox

async def main(db):
    async with pillarbox.Outbox(db, deliver=False) as box:
        print(*[message.view.campaign for message in await box.list()])

asyncio.run(main(*sys.argv[1:]))
"""
MENDED = """
from pillarbox.store.sqlite.statements import DAMAGE

print(*["campaign" in DAMAGE[name] for name in ("damaged_messages", "mend_message")])
"""


PIGEON = '''
"""The pigeon channel: a file in the loft for each part, named for its token."""

from __future__ import annotations

from pathlib import Path

from pillarbox.channels.base import Attempt, Capabilities, Channel
from pillarbox.channels.url_parts import Options, count, parse_url
from pillarbox.domain.outcome import AnyOutcome, Delivered


class PigeonChannel(Channel):
    """Let a pigeon go that wears so many *rings*."""

    kind = "pigeon"
    capabilities = Capabilities(text_limit=8)

    def __init__(self, loft: Path, *, rings: int) -> None:
        self._loft = loft
        self._rings = rings

    @classmethod
    def from_url(cls, url: str, *, rings: int | str | None = None) -> PigeonChannel:
        """Make the channel of ``pigeon:///the/loft?rings=2``. Raises ConfigError."""
        parsed = parse_url(url, schemes=("pigeon",))
        options = Options(parsed, {} if rings is None else {"rings": rings}, known=("rings",))
        return cls(Path(parsed.path), rings=options.take("rings", count, default=1))

    def describe(self) -> str:
        """See `Channel`."""
        return "pigeon:"

    async def send(self, attempt: Attempt) -> AnyOutcome:
        """See `Channel`."""
        (self._loft / attempt.token).write_text(f"{self._rings} {attempt.text}")
        return Delivered(attempt.token)
'''


def test_add_a_channel(copy: Copy, tmp_path: Path) -> None:
    copy.write(f"{SOURCE}/channels/pigeon.py", PIGEON.lstrip())
    copy.insert(
        f"{SOURCE}/channels/registry.py",
        '    "pigeon": "pillarbox.channels.pigeon:PigeonChannel",\n',
        before='    "smtp": "pillarbox.channels.mail.smtp:SmtpChannel",\n',
    )
    copy.insert(f"{SOURCE}/outbox/add_channel.py", "    # Pigeons\n    rings: int | str\n", before="    # Files\n")
    assert copy.changed() == recipe("Add a channel", "pigeon")
    loft = tmp_path / "loft"
    loft.mkdir()
    said = copy.said("-c", SEND_ONE, str(tmp_path / "outbox.db"), f"pigeon://{loft}?rings=2")
    assert said.splitlines()[-1] == "delivered"
    assert sorted(path.read_text() for path in loft.iterdir()) == ["2 Deploy", "2 done"]
    checked = copy.python("-m", "pillarbox", "config", "check", PILLARBOX_CHANNELS__OPS="pigeon:///loft?ring=2")
    assert checked.returncode == 4
    assert "ring" in checked.stdout + checked.stderr


POSTPONE_STEP = """
def _postpone(tx: Writing, given: Sequence[Given[Postpone]]) -> list[Acted]:
    tx.each("postpone", [(one.subject.seq, tx.now + 86_400_000) for one in given])
    audit.record(tx, [audit.line(one, "postpone", State.SCHEDULED) for one in given])
    return [Acted(applied=True, state=State.SCHEDULED) for _ in given]


"""
POSTPONE_SQL: Final = {
    "sqlite": """-- postpone --
UPDATE message SET due_at = ?2 WHERE seq = ?1 AND state IN ({postpone_states})
RETURNING seq

""",
    "postgres": """-- postpone --
UPDATE message SET due_at = asked.at FROM {each seq bigint, at bigint}
WHERE message.seq = asked.seq AND +state IN ({postpone_states})
RETURNING message.seq

""",
}
SECTION = """## pillarbox postpone

Let messages wait a day longer.

<!-- begin pillarbox postpone -->
<!-- end -->

"""
NEW_NAMES: Final = {"cancel": "postpone", "Cancel": "Postpone", "CANCEL": "POSTPONE"}


def test_add_an_order(copy: Copy, tmp_path: Path) -> None:
    orders, base = f"{SOURCE}/domain/orders.py", f"{SOURCE}/store/base.py"
    steps, box = f"{SOURCE}/store/steps/orders.py", f"{SOURCE}/outbox/orders.py"
    copy.insert(orders, '    POSTPONE = "postpone"\n', before='    PURGE = "purge"\n')
    copy.insert(
        orders, "    Order.POSTPONE: Scope(states=frozenset({State.SCHEDULED})),\n", before="    Order.PURGE: Scope("
    )
    copy.add_twin(base, "class Cancel(", "class Retry(", NEW_NAMES)
    copy.replace(base, "ActOnMessage = ", "ActOnMessage = Postpone | ")
    copy.insert(steps, POSTPONE_STEP.lstrip("\n"), before="def _bury(")
    copy.insert(steps, "    Postpone: (Order.POSTPONE, _postpone),\n", before="    Purge: (Order.PURGE, purge),\n")
    copy.insert(steps, "    Postpone,\n", before="    Purge,\n    Replay,\n")
    for database, sql in POSTPONE_SQL.items():
        copy.insert(f"{SOURCE}/store/sql/{database}/write.sql", sql, before="-- cancel_request --\n")
    copy.add_twin(box, "    async def cancel(", "    async def retry(", NEW_NAMES)
    copy.add_twin(box, "    async def cancel_many(", "    async def retry_many(", NEW_NAMES)
    copy.insert(box, "    Postpone,\n", before="    Purge,\n    Replay,\n")
    for shown in (f"{SOURCE}/outbox/outbox.py", f"{SOURCE}/sync.py"):
        copy.add_twin(shown, "    cancel = ", "    retry = ", NEW_NAMES)
        copy.add_twin(shown, "    cancel_many = ", "    retry_many = ", NEW_NAMES)
    copy.add_twin("docs/reference/outbox.md", "| `await box.cancel(", "| `await box.retry(", NEW_NAMES)
    command = "@click.command()\n@ordering\n"
    copy.add_twin(f"{SOURCE}/cli/order_commands.py", f"{command}@shared\ndef cancel(", f"{command}@_ttl", NEW_NAMES)
    copy.add_twin(f"{SOURCE}/cli/program.py", '    "cancel": ', '    "retry": ', NEW_NAMES)
    copy.insert("docs/reference/cli.md", SECTION, before="## pillarbox cancel\n")
    copy.said("-m", "tools.reference")
    assert copy.changed() == recipe("Add an order", "postpone")
    assert statements_of_one_database_only(copy.tree()) == []

    assert "`PILLARBOX_POSTPONE_DRY_RUN`" in copy.read("docs/reference/cli.md")
    db = str(tmp_path / "outbox.db")
    console = "console://stderr"
    sent = copy.pillarbox("send", "ops", "Hello", "--to", "ann", "--db", db, PILLARBOX_CHANNELS__OPS=console).strip()
    due = json.loads(copy.pillarbox("show", sent, "--json", "--db", db))["due_at"]
    (row,) = json.loads(copy.pillarbox("postpone", sent, "--json", "--db", db))
    assert (row["applied"], row["state"]) == (True, "scheduled")
    (row,) = json.loads(copy.pillarbox("postpone", "--all", "--yes", "--json", "--db", db))
    assert (row["applied"], row["id"]) == (True, sent)
    assert copy.said("-c", POSTPONE_ONE, db, sent).split() == ["True"]
    later = json.loads(copy.pillarbox("show", sent, "--json", "--db", db))["due_at"]
    assert datetime.fromisoformat(later) - datetime.fromisoformat(due) > timedelta(hours=23)
    told = [event["act"] for event in json.loads(copy.pillarbox("history", sent, "--json", "--db", db))]
    assert told.count("postpone") == 3
    with schema_of_its_own() as url:
        sent = copy.pillarbox(
            "send", "ops", "Hello", "--to", "ann", "--db", url, PILLARBOX_CHANNELS__OPS=console
        ).strip()
        assert copy.said("-c", POSTPONE_ONE, url, sent).split() == ["True"]


POSTPONE_ONE = """
import sys
from pillarbox.sync import Outbox

with Outbox(sys.argv[1]) as box:
    print(box.postpone(sys.argv[2]))
"""


def test_add_a_database(copy: Copy, tmp_path: Path) -> None:
    """What is followed is the way to it: the new store is SQLite's, under another name."""
    copy.write(f"{SOURCE}/store/lake/__init__.py", '"""The store on a server of that name."""\n')
    copy.write(f"{SOURCE}/store/lake/store.py", LAKE.lstrip())
    for source in (copy.root / SOURCE / "store/sql/sqlite").iterdir():
        copy.write(f"{SOURCE}/store/sql/lake/{source.name}", source.read_text("utf-8"))
    registry = f"{SOURCE}/store/registry.py"
    copy.insert(
        registry,
        '    "lake": ("pillarbox.store.lake.store", "LakeStore"),\n',
        before='    "sqlite": ("pillarbox.store.sqlite.store", "SQLiteStore"),\n',
    )
    copy.insert("ARCHITECTURE.md", "| `store/lake/` | rules |\n", before="| `store/sqlite/` | rules")
    kinds = f"{SOURCE}/settings/value_kinds.py"
    copy.insert(kinds, '"lake", ', before='"sqlite", "postgresql"')
    copy.insert(kinds, "lake://…, ", before='or postgresql://…"')
    copy.said("-m", "tools.reference")
    listed = recipe("Add a database", "lake")
    sql = {path for path in listed if path.endswith("*.sql")}
    (folder,) = {path.rpartition("/")[0] for path in sql}
    assert {path for path in copy.changed() if not path.startswith(folder)} == listed - sql
    tree = copy.tree()
    assert statements_of_one_database_only(tree) == rooms_not_on_the_map(tree) == rooms_without_a_word(tree) == []

    url = f"lake://db.example/{tmp_path}/outbox.db"
    assert copy.said("-c", SEND_ONE, url, "console://stderr").splitlines()[-1] == "delivered"
    assert (tmp_path / "outbox.db").exists()
    assert "error" not in copy.pillarbox("config", "check", PILLARBOX_DB=url)


LAKE = '''
"""A stand-in for a server's store."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pillarbox.store.sqlite.store import SQLiteStore


class LakeStore(SQLiteStore):
    """Keep messages on the server that *dsn* names."""

    def __init__(self, dsn: str, **options: Any) -> None:
        super().__init__(urlsplit(dsn).path.removeprefix("/"), **options)
'''
