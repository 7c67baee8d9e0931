"""What the gateway costs: beside a direct call, nginx, and two MCP proxies, in the same run, at 32 clients.

    python bench/gateway.py [--quick] [--json] [--check] [--rounds N] [--seconds S] [--sessions N]

| server | who stands before it |
|---|---|
| a child with pipes | a node; PyPI's mcp-proxy |
| made with the SDK, over HTTP | nobody; a node; nginx, where it is on PATH; fastmcp's proxy |
| as fast as Python goes, over HTTP | nobody; a node; nginx |

The last one shows the cost itself: it answers in less time than it takes to move the same bytes twice more through the
kernel, and nginx's share beside ours says what any hop costs there. The same marks are for both.

The node is a whole one, with everything on that a node has on. All run at the same time and are loaded in turns, the
order changing each round, and medians are compared, so that a busy machine slows all of them. The load (wrk) looks at
each answer; one wrong answer fails the run. Beside what a client sees stands the processor time per call of whoever is
in between, with the child where that is its own: a busy machine changes it less. At the end the node's memory is
measured with sessions that are open and idle. `--check` holds it to the marks below. Needs `wrk`; the proxies are taken
from PATH or, once, fetched by `uv`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.proxies import Proxy, cpu_s, fastmcp, free_port, mcp_proxy, nginx
from tests.e2e.harness import Node

HERE = Path(__file__).parent
PIPES = [sys.executable, "-S", str(HERE / "servers" / "echo.py")]
CLIENTS = 32
START_S = 120.0
SLOW, SLOW_S = "fastmcp", 5
"""A proxy so slow that shorter rounds of it may end before an answer."""
ERAS = ("legacy", "modern")
HTTP_SERVERS = {"sdk": "echo_sdk.py", "fast": "echo_http.py"}
MARKS = {
    "pipes_times_mcp_proxy": 6.0,
    "sdk_of_direct_modern": 0.6,
    "sdk_of_direct_legacy": 0.5,
    "sdk_times_fastmcp": 30.0,
    "fast_of_direct_modern": 0.6,
    "fast_of_direct_legacy": 0.5,
}
"""At least this much."""
LIMITS = {"sdk_added_p99_ms": 5.0, "fast_added_p99_ms": 5.0, "idle_session_kb": 20.0}
"""At most this much."""


@dataclass(slots=True, frozen=True)
class Target:
    """Something to load in one era."""

    name: str
    url: str
    era: str
    pid: int = 0
    """Of whoever is in between; 0 for nobody."""

    @property
    def key(self) -> str:
        """Its name in the report."""
        return f"{self.name} {self.era}"


def post(url: str, body: Any, headers: dict[str, str]) -> tuple[str, str]:
    """Session id and body of a POST."""
    sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), sent)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.headers.get("Mcp-Session-Id", ""), response.read().decode()


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}


def open_session(url: str) -> str:
    """Shake hands, as soon as the server is up."""
    give_up_s = time.monotonic() + START_S
    while True:
        try:
            session, _ = post(url, INITIALIZE, {})
            break
        except OSError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.1)
    headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    post(url, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    return session


def load(target: Target, session: str, seconds: int) -> dict[str, float]:
    """One round of wrk."""
    if SLOW in target.name:
        seconds = max(seconds, SLOW_S)
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    environment = {**os.environ, "BENCH_ERA": target.era, "BENCH_SESSION": session}
    before_s = cpu_s(target.pid) if target.pid else 0.0
    ended = subprocess.run(
        [*command, "-s", str(HERE / "gateway.lua"), target.url],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    for line in ended.stdout.splitlines():
        if line.startswith("RESULT "):
            found = dict(json.loads(line[7:]))
            used_s = cpu_s(target.pid) - before_s if target.pid else 0.0
            return {**found, "cpu_us": used_s / max(1, found["calls"]) * 1e6}
    raise SystemExit(f"wrk failed: {ended.stdout}{ended.stderr}")


# -- who is compared ----------------


@contextmanager
def node(folder: Path, urls: dict[str, str]) -> Iterator[Node]:
    """A node with all servers declared."""
    workspace = folder / "workspace"
    workspace.mkdir()
    tables = [f"[services.pipes]\ncommand = {json.dumps(PIPES)}\n"]
    tables += [f'[services.{name}]\nurl = "{url}"\n' for name, url in urls.items()]
    (workspace / "henslowe.toml").write_text("\n".join(tables))
    with Node(workspace) as running:
        for service in ("pipes", *urls):
            running.wait_for_active(service, 1)
        yield running


def start(stack: ExitStack, folder: Path) -> tuple[Node, list[Target]]:
    """Everything that is measured, running."""
    ports = {name: free_port() for name in HTTP_SERVERS}
    urls = {
        name: stack.enter_context(Proxy(name, [sys.executable, str(HERE / "servers" / file), str(port)], port, [])).url
        for (name, file), port in zip(HTTP_SERVERS.items(), ports.values(), strict=True)
    }
    ours = stack.enter_context(node(folder, urls))
    standing: list[tuple[str, str, tuple[str, ...], int]] = [("pipes henslowe", ours.mcp("pipes"), ERAS, ours.pid)]

    def proxy(name: str, one: Proxy, eras: tuple[str, ...]) -> None:
        stack.enter_context(one)
        standing.append((name, one.url, eras, one.pid))

    proxy("pipes mcp-proxy", mcp_proxy(PIPES), ("legacy",))
    for name, url in urls.items():
        standing += [(f"{name} direct", url, ERAS, 0), (f"{name} henslowe", ours.mcp(name), ERAS, ours.pid)]
        if shutil.which("nginx"):
            proxy(f"{name} nginx", nginx(folder, ports[name]), ERAS)
    proxy(f"sdk {SLOW}", fastmcp(folder, urls["sdk"]), ("legacy",))
    return ours, [Target(name, url, era, pid) for name, url, eras, pid in standing for era in eras]


# -- figures ----------------


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Medians per target over interleaved rounds, ratios, and memory."""
    with ExitStack() as stack:
        ours, targets = start(stack, folder)
        sessions = {target.url: open_session(target.url) for target in targets if target.era == "legacy"}
        rounds: dict[str, list[dict[str, float]]] = {target.key: [] for target in targets}
        for target in targets:
            load(target, sessions[target.url], 1)  # warm up
        for number in range(options.rounds):
            shift = number % len(targets)
            for target in targets[shift:] + targets[:shift]:
                rounds[target.key].append(load(target, sessions[target.url], options.seconds))
        idle = idle_sessions(ours, options.sessions)
    medians = {key: summary(results) for key, results in rounds.items()}
    return {
        "clients": CLIENTS,
        "rounds": options.rounds,
        "targets": medians,
        "ratios": ratios(medians),
        "idle_sessions": idle,
    }


def summary(results: list[dict[str, float]]) -> dict[str, float]:
    """The medians of a target's rounds, and what it answered in all of them."""
    return {
        **{key: statistics.median(r[key] for r in results) for key in ("rps", "p50_ms", "p99_ms", "cpu_us")},
        "calls": sum(r["calls"] for r in results),
        "failed": sum(r["failed"] for r in results),
    }


def ratios(of: dict[str, dict[str, float]]) -> dict[str, float]:
    """The figures that are promised, and nginx's beside them."""
    found = {
        "pipes_times_mcp_proxy": of["pipes henslowe legacy"]["rps"] / of["pipes mcp-proxy legacy"]["rps"],
        "sdk_times_fastmcp": of["sdk henslowe legacy"]["rps"] / of["sdk fastmcp legacy"]["rps"],
    }
    for server, era in ((server, era) for server in HTTP_SERVERS for era in ERAS):
        direct = of[f"{server} direct {era}"]
        for proxy, prefix in (("henslowe", server), ("nginx", f"nginx_{server}")):
            if f"{server} {proxy} {era}" in of:
                found[f"{prefix}_of_direct_{era}"] = of[f"{server} {proxy} {era}"]["rps"] / direct["rps"]
        added = of[f"{server} henslowe {era}"]["p99_ms"] - direct["p99_ms"]
        found[f"{server}_added_p99_ms"] = max(added, found.get(f"{server}_added_p99_ms", added))
    return {name: round(value, 2) for name, value in found.items()}


def idle_sessions(running: Node, count: int) -> dict[str, float]:
    """What open sessions cost the node in memory; afterwards the first and the last are still good."""
    url = urlsplit(running.mcp("pipes"))
    before = resident_kb(running.pid)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=10)
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    ids = []
    for _ in range(count):
        connection.request("POST", url.path, json.dumps(INITIALIZE), headers)
        with connection.getresponse() as response:
            response.read()
            ids.append(str(response.headers["Mcp-Session-Id"]))
    connection.close()
    after = resident_kb(running.pid)
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    held = 0
    for session in ids:
        with contextlib.suppress(OSError):
            post(running.mcp("pipes"), ping, {**headers, "Mcp-Session-Id": session})
            held += 1
    return {"opened": count, "held": held, "idle_session_kb": round((after - before) / max(1, count), 2)}


def resident_kb(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit(f"cannot measure: no VmRSS of {pid}")


def missed(report: dict[str, Any]) -> list[str]:
    """The marks that were missed."""
    found = {**report["ratios"], **report["idle_sessions"]}
    lines = [
        f"expected {name} >= {least:g}, got {found[name]:g}" for name, least in MARKS.items() if found[name] < least
    ]
    lines += [
        f"expected {name} <= {most:g}, got {found[name]:g}" for name, most in LIMITS.items() if found[name] > most
    ]
    if found["held"] < found["opened"]:
        lines.append(f"expected {found['opened']} sessions to be held, got {found['held']}")
    return lines


def show(report: dict[str, Any]) -> None:
    """The report for people."""
    print(f"tools/call, {CLIENTS} clients, medians of {report['rounds']} rounds")
    for target, r in report["targets"].items():
        cpu = f"  {r['cpu_us']:6.0f} us of CPU" if r["cpu_us"] else ""
        print(f"  {target:22} {r['rps']:8.0f} calls/s  p50 {r['p50_ms']:7.2f} ms  p99 {r['p99_ms']:7.2f} ms{cpu}")
    for name, value in {**report["ratios"], **report["idle_sessions"]}.items():
        print(f"  {name:22} {value:8g}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds of 2 s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="fail when a mark is missed")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--sessions", type=int, default=5_000, help="open and idle, for the figure of memory")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("cannot measure: wrk is not installed (Debian: apt-get install wrk)", file=sys.stderr)
        return 1
    options.rounds = max(3, options.rounds or (3 if options.quick else 5))
    options.seconds = options.seconds or (2 if options.quick else 4)
    with tempfile.TemporaryDirectory(prefix="henslowe-gateway-") as folder:
        report = compare(options, Path(folder))
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    failed = sum(target["failed"] for target in report["targets"].values())
    if failed:
        print(f"expected right answers only, got {failed:g} wrong ones", file=sys.stderr)
    marks = missed(report) if options.check else []
    for line in marks:
        print(line, file=sys.stderr)
    return 1 if failed or marks else 0


if __name__ == "__main__":
    sys.exit(main())
