"""
A stranger finds every file by guessing: the rules about names and rooms.

As in `test_tidy`, each rule is a function from a tree (text by path) to complaints. It is run on this repository, where
it must find nothing, and on a planted tree, where it must find what was planted. A room is a folder with code.
"""

from __future__ import annotations

import ast
import re
from itertools import combinations
from pathlib import PurePosixPath
from typing import Final

import pytest

from tests.rules import PACKAGE, Planted, RuleTests, Tree, parsed, this_repository

MAP: Final = "ARCHITECTURE.md"
ABSENT: Final = "| room | absent |\n|---|---|\n"
PLACES: Final = "| folder or file | one thought |\n|---|---|\n"
SENTENCE_LINES_MAX: Final = 3

# Names that stand in neighbouring rooms all the same, and why nobody looks into the wrong one.
SAME_NAMES: Final = {
    "__init__": "every room has one",
    "base": "the seam of its room: what a channel, what a store is",
    "registry": "finds what its room holds, by URL",
    "comis": "each holds what its room has to do with that system",
    "migrations": "each database's schema, one version after the other",
    "statements": "each database's, by the same names",
    "joined": "each database's way into a caller's transaction",
    "store": "each database's store",
    "fixtures": "what a suite for others to run asks of them; each suite has its own",
    "message": "the domain has the values, the outbox the handle that users hold",
    "mirror": "the domain has the values, the outbox what users call",
    "orders": "the domain decides who may order what, the outbox has the calls that order it",
}
# A name that ends in -ing is one of an activity, where a room should hold things. These are no such names, or the best
# there is.
ACTIVITIES: Final = {
    "channels/http/signing": "the word that the specification has for it",
    "channels/privacy/masking": "the word that everybody has for it",
    "domain/outgoing": "says which message is meant, not what is done",
    "outbox/sending": "what stands behind `send`, where one looks for it",
    "store/sqlite/asking": "a conversation with workers, of which each side is in it",
    "store/forking": "what a fork must not carry over",
    "store/sqlite/guarding": "locks and comparisons that together guard the files",
    "store/sqlite/opening": "a sequence of checks, done once",
    "store/steps/writing": "one transaction while it is written",
}
# Official and well-known clients of platforms. slack_sdk repeats a request whose connection was dropped, discord.py one
# that met a 500, matrix-nio without an end: then nobody knows how often a message was sent.
CLIENTS: Final = ("slack_sdk", "slack_bolt", "telegram", "telethon", "aiogram", "discord", "nio", "mautrix", "twilio")
# A room whose files are named for what one sees a store do.
ROOMS_OF_ACTIVITIES: Final = ("testing/store_suite",)

_NAMED: Final = re.compile(r"`([^`]+)`")
_ABSENT: Final = re.compile(r"^\| `(?P<room>[\w/]+)/` \| (?P<absent>[^|]*\w[^|]*) \|$", re.MULTILINE)


def rooms(tree: Tree) -> dict[str, str]:
    """The text of each room's ``__init__``, by the room's path beneath the package; none where it has no such file."""
    inside = [PurePosixPath(path).relative_to(PACKAGE) for path in tree if path.startswith(f"{PACKAGE}/")]
    folders = {str(path.parent) for path in inside if path.suffix == ".py" and path.parent.name}
    return {folder: tree.get(f"{PACKAGE}/{folder}/__init__.py", "") for folder in sorted(folders)}


def modules(tree: Tree) -> list[PurePosixPath]:
    found = (PurePosixPath(path).relative_to(PACKAGE) for path in sorted(tree) if path.startswith(f"{PACKAGE}/"))
    return [path.with_suffix("") for path in found if path.suffix == ".py"]


def same_names(tree: Tree) -> list[tuple[PurePosixPath, PurePosixPath]]:
    """Every two files of one name in rooms that are side by side, or one inside the other."""
    of_a_name: dict[str, list[PurePosixPath]] = {}
    for path in modules(tree):
        of_a_name.setdefault(path.name, []).append(path)
    return [
        pair for paths in of_a_name.values() for pair in combinations(paths, 2) if _near(*(one.parent for one in pair))
    ]


def _near(here: PurePosixPath, there: PurePosixPath) -> bool:
    outside = "" in (here.name, there.name)  # beneath no room: a module at the top
    return not outside and (there.parent in {here.parent, here} or there == here.parent)


def names_of_neighbours(tree: Tree) -> list[str]:
    """No two files of one name stand in neighbouring rooms."""
    return [
        f"{PACKAGE}/{one}.py and {other}.py have one name: which of them would a stranger open?"
        for one, other in same_names(tree)
        if one.name not in SAME_NAMES
    ]


def names_of_activities(tree: Tree) -> list[str]:
    """A file is named for the thing in it, not for an activity."""
    return [
        f"{PACKAGE}/{path}.py: name the thing that is in it, not what is done"
        for path in modules(tree)
        if path.name.endswith("ing") and str(path) not in ACTIVITIES and str(path.parent) not in ROOMS_OF_ACTIVITIES
    ]


def rooms_without_a_word(tree: Tree) -> list[str]:
    """Each room says in one sentence what is in it."""
    found = []
    for room, text in rooms(tree).items():
        sentence = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
        if not sentence.endswith(".") or len(sentence.splitlines()) > SENTENCE_LINES_MAX:
            found.append(f"{PACKAGE}/{room}/__init__.py: say in one sentence what is in this room")
    return found


def rooms_not_on_the_map(tree: Tree) -> list[str]:
    """The map says of each room what is absent from it."""
    _, _, below = tree.get(MAP, "").partition(ABSENT)
    told = [row["room"] for row in _ABSENT.finditer(below.partition("\n\n")[0])]
    there = set(rooms(tree))
    return [
        *(f"{MAP}: say what is absent from {room}/" for room in sorted(there - set(told))),
        *(f"{MAP}: there is no room {room}/" for room in sorted(set(told) - there)),
        *(f"{MAP}: {room}/ stands there twice" for room in sorted(there) if told.count(room) > 1),
    ]


def names_on_the_map_without_a_file(tree: Tree) -> list[str]:
    """Each file and folder that the map names is there; after the first of a row, names go from where that one is."""
    there = {path.with_suffix("") for path in map(PurePosixPath, tree)}
    there |= {folder for path in there for folder in path.parents}
    _, _, below = tree.get(MAP, "").partition(PLACES)
    found = []
    for row in below.partition("\n\n")[0].splitlines():
        rooms = [PurePosixPath(PACKAGE)]
        for name in _NAMED.findall(row.split("|")[1]):
            places = [room / name for room in rooms if room / name in there]
            rooms += [room for place in places[:1] for room in (place, *place.parents)]
            found += [] if places else [f"{MAP}: there is no {name}"]
    return found


def clients_that_send_again(tree: Tree) -> list[str]:
    """No adapter leaves the sending to a platform's own client: it may send again by itself (contract CH5)."""
    found = []
    for path, text in tree.items():
        if not (path.startswith(f"{PACKAGE}/") and path.endswith(".py") and any(name in text for name in CLIENTS)):
            continue
        for node in ast.walk(parsed(text, path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found += [
                f"{path}: {name} may send again by itself; use channels/http"
                for name in names
                if name.partition(".")[0] in CLIENTS
            ]
    return found


ROOM = '"""What is in it."""\n'
RULES: list[Planted] = [
    (
        names_of_neighbours,
        {f"{PACKAGE}/engine/lanes.py": "", f"{PACKAGE}/outbox/lanes.py": ""},
        f"{PACKAGE}/engine/lanes.py and outbox/lanes.py have one name: which of them would a stranger open?",
        {
            f"{PACKAGE}/lanes.py": "",
            f"{PACKAGE}/engine/lanes.py": "",
            f"{PACKAGE}/channels/http/lanes.py": "",
            f"{PACKAGE}/channels/base.py": "",
            f"{PACKAGE}/store/base.py": "",
        },
    ),
    (
        names_of_neighbours,
        {f"{PACKAGE}/channels/lanes.py": "", f"{PACKAGE}/channels/http/lanes.py": ""},
        f"{PACKAGE}/channels/http/lanes.py and channels/lanes.py have one name: which of them would a stranger open?",
        {f"{PACKAGE}/channels/lanes.py": "", f"{PACKAGE}/channels/http/lane.py": ""},
    ),
    (
        names_of_activities,
        {f"{PACKAGE}/engine/operating.py": ""},
        f"{PACKAGE}/engine/operating.py: name the thing that is in it, not what is done",
        {f"{PACKAGE}/outbox/sending.py": "", f"{PACKAGE}/engine/rings.py": "", "tests/unit/test_splitting.py": ""},
    ),
    (
        rooms_without_a_word,
        {f"{PACKAGE}/engine/loops/__init__.py": "A = 1\n"},
        f"{PACKAGE}/engine/loops/__init__.py: say in one sentence what is in this room",
        {f"{PACKAGE}/engine/__init__.py": ROOM, f"{PACKAGE}/clock.py": "", f"{PACKAGE}/store/sql/write.sql": ""},
    ),
    (
        rooms_without_a_word,
        {f"{PACKAGE}/engine/loops/tick.py": ""},
        f"{PACKAGE}/engine/loops/__init__.py: say in one sentence what is in this room",
        {f"{PACKAGE}/engine/__init__.py": f'{ROOM[:-4]}\n\nMore."""\n'},
    ),
    (
        rooms_not_on_the_map,
        {f"{PACKAGE}/engine/__init__.py": ROOM, MAP: f"| `engine/` | loops |\n\n{ABSENT}| `engine/` | |\n"},
        f"{MAP}: say what is absent from engine/",
        {
            f"{PACKAGE}/engine/__init__.py": ROOM,
            MAP: f"| `engine/` | loops |\n\n{ABSENT}| `engine/` | SQL |\n\n| `attic/` | light |\n",
        },
    ),
    (
        rooms_not_on_the_map,
        {MAP: f"{ABSENT}| `attic/` | light |\n"},
        f"{MAP}: there is no room attic/",
        {MAP: "| `attic/` | light |\n"},
    ),
    (
        rooms_not_on_the_map,
        {f"{PACKAGE}/engine/__init__.py": ROOM, MAP: f"{ABSENT}| `engine/` | SQL |\n| `engine/` | clocks |\n"},
        f"{MAP}: engine/ stands there twice",
        {f"{PACKAGE}/engine/__init__.py": ROOM, MAP: f"{ABSENT}| `engine/` | SQL, clocks |\n"},
    ),
    (
        names_on_the_map_without_a_file,
        {
            f"{PACKAGE}/engine/lanes.py": "",
            MAP: f"{PLACES}| `engine/lanes`, `clocks` | loops |\n\n{ABSENT}| `attic/` | light |\n",
        },
        f"{MAP}: there is no clocks",
        {
            f"{PACKAGE}/engine/lanes.py": "",
            f"{PACKAGE}/engine/clocks.py": "",
            f"{PACKAGE}/engine/http/pool.py": "",
            MAP: f"{PLACES}| `engine/`, `lanes` | `loops` |\n| `engine/http/pool`, `clocks`, `http/` | `none` |\n",
        },
    ),
    (
        clients_that_send_again,
        {f"{PACKAGE}/channels/slack.py": "def send():\n    from slack_sdk.web import WebClient\n"},
        f"{PACKAGE}/channels/slack.py: slack_sdk.web may send again by itself; use channels/http",
        {
            f"{PACKAGE}/channels/slack.py": "from pillarbox.channels import discord\nfrom . import telegram\n",
            "tests/channels/test_slack.py": "import slack_sdk\n",
        },
    ),
]


@pytest.mark.contract("CH5")
class TestHouse(RuleTests):
    rules = RULES


def test_nothing_is_allowed_that_is_not_there() -> None:
    """A reason for a name that is gone would excuse the next one that takes it."""
    tree = this_repository()
    assert set(ACTIVITIES) <= {str(path) for path in modules(tree)}
    assert {one.name for one, _ in same_names(tree)} == set(SAME_NAMES)
