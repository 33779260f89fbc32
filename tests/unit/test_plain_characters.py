"""JSON in which no character gives orders to a terminal, and that says the same (contract OP1)."""

from __future__ import annotations

import json
import logging

import msgspec
import pytest

from pillarbox.channels.file import encode_line
from pillarbox.cli.output import emit_json
from pillarbox.domain.message import Content
from pillarbox.domain.plain_characters import escaped
from pillarbox.events.log_format import JsonFormatter
from tests.channels.attempts import an_attempt

OBEYED = [
    *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)
]  # fmt: skip
ALL = "".join(map(chr, OBEYED))
OTHERS = 'żółw 日本語 🐢 \u200d \u00a0 \\u202e \\ \\\\ " \n \x00'


def _is_plain(text: str) -> bool:
    return not any(character in text for character in ALL)


@pytest.mark.parametrize("number", OBEYED, ids=hex)
@pytest.mark.parametrize("around", ["", "\\", "\\\\", '"', "é"])
def test_each_is_spelt_out_and_means_the_same(number: int, around: str) -> None:
    value = {f"{around}{chr(number)}{around}": [f"{around}{chr(number)}{around}"]}
    encoded = escaped(msgspec.json.encode(value))
    assert f"\\u{number:04x}".encode() in encoded
    assert _is_plain(encoded.decode())
    assert json.loads(encoded) == msgspec.json.decode(encoded) == value


def test_everything_else_stays_as_it_is() -> None:
    encoded = msgspec.json.encode({"said": OTHERS})
    assert escaped(encoded) == encoded


def test_what_a_command_writes_as_json_is_plain(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    emit_json({"answer": ALL + OTHERS})
    out = capfdbinary.readouterr().out.decode()
    assert _is_plain(out)
    assert json.loads(out) == {"answer": ALL + OTHERS}


@pytest.mark.parametrize("whole", [ALL, ALL + "\ud800"], ids=["valid", "half a pair"])
def test_what_the_log_writes_as_json_is_plain(whole: str) -> None:
    record = logging.makeLogRecord({"msg": whole, "error": whole, ALL: whole, "deep": {"list": [whole]}})
    line = JsonFormatter().format(record)
    assert _is_plain(line)
    assert json.loads(line)


def test_what_a_file_channel_writes_is_plain() -> None:
    line = encode_line(an_attempt(ALL, content=Content(text=ALL)), now_ms=0).decode()
    assert _is_plain(line)
    assert json.loads(line)["text"] == ALL
