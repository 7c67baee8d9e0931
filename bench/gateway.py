"""The gateway over a child with pipes, against PyPI's `mcp-proxy` over the same child: calls per second at 32 clients.

    python bench/gateway.py [--quick] [--json] [--check] [--rounds N] [--seconds S] [--mcp-proxy COMMAND]

Both proxies run at the same time and are loaded in turns, the order changing each round, and medians are compared, so
that a busy machine slows both. The load (wrk) looks at each answer; one wrong answer fails the run. Ours runs as in a
node: uvloop if installed, guard, header validation, evidence and metrics on. `--check` fails below four times
mcp-proxy, the promise of the documentation. Needs `wrk`; mcp-proxy is taken from PATH or, once, fetched by `uv`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ECHO = (sys.executable, "-S", str(HERE / "servers" / "echo.py"))
PROXY = "mcp-proxy==0.13.0"
CLIENTS = 32
TIMES_MIN = 4.0


# -- our side: a gateway in its own process ----------------


async def serve(port: int) -> None:
    """Serve one echo child at /mcp/echo until the process is told to stop."""
    from aiohttp import web
    from prometheus_client import CollectorRegistry

    from henslowe.actors.endpoints import EndpointDirectory
    from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
    from henslowe.actors.kernel import OsProcess
    from henslowe.actors.routes import Observations, Route, RouteTable
    from henslowe.config.settings import GatewaySettings, InstanceSettings
    from henslowe.transport.gateway import Gateway, MemorySessions, add_gateway
    from henslowe.transport.http_guard import Guard, guard_middleware
    from henslowe.transport.mcp import McpConnector

    version = VersionKey(ServiceName("echo"), 1)
    routes, directory, observations = RouteTable(), EndpointDirectory(), Observations()
    child = await OsProcess.spawn(ECHO)
    endpoint = await McpConnector(InstanceSettings()).connect_stdio(
        version,
        InstanceId("echo@1#1"),
        child,
        on_server_event=lambda _version, _event: None,
        on_closed=lambda reason: sys.exit(f"the echo server ended: {reason}"),
        timeout_s=10,
    )
    directory.add(endpoint)
    routes.publish({version.service: Route(version.service, version)})
    gateway = Gateway(
        routes=routes,
        directory=directory,
        observations=observations,
        sessions=MemorySessions(),
        settings=GatewaySettings(),
        registry=CollectorRegistry(),
        node_info={"name": "bench", "version": "0"},
    )
    app = web.Application(middlewares=[guard_middleware(Guard("127.0.0.1", port))])
    add_gateway(app, gateway)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    gc.collect()
    gc.freeze()  # as a node does once it is up: what was imported need not be looked through again and again
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():  # the router's part: take the evidence now and then
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.5)
        observations.take()
    await runner.cleanup()
    await endpoint.close()
    await child.stop()


def loop_factory() -> Any:
    """The loop that a node takes: uvloop's when it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


# -- the comparison ----------------


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def post(url: str, body: Any, headers: dict[str, str]) -> tuple[str, str]:
    """Session id and body of a POST."""
    sent = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}
    request = urllib.request.Request(url, json.dumps(body).encode(), sent)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.headers.get("Mcp-Session-Id", ""), response.read().decode()


def open_session(url: str, deadline_s: float) -> str:
    """Shake hands, as soon as the server is up."""
    me = {"name": "bench", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": me}
    while True:
        try:
            session, _ = post(url, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}, {})
            break
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)
    headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    post(url, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    return session


def load(url: str, era: str, session: str, seconds: float) -> dict[str, float]:
    """One round of wrk."""
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds:g}s", "--latency", "-s", str(HERE / "gateway.lua"), url]
    environment = {**os.environ, "BENCH_ERA": era, "BENCH_SESSION": session}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    for line in ended.stdout.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line[7:]))
    raise SystemExit(f"wrk failed: {ended.stdout}{ended.stderr}")


def proxy_command(given: str | None) -> list[str]:
    if given:
        return given.split()
    if shutil.which("mcp-proxy"):
        return ["mcp-proxy"]
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    return [uv, "tool", "run", "--from", PROXY, "mcp-proxy"]


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Medians per target over interleaved rounds."""
    ours, theirs = free_port(), free_port()
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    children = [
        subprocess.Popen([sys.executable, __file__, "--serve", str(ours)], env=environment),
        subprocess.Popen(
            [*proxy_command(options.mcp_proxy), "--port", str(theirs), "--host", "127.0.0.1", "--", *ECHO],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ),
    ]
    try:
        urls = {"henslowe": f"http://127.0.0.1:{ours}/mcp/echo", "mcp-proxy": f"http://127.0.0.1:{theirs}/mcp"}
        deadline_s = time.monotonic() + 60  # uv may have to fetch mcp-proxy
        sessions = {name: open_session(url, deadline_s) for name, url in urls.items()}
        targets = [("henslowe", "legacy"), ("mcp-proxy", "legacy"), ("henslowe", "modern")]
        rounds: dict[str, list[dict[str, float]]] = {f"{name} {era}": [] for name, era in targets}
        for name, era in targets:
            load(urls[name], era, sessions[name], 1)  # warm up
        for number in range(options.rounds):
            shift = number % len(targets)
            for name, era in targets[shift:] + targets[:shift]:
                rounds[f"{name} {era}"].append(load(urls[name], era, sessions[name], options.seconds))
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
    medians = {
        target: {
            **{key: statistics.median(r[key] for r in results) for key in ("rps", "p50_ms", "p99_ms")},
            "calls": sum(r["calls"] for r in results),
            "failed": sum(r["failed"] for r in results),
        }
        for target, results in rounds.items()
    }
    times = medians["henslowe legacy"]["rps"] / medians["mcp-proxy legacy"]["rps"]
    return {"clients": CLIENTS, "rounds": options.rounds, "targets": medians, "times_mcp_proxy": round(times, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds of 2 s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help=f"fail below {TIMES_MIN:g} times mcp-proxy")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--mcp-proxy", help="how to start it, without arguments")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(options.serve))
        return 0
    if shutil.which("wrk") is None:
        print("cannot measure: wrk is not installed (Debian: apt-get install wrk)", file=sys.stderr)
        return 1
    options.rounds = max(3, options.rounds or (3 if options.quick else 5))
    options.seconds = options.seconds or (2.0 if options.quick else 6.0)
    report = compare(options)
    failed = sum(target["failed"] for target in report["targets"].values())
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print(f"tools/call over a child with pipes, {CLIENTS} clients, medians of {report['rounds']} rounds")
        for target, r in report["targets"].items():
            print(f"  {target:17} {r['rps']:8.0f} calls/s  p50 {r['p50_ms']:6.2f} ms  p99 {r['p99_ms']:6.2f} ms")
        print(f"  {report['times_mcp_proxy']:g} times mcp-proxy; {failed} of the answers were wrong")
    too_slow = options.check and report["times_mcp_proxy"] < TIMES_MIN
    if too_slow:
        print(f"expected at least {TIMES_MIN:g} times mcp-proxy, got {report['times_mcp_proxy']:g}", file=sys.stderr)
    return 1 if failed or too_slow else 0


if __name__ == "__main__":
    sys.exit(main())
