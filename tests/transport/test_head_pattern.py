"""Heads that repeat are known again by a comparison, and others are not taken for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.transport.head_pattern import DIGITS_MAX, Pattern, split
from henslowe.transport.mcp.http1 import ResponseParser

HEAD = b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 12\r\nDate: today\r\n\r\n"


def pattern(head: bytes = HEAD) -> Pattern[str]:
    parts = split(head)
    assert parts is not None
    return Pattern("made", parts[0], parts[2])


@given(length=st.integers(0, 10**DIGITS_MAX - 1), body=st.binary(max_size=20))
def test_a_head_with_another_length_is_known_again(length: int, body: bytes) -> None:
    head = HEAD.replace(b"12", str(length).encode())
    assert pattern().match(head + body) == (len(head), length)


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"today", b"tomorrow"),
        HEAD.replace(b"Server: s", b"Server: t"),
        HEAD.replace(b"12", b""),
        HEAD.replace(b"12", b"-1"),
        HEAD.replace(b"12", b"1_2"),
        HEAD.replace(b"12", b"12 "),
        HEAD.replace(b"12", b"12, 13"),
        HEAD.replace(b"12", "\u0662".encode()),
        HEAD.replace(b"12", b"9" * (DIGITS_MAX + 1)),
        HEAD.replace(b"Content-Length: 12\r\n", b"Content-Length: 12\r\nContent-Length: 13\r\n"),
        HEAD.replace(b"Content-Length: 12\r\n", b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n"),
        HEAD[:-2],
        HEAD[: HEAD.index(b"12") + 1],
        b"",
    ],
)
def test_whatever_else_differs_makes_it_another_head(other: bytes) -> None:
    assert pattern().match(other) is None


@given(cut=st.integers(0, len(HEAD) - 1))
def test_a_part_of_a_head_is_not_taken_for_it(cut: int) -> None:
    assert pattern().match(HEAD[:cut]) is None


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-ength: 5\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: content-length: 5\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\ncontent-length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12",
        HEAD + b"body",
        b"",
    ],
)
def test_only_a_head_with_one_usual_length_has_a_pattern(head: bytes) -> None:
    assert split(head) is None


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"Date: today", b"Transfer-Encoding: chunked"),
        HEAD.replace(b"200 OK", b"204 No Content"),
        HEAD.replace(b"today", b"t" * 5_000),
    ],
)
def test_a_response_that_is_not_framed_by_its_length_alone_or_very_long_is_read_each_time(head: bytes) -> None:
    parser = ResponseParser()
    parser.feed(head)
    assert parser.status
    assert parser.pattern is None
