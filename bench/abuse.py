"""Proof that clients and servers which misbehave cost a bounded amount of memory, and the others next to nothing.

    python bench/abuse.py [--quick] [--json] [--check] [--only NAME] [--rounds N]

A whole node runs a kind server and a rude one. Well-behaved clients call the kind one at a steady rate, while an abuse
goes on from a process of its own. Each round of an abuse has three windows of at least a thousand calls each:

calm      nobody misbehaves
control   the same abuse goes to a second node, which has servers of its own: what the machine takes from the others
abuse     it goes to the node whose other clients are measured

For each window the others' 99th percentile of latency is shown, and two ratios: `times` is abuse beside calm, all that
another client feels, and `node` is abuse beside control, the part of it that is the node's doing. Of several rounds the
one in the middle by `times` counts, and of memory and failed calls the worst.

With two cores or more the node has one of its own, as a machine that is not overloaded would give it; clients, servers
and abusers share the others (`bench/cores.py`). Node, kind server and clients come before whoever else runs on the
machine, where the operating system allows that (to root, as a rule), in all three windows alike: else a tick of its
scheduler, 4 ms, is all that can be seen. The abusers, the rude servers and the second node give way to everybody, so
that the control shows as little as possible of them and is no excuse.

What `--check` holds: the node is well afterwards, no call of the others fails, memory grows by at most the limit below,
and the others' p99 at most doubles, beside the calm; where the control's is higher than the calm's, beside the control.
Below `TURN_MS` in sum it is not asked what doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import cores
from bench.gateway import INITIALIZE, resident_kb
from bench.servers.rude import stand_back
from tests.e2e.harness import Node, http_status

HERE = Path(__file__).parent
CLIENTS = 10
CALLS_PER_S = 200.0
CALLS_MIN = 1_000
"""Of the others, in each window: ten of them are beyond the 99th percentile."""
WINDOW_S = CALLS_MIN / CALLS_PER_S
SETTLE_S = 0.5
ROUNDS = 3
SERVERS = {"kind": "plain", "rude": "rude"}
GROWTH_MB_MAX = 256.0
TURN_MS = 1.0
"""A p99 that a call has which meets one turn of a Python loop that does some work for another client."""
TIMES_MAX = 2.0
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(slots=True)
class Window:
    """What the others noticed for a while."""

    calls: int = 0
    failed: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(slots=True)
class Figures:
    """What one abuse did."""

    name: str
    took_s: float = 0.0
    told: dict[str, int] = field(default_factory=dict)
    """What the abuser got, and how often."""
    growth_mb: float = 0.0
    """The most that the node had more than in the calm: what a process frees stays with it, to be used again."""
    calm: Window = field(default_factory=Window)
    control: Window = field(default_factory=Window)
    abuse: Window = field(default_factory=Window)
    rounds: int = 1

    @property
    def times(self) -> float:
        """How many times its calm self the others' p99 was."""
        return _ratio(self.abuse, self.calm)

    @property
    def node(self) -> float:
        """How many times what it was while another node was abused."""
        return _ratio(self.abuse, self.control)

    @property
    def failed(self) -> int:
        """Calls of the others."""
        return self.calm.failed + self.control.failed + self.abuse.failed

    @property
    def harmless(self) -> bool:
        """Whether the others hardly noticed."""
        return self.abuse.p99_ms <= max(TIMES_MAX * max(self.calm.p99_ms, self.control.p99_ms), TURN_MS)


def _ratio(window: Window, beside: Window) -> float:
    return window.p99_ms / beside.p99_ms if beside.p99_ms else 0.0


# -- HTTP by hand: abusers do what no library does ----------------


def request(path: str, body: Any, headers: dict[str, str] | None = None, host: str = "127.0.0.1") -> bytes:
    """The bytes of a POST."""
    content = json.dumps(body).encode()
    lines = {
        "Host": host,
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": str(len(content)),
        **(headers or {}),
    }
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode() + b"\r\n" + content


def plain(data: bytes) -> bytes:
    """The same request of a client that takes no stream, which would begin before the answer."""
    return data.replace(b", text/event-stream", b"", 1)


def call(path: str, tool: str, host: str, number: int = 1, **arguments: Any) -> bytes:
    """The bytes of a stateless tool call."""
    meta = {**META, "progressToken": number} if tool == "chatter" else META
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return request(path, body, {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}, host)


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of a response with a length; of a stream, what comes first."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    _, found, rest = head.partition("content-length:")
    return status, await reader.readexactly(int(rest.split("\r\n", 1)[0])) if found else await reader.read(65_536)


class Place:
    """Where to connect."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = str(parts.hostname), int(parts.port or 80)
        self.name = f"{self.host}:{self.port}"

    async def connect(self, limit: int = 65_536) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection(self.host, self.port, limit=limit)

    async def ask(self, data: bytes, timeout_s: float = 60.0) -> str:
        """The status of one request on a connection of its own, or what became of it instead."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await self.connect()
                try:
                    writer.write(data)
                    status, body = await response(reader)
                finally:
                    writer.close()
        except TimeoutError:
            return "no answer"
        except (OSError, asyncio.IncompleteReadError):
            return "hung up"
        error = b'"error"' in body[:2_000] or b'"isError":true' in body
        return f"{status} with an error" if error else str(status)


Told = Counter[str]
Abuse = Callable[[Place, float], Coroutine[Any, Any, Told]]


async def together(*asked: Coroutine[Any, Any, str]) -> Told:
    """What all of them got."""
    return Counter(await asyncio.gather(*asked))


# -- abuses ----------------


async def stalled_results(place: Place, seconds: float) -> Told:
    """Forty clients ask for 8 MB each and read nothing of it."""
    writers = []
    for number in range(40):
        reader, writer = await place.connect(limit=1_024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(call("/mcp/rude", "big", place.name, number, bytes=8_000_000))
        writers.append((reader, writer))
    await asyncio.sleep(seconds)
    for _, writer in writers:
        writer.close()
    return Counter({"connected": len(writers)})


async def stalled_streams(place: Place, seconds: float) -> Told:
    """Twenty clients ask for 20,000 progress notifications of 10 kB and read none."""
    writers = []
    for number in range(20):
        _, writer = await place.connect(limit=1_024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(call("/mcp/rude", "chatter", place.name, number, count=20_000, bytes=10_000))
        writers.append(writer)
    await asyncio.sleep(seconds)
    for writer in writers:
        writer.close()
    return Counter({"connected": len(writers)})


async def huge_result(place: Place, _seconds: float) -> Told:
    """A result of 100 MB, three times."""
    data = plain(call("/mcp/rude", "big", place.name, bytes=100_000_000))
    asked = [await place.ask(data, 120.0) for _ in range(3)]
    return Counter(asked)


async def queue(place: Place, seconds: float) -> Told:
    """10,000 calls at once of a tool that does not answer for a while."""
    gate = asyncio.Semaphore(200)  # connections being made at once: the kernel's backlog is not what is tested

    async def one(number: int) -> str:
        try:
            async with gate:
                reader, writer = await place.connect()
            try:
                writer.write(plain(call("/mcp/rude", "hang", place.name, number, seconds=seconds)))
                async with asyncio.timeout(120):
                    status, body = await response(reader)
            finally:
                writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            return type(error).__name__
        return f"{status} with an error" if b'"error"' in body[:2_000] else str(status)

    return await together(*(one(number) for number in range(10_000)))


def flood(kind: str) -> Abuse:
    """The server writes lines of a kind as fast as it can."""

    async def abuse(place: Place, seconds: float) -> Told:
        told = Counter([await place.ask(call("/mcp/rude", "flood", place.name, kind=kind, seconds=seconds))])
        await asyncio.sleep(seconds + 0.5)
        told["and afterwards " + await place.ask(call("/mcp/rude", "greet", place.name))] += 1
        return told

    return abuse


async def half_open(place: Place, seconds: float) -> Told:
    """2,000 connections that say nothing, and 500 that say half a head."""
    writers = []
    for number in range(2_500):
        _, writer = await place.connect()
        if number >= 2_000:
            writer.write(b"POST /mcp/kind HTTP/1.1\r\nHost: " + place.name.encode() + b"\r\nX-Slow: ")
        writers.append(writer)
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        for writer in writers[2_000:]:
            writer.write(b"x")
        await asyncio.sleep(0.25)
    for writer in writers:
        writer.close()
    return Counter({"connected": len(writers)})


async def slow_bodies(place: Place, seconds: float) -> Told:
    """500 requests whose bodies come a byte at a time."""
    data = call("/mcp/kind", "greet", place.name, name="Ada")
    body_at = data.index(b"\r\n\r\n") + 4
    writers = [(await place.connect())[1] for _ in range(500)]
    for writer in writers:
        writer.write(data[:body_at])
    until_s, at = time.monotonic() + seconds, body_at
    while time.monotonic() < until_s:
        for writer in writers:
            writer.write(data[at : at + 1])
        at += 1
        await asyncio.sleep(0.25)
    for writer in writers:
        writer.close()
    return Counter({"connected": len(writers)})


async def header_bombs(place: Place, _seconds: float) -> Told:
    """Heads of a megabyte: in one field, in thousands, and one that never ends."""
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    one = request("/mcp/kind", ping, {"X-Bomb": "x" * 1_000_000}, place.name)
    many = request("/mcp/kind", ping, {f"X-{n}": "x" * 100 for n in range(10_000)}, place.name)
    endless = b"POST /mcp/kind HTTP/1.1\r\nHost: " + place.name.encode() + b"\r\nX-Bomb: " + b"x" * 20_000_000
    return await together(*(place.ask(data, 20.0) for data in (one, many, endless) for _ in range(20)))


async def big_bodies(place: Place, _seconds: float) -> Told:
    """Bodies of 50 MB, with and without a length; and JSON that is nested 100,000 deep."""
    head = request("/mcp/kind", "", {"Transfer-Encoding": "chunked"}, place.name)
    chunked = head[: head.index(b"Content-Length")] + b"Transfer-Encoding: chunked\r\n\r\n"
    chunked += (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 800
    deep = b"[" * 100_000
    nested = request("/mcp/kind", 0, {"Content-Length": str(len(deep))}, place.name)[:-1] + deep
    asked = (request("/mcp/kind", "x" * 50_000_000, host=place.name), chunked, nested)
    return await together(*(place.ask(data, 20.0) for data in asked for _ in range(4)))


ABUSES: dict[str, Abuse] = {
    "stalled-results": stalled_results,
    "stalled-streams": stalled_streams,
    "huge-result": huge_result,
    "queue": queue,
    "flood-garbage": flood("garbage"),
    "flood-stderr": flood("stderr"),
    "flood-notifications": flood("notifications"),
    "flood-changes": flood("changes"),
    "half-open": half_open,
    "slow-bodies": slow_bodies,
    "header-bombs": header_bombs,
    "big-bodies": big_bodies,
}


# -- the others ----------------


class Others:
    """Clients that behave: each on one connection, at a steady rate, in the two eras in turn."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.latencies_s: list[float] = []
        self.failed: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(self) -> None:
        """Forget what was measured so far."""
        self.latencies_s, self.failed = [], []

    def window(self) -> Window:
        """What was measured since then."""
        ordered, failed = sorted(self.latencies_s), self.failed
        self.begin()
        if not ordered:
            return Window(failed=len(failed))
        p50_s, p99_s = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
        return Window(len(ordered), len(failed), round(1_000 * p50_s, 3), round(1_000 * p99_s, 3))

    async def _client(self, number: int) -> None:
        reader, writer = await self._place.connect()
        headers: dict[str, str] = {}
        if number % 2:
            writer.write(request("/mcp/kind", INITIALIZE, host=self._place.name))
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in head.splitlines())}
            await reader.readexactly(int(fields["content-length"]))
            headers = {"Mcp-Session-Id": fields["mcp-session-id"]}
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "greet", "arguments": {"name": "A"}},
        }
        data = request("/mcp/kind", body, headers, self._place.name)
        data = data if headers else call("/mcp/kind", "greet", self._place.name, name="A")
        due_s = time.monotonic() + number / CALLS_PER_S
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s + CLIENTS / CALLS_PER_S, time.monotonic())
            began_s = time.monotonic()
            try:
                writer.write(data)
                async with asyncio.timeout(30):
                    status, answered = await response(reader)
                if status != 200 or b"Hello, A" not in answered:
                    self.failed.append(f"{status} {answered[:200]!r}")
                self.latencies_s.append(time.monotonic() - began_s)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.failed.append(repr(error))
                with contextlib.suppress(OSError):
                    reader, writer = await self._place.connect()


async def under(name: str, url: str, others: Others, seconds: float, look: Callable[[], object] = int) -> Told:
    """An abuse of a node, as often as a window takes; `look` is called now and then."""
    told: Told = Counter()
    others.begin()
    while not told or len(others.latencies_s) < CALLS_MIN:
        abuser = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--abuse", name, "--url", url, "--seconds", str(seconds)),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        said = asyncio.create_task(abuser.communicate())
        while not said.done():
            await asyncio.wait([said], timeout=0.05)
            look()
        told.update(json.loads((await said)[0]))
    return told


@dataclass(slots=True)
class Proof:
    """The rounds of one run."""

    node: Node
    other: Node
    """That the control abuses."""
    others: Others
    seconds: float
    before_kb: int = 0

    async def round(self, name: str) -> Figures:
        """One abuse, with a calm and a control of its own."""
        figures = Figures(name)
        await asyncio.sleep(SETTLE_S)
        self.others.begin()
        await asyncio.sleep(WINDOW_S)
        figures.calm = self.others.window()
        await under(name, self.other.url, self.others, self.seconds)
        figures.control = self.others.window()
        await asyncio.sleep(SETTLE_S)
        peak_kb, began_s = 0, time.monotonic()

        def look() -> None:
            nonlocal peak_kb
            peak_kb = max(peak_kb, resident_kb(self.node.pid))

        figures.told = dict(await under(name, self.node.url, self.others, self.seconds, look))
        figures.abuse = self.others.window()
        figures.took_s = round(time.monotonic() - began_s, 1)
        figures.growth_mb = round((peak_kb - self.before_kb) / 1_024, 1)
        return figures


async def prove(options: argparse.Namespace, node: Node, other: Node) -> list[Figures]:
    """All abuses that were asked for."""
    figures = []
    async with Others(Place(node.url)) as others:
        proof = Proof(node, other, others, 2.0 if options.quick else 5.0)
        await asyncio.sleep(1.0)
        proof.before_kb = resident_kb(node.pid)
        for name in options.only or ABUSES:
            found = median([await proof.round(name) for _ in range(options.rounds)])
            figures.append(found)
            if not options.json:
                print(_row(found), flush=True)
    return figures


def median(rounds: list[Figures]) -> Figures:
    """The round in the middle by what the others noticed; what must not happen at all is taken from all of them."""
    middle = sorted(rounds, key=lambda figures: figures.times)[len(rounds) // 2]
    middle.growth_mb = max(figures.growth_mb for figures in rounds)
    middle.abuse.failed += sum(figures.failed for figures in rounds if figures is not middle)
    middle.rounds = len(rounds)
    return middle


def broken(figures: list[Figures], ready: int) -> list[str]:
    """The promises that do not hold."""
    found = [] if ready == 200 else [f"the node is not ready afterwards: {ready}"]
    for f in figures:
        if f.failed:
            found.append(f"{f.name}: {f.failed} calls of others failed")
        if f.growth_mb > GROWTH_MB_MAX:
            found.append(f"{f.name}: memory grew by {f.growth_mb} MB, expected at most {GROWTH_MB_MAX:g}")
        if not f.harmless:
            found.append(
                f"{f.name}: the others' p99 went from {f.calm.p99_ms} ms, and {f.control.p99_ms} ms beside the abuse of"
                f" another node, to {f.abuse.p99_ms} ms"
            )
    return found


HEAD = (
    f"{'':20} {'s':>5} {'MB':>6} {'calls':>6} {'failed':>6} {'p50 ms':>7}   "
    f"{'calm':>6} {'control':>7} {'abuse':>6} {'times':>6} {'node':>5}"
)


def _row(f: Figures) -> str:
    told = ", ".join(f"{count} x {what}" for what, count in f.told.items())
    return (
        f"{f.name:20} {f.took_s:5.1f} {f.growth_mb:6.1f} {f.abuse.calls:6} {f.failed:6} {f.abuse.p50_ms:7.2f}   "
        f"{f.calm.p99_ms:6.2f} {f.control.p99_ms:7.2f} {f.abuse.p99_ms:6.2f} {f.times:6.1f} {f.node:5.1f}  {told}"
    )


def workspace(folder: Path, name: str) -> Path:
    """A workspace with the two servers."""
    made = folder / name
    made.mkdir()
    command = json.dumps([sys.executable, "-S", str(HERE / "servers" / "NAME.py")])
    tables = [f"[services.{name}]\ncommand = {command.replace('NAME', file)}" for name, file in SERVERS.items()]
    (made / "henslowe.toml").write_text("\n".join(tables))
    return made


def main() -> int:
    """Runs the proof; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seconds of each instead of five")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is broken")
    parser.add_argument("--only", action="append", choices=ABUSES, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each abuse; the one in the middle counts")
    parser.add_argument("--abuse", choices=ABUSES, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.abuse:
        stand_back()
        print(json.dumps(asyncio.run(ABUSES[options.abuse](Place(options.url), options.seconds))))
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="henslowe-abuse-") as folder,
        Node(workspace(Path(folder), "measured")) as node,
        Node(workspace(Path(folder), "other")) as other,
    ):
        for each in (node, other):
            for name in SERVERS:
                each.wait_for_active(name, 1)
        done = {
            "the node has a core of its own": cores.apart(node.pid),
            "comes before others": cores.ahead(node.pid),
            "the second node gives way": cores.aside(other.pid),
        }
        pinned = [what for what, holds in done.items() if holds]
        if not options.json:
            print(f"99th percentiles in ms; {', '.join(pinned) or 'nothing is pinned'}")
            print(HEAD)
        figures = asyncio.run(prove(options, node, other))
        ready = http_status(f"{node.url}/readyz")
    promises = broken(figures, ready)
    if options.json:
        rows = [{**asdict(f), "times": round(f.times, 2), "node": round(f.node, 2)} for f in figures]
        print(json.dumps({"pinned": pinned, "abuses": rows, "broken": promises}, indent=2))
    elif promises:
        print("\n".join(promises))
    else:
        worst = max(figures, key=lambda f: f.times)
        print(
            f"no call of others failed; their p99 was at most {worst.times:.1f} times that of the calm ({worst.name})"
        )
    return 1 if options.check and promises else 0


if __name__ == "__main__":
    sys.exit(main())
