"""Proof that clients and servers which misbehave cost a bounded amount of memory, and the others next to nothing.

    python bench/abuse.py [--quick] [--json] [--check] [--only NAME]

A whole node runs a kind server and a rude one. Well-behaved clients call the kind one at a steady rate from first to
last, while one abuse after the other goes on, from a process of its own. For each: what the abuser was told, how much
the node's memory grew at most, and the others' 99th percentile of latency beside what it was in the calm just before.

The abusers and the rude server stand back for everybody else where the cores are short: what they take of a machine is
the operating system's business, and here it is asked what they take of the node.

What `--check` holds: the node is well afterwards, no call of the others fails, memory grows by at most the limit
below, and the others' p99 at most doubles (or stays below the limit below, which a machine with more busy processes
than cores gives to anybody). Either is taken from at least a thousand calls: an abuse that is over sooner is begun
again. Where it does not hold, the abuse is repeated twice, with a calm of its own each, and the median pair counts.
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

from bench.gateway import INITIALIZE, resident_kb
from bench.servers.rude import stand_back
from tests.e2e.harness import Node, http_status

HERE = Path(__file__).parent
CLIENTS = 10
CALLS_PER_S = 100.0
CALLS_MIN = 1_000
"""Of the others, in the calm and under each abuse: ten of them are beyond the 99th percentile."""
CALM_S = CALLS_MIN / CALLS_PER_S
ROUNDS = 3
GROWTH_MB_MAX = 256.0
TICKS_MS = 10.0
"""A p99 that two cores with five processes give to anybody, now and then."""
TIMES_MAX = 2.0
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(slots=True)
class Figures:
    """What one abuse did."""

    name: str
    took_s: float = 0.0
    told: dict[str, int] = field(default_factory=dict)
    """What the abuser got, and how often."""
    growth_mb: float = 0.0
    """The most that the node had more than in the calm: what a process frees stays with it, to be used again."""
    calls: int = 0
    failed: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    calm_p99_ms: float = 0.0
    """The same in the calm just before."""
    tries: int = 1

    @property
    def times(self) -> float:
        """How many times its calm self the others' p99 was."""
        return self.p99_ms / self.calm_p99_ms if self.calm_p99_ms else 0.0

    @property
    def harmless(self) -> bool:
        """Whether the others hardly noticed."""
        return self.p99_ms <= max(TIMES_MAX * self.calm_p99_ms, TICKS_MS)


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

    def take(self, figures: Figures) -> Figures:
        """Put what was measured since the last time into the figures."""
        ordered, self.latencies_s = sorted(self.latencies_s), []
        figures.calls, figures.failed, self.failed = len(ordered), len(self.failed), []
        if ordered:
            figures.p50_ms = round(1_000 * ordered[len(ordered) // 2], 2)
            figures.p99_ms = round(1_000 * ordered[int(0.99 * (len(ordered) - 1))], 2)
        return figures

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


async def under(name: str, node: Node, others: Others, before_kb: int, seconds: float) -> Figures:
    """The figures of one abuse."""
    figures, peak_kb, began_s = Figures(name), 0, time.monotonic()
    others.take(figures)
    told: Told = Counter()
    while not told or len(others.latencies_s) < CALLS_MIN:
        abuser = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--abuse", name, "--url", node.url, "--seconds", str(seconds)),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        said = asyncio.create_task(abuser.communicate())
        while not said.done():
            await asyncio.wait([said], timeout=0.05)
            peak_kb = max(peak_kb, resident_kb(node.pid))
        told.update(json.loads((await said)[0]))
    figures.told = dict(told)
    figures.took_s = round(time.monotonic() - began_s, 1)
    figures.growth_mb = round((peak_kb - before_kb) / 1_024, 1)
    return others.take(figures)


async def prove(options: argparse.Namespace, node: Node) -> list[Figures]:
    """All abuses that were asked for."""
    place = Place(node.url)
    figures = []
    seconds = 2.0 if options.quick else 5.0
    async with Others(place) as others:
        await asyncio.sleep(1.0)
        before_kb = resident_kb(node.pid)
        for name in options.only or ABUSES:
            found = await paired(name, node, others, before_kb, seconds)
            if not found.harmless:
                again = [await paired(name, node, others, before_kb, seconds) for _ in range(ROUNDS - 1)]
                found = median([found, *again])
            figures.append(found)
            if not options.json:
                print(_row(found), flush=True)
    return figures


async def paired(name: str, node: Node, others: Others, before_kb: int, seconds: float) -> Figures:
    """An abuse, and the calm before it."""
    await asyncio.sleep(0.5)
    others.take(Figures("what the last one left"))
    await asyncio.sleep(CALM_S)
    calm = others.take(Figures("calm"))
    figures = await under(name, node, others, before_kb, seconds)
    figures.calm_p99_ms, figures.failed = calm.p99_ms, figures.failed + calm.failed
    return figures


def median(rounds: list[Figures]) -> Figures:
    """The round in the middle by what the others noticed; what must not happen at all is taken from all of them."""
    middle = sorted(rounds, key=lambda figures: figures.times)[len(rounds) // 2]
    middle.growth_mb = max(figures.growth_mb for figures in rounds)
    middle.failed = sum(figures.failed for figures in rounds)
    middle.tries = len(rounds)
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
            found.append(f"{f.name}: the others' p99 went from {f.calm_p99_ms} to {f.p99_ms} ms")
    return found


HEAD = f"{'':20} {'s':>6} {'growth MB':>9} {'others':>6} {'failed':>6} {'p50 ms':>7} {'p99 ms':>7}   calm times"


def _row(f: Figures) -> str:
    told = ", ".join(f"{count} x {what}" for what, count in f.told.items()) + (
        f" (median of {f.tries})" * (f.tries > 1)
    )
    others = f"{f.calls:6} {f.failed:6} {f.p50_ms:7.2f} {f.p99_ms:7.2f} {f.calm_p99_ms:6.2f} {f.times:5.1f}"
    return f"{f.name:20} {f.took_s:6.1f} {f.growth_mb:9.1f} {others}  {told}"


def main() -> int:
    """Runs the proof; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seconds of each instead of five")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is broken")
    parser.add_argument("--only", action="append", choices=ABUSES, metavar="NAME")
    parser.add_argument("--abuse", choices=ABUSES, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.abuse:
        stand_back()
        print(json.dumps(asyncio.run(ABUSES[options.abuse](Place(options.url), options.seconds))))
        return 0
    with tempfile.TemporaryDirectory(prefix="henslowe-abuse-") as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        command = json.dumps([sys.executable, "-S", str(HERE / "servers" / "NAME.py")])
        tables = {"kind": "plain", "rude": "rude"}
        (workspace / "henslowe.toml").write_text(
            "\n".join(f"[services.{name}]\ncommand = {command.replace('NAME', file)}" for name, file in tables.items())
        )
        with Node(workspace) as node:
            for name in tables:
                node.wait_for_active(name, 1)
            if not options.json:
                print(HEAD)
            figures = asyncio.run(prove(options, node))
            ready = http_status(f"{node.url}/readyz")
    promises = broken(figures, ready)
    if options.json:
        rows = [{**asdict(f), "times": round(f.times, 2)} for f in figures]
        print(json.dumps({"abuses": rows, "broken": promises}, indent=2))
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
