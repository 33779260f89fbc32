"""Configuration files: which one is read, and what each unreadable one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillarbox.errors import ConfigError
from pillarbox.settings.load import load, paths
from pillarbox.settings.model import Settings

TOML = "durability = 'process'\n"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {"XDG_CONFIG_HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "home")}


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    (tmp_path / "cwd").mkdir()
    return tmp_path / "cwd"


def written(path: Path, text: str | bytes = TOML) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.contract("CF3")
def test_without_any_file_there_are_defaults(home: dict[str, str], cwd: Path) -> None:
    loaded = load(environ=home, cwd=cwd)
    assert loaded.file is None
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.settings == Settings(db=f"{home['XDG_STATE_HOME']}/pillarbox/outbox.db")


@pytest.mark.contract("CF3")
def test_the_file_nearest_to_hand_is_read(home: dict[str, str], cwd: Path) -> None:
    user = written(Path(home["XDG_CONFIG_HOME"]) / "pillarbox" / "pillarbox.yaml", "concurrency: 1")
    assert load(environ=home, cwd=cwd).settings.concurrency == 1
    here = written(cwd / "pillarbox.toml", "concurrency = 2")
    assert load(environ=home, cwd=cwd).settings.concurrency == 2
    named = written(cwd / "other" / "named.yml", "concurrency: 3")
    by_variable = {**home, "PILLARBOX_CONFIG": str(named)}
    assert load(environ=by_variable, cwd=cwd).settings.concurrency == 3
    explicit = written(cwd / "explicit.toml", "concurrency = 4")
    assert load(path=explicit, environ=by_variable, cwd=cwd).settings.concurrency == 4
    assert [one.path for one in paths(environ=home, cwd=cwd) if one.used] == [here]
    assert [one.path for one in paths(environ=home, cwd=cwd) if one.exists] == [here, user]
    assert [one.path for one in paths(environ=by_variable, cwd=cwd)] == [named]
    assert [one.path for one in paths(path=explicit, environ=by_variable, cwd=cwd)] == [explicit]


@pytest.mark.contract("CF3")
@pytest.mark.parametrize("name", ["pillarbox.toml", "pillarbox.yaml", "pillarbox.yml"])
def test_each_name_of_a_file_is_found(home: dict[str, str], cwd: Path, name: str) -> None:
    file = written(cwd / name, "concurrency = 2" if name.endswith("toml") else "concurrency: 2")
    assert load(environ=home, cwd=cwd).file == file


def test_relative_paths_count_from_the_working_directory(home: dict[str, str], cwd: Path) -> None:
    written(cwd / "etc" / "a.toml")
    assert load(path="etc/a.toml", environ=home, cwd=cwd).settings.durability == "process"
    assert load(environ={**home, "PILLARBOX_CONFIG": "etc/a.toml"}, cwd=cwd).settings.durability == "process"
    assert load(environ={**home, "pillarbox_config": "etc/a.toml"}, cwd=cwd).settings.durability == "process"


@pytest.mark.parametrize("empty", ["", "# nothing\n", "---\n", "limits:\nchannels: {ops: }\negress: {}\n"])
def test_an_empty_file_and_empty_sections_are_fine(home: dict[str, str], cwd: Path, empty: str) -> None:
    loaded = load(path=written(cwd / "a.yaml", empty), environ=home)
    assert loaded.settings == load(environ=home, cwd=cwd).settings


@pytest.mark.parametrize(("name", "text"), [("a.toml", "concurrency = 5"), ("a.yaml", "concurrency: 5")])
def test_a_byte_order_mark_is_no_part_of_a_key(home: dict[str, str], cwd: Path, name: str, text: str) -> None:
    assert load(path=written(cwd / name, f"\ufeff{text}"), environ=home).settings.concurrency == 5


def test_two_files_in_one_place_are_refused(home: dict[str, str], cwd: Path) -> None:
    written(cwd / "pillarbox.toml")
    written(cwd / "pillarbox.yml", "a: b")
    with pytest.raises(ConfigError, match=r"not pillarbox\.toml and pillarbox\.yml; remove or name one"):
        load(environ=home, cwd=cwd)


def test_an_empty_config_variable_is_refused(home: dict[str, str], cwd: Path) -> None:
    with pytest.raises(ConfigError, match="PILLARBOX_CONFIG: expected the path of a configuration file"):
        load(environ={**home, "PILLARBOX_CONFIG": " "}, cwd=cwd)


DEEP_TOML = "a = " + "[" * 40 + "]" * 40
VERY_DEEP_TOML = "a = " + "[" * 5000 + "]" * 5000
DEEP_YAML = "a: " + "[" * 40 + "]" * 40
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)
)
ALIASES = "a: &a x\nb: [" + ", ".join(["*a"] * 101) + "]"
MERGES = "m0: &m0 {k: v}\n" + "".join(f"m{n + 1}: &m{n + 1} {{<<: [*m{n}, *m{n}]}}\n" for n in range(40))
MANY = "a: [" + "1," * 100_001 + "]"

REFUSED = [
    ("a.toml", b"x = ", "expected TOML: Invalid value (at end of document)"),
    ("a.toml", b"db = 'x'\nlimits = {\n", "(at line 2,"),
    ("a.toml", b"db = 'x'\ndb = 'y'\n", "expected TOML: Cannot overwrite a value (at line 2,"),
    ("a.toml", b"db = '\xff'", "expected text in UTF-8; byte 6 is none"),
    ("a.toml", f"a = {'9' * 5000}".encode(), "a number or date in it cannot be read"),
    ("a.toml", DEEP_TOML.encode(), "nested at most 32 deep"),
    ("a.toml", VERY_DEEP_TOML.encode(), "nested at most 32 deep"),
    ("a.toml", b"#" * ((1 << 20) + 1), "expected at most 1048576 bytes"),
    ("a.toml", f"a = [{'1,' * 100_001}]".encode(), "expected at most 100000 values"),
    ("a.yaml", b"a: b: c", "expected YAML: line 1, column 5: mapping values are not allowed here"),
    ("a.yaml", b"limits:\n  messages: 5\n  messages: 6\n", "line 3, column 3: the key 'messages' stands there twice"),
    ("a.yaml", b"a: 1\n'a': 2\n", "the key 'a' stands there twice"),
    ("a.yaml", b"a: !!python/object/apply:os.system [x]", "line 1, column 4: could not determine a constructor"),
    ("a.yaml", b"a: *b", "line 1, column 4: found undefined alias"),
    ("a.yaml", b"a: 1\n---\nb: 2\n", "line 2, column 1: but found another document"),
    ("a.yaml", b"a: \x00", "a character that YAML does not allow"),
    ("a.yaml", b"{[a]: b}", "unhashable key"),
    ("a.yaml", f"a: {'9' * 5000}".encode(), "a value that cannot be read"),
    ("a.yaml", b"- a\n- b", "expected settings by name, not a list"),
    ("a.yaml", b"just text", "expected settings by name, not a text"),
    ("a.yaml", b"5", "expected settings by name, not a number"),
    ("a.yaml", DEEP_YAML.encode(), "tables nested deeper than 32"),
    ("a.yaml", b"- " * 5000, "tables nested deeper than 32"),
    ("a.yaml", b"a: &a [*a]", "nested at most 32 deep"),
    ("a.yaml", BOMB.encode(), "expected at most 100000 values"),
    ("a.yaml", ALIASES.encode(), "more than 100 aliases"),
    ("a.yaml", MERGES.encode(), "more than 10000 keys merged into one table"),
    ("a.yaml", b"a: &a {<<: *a}\nb: 1", "no such setting"),
    ("a.yaml", b"db: \xff\xfe", "expected text in UTF-8"),
    ("a.yaml", b"#" * ((1 << 20) + 1), "expected at most 1048576 bytes"),
    ("a.yaml", b"a: !!timestamp x", "a value that cannot be read"),
    ("a.yaml", b"a: !!bool maybe", "a value that cannot be read"),
    ("a.yaml", b"a: !!int ''", "a value that cannot be read"),
    ("a.ini", b"{}", "expected a file named .toml, .yaml, .yml or .json"),
    ("pillarbox", b"", "expected a file named .toml, .yaml, .yml or .json"),
]


@pytest.mark.contract("CF2")
@pytest.mark.parametrize(("name", "content", "expected"), REFUSED, ids=[expected for *_, expected in REFUSED])
def test_an_unreadable_file_says_why(home: dict[str, str], cwd: Path, name: str, content: bytes, expected: str) -> None:
    file = written(cwd / name, content)
    with pytest.raises(ConfigError) as refused:
        load(path=file, environ=home)
    assert expected in refused.value.expected
    assert refused.value.field in {str(file), "a"}


def test_thirty_two_tables_are_not_too_deep(home: dict[str, str], cwd: Path) -> None:
    """The foreign part of a file is bounded and otherwise none of our business."""
    deep = "[" * 31 + "1" + "]" * 31
    load(path=written(cwd / "a.yaml", f"deliveryQueue:\nagents: {deep}"), environ=home)
    load(path=written(cwd / "a.toml", f"deliveryQueue = {{}}\nagents = {deep}"), environ=home)
    for deeper in (f"[{deep}]", deep.replace("1", "[]")):
        with pytest.raises(ConfigError, match="deep"):
            load(path=written(cwd / "a.yaml", f"deliveryQueue:\nagents: {deeper}"), environ=home)
        with pytest.raises(ConfigError, match="deep"):
            load(path=written(cwd / "a.toml", f"deliveryQueue = {{}}\nagents = {deeper}"), environ=home)


def test_aliases_and_merges_work(home: dict[str, str], cwd: Path) -> None:
    text = "channels:\n  a: &a {url: 'x:y', lane: none, ttl: 5m}\n  b: {<<: *a, ttl: 6m}\n  c: *a\n"
    channels = load(path=written(cwd / "a.yaml", text), environ=home).settings.channels
    assert channels["a"] == channels["c"]
    assert (channels["b"].lane, channels["b"].ttl) != (channels["a"].lane, channels["a"].ttl)


@pytest.mark.contract("CF2")
@pytest.mark.parametrize("how", ["missing", "directory", "dangling link", "link to itself", "pipe", "NUL", "beneath"])
@pytest.mark.parametrize("named", ["by the caller", "by PILLARBOX_CONFIG"])
def test_a_named_file_that_is_no_file_says_so(home: dict[str, str], cwd: Path, how: str, named: str) -> None:
    file = cwd / "pillarbox.toml"
    match how:
        case "directory":
            file.mkdir()
        case "dangling link":
            file.symlink_to(cwd / "nowhere")
        case "link to itself":
            file.symlink_to(file)
        case "pipe":
            os.mkfifo(file)
        case "NUL":
            file = cwd / "a\0.toml"
        case "beneath":
            file = written(cwd / "a.txt") / "b.toml"
    by_caller = named == "by the caller"
    environ = home if by_caller else {**home, "PILLARBOX_CONFIG": str(file)}
    with pytest.raises(ConfigError) as refused:
        load(path=file if by_caller else None, environ=environ)
    assert refused.value.field == str(file)
    wanted = {
        "missing": "there is none",
        "directory": "not a directory",
        "dangling link": "there is none",
        "link to itself": "Too many levels of symbolic links",
        "pipe": "not something else",
        "NUL": "embedded null",  # and then "byte", or "character" from Python 3.13 on
        "beneath": "Not a directory",
    }
    assert wanted[how] in refused.value.expected
    assert f"(named {named})" in refused.value.expected


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(home: dict[str, str], cwd: Path) -> None:
    file = written(cwd / "a.toml")
    file.chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        load(path=file, environ=home)


@pytest.mark.parametrize("how", ["directory", "dangling link"])
def test_what_stands_in_the_way_of_a_file_is_not_passed_over(home: dict[str, str], cwd: Path, how: str) -> None:
    """Else a broken link to /etc would silently mean the defaults."""
    if how == "directory":
        (cwd / "pillarbox.toml").mkdir()
    else:
        (cwd / "pillarbox.toml").symlink_to(cwd / "nowhere")
    with pytest.raises(ConfigError, match=r"\(the working directory\)"):
        load(environ=home, cwd=cwd)


def test_a_link_to_a_file_is_followed(home: dict[str, str], cwd: Path) -> None:
    (cwd / "pillarbox.toml").symlink_to(written(cwd / "real.toml"))
    assert load(environ=home, cwd=cwd).settings.durability == "process"


@pytest.mark.contract("CF2")
@settings(max_examples=60)
@given(
    text=st.text("abc:-[]{}&*!|>'\"#%@`? \n\t<,.0123456789_=", max_size=60) | st.text(max_size=30),
    suffix=st.sampled_from([".toml", ".yaml"]),
)
def test_whatever_a_file_holds_gives_settings_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, suffix: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / f"fuzz{suffix}"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    told = ""
    try:
        load(path=file, environ={"XDG_STATE_HOME": str(folder)})
    except ConfigError as refused:
        told = refused.expected
    assert len(told) < 1000
