"""HTTP requests to MCP endpoints whose headers, paths and framing are changed, around the bodies of `bodies`."""

from __future__ import annotations

import random

from bench.mcp_fuzzing.bodies import MODERN, Bodies

NAMES = [
    *(b"MCP-Protocol-Version", b"Mcp-Method", b"Mcp-Name", b"Mcp-Session-Id", b"Accept", b"Content-Type", b"Origin"),
    *(b"Last-Event-ID", b"Mcp-Param-X", b"Authorization", b"traceparent", b"Content-Encoding", b"Expect", b"Cookie"),
]
VALUES = [
    *(b"", b"x", b"\xff\xfe", b"=?base64?!?=", b"=?base64?eA==?=", b"application/json", b"text/event-stream", b"*/*"),
    *(
        b"null",
        b"http://evil.example",
        b"gzip",
        b"2025-11-25",
        b"2025-03-26",
        MODERN.encode(),
        b"a" * 4_000,
        b"Bearer x",
    ),
]
PATHS = [
    *("/mcp", "/mcp/fixture", "/mcp/fixture", "/mcp/none", "/mcp/", "/mcp/fixture/", "/mcp/..%2f..", "/mcp/fixture@1"),
    *("/mcp/fixture@%5E1", "/mcp/%00", "/mcp/fixture?x=1", "/mcp/" + "a" * 300, "//mcp", "/mcp/fixture@>=0,<9"),
]


class Fuzzer:
    """An endless, seeded source of requests. Not one of them is random twice."""

    def __init__(self, seed: int, host: str, sessions: dict[str, list[str]]) -> None:
        self._random = random.Random(seed)
        self._host = host.encode()
        self._sessions = sessions
        self._bodies = Bodies(self._random)

    def request(self) -> bytes:
        """The bytes of one request, whose length is always right: the next one in the pipeline must be found."""
        roll = self._random
        message = self._bodies.message(modern := roll.random() < 0.5)
        method = message.get("method", "")
        name = message["params"].get("name") or message["params"].get("uri") or ""
        body = self._bodies.encoded(self._bodies.mutated(message))
        path = roll.choice(PATHS) if roll.random() < 0.3 else roll.choice(PATHS[:2])
        headers = [(b"Host", self._host), (b"Content-Type", b"application/json")]
        # A stream that is opened never ends: those are asked for seldom, and then the connection is given up.
        headers.append((b"Accept", b"application/json" + (b", text/event-stream" if roll.random() < 0.02 else b"")))
        if modern:
            headers += [(b"MCP-Protocol-Version", MODERN.encode()), (b"Mcp-Method", method.encode())]
            headers += [(b"Mcp-Name", name.encode())] if name else []
        else:
            headers += [(b"Mcp-Session-Id", self._session(path))]
        if roll.random() < 0.3:
            headers = self._headers(headers)
        verb = b"POST"
        if roll.random() < 0.03:
            verb = roll.choice((b"GET", b"GET", b"DELETE", b"PUT", b"OPTIONS", b"BREW"))
            if roll.random() < 0.5:
                headers = self._taken_up(headers, path)
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        start = b"%b %b HTTP/1.1\r\n%b" % (verb, path.encode(), lines)
        if roll.random() < 0.05:
            return start + b"Transfer-Encoding: chunked\r\n\r\n" + self._chunks(body)
        return b"%bContent-Length: %d\r\n\r\n%b" % (start, len(body), body)

    def _session(self, path: str) -> bytes:
        """A session of this path, or, now and then, of another one."""
        other = path not in self._sessions or self._random.random() < 0.05
        return self._random.choice(
            self._sessions[self._random.choice(list(self._sessions)) if other else path]
        ).encode()

    def _taken_up(self, headers: list[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
        """Headers of somebody who comes back to a stream, his own or another one."""
        session = self._session(path)
        event = self._random.choice((b"0", b"1", b"-1", b"x", b"9" * 40, b"%b-1" % session, b"\xff", session))
        return [*headers, (b"Mcp-Session-Id", session), (b"Accept", b"text/event-stream"), (b"Last-Event-ID", event)]

    def _chunks(self, body: bytes) -> bytes:
        """A body in chunks of any size, with what may stand beside them; of two hundred one is cut wrongly."""
        roll, parts, at = self._random, [], 0
        while at < len(body):
            piece = body[at : at + roll.choice((1, 7, 64, 5_000))]
            at += len(piece)
            parts.append(b"%x%b\r\n%b\r\n" % (len(piece), roll.choice((b"", b"", b"", b";a=b")), piece))
            if len(parts) > 20:
                parts.append(b"%X\r\n%b\r\n" % (len(body) - at, body[at:]) if at < len(body) else b"")
                break
        if roll.random() < 0.005:
            parts.insert(roll.randrange(len(parts) + 1), roll.choice((b"-1\r\n", b"zz\r\n", b"FFFFFFFFFFFFFFFFF\r\n")))
        return b"".join(parts) + b"0\r\n" + roll.choice((b"", b"", b"X-Trailer: x\r\n")) + b"\r\n"

    def _headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        roll = self._random
        headers = list(headers)
        kind = roll.random()
        if kind < 0.4:
            headers.append((roll.choice(NAMES), roll.choice(VALUES)))
        elif kind < 0.7:
            at = roll.randrange(1, len(headers))
            headers[at] = (headers[at][0], roll.choice(VALUES))
        else:
            del headers[roll.randrange(1, len(headers))]
        return headers
