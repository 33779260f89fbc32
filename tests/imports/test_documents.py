"""Foreign JSON and foreign files are read strictly, or refused with a word for it (contract IM3)."""

from __future__ import annotations

import json
import math
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.errors import InvalidMessage, NotFound
from pillarbox.imports.documents import (
    DEPTH_MAX,
    Unreadable,
    directory,
    parse,
    parse_object,
    read_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(json_values)
def test_what_is_json_comes_back(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_what_is_not_json_is_refused_and_nothing_else_happens(raw: bytes) -> None:
    try:
        parse(raw)
    except Unreadable as exc:
        assert exc.reason in ("not_json", "too_deep")  # noqa: PT017 — most texts are refused, some are not


@pytest.mark.contract("IM3")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b'{"a": 1} {}', "not_json"),
        (b'{"a": 1,}', "not_json"),
        (b"{'a': 1}", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": Infinity}', "not_json"),
        (b'{"a": -Infinity}', "not_json"),
        (b'{"a": 1, "a": 2}', "not_json"),
        (b'{"a": {"b": 1, "b": 1}}', "not_json"),
        (b'{"a": "\\ud800"}', "not_json"),
        (b'{"\\udfff": 1}', "not_json"),
        (b'{"a": "\xff"}', "not_json"),
        (b'{"a": "\xed\xa0\x80"}', "not_json"),
        (b'\xef\xbb\xbf{"a": 1}', "not_json"),
        ('{"a": 1}'.encode("utf-16"), "not_json"),
        (b'{"a": "line\nbreak"}', "not_json"),
        (b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), "too_deep"),
        (b"[" * 500_000, "too_deep"),
        (b'{"a":' * 500_000, "too_deep"),
        (b'"' + b'\\"' * 500_000, "not_json"),
        (b'"' * 500_001, "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"{}"', "not_an_object"),
    ],
)
def test_a_text_that_is_not_strict_json_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parse_object(raw)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": "[[[[ \\" {{{{"}', {"a": '[[[[ " {{{{'}),
        (b"[" * DEPTH_MAX + b"]" * DEPTH_MAX, None),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": "\\u0000"}', {"a": "\0"}),
        (b'{"a": 9223372036854775807}', {"a": (1 << 63) - 1}),
        # As the programs that wrote it read it.
        (b'{"a": 9223372036854775808}', {"a": 2.0**63}),
        (b'{"a": 1e999, "b": -1e999}', {"a": math.inf, "b": -math.inf}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": math.inf}),
    ],
)
def test_what_only_looks_dangerous_is_read(raw: bytes, value: object) -> None:
    found = parse(raw)
    assert value is None or found == value


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "queue"
    made.mkdir()
    (tmp_path / "outside.json").write_text("{}")
    return made


def link(path: Path) -> None:
    path.symlink_to("../outside.json")


def broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    # Its name stays when it is closed. Bound by a short one: paths of sockets are limited to about 100 characters.
    here = os.open(path.parent, os.O_RDONLY)
    before = os.open(".", os.O_RDONLY)
    os.fchdir(here)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(before)
        os.close(here)
        os.close(before)


def folder(path: Path) -> None:
    path.mkdir()


def large(path: Path) -> None:
    path.write_text('"' + "x" * 100 + '"')


@pytest.mark.contract("IM3")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (link, "may_not_be_read"),
        (broken_link, "may_not_be_read"),
        (loop, "may_not_be_read"),
        (pipe, "not_regular_file"),
        (unix_socket, "may_not_be_read"),
        (folder, "not_regular_file"),
        (large, "too_large"),
    ],
)
def test_a_file_that_is_a_trap_is_not_read(root: Path, make: Callable[[Path], None], reason: str) -> None:
    make(root / "x.json")
    with directory(root) as held, pytest.raises(Unreadable) as caught:
        read_document(held, "x.json", bytes_max=100)
    assert caught.value.reason == reason


@pytest.mark.contract("IM3")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_read(root: Path) -> None:
    (root / "x.json").write_text("{}")
    os.chown(root / "x.json", 12345, 12345)
    with directory(root) as held, pytest.raises(Unreadable, match="another_users_file"):
        read_document(held, "x.json", bytes_max=100)
    os.chown(root, 12345, 12345)
    with pytest.raises(InvalidMessage, match="own"), directory(root):
        pass


@pytest.mark.contract("IM3")
def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("file", "link"):
        with pytest.raises(InvalidMessage) as caught, directory(tmp_path / name):
            pass
        assert caught.value.field == "path"
    with pytest.raises(NotFound), directory(tmp_path / "nowhere"):
        pass
