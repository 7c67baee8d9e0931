"""What is known of a request's bytes without their parser is what the parser finds in them."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage
from hypothesis import example, given, settings
from hypothesis import strategies as st

from henslowe.transport.heads import Heads, owed

NEXT = b"POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"

verbs = st.sampled_from([*[b"POST"] * 4, b"GET", b"HEAD", b"OPTIONS", b"CONNECT", b"connect", b"PRI"])
fields = st.sampled_from(
    [
        *[b"Content-Length: 3"] * 4,
        *(b"content-length:3", b"Content-Length: \t3 ", b"Content-Length: 0", b"Content-Length: 03"),
        *(b"Content-Length: +3", b"Content-Length: 3, 3", b"Content-Length:", b"Content-Length : 3"),
        *(b"Content-Length:\r\n 3", b"X: a\r\n Content-Length: 3", b"X: a\nContent-Length: 3", b"X: Content-Length: 3"),
        *(b"X-ength: 5", b"X: \0", b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"TE: chunked"),
        *(b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket", b"Expect: 100-continue"),
    ]
)
bodies = st.sampled_from([b"", b"xyz", b"x", b"xyzGET", b"\r\n", b"0\r\n\r\n", b"3\r\nxyz\r\n0\r\n\r\n", NEXT])


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """Requests that are right or nearly so, in pieces."""
    requests = draw(st.lists(st.tuples(verbs, st.lists(fields, max_size=3), bodies), min_size=1, max_size=3))
    starts = draw(st.sampled_from([b"", b"", b"\r\n", b"\r\n\r\n"]))
    written = [
        starts + b"\r\n".join([verb + b" /a HTTP/1.1", b"Host: a", *lines, b"", b""]) + body
        for verb, lines, body in requests
    ]
    if draw(st.booleans()):
        return written
    data = b"".join(written)
    marks = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=3))})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@settings(max_examples=300, deadline=None)
@given(pieces())
@example([b"CONNECT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", b"GET"])
def test_where_nothing_is_owed_the_parser_begins_with_the_next_request(sent: list[bytes]) -> None:
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
        left: int | None = 0
        for piece in sent:
            try:
                found, upgraded, _ = parser.feed_data(piece)
            except HttpProcessingError:
                return  # the connection has ended, or does with the next answer
            if any(message.should_close for message, _ in found):
                return
            left = None if left is None else owed(left, piece)
            if upgraded:
                parser.set_upgraded(False)  # as for one that is declined
        if left == 0:
            messages, _, rest = parser.feed_data(NEXT)
            assert [(message.path, rest) for message, _ in messages] == [("/next", b"")]
    finally:
        loop.close()


def made(message: RawRequestMessage) -> tuple[Any, ...] | None:
    """All that a head says, but for the length; None for one whose body is not read by its length."""
    if message.upgrade or message.chunked:
        return None
    fields = [(name, value) for name, value in message.raw_headers if name.lower() != b"content-length"]
    return message.method, message.path, message.should_close, fields


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(verbs, st.lists(fields, max_size=3), bodies, st.integers(0, 4)), min_size=1, max_size=4))
def test_what_is_remembered_of_a_head_is_what_reading_each_request_says(
    requests: list[tuple[bytes, list[bytes], bytes, int]],
) -> None:
    async def compare() -> None:
        protocol = BaseProtocol(asyncio.get_running_loop())
        heads = Heads(made, field_bytes_max=8_190, fields_max=100)
        pattern = None
        for verb, lines, body, length in requests:
            head = b"\r\n".join([verb + b" /a HTTP/1.1", b"Host: a", *lines, b"", b""])
            request = head.replace(b"3", b"%d" % length) + body
            found, new = heads.find(request, protocol), Heads(made, field_bytes_max=8_190, fields_max=100)
            if pattern is not None and (at := heads.again(pattern, request)):
                assert found is not None
                assert (pattern.made, at) == (found[0].made, found[1])
            read_anew = new.find(request, protocol)
            if found is None or read_anew is None:
                assert found is read_anew
                continue
            pattern = found[0]
            assert (pattern.made, found[1]) == (read_anew[0].made, read_anew[1])
            parsed = heads.parse(request, protocol)
            assert parsed is not None
            assert made(parsed[0]) == pattern.made
            assert parsed[1].is_eof()
            assert parsed[1].read_nowait() == request[found[1] :]

    asyncio.run(compare())
