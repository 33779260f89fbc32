"""
The house rules that a linter cannot say.

Each rule is a function from a tree (text by path) to complaints. It is run on this repository, where it must
find nothing, and on a planted tree, where it must find what was planted.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import pytest

from tests.rules import PACKAGE, Planted, RuleTests, Tree, parsed, this_repository

VAGUE_NAMES = {
    "common", "data", "handler", "handlers", "helper", "helpers", "manager", "managers", "misc", "qm",
    "util", "utils",
}  # fmt: skip
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
REASON_LINES = 30  # how near the top a long file says why

# Upper case only: in prose and in help texts, "delete from" is English.
SQL = re.compile(
    r"\b(?:SELECT\b.*\bFROM|INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE\b.*\bSET|DELETE\s+FROM"
    r"|(?:CREATE|ALTER|DROP)\s+(?:UNIQUE\s+)?(?:TABLE|INDEX|TRIGGER|VIEW)|BEGIN\s+IMMEDIATE)\b",
    re.DOTALL,
)
STATEMENT_NAME = re.compile(r"^-- *([a-z][a-z0-9_]*) *--$", re.MULTILINE)
OWN_STATEMENTS = {"schema.sql", "fragments.sql", "damage.sql", "driver.sql"}
"""Files of statements that one database alone has."""

# Letters in brackets keep these patterns from finding themselves.
UNFINISHED = re.compile(r"\b(?:[T]ODO|[F]IXME|[X]XX)\b")
MACHINE = re.compile(
    r"(?:[p]ypi\.org|[p]ythonhosted\.org|[n]pmjs\.(?:org|com)|[d]eb\.debian\.org|[c]rates\.io|[p]roxy\.golang\.org)"
    r"|(?<![\w.~-])/(?:[w]ork|[r]oot)/"
)

# What may be named where, beneath the package. Ruff's TID251 says so while one types, but its exceptions are
# whole files: by it alone, clock.py could read the environment and the store could ask for the time.
HOMES = {
    "time": ("clock.py",),
    "asyncio.sleep": ("clock.py",),
    "datetime.datetime.now": ("clock.py",),
    "datetime.datetime.utcnow": ("clock.py",),
    "random": ("entropy.py", "testing/"),  # the simulation draws from a seed
    "secrets": ("entropy.py",),
    "os.urandom": ("entropy.py",),
    "uuid.uuid1": ("entropy.py",),
    "uuid.uuid4": ("entropy.py",),
    "os.environ": ("settings/load.py",),
    "os.getenv": ("settings/load.py",),
    "sqlite3": ("store/",),
}
# Whose timers are the machine's own, and why; all else sets them by the Clock that it was given.
REAL_TIMERS = {
    "clock.py": "the system's clock sets them on the loop",
    "loop_thread.py": "it ends a thread of this machine",
    "channels/egress.py": "the machine looks names up",
    "cli/": "people wait",
    "demo/": "processes are waited for",
    "testing/": "servers and loops of tests",
}
TIMERS_OF_ASYNCIO = {"asyncio.timeout", "asyncio.timeout_at", "asyncio.wait_for"}
TIMERS_OF_LOOPS = {"call_later", "call_at", "time"}
WAITS = {"time.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep"}
# A test that really waits, and why nothing else would do.
WAITING_TESTS: dict[str, str] = {"tests/simulation/test_loop.py": "its loop sleeps in virtual time"}

# Functions that compile a pattern, whose results all stand in tables of their modules.
PATTERN_MAKERS: dict[str, set[str]] = {
    f"{PACKAGE}/channels/exceptions/text_patterns.py": {"compiled"},
    f"{PACKAGE}/channels/http/rules.py": {"words"},
    f"{PACKAGE}/channels/mail/replies.py": {"_words"},
    f"{PACKAGE}/channels/privacy/masking.py": {"_row"},
    f"{PACKAGE}/settings/yaml_text.py": {"_whole"},
}

# First words of a docstring that leave open whether the function returns, prints, stores or calls something: who
# reads "Give the id" or "Tell the error" must look into the code. "Return", "Print", "Record", "Call" say it.
UNCLEAR_FIRST_WORDS = {"Give", "Gives", "Say", "Says", "Tell", "Tells", "Told"}
PLAIN_DOCSTRINGS = (f"{PACKAGE}/", "bench/", "tools/")

# The domain computes. It may not reach for anything that has a state outside of it.
IMPURE = {
    "asyncio", "ftplib", "http", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random",
    "secrets", "select", "selectors", "shutil", "signal", "smtplib", "socket", "sqlite3", "ssl", "subprocess",
    "tempfile", "threading", "time", "urllib",
}  # fmt: skip
DOMAIN_MAY_IMPORT = (sys.stdlib_module_names - IMPURE) | {"msgspec"}


def code(tree: Tree, folder: str = "") -> Iterator[tuple[str, ast.Module]]:
    for path, text in tree.items():
        if path.startswith(folder) and path.endswith(".py"):
            yield path, parsed(text, path)


def imported_names(module: ast.Module) -> dict[str, str]:
    """What each imported name stands for: after `from time import sleep as nap`, nap is time.sleep."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def full_name(node: ast.expr, names: Mapping[str, str]) -> str | None:
    first, dot, rest = ast.unparse(node).partition(".")
    return names[first] + dot + rest if first in names else None


def modules_imported(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "pillarbox":
            yield from ((node.lineno, f"pillarbox.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def texts(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string that the program uses, f-strings in one piece. Docstrings, which stand alone, are none."""
    left_out = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            left_out.update(map(id, node.values))
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "?" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.lineno, node.value


def vague_names(tree: Tree) -> list[str]:
    """A file or folder of code is named for what it holds."""
    found = []
    for path in filter(lambda path: path.endswith((".py", ".sql")), tree):
        words = {word for part in PurePosixPath(path).with_suffix("").parts for word in re.split(r"[_-]", part)}
        found += [f"{path}: '{word}' says nothing about what is inside" for word in sorted(words & VAGUE_NAMES)]
    return found


def long_functions(tree: Tree) -> list[str]:
    """A function fits on a screen."""
    return [
        f"{path}:{node.lineno}: {node.name} has {lines} lines, the limit is {FUNCTION_LINES_MAX}"
        for path, module in code(tree, PACKAGE)
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def long_files(tree: Tree) -> list[str]:
    """A long file is split, or says near its top why not."""
    return [
        f"{path}: {len(lines)} lines, the limit is {FILE_LINES_MAX}: split it, or say '# Long because: ...'"
        for path, text in tree.items()
        if path.startswith(PACKAGE) and path.endswith(".py")
        if len(lines := text.splitlines()) > FILE_LINES_MAX
        and not any(line.startswith("# Long because: ") for line in lines[:REASON_LINES])
    ]


def sql_outside_the_store(tree: Tree) -> list[str]:
    """A statement has a name and lives in store/sql/."""
    return [
        f"{path}:{line}: SQL belongs into store/sql/, as a named statement"
        for path, module in code(tree, PACKAGE)
        if not path.startswith(f"{PACKAGE}/store/")
        for line, text in texts(module)
        if SQL.search(text)
    ]


def statements_of_one_database_only(tree: Tree) -> list[str]:
    """
    Both databases have the same named statements; with one database there is nothing to compare.

    What a database's tables are, what only its driver says, and the pieces that statements are made of are its own.
    """
    names: dict[str, list[str]] = {}
    own: set[str] = set()
    for path, text in tree.items():
        if path.startswith(f"{PACKAGE}/store/sql/") and path.endswith(".sql"):
            listed = STATEMENT_NAME.findall(text)
            names.setdefault(PurePosixPath(path).parts[4], []).extend(listed)
            if PurePosixPath(path).name in OWN_STATEMENTS:
                own.update(listed)
    found = [
        f"{PACKAGE}/store/sql/{database}: '{name}' stands there twice"
        for database, listed in names.items()
        for name in sorted({name for name in listed if listed.count(name) > 1})
    ]
    everywhere = {name for listed in names.values() for name in listed} - own
    return found + [
        f"{PACKAGE}/store/sql/{database}: '{name}' is missing"
        for database, listed in names.items()
        for name in sorted(everywhere - set(listed))
    ]


def names_outside_their_home(tree: Tree) -> list[str]:
    """Time, randomness, ids and the environment come in as arguments; one file each fetches them."""
    found = []
    for path, module in code(tree, PACKAGE):
        names = imported_names(module)
        used = {(line, name) for line, name in modules_imported(module)}
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute | ast.Name) and (name := full_name(node, names)):
                used.add((node.lineno, name))
        inside = path.removeprefix(f"{PACKAGE}/")
        found += [
            f"{path}:{line}: {banned} belongs into {' or '.join(homes)}"
            for banned, homes in HOMES.items()
            if not inside.startswith(homes)
            for line in sorted({line for line, name in used if f"{name}.".startswith(f"{banned}.")})
        ]
    return found


def timers_beside_the_clock(tree: Tree) -> list[str]:
    """Timers go by the Clock that was passed in: one that the event loop sets by itself stops every simulation."""
    return [
        f"{path}:{call.lineno}: let a Clock time it: its call_later, or deadline.py"
        for path, module in code(tree, f"{PACKAGE}/")
        if not path.removeprefix(f"{PACKAGE}/").startswith(tuple(REAL_TIMERS))
        for names in [imported_names(module)]
        for call in ast.walk(module)
        if isinstance(call, ast.Call) and _sets_a_timer(call, names)
    ]


def _sets_a_timer(call: ast.Call, names: Mapping[str, str]) -> bool:
    name = full_name(call.func, names)
    if name == "asyncio.wait":
        return any(argument.arg == "timeout" for argument in call.keywords)
    if name in TIMERS_OF_ASYNCIO:
        return True
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in TIMERS_OF_LOOPS:
        return False
    owner = ast.unparse(call.func.value)
    return owner not in names and not owner.endswith("clock")


def impure_domain(tree: Tree) -> list[str]:
    """The domain imports the standard library's pure modules, msgspec, itself and errors."""
    return [
        f"{path}:{line}: the domain does not import {name}"
        for path, module in code(tree, f"{PACKAGE}/domain/")
        for line, name in modules_imported(module)
        if name.partition(".")[0] not in DOMAIN_MAY_IMPORT
        and not f"{name}.".startswith(("pillarbox.domain.", "pillarbox.errors."))
    ]


RULES_OF_MESSAGES = {"State", "Reason", "ErrorClass", "Policy", "decide", "lifecycle", "transition", "retry"}


def decisions_in_a_driver(tree: Tree) -> list[str]:
    """A driver talks to its database; what a state allows, and why a message ended, is not its affair."""
    found = []
    for path, module in code(tree, f"{PACKAGE}/store/"):
        if path.removeprefix(f"{PACKAGE}/store/").partition("/")[0] not in {"sqlite", "postgres"}:
            continue
        for node in ast.walk(module):
            named = {
                ast.Name: lambda node: {node.id},
                ast.Attribute: lambda node: {node.attr},
                ast.alias: lambda node: set(node.name.split(".")),
                ast.ImportFrom: lambda node: set((node.module or "").split(".")),
            }.get(type(node), lambda _: set())(node)
            line = getattr(node, "lineno", 0)
            found += [f"{path}:{line}: a driver does not know {name}" for name in sorted(named & RULES_OF_MESSAGES)]
    return found


ROW = re.compile(r"\b(?:row|rows|found)(?:\[0\])?$")


def columns_by_position(tree: Tree) -> list[str]:
    """A row of more than two columns is read by name: who adds one must not count the others."""
    return [
        f"{path}:{node.lineno}: name the columns of {ast.unparse(node.value)}"
        for path, module in code(tree, f"{PACKAGE}/store/")
        for node in ast.walk(module)
        if isinstance(node, ast.Subscript)
        and ROW.search(ast.unparse(node.value))
        and any(_position(part) > 1 for part in _bounds(node.slice))
    ]


def _bounds(index: ast.expr) -> list[ast.expr | None]:
    return [index.lower, index.upper] if isinstance(index, ast.Slice) else [index]


def _position(part: ast.expr | None) -> int:
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, int) else 0


def patterns_out_of_sight(tree: Tree) -> list[str]:
    """A regular expression is compiled where its module is loaded: there a test finds and judges it."""
    found = []
    for path, module in code(tree, f"{PACKAGE}/"):
        names = imported_names(module)
        hidden = {
            id(call)
            for function in ast.walk(module)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            and getattr(function, "name", "") not in PATTERN_MAKERS.get(path, ())
            for call in ast.walk(function)
        }
        found += [
            f"{path}:{call.lineno}: compile the pattern at the module's level, under a name"
            for call in ast.walk(module)
            if isinstance(call, ast.Call)
            and (name := full_name(call.func, names)) is not None
            and name.startswith("re.")
            and name != "re.escape"
            and (name != "re.compile" or id(call) in hidden)
        ]
    return found


def unclear_docstrings(tree: Tree) -> list[str]:
    """The first word of a docstring says what is done: what is returned, printed, stored or called."""
    return [
        f"{path}:{node.body[0].lineno}: '{first}' leaves open what is done: begin with Return, Print, Record or Call"
        for folder in PLAIN_DOCSTRINGS
        for path, module in code(tree, folder)
        for node in ast.walk(module)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (first := ((ast.get_docstring(node) or "").split() or [""])[0].rstrip(".,:;")) in UNCLEAR_FIRST_WORDS
    ]


def waiting_tests(tree: Tree) -> list[str]:
    """A test ticks, advances a clock or waits for a signal; `sleep(0)` only lets others run."""
    found = []
    for path, module in code(tree, "tests/"):
        names = imported_names(module)
        found += [
            f"{path}:{call.lineno}: tick, advance the clock or wait for a signal; do not sleep"
            for call in ast.walk(module)
            if isinstance(call, ast.Call)
            and full_name(call.func, names) in WAITS
            and [ast.unparse(argument) for argument in call.args] != ["0"]
            and path not in WAITING_TESTS
        ]
    return found


def matching_lines(tree: Tree, pattern: re.Pattern[str], complaint: str) -> list[str]:
    return [
        f"{path}:{place}: {complaint}"
        for path, text in tree.items()
        if pattern.search(text)
        for place, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def unfinished_work(tree: Tree) -> list[str]:
    """What is not done is an issue, not a comment."""
    return matching_lines(tree, UNFINISHED, "finish it, or open an issue")


def traces_of_a_machine(tree: Tree) -> list[str]:
    """The repository knows neither the machine it was written on nor where packages come from."""
    return matching_lines(tree, MACHINE, "names a machine's folder or a package registry")


# Every rule, with a tree that breaks it, the complaint about that, and a tree that comes close and is fine.
LONG_FUNCTION = "def f():\n" + "    pass\n" * FUNCTION_LINES_MAX
LONG_FILE = "A = 1\n" * (FILE_LINES_MAX + 1)
RULES: list[Planted] = [
    (
        vague_names,
        {f"{PACKAGE}/engine/retry_utils.py": ""},
        f"{PACKAGE}/engine/retry_utils.py: 'utils' says nothing about what is inside",
        {f"{PACKAGE}/engine/database.py": "", "docs/data.md": ""},
    ),
    (
        long_functions,
        {f"{PACKAGE}/a.py": LONG_FUNCTION},
        f"{PACKAGE}/a.py:1: f has 71 lines, the limit is 70",
        {
            f"{PACKAGE}/a.py": LONG_FUNCTION.replace("    pass\n", "", 1),
            "tests/a.py": LONG_FUNCTION,
        },
    ),
    (
        long_files,
        {f"{PACKAGE}/a.py": LONG_FILE},
        f"{PACKAGE}/a.py: 501 lines, the limit is 500: split it, or say '# Long because: ...'",
        {
            f"{PACKAGE}/a.py": f"# Long because: it is one table.\n{LONG_FILE}",
            f"{PACKAGE}/b.py": "A = 1\n" * 500,
        },
    ),
    (
        sql_outside_the_store,
        {f"{PACKAGE}/cli/ls.py": 'query = f"SELECT id FROM {table}"\n'},
        f"{PACKAGE}/cli/ls.py:1: SQL belongs into store/sql/, as a named statement",
        {
            f"{PACKAGE}/store/sqlite.py": 'query = "DELETE FROM message"\n',
            f"{PACKAGE}/cli/ls.py": '"""SELECT id FROM message."""\ntext = "To delete from it."\n',
        },
    ),
    (
        statements_of_one_database_only,
        {
            f"{PACKAGE}/store/sql/sqlite/messages.sql": "-- claim --\nSELECT 1;\n-- settle --\nSELECT 2;\n",
            f"{PACKAGE}/store/sql/postgres/messages.sql": "-- claim --\nSELECT 1;\n",
        },
        f"{PACKAGE}/store/sql/postgres: 'settle' is missing",
        {
            f"{PACKAGE}/store/sql/sqlite/messages.sql": "-- claim --\nSELECT 1;\n",
            f"{PACKAGE}/store/sql/postgres/messages.sql": "-- claim --\nSELECT 1;\n",
            f"{PACKAGE}/store/sql/postgres/driver.sql": "-- hint --\nSELECT 1;\n",
        },
    ),
    (
        names_outside_their_home,
        {f"{PACKAGE}/store/sqlite.py": "from datetime import datetime as d\n\nd.now()\n"},
        f"{PACKAGE}/store/sqlite.py:3: datetime.datetime.now belongs into clock.py",
        {
            f"{PACKAGE}/clock.py": "import time\n",
            f"{PACKAGE}/a.py": "from pillarbox import timezone\n\ntimezone()\n",
        },
    ),
    (
        timers_beside_the_clock,
        {
            f"{PACKAGE}/engine/a.py": "import asyncio\n\n\nasync def f(waiting):\n"
            "    asyncio.get_running_loop().call_later(1, print)\n"
        },
        f"{PACKAGE}/engine/a.py:5: let a Clock time it: its call_later, or deadline.py",
        {
            f"{PACKAGE}/engine/a.py": "import asyncio\n\n\nasync def f(waiting, clock):\n"
            "    await asyncio.wait(waiting)\n    clock.call_later(1, print)\n",
            f"{PACKAGE}/cli/a.py": "import asyncio\n\n\nasync def f(a):\n    await asyncio.wait_for(a, 1)\n",
        },
    ),
    (
        impure_domain,
        {f"{PACKAGE}/domain/retry.py": "from pillarbox.store import base\n"},
        f"{PACKAGE}/domain/retry.py:1: the domain does not import pillarbox.store",
        {f"{PACKAGE}/domain/retry.py": "import msgspec\nfrom enum import Enum\nimport pillarbox.errors\n"},
    ),
    (
        decisions_in_a_driver,
        {f"{PACKAGE}/store/sqlite/store.py": "from pillarbox.domain import message\n\nprint(message.State.DEAD)\n"},
        f"{PACKAGE}/store/sqlite/store.py:3: a driver does not know State",
        {
            f"{PACKAGE}/store/steps/claim.py": "from pillarbox.domain.message import State\n",
            f"{PACKAGE}/store/sqlite/store.py": '"""Asks for the State."""\nstates = Statement\n',
        },
    ),
    (
        columns_by_position,
        {f"{PACKAGE}/store/steps/claim.py": "row = tx.one()\nprint(row[0], row[2])\n"},
        f"{PACKAGE}/store/steps/claim.py:2: name the columns of row",
        {
            f"{PACKAGE}/store/steps/claim.py": "print(row[0], row[1], row[-1], rows[1:], text[3])\n",
            "tests/a.py": "row[3]\n",
        },
    ),
    (
        patterns_out_of_sight,
        {f"{PACKAGE}/a.py": "import re\n\n\ndef f(text):\n    return re.sub('a+b', '', text)\n"},
        f"{PACKAGE}/a.py:5: compile the pattern at the module's level, under a name",
        {
            f"{PACKAGE}/a.py": "import re\n\nA = re.compile('a')\n\ndef f(text):\n    return A.sub('', text)",
            f"{PACKAGE}/channels/mail/replies.py": "import re\n\n\ndef _words(text):\n    return re.compile(text)\n",
            "tests/a.py": "import re\n\nre.search('a', 'a')\n",
        },
    ),
    (
        unclear_docstrings,
        {f"{PACKAGE}/a.py": 'def f() -> int:\n    """\n    Give the number.\n    """\n    return 1\n'},
        f"{PACKAGE}/a.py:2: 'Give' leaves open what is done: begin with Return, Print, Record or Call",
        {
            f"{PACKAGE}/a.py": 'def f() -> int:\n    """Return what was given; they tell."""\n    return 1\n',
            f"{PACKAGE}/b.py": 'def f() -> str:\n    return "Give it."\n',
            "tests/a.py": 'def f() -> None:\n    """Tell nobody."""\n',
        },
    ),
    (
        waiting_tests,
        {"tests/unit/test_a.py": "import asyncio as a\n\n\nasync def test_b():\n    await a.sleep(0.1)\n"},
        "tests/unit/test_a.py:5: tick, advance the clock or wait for a signal; do not sleep",
        {"tests/unit/test_a.py": "import asyncio\n\nasyncio.sleep(0)\nclock.sleep(5)\n"},
    ),
    (
        unfinished_work,
        {"docs/a.md": "Fine.\n" + "[T]ODO: more".replace("[T]", "T")},
        "docs/a.md:2: finish it, or open an issue",
        {"docs/a.md": "mktemp /tmp/a.XXXXXX\n"},
    ),
    (
        traces_of_a_machine,
        {"Makefile": "cd [r]oot/a".replace("[r]", "/r")},
        "Makefile:1: names a machine's folder or a package registry",
        {"docs/a.md": "See artwork/a and /home/ann/work/a, or https://example.org/work/a.\n"},
    ),
]


class TestTidy(RuleTests):
    rules = RULES


def test_the_whole_repository_is_looked_at() -> None:
    assert {"pyproject.toml", "tests/test_tidy.py", ".ci/run"} <= this_repository().keys()


@pytest.mark.parametrize(
    "line",
    [
        "loop.call_at(1.0, print)",
        "self._events.call_later(1, print)",
        "ends = loop.time() + 1",
        "await asyncio.wait(waiting, timeout=1)",
        "await asyncio.wait_for(waiting, 1)",
        "async with asyncio.timeout(1): pass",
        "async with asyncio.timeout_at(1): pass",
    ],
)
def test_every_way_to_set_a_timer_is_known(line: str) -> None:
    text = f"import asyncio\n\n\nasync def f(self, loop, waiting):\n    {line}\n"
    assert len(timers_beside_the_clock({f"{PACKAGE}/engine/a.py": text})) == 1
