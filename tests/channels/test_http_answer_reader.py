"""Where an answer ends, whatever a receiver writes and in whatever pieces it comes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.channels.http.answer_reader import (
    ANSWER_BYTES_MAX,
    HEAD_BYTES_MAX,
    INTERIM_MAX,
    AnswerReader,
    Unintelligible,
)


@dataclass(frozen=True)
class Read:
    """What became of some bytes; ``status`` is 0 where they are no answer."""

    status: int
    body: bytes = b""
    rest: bytes = b""
    over: bool = True
    keeps: bool = True


NO_ANSWER = Read(0, over=False, keeps=False)


def read(data: bytes, cuts: tuple[int, ...] = (), *, ended: bool = False) -> Read:
    """Read *data*, cut there, to its end."""
    reader, rest, begin = AnswerReader(), b"", 0
    try:
        for cut in (*sorted(cuts), len(data)):
            rest += data[begin:cut] if reader.over else reader.feed(data[begin:cut])
            begin = cut
    except Unintelligible:
        assert (reader.status, reader.over) == (0, False)
        return NO_ANSWER
    if ended:
        reader.end()
    return Read(reader.status, bytes(reader.body), rest, reader.over, reader.keeps)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TWO = b"Content-Length: 2\r\n"
LAST = OK + TWO + b"\r\nok"
HELD = b"0\r\n\r\n\r\n\r\nx"

WHOLE: dict[str, tuple[bytes, Read]] = {
    "a length": (LAST + b"MORE", Read(200, b"ok", b"MORE")),
    "an empty body": (OK + b"Content-Length: 0\r\n\r\nHTTP/1.1", Read(200, b"", b"HTTP/1.1")),
    "lone line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", Read(200, b"ok")),
    "no phrase": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Read(200)),
    "blanks around a length": (OK + b"Content-Length:   2  \r\n\r\nok\r\n", Read(200, b"ok", b"\r\n")),
    "empty lines before": (b"\r\n\r\n" + LAST, Read(200, b"ok")),
    "octets beyond ASCII": (OK + "X: ż\r\n".encode() + TWO + b"\r\nok", Read(200, b"ok")),
    "chunks": (CHUNKED + b"2\r\nok\r\n1;x=y\r\n!\r\n0\r\n\r\nMORE", Read(200, b"ok!", b"MORE")),
    "chunks that hold what ends them": (CHUNKED + b"a\r\n" + HELD + b"\r\n0\r\n\r\n", Read(200, HELD)),
    "chunks and a line": (CHUNKED + b"2\r\nok\r\n0\r\n\r\n\r\n", Read(200, b"ok", b"\r\n")),
    "trailers": (CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\nRetry-After: 9\r\n\r\n", Read(200, b"ok")),
    "a 204": (b"HTTP/1.1 204 No Content\r\n\r\nok", Read(204, b"", b"ok")),
    "a 204 with a length": (b"HTTP/1.1 204 No Content\r\n" + TWO + b"\r\nok", Read(204, b"", b"ok", keeps=False)),
    "a 204 with no length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Read(204)),
    "a 204 with chunks": (b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", Read(204, keeps=False)),
    "a 304 with a length": (b"HTTP/1.1 304 X\r\n" + TWO + b"\r\n", Read(304, keeps=False)),
    "the last answer": (OK + TWO + b"Connection: close\r\n\r\nok", Read(200, b"ok", keeps=False)),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n" + TWO + b"\r\nok", Read(200, b"ok", keeps=False)),
    "HTTP/1.0 that is kept": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + TWO + b"\r\nok", Read(200, b"ok")),
    "interim answers": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nA: b\r\n\r\n" + LAST, Read(200, b"ok")),
    "an interim one with a length": (b"HTTP/1.1 102 X\r\nContent-Length: 999\r\n\r\n" + LAST, Read(200, b"ok")),
    "an interim one with chunks": (b"HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST, Read(200, b"ok")),
    "an interim one that closes": (b"HTTP/1.1 100 X\r\nConnection: close\r\n\r\n" + LAST, Read(200, b"ok")),
    "another protocol": (b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n\0\0", Read(101, b"", b"\0\0")),
    "another protocol, not named": (b"HTTP/1.1 101 X\r\n\r\nok", Read(101, b"", b"ok")),
    "odd statuses": (b"HTTP/1.1 999 X\r\n" + TWO + b"\r\nok", Read(999, b"ok")),
}  # fmt: skip


@pytest.mark.contract("CL5", "CL6")
@pytest.mark.parametrize("case", WHOLE)
def test_an_answer_ends_where_http_says_in_whatever_pieces_it_comes(case: str) -> None:
    data, expected = WHOLE[case]
    for cut in range(len(data) + 1):
        assert read(data, (cut,)) == expected
    assert read(data, tuple(range(len(data)))) == expected


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.integers(0, 200), max_size=8))
def test_nor_does_it_matter_how_many_pieces_there_are(case: str, cuts: list[int]) -> None:
    data, expected = WHOLE[case]
    assert read(data, tuple(min(cut, len(data)) for cut in cuts)) == expected


@pytest.mark.contract("CL5")
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK + b"\r\nuntil it ends\r\n\r\nand on", b"until it ends\r\n\r\nand on"),
        (b"HTTP/1.0 200 OK\r\n\r\n", b""),
        (OK + b"Transfer-Encoding: gzip\r\n\r\nabc", b"abc"),
        (OK + b"Content-Length: 9\r\n\r\ncut", b"cut"),
        (CHUNKED + b"9\r\ncut", b"cut"),
        (CHUNKED, b""),
    ],
)
def test_a_body_may_end_with_its_connection(data: bytes, body: bytes) -> None:
    assert read(data) == Read(200, body, over=False, keeps=read(data).keeps)
    assert read(data, ended=True) == Read(200, body, keeps=False)


def test_half_a_head_is_no_answer_when_the_connection_ends() -> None:
    for cut in range(len(OK + TWO)):
        assert read((OK + TWO)[:cut], ended=True) == NO_ANSWER


NO_HTTP = {
    "mail": b"220 mail.example.org ESMTP\r\n",
    "a shell": b"SSH-2.0-OpenSSH\r\n",
    "radio": b"ICY 200 OK\r\n\r\n",
    "HTML": b"<html>",
    "frames": b"\0\0\x12\x04\0\0\0\0\0",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "no version": b"HTTP/ 200 OK\r\n\r\n",
    "HTTP/3.7": b"HTTP/3.7 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "below all statuses": b"HTTP/1.1 099 X\r\n\r\n",
    "zero": b"HTTP/1.1 000 X\r\n\r\n",
    "a sign": b"HTTP/1.1 +20 X\r\n\r\n",
    "a NUL": OK + b"X: a\0b\r\n\r\n",
    "a lone CR": OK + b"X: a\rY: b\r\n\r\n",
    "a nameless header": OK + b": x\r\n\r\n",
    "a header without a colon": OK + b"nonsense\r\n\r\n",
}


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("case", NO_HTTP)
def test_what_is_no_answer_is_not_taken_for_one(case: str) -> None:
    for cut in range(len(NO_HTTP[case]) + 1):
        assert read(NO_HTTP[case], (cut,)) == NO_ANSWER


# Each says of one body that it ends here and there. Whoever believes either is led by whoever wrote it.
TWO_ENDS = {
    "length and chunks": TWO + b"Transfer-Encoding: chunked\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\n" + TWO,
    "two lengths": TWO + b"Content-Length: 3\r\n",
    "the same length twice": TWO + TWO,
    "a list of lengths": b"Content-Length: 2, 2\r\n",
    "a signed length": b"Content-Length: +2\r\n",
    "a negative length": b"Content-Length: -2\r\n",
    "a length in hexadecimal": b"Content-Length: 0x2\r\n",
    "a length that overflows": b"Content-Length: 18446744073709551618\r\n",
    "a length with a blank": b"Content-Length: 2 2\r\n",
    "a length in other digits": b"Content-Length: \xef\xbc\x92\r\n",
    "no length": b"Content-Length: x\r\n",
    "a blank before the colon": b"Content-Length : 2\r\n",
    "chunks, a blank before the colon": b"Transfer-Encoding : chunked\r\n",
}


@pytest.mark.contract("CL6")
@pytest.mark.parametrize("case", TWO_ENDS)
def test_an_answer_of_two_ends_is_none(case: str) -> None:
    assert read(OK + TWO_ENDS[case] + b"\r\n2\r\nok\r\n0\r\n\r\n") == NO_ANSWER


# Not quite chunks: who takes them for chunks may be led, so such a body lasts until the connection ends.
@pytest.mark.contract("CL6")
@pytest.mark.parametrize("value", [b"xchunked", b"chunkedx", b"chunked, identity", b"identity", b"'chunked'"])
def test_what_is_not_quite_chunks_ends_with_its_connection(value: bytes) -> None:
    found = read(OK + b"Transfer-Encoding: " + value + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n" + OK + b"\r\n")
    assert (found.over, found.keeps) == (False, False)


@pytest.mark.contract("CL5")
@pytest.mark.parametrize(
    "lie",
    [
        b"no chunk at all\r\n", b"-1\r\nx\r\n", b"+2\r\nok\r\n", b"0x2\r\nok\r\n", b" 2\r\nok\r\n", b"\r\n",
        b"2\r\nokay\r\n", b"1\r\nok\r\n", b"ffffffffffffffffff\r\n", b"2\nok\n0\n\n", b"2 2\r\nok\r\n",
    ],
    ids=ascii,
)  # fmt: skip
def test_chunks_that_lie_end_the_body_and_the_connection_and_change_no_status(lie: bytes) -> None:
    data = CHUNKED + b"2\r\nok\r\n" + lie + b"0\r\n\r\n" + b"HTTP/1.1 500 X\r\n\r\n"
    found = read(data)
    assert (found.status, found.over, found.keeps) == (200, True, False)
    assert found.body[:2] == b"ok"
    assert b"500" not in found.body


# --- how much is looked at --------------------------------------------------------------------------------------------


def fed(piece: bytes, begin: bytes = b"") -> tuple[AnswerReader, int]:
    """Feed *piece* for as long as anybody reads it; how often that was."""
    reader = AnswerReader()
    reader.feed(begin)
    for times in range(1_000_000):
        if reader.over:
            return reader, times
        reader.feed(piece)
    raise AssertionError("it would be read for ever")


@pytest.mark.contract("ST10")
@pytest.mark.parametrize(
    ("piece", "begin"),
    [
        (b"X: " + b"y" * 60 + b"\r\n", OK),
        (b"a: b\r\n", OK),
        (b"y" * 1000, OK + b"X: "),
        (b"y", OK + b"X: "),
        (b"y" * 1000, b"HTTP/1.1 200 "),
        (b"X: y\r\n", b"HTTP/1.1 103 Hints\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b""),
        (b"\r\n", b""),
        (b"HTTP/1.1 103 X\r\nLink: " + b"y" * 4000 + b"\r\n\r\n", b""),
        (b"X: y\r\n", OK + b"Transfer-Encoding: chunked\r\n"),
    ],
    ids=["headers", "short headers", "a line", "a line, by bytes", "a phrase", "interim headers", "interim answers",
         "empty lines", "large interim answers", "headers before chunks"],
)  # fmt: skip
def test_a_head_without_an_end_is_left(piece: bytes, begin: bytes) -> None:
    with pytest.raises(Unintelligible):
        fed(piece, begin)


@pytest.mark.contract("ST10")
def test_as_many_interim_answers_are_read_as_we_say_and_as_much_of_heads() -> None:
    interim, last = b"HTTP/1.1 100 X\r\n\r\n", LAST
    assert read(interim * INTERIM_MAX + last) == Read(200, b"ok")
    assert read(interim * (INTERIM_MAX + 1) + last) == NO_ANSWER
    room = HEAD_BYTES_MAX - len(OK + TWO + b"X: \r\n\r\n")
    assert read(OK + TWO + b"X: " + b"y" * room + b"\r\n\r\nok") == Read(200, b"ok")
    assert read(OK + TWO + b"X: " + b"y" * (room + 1) + b"\r\n\r\nok") == NO_ANSWER


@pytest.mark.contract("ST10")
@pytest.mark.parametrize(
    ("piece", "begin"),
    [
        (b"y" * 5000, OK + b"\r\n"),
        (b"y", OK + b"\r\n"),
        (b"y" * 5000, OK + b"Content-Length: 99999999999\r\n\r\n"),
        (b"1\r\ny\r\n", CHUNKED),
        (b"y" * 5000, CHUNKED + b"ffffffff\r\n"),
        (b"y" * 5000, CHUNKED + b"1;"),
        (b"1;" + b"x" * 5000 + b"\r\ny\r\n", CHUNKED),
        (b"X: " + b"y" * 500 + b"\r\n", CHUNKED + b"0\r\n"),
        (b"y" * 5000, CHUNKED + b"0\r\nX: "),
        (b"\r\n\r\n" * 500, OK + b"\r\n"),
    ],
    ids=["to the end", "by bytes", "a length", "small chunks", "a large chunk", "an extension", "extensions",
         "trailers", "a trailer", "ends"],
)  # fmt: skip
def test_no_more_of_a_body_is_read_than_the_cap_however_it_is_framed(piece: bytes, begin: bytes) -> None:
    reader, times = fed(piece, begin)
    assert times * len(piece) <= ANSWER_BYTES_MAX + len(piece)
    assert len(reader.body) <= ANSWER_BYTES_MAX
    assert (reader.status, reader.keeps) == (200, False)
    assert "X" not in reader.headers


def test_a_body_as_long_as_the_cap_is_whole_and_its_connection_kept() -> None:
    body = b"y" * ANSWER_BYTES_MAX
    assert read(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body) == Read(200, body)
    assert read(OK + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body + b"y") == Read(
        200, body, b"y", keeps=False
    )


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_no_bytes_raise_anything_but_that_they_are_no_answer(data: bytes, cuts: list[int]) -> None:
    for begin in (b"", b"HTTP/1.1 ", OK, CHUNKED, OK + TWO + b"\r\n"):
        read(begin + data, tuple(cuts))
