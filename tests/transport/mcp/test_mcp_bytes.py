"""The pure byte handling: lines, events, HTTP responses, header lines."""

import contextlib
import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.endpoints import Contract
from henslowe.errors import ConfigError, LimitReached, UpstreamLost
from henslowe.transport.mcp import headers
from henslowe.transport.mcp.http1 import ResponseParser
from henslowe.transport.mcp.large_json import LongLine
from henslowe.transport.mcp.lines import LineCutter, TooLong
from henslowe.transport.mcp.sse import SseDecoder

cuts = st.lists(st.integers(0, 400), max_size=6)


def pieces(data: bytes, at: Sequence[int]) -> list[bytes]:
    marks = [0, *sorted(min(mark, len(data)) for mark in at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks) if a < b]


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=8), cuts)
def test_lines_do_not_depend_on_how_the_bytes_arrive(lines: list[bytes], at: list[int]) -> None:
    cutter = LineCutter(100)
    found = [line for piece in pieces(b"".join(line + b"\n" for line in lines), at) for line in cutter.feed(piece)]
    assert found == lines


@given(cuts, st.integers(201, 400))
def test_a_line_beyond_the_limit_is_skipped_and_the_next_one_is_found(at: list[int], size: int) -> None:
    cutter = LineCutter(200)
    found = [line for piece in pieces(b"a" * size + b"\nnext\n", at) for line in cutter.feed(piece)]
    assert isinstance(found[0], TooLong)
    assert (found[0].length, found[1:]) == (size, [b"next"])


@pytest.mark.parametrize(
    "response",
    [
        {"jsonrpc": "2.0", "id": 17, "result": {"text": "x" * 500}},
        {"result": {"id": 3, "text": "x" * 500}, "jsonrpc": "2.0", "id": 17},
        {"result": {"text": "x" * 500}, "id": 17},
        {"id": 17, "result": {"text": "x" * 500}},
    ],
)
def test_a_skipped_response_says_which_call_it_answers(response: dict[str, object]) -> None:
    (line,) = LineCutter(100).feed(json.dumps(response).encode() + b"\n")
    assert isinstance(line, TooLong)
    assert line.response_id == 17


@given(st.lists(st.integers(1, 40_000), min_size=30, max_size=30), st.integers(0, 3))
def test_long_lines_are_whole_and_so_are_those_around_them(sizes: list[int], short: int) -> None:
    long = bytes(range(11, 251)) * 3_000
    marks = list(itertools.accumulate(sizes))
    cutter = LineCutter(len(long))
    data = b"first\n" + long + b"\n" + b"s" * short + b"\n"
    found = [line for piece in pieces(data, marks) for line in cutter.feed(piece)]
    assert [line.data if isinstance(line, LongLine) else line for line in found] == [b"first", long, b"s" * short]


@given(cuts, st.booleans())
def test_it_says_so_however_its_bytes_arrive(at: list[int], id_first: bool) -> None:
    told = {"jsonrpc": "2.0", "id": 17} if id_first else {}
    response = {**told, "result": {"text": "x" * 300}, **({} if id_first else {"id": 17})}
    cutter = LineCutter(100)
    (line,) = [line for piece in pieces(json.dumps(response).encode() + b"\n", at) for line in cutter.feed(piece)]
    assert isinstance(line, TooLong)
    assert line.response_id == 17


@given(cuts)
def test_events_do_not_depend_on_how_the_bytes_arrive(at: list[int]) -> None:
    data = b'retry: 250\r\nid: 7\r\ndata: {"a":\r\ndata: 1}\r\n\r\n: keepalive\n\nevent: message\ndata:{"b": 2}\n\n'
    decoder = SseDecoder(1000)
    events = [event for piece in pieces(data, at) for event in decoder.feed(piece)]
    assert [event.data for event in events] == [b'{"a":\n1}', b'{"b": 2}']
    assert (decoder.last_id, decoder.retry_s) == ("7", 0.25)


def test_an_id_goes_back_as_it_came_and_none_that_would_end_a_line() -> None:
    decoder = SseDecoder(1000)
    decoder.feed("id: zwölf\n\n".encode())
    assert decoder.last_id.encode("latin-1") == "zwölf".encode()
    decoder.feed(b"id: a\rEvil: 1\n\nid: \0\n\nretry: " + b"9" * 900 + b"\n\n")
    assert decoder.last_id.encode("latin-1") == "zwölf".encode()
    assert decoder.retry_s is None


def test_an_endless_event_reaches_the_limit() -> None:
    decoder = SseDecoder(100)
    for _ in range(4):
        decoder.feed(b"data: " + b"x" * 20 + b"\n")
    with pytest.raises(LimitReached):
        decoder.feed(b"data: " + b"x" * 20 + b"\n" + b"x" * 20)


RESPONSES = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", 200, b"hello", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", False),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, b"", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n",
        200,
        b"hello",
        True,
    ),
]


@given(st.sampled_from(RESPONSES), cuts)
def test_responses_do_not_depend_on_how_the_bytes_arrive(case: tuple[bytes, int, bytes, bool], at: list[int]) -> None:
    data, status, body, keep_alive = case
    parser = ResponseParser()
    assert b"".join(parser.feed(piece) for piece in pieces(data, at)) == body
    assert (parser.complete, parser.status, parser.keep_alive) == (True, status, keep_alive)


fields = st.sampled_from(
    [
        *[b"Content-Length: 3"] * 6,
        b"content-length: 3",
        b"Content-Length:3",
        b"Content-Length : 3",
        b"Content-Length: 03",
        b"Content-Length: 4",
        b"X-Strength: 4",
        b"X: Content-Length: 4",
        b"X: a\nContent-Length: 4",
        b"X: \0",
        b" Content-Length: 4",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
    ]
)
first_lines = st.sampled_from([*[b"HTTP/1.1 200 OK"] * 6, b"HTTP/1.0 200 OK", b"HTTP/1.1 204 OK", b"HTTP/1.1 304 OK"])
contents = [b"", b"1\r\nx\r\n0\r\n\r\n", b"xyz", b"xyzHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]


def read(parser: ResponseParser, data: bytes) -> tuple[object, ...]:
    """All that a parser makes of bytes."""
    body = parser.feed(data)
    keep_alive = parser.complete and parser.keep_alive
    headers = {name: value for name, value in parser.headers.items() if name != "content-length"}
    return parser.status, headers, parser.complete, keep_alive, body, parser.excess


@given(first_lines, st.lists(fields, max_size=3), st.integers(0, 12), st.sampled_from(contents))
def test_a_head_that_is_known_again_is_read_as_a_new_one(
    first: bytes, lines: list[bytes], length: int, content: bytes
) -> None:
    head = b"\r\n".join([first, *lines, b"", b""])
    before = ResponseParser()
    with contextlib.suppress(UpstreamLost):
        before.feed(head)
    again = head.replace(b"3", b"%d" % length) + content
    found = None if before.pattern is None else before.pattern.match(again)
    if before.pattern is not None and found is not None:
        begins, left = found
        known = ResponseParser.within(before.pattern.made, left)
        assert read(known, again[begins:]) == read(ResponseParser(), again)


def test_a_response_without_a_length_ends_with_the_connection() -> None:
    parser = ResponseParser()
    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\nhel") + parser.feed(b"lo") == b"hello"
    assert not parser.complete
    parser.end()
    assert parser.complete


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_what_is_not_http_is_refused(data: bytes) -> None:
    with pytest.raises(UpstreamLost):
        ResponseParser().feed(data)


def test_a_response_that_breaks_off_is_a_loss() -> None:
    parser = ResponseParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    with pytest.raises(UpstreamLost):
        parser.end()


def test_of_a_clients_headers_only_parameters_and_tracing_are_passed_on() -> None:
    sent = {
        "Authorization": "Bearer x",
        "Mcp-Param-Region": "eu",
        "mcp-param-odd": "1",
        "traceparent": "00",
        "Cookie": "c",
    }
    assert headers.passed_on(sent) == "Mcp-Param-Region: eu\r\nmcp-param-odd: 1\r\ntraceparent: 00\r\n"
    assert headers.passed_on({"mcp-param-x": "a\r\nEvil: 1"}) == ""
    assert headers.passed_on({"mcp-param-x\r\nEvil": "1"}) == ""


def test_a_configured_header_that_would_break_out_of_its_line_is_refused() -> None:
    with pytest.raises(ConfigError):
        headers.header_lines({"X-Token": "a\r\nEvil: 1"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [("greet", "greet"), ("two words", "two words"), ("grüß", "=?base64?Z3LDvMOf?="), (" a", "=?base64?IGE=?=")],
)
def test_names_are_written_as_headers_can_carry_them(value: str, expected: str) -> None:
    assert headers.header_value(value) == expected


def test_long_names_are_not_remembered() -> None:
    before = headers._remembered.cache_info()
    assert headers.header_value("n" * 1_000_000) == "n" * 1_000_000
    assert headers._remembered.cache_info() == before


def test_arguments_that_a_tool_wants_in_headers_are_repeated_for_clients_that_do_not_know() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    wanted = headers.param_headers_of(Contract(tools=({"name": "t", "inputSchema": schema}, {"name": "u"})))
    assert headers.param_headers(wanted, {"name": "t", "arguments": {"region": "eu"}}) == {"Mcp-Param-Region": "eu"}
    assert headers.param_headers(wanted, {"name": "u", "arguments": {"region": "eu"}}) == {}
