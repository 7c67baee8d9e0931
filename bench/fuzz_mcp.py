"""Half a million mutated requests over `/mcp` and `/mcp/<service>`: no 500, no hang, and the node is well afterwards.

    python bench/fuzz_mcp.py [--quick] [--json] [--check] [--requests N] [--seed N]

Valid requests of both eras are changed in their JSON, their bytes, their headers and their path, and sent in pipelines
over raw sockets, where no library tidies them. The same seed sends the same requests. What is refused must be refused
in words: a status below 500 (or 503, when a limit is reached), and JSON-RPC where the request could be read. A request
that brings a 500, or no answer in time, is printed as it was sent. So are those that the server behind the node left
unanswered, or that it had when it ended: among them is what felled it. The node refuses what no server can be expected
to answer, and the server answers the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.gateway import INITIALIZE, post, resident_kb
from tests.e2e.harness import Node, http_status

SERVER = Path(__file__).resolve().parent.parent / "tests" / "conformance" / "server.py"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
    "io.modelcontextprotocol/logLevel": "debug",
    "progressToken": 1,
}
_OPENING: dict[str, Any] = json.loads(json.dumps(INITIALIZE["params"]))
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("initialize", _OPENING),
    ("ping", {}),
    ("tools/list", {"cursor": "x"}),
    ("tools/list", {}),
    ("tools/call", {"name": "test_simple_text", "arguments": {"a": 1, "b": "two"}}),
    ("tools/call", {"name": "fixture__test_simple_text", "arguments": {}}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "test_simple_prompt", "arguments": {}}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "test://static-text"}),
    ("resources/subscribe", {"uri": "test://static-text"}),
    ("resources/unsubscribe", {"uri": "test://static-text"}),
    ("logging/setLevel", {"level": "info"}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}}),
    ("server/discover", {}),
    ("subscriptions/listen", {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a://b"]}}),
    ("tasks/get", {"taskId": "none"}),
    ("tasks/cancel", {"taskId": "none"}),
    ("notifications/initialized", {}),
    ("notifications/cancelled", {"requestId": 1, "reason": "x"}),
    ("notifications/progress", {"progressToken": 1, "progress": 0.5}),
    ("notifications/roots/list_changed", {}),
]
HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**53, 2**64, -(2**63), 1e308, "", "x", "\x00", "\ud7ff", "é" * 50, "../../etc"),
    *([], [[]], [None], {}, {"": {}}, {"_meta": None}, "a" * 9_000, ["x"] * 200, MODERN, "2025-11-25", "2099-01-01"),
    *("__proto__", "fixture__", "__", "notifications/", "tools/call", "%s%n", "{0}", "\u202e", "henslowe:state:1"),
]
SPLINTERS = [
    b"\x00",
    b"{",
    b"]",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"[" * 500,
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
]
"""Among them UTF-8 that is none: overlong, a surrogate, beyond the last character."""
TWICE = [b"jsonrpc", b"id", b"method", b"params", b"name", b"arguments", b"_meta", b"uri", b"taskId", b"x"]
BEYOND = [b"9" * 400, b"-" + b"9" * 400, b"1e999", b"18446744073709551616", b"0." + b"3" * 400, b"NaN", b"null", b'"x"']
BEYOND += [b"[" * levels + b"]" * levels for levels in (100, 130, 1_100, 20_000)]
NAMES = [b"MCP-Protocol-Version", b"Mcp-Method", b"Mcp-Name", b"Mcp-Session-Id", b"Accept", b"Content-Type", b"Origin"]
NAMES += [b"Last-Event-ID", b"Mcp-Param-X", b"Authorization", b"traceparent", b"Content-Encoding", b"Expect", b"Cookie"]
VALUES = [
    b"",
    b"x",
    b"\xff\xfe",
    b"=?base64?!?=",
    b"=?base64?eA==?=",
    b"application/json",
    b"text/event-stream",
    b"*/*",
]
VALUES += [
    b"null",
    b"http://evil.example",
    b"gzip",
    b"2025-11-25",
    b"2025-03-26",
    MODERN.encode(),
    b"a" * 4_000,
    b"Bearer x",
]
PATHS = [
    "/mcp",
    "/mcp/fixture",
    "/mcp/fixture",
    "/mcp/none",
    "/mcp/",
    "/mcp/fixture/",
    "/mcp/..%2f..",
    "/mcp/fixture@1",
]
PATHS += ["/mcp/fixture@%5E1", "/mcp/%00", "/mcp/fixture?x=1", "/mcp/" + "a" * 300, "//mcp", "/mcp/fixture@>=0,<9"]
SESSIONS_EACH = 25
SESSION_PATHS = ("/mcp", "/mcp/fixture")
CONNECTIONS = 16
PIPELINE = 8
ANSWER_S = 30.0
"""Longest wait for the answers of one pipeline, on a busy machine."""
RECOVERY_S = 15.0
"""Longest wait at the end for a server that fell over what it was sent, and is left alone for a few seconds."""
SHOWN_MAX = 5
SHOWN_BYTES = 1_500
LEFT = re.compile(rb'"reason":"timeout"|"code":"upstream_lost"')
"""In an answer of the node: the server had the request and did not answer it."""
SUSPECTS_MAX = 20


class Fuzzer:
    """An endless, seeded source of requests. Not one of them is random twice."""

    def __init__(self, seed: int, host: str, sessions: dict[str, list[str]]) -> None:
        self._random = random.Random(seed)
        self._host = host.encode()
        self._sessions = sessions
        self._mutators: list[Callable[[Any], Any]] = [self._drop, self._replace, self._add, self._wrap]

    def request(self) -> bytes:
        """The bytes of one request, whose length is always right: the next one in the pipeline must be found."""
        roll = self._random
        message = json.loads(json.dumps(self._message(modern := roll.random() < 0.5)))
        method = message.get("method", "")
        name = message["params"].get("name") or message["params"].get("uri") or ""
        for _ in range(roll.choice((0, 1, 1, 1, 2, 3))):
            message = roll.choice(self._mutators)(message)
        body = self._bytes(message)
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

    def _message(self, modern: bool) -> dict[str, Any]:
        method, params = self._random.choice(REQUESTS)
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": dict(params)}
        if not method.startswith("notifications/"):
            message["id"] = self._random.choice((1, 2, "a", 10**9))
        if modern:
            message["params"]["_meta"] = META
        return message

    def _bytes(self, message: Any) -> bytes:
        roll = self._random
        if roll.random() < 0.03:
            message = [message] * roll.choice((0, 1, 3))
        body = bytearray(json.dumps(message, ensure_ascii=roll.random() < 0.5).encode("utf-8", "surrogatepass"))
        if roll.random() < 0.15 and body:
            for _ in range(roll.choice((1, 1, 2, 8))):
                at = roll.randrange(len(body))
                kind = roll.random()
                if kind < 0.3:
                    body[at] = roll.randrange(256)
                elif kind < 0.5:
                    body[at:at] = roll.choice(SPLINTERS)
                elif kind < 0.6:
                    self._member(body)
                elif kind < 0.8:
                    del body[at : at + roll.randrange(1, 20)]
                else:
                    del body[at:]
                if not body:
                    break
        return bytes(body)

    def _member(self, body: bytearray) -> None:
        """Put a member before the first one of some object: a name twice, a number beyond all, arrays without end."""
        if (at := body.find(b"{", self._random.randrange(len(body)))) >= 0 and body[at + 1 : at + 2] == b'"':
            body[at + 1 : at + 1] = b'"%b":%b,' % (self._random.choice(TWICE), self._random.choice(BEYOND))

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

    # -- JSON ----------------

    def _place(self, message: Any) -> Any:
        """A container somewhere in the message."""
        place = message
        while isinstance(place, dict | list) and place and self._random.random() < 0.6:
            inner = [each for each in (place.values() if isinstance(place, dict) else place) if isinstance(each, dict)]
            if not inner:
                break
            place = self._random.choice(inner)
        return place

    def _key(self, place: Any) -> Any:
        return self._random.choice(list(place)) if isinstance(place, dict) and place else None

    def _hostile(self) -> Any:
        value = self._random.choice(HOSTILE)
        return copy.deepcopy(value) if isinstance(value, dict | list) else value  # it may be changed in its turn

    def _drop(self, message: Any) -> Any:
        place = self._place(message)
        if (key := self._key(place)) is not None:
            del place[key]
        return message

    def _replace(self, message: Any) -> Any:
        place = self._place(message)
        if (key := self._key(place)) is not None:
            place[key] = self._hostile()
        return message

    def _add(self, message: Any) -> Any:
        place = self._place(message)
        if isinstance(place, dict):
            names = ("id", "result", "error", "requestState", "inputResponses", "task", "x")
            place[self._random.choice(names)] = self._hostile()
        return message

    def _wrap(self, message: Any) -> Any:
        place = self._place(message)
        if (key := self._key(place)) is not None:
            for _ in range(self._random.choice((1, 3, 200))):
                place[key] = [place[key]]
        return message


@dataclass(slots=True)
class Figures:
    """What the requests brought."""

    seed: int
    sent: int = 0
    took_s: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    hung_up: int = 0
    """Connections that the node ended: the rest of their pipelines was sent again over others."""
    growth_mb: float = 0.0
    left: int = 0
    """Requests that the server left unanswered."""
    suspects: list[str] = field(default_factory=list)
    """The first of them."""
    broken: list[str] = field(default_factory=list)


class Sessions:
    """Open sessions, by the path of their endpoint."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.of = {path: [self._open(path) for _ in range(SESSIONS_EACH)] for path in SESSION_PATHS}

    def renew(self, ended_by: bytes) -> None:
        """Opens another session in place of the one that a request ended: without it the rest would meet none."""
        for path, sessions in self.of.items():
            for at, session in enumerate(sessions):
                if session.encode() in ended_by:
                    sessions[at] = self._open(path)

    def _open(self, path: str) -> str:
        return post(self._url + path, INITIALIZE, {})[0]


class Source(Protocol):
    """Where requests come from."""

    def request(self) -> bytes:
        """The bytes of the next one."""
        ...


class Driver:
    """Connections that send pipelines until enough was sent."""

    def __init__(
        self, url: str, fuzzer: Source, figures: Figures, requests: int, renew: Callable[[bytes], None]
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._fuzzer = fuzzer
        self._figures = figures
        self._requests = requests
        self._renew = renew

    async def run(self) -> None:
        """Send all requests."""
        await asyncio.gather(*(self._connection() for _ in range(CONNECTIONS)))

    async def _connection(self) -> None:
        while self._figures.sent < self._requests and len(self._figures.broken) < SHOWN_MAX:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                while self._figures.sent < self._requests and await self._pipeline(reader, writer):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError):
                self._figures.hung_up += 1
            finally:
                writer.close()

    async def _pipeline(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One pipeline; whether the connection is still good."""
        requests = [self._fuzzer.request() for _ in range(PIPELINE)]
        writer.write(b"".join(requests))
        for request in requests:
            self._figures.sent += 1
            try:
                async with asyncio.timeout(ANSWER_S):
                    status, body, good = await _response(reader, head_only=request.startswith(b"HEAD"))
            except TimeoutError:
                self._broken("no answer", request)
                return False
            statuses = self._figures.statuses
            statuses[str(status)] = statuses.get(str(status), 0) + 1
            if status >= 500 and status != 503:
                self._broken(f"{status} {body[:300]!r}", request)
            elif body and b'"jsonrpc"' in body and not _is_rpc(body):
                self._broken(f"no JSON-RPC: {body[:300]!r}", request)
            elif LEFT.search(body):
                self._left(request)
            if request.startswith(b"DELETE") and status in (200, 204):
                await asyncio.to_thread(self._renew, request)
            if not good:
                return False
        return True

    def _broken(self, what: str, request: bytes) -> None:
        self._figures.broken.append(f"{what} to {request[:SHOWN_BYTES]!r}")

    def _left(self, request: bytes) -> None:
        self._figures.left += 1
        if len(self._figures.suspects) < SUSPECTS_MAX:
            self._figures.suspects.append(repr(request[:SHOWN_BYTES]))


async def _response(reader: asyncio.StreamReader, *, head_only: bool) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection can be used again: not after a stream."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        if status >= 200:  # an interim answer comes before the real one
            break
    if head_only or status in (204, 304):
        return status, b"", True
    _, found, rest = head.partition("content-length:")
    if not found:
        return status, b"", False
    body = await reader.readexactly(int(rest.split("\r\n", 1)[0]))
    return status, body, "connection: close" not in head


def _is_rpc(body: bytes) -> bool:
    """Whether a body is a JSON-RPC response, or a batch of them."""
    try:
        found = json.loads(body)
    except ValueError:
        return False
    answers = found if isinstance(found, list) else [found]
    return all(isinstance(a, dict) and a.get("jsonrpc") == "2.0" and ("result" in a) != ("error" in a) for a in answers)


def fuzz(options: argparse.Namespace, folder: Path) -> Figures:
    """The figures of all requests."""
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "henslowe.toml").write_text(
        f"[services.fixture]\ncommand = {json.dumps([sys.executable, str(SERVER)])}\n"
    )
    figures = Figures(options.seed)
    # A call that a server leaves unanswered is not what is looked for: it must not hold up a pipeline for minutes.
    with Node(workspace, "gateway.call_timeout_s=2", "instances.max_restarts=100000") as node:
        node.wait_for_active("fixture", 1)
        sessions = Sessions(node.url)
        before_kb, began_s = resident_kb(node.pid), time.monotonic()
        fuzzer = Fuzzer(options.seed, urlsplit(node.url).netloc, sessions.of)
        asyncio.run(Driver(node.url, fuzzer, figures, options.requests, sessions.renew).run())
        figures.took_s = round(time.monotonic() - began_s, 1)
        figures.growth_mb = round((resident_kb(node.pid) - before_kb) / 1_024, 1)
        figures.broken += [*_unwell(node), *_felled(node)]
    return figures


def _felled(node: Node) -> list[str]:
    """How often the server ended, or was left alone because it did not answer."""
    ended = node.events(service="fixture", type="INSTANCE_DOWN", limit=100)
    breakers = node.events(service="fixture", type="INSTANCE_BREAKER", limit=100)
    tripped = [event for event in breakers if event["data"].get("state") == "open"]
    found = [f"the server ended {len(ended)} times: {ended[0]['data']}"] if ended else []
    return [*found, *([f"the server was left alone {len(tripped)} times"] if tripped else [])]


def _unwell(node: Node) -> list[str]:
    """What is wrong with the node afterwards."""
    found = [] if http_status(f"{node.url}/readyz") == 200 else ["the node is not ready"]
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "test_simple_text", "arguments": {}},
    }
    said, until_s = "nothing", time.monotonic() + RECOVERY_S
    while time.monotonic() < until_s:
        with suppress(OSError):
            session, _ = post(node.mcp("fixture"), INITIALIZE, {})
            said = post(node.mcp("fixture"), call, {"Mcp-Session-Id": session})[1]
            if '"result"' in said:
                return found
        time.sleep(0.5)
    return [*found, f"expected a valid call to be answered within {RECOVERY_S:g} s, got: {said[:300]}"]


def main() -> int:
    """Runs the proof; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, metavar="N", help="how many (500,000; quick: 20,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a request brought a 500, or none came")
    options = parser.parse_args()
    options.requests = options.requests or (20_000 if options.quick else 500_000)
    with tempfile.TemporaryDirectory(prefix="henslowe-fuzz-") as folder:
        figures = fuzz(options, Path(folder))
    if options.json:
        print(json.dumps(asdict(figures), indent=2))
    else:
        rate = figures.sent / max(0.001, figures.took_s)
        print(f"{figures.sent} requests in {figures.took_s} s ({rate:.0f}/s), seed {figures.seed}")
        print(f"answers: {', '.join(f'{count} x {status}' for status, count in sorted(figures.statuses.items()))}")
        print(f"the node hung up {figures.hung_up} times and grew by {figures.growth_mb} MB")
        print("\n".join(figures.broken))
        if figures.left:
            print(f"the server left {figures.left} requests unanswered:", *figures.suspects, sep="\n")
    return 1 if options.check and figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
