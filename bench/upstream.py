"""What a call through an endpoint costs: CPU of this process per call over pipes, beside a bare exchange of lines.

    python bench/upstream.py [--quick] [--json] [--check] [--calls N]

Both talk to the same child program. The bare exchange writes a line and reads a line, one call at a time, which is the
least that anybody could do. `--check` fails when a call at 32 callers costs more CPU than a bare exchange does at one:
many callers share reads, and that must pay for ids, time limits and the bridge between eras.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

from henslowe.actors.endpoints import Era
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.kernel import OsProcess, Scheduler
from henslowe.config.settings import InstanceSettings
from henslowe.transport.mcp import McpConnector, eras

ECHO = (sys.executable, "-S", str(Path(__file__).parent / "servers" / "echo.py"))
CALL: dict[str, Any] = {"name": "echo", "arguments": {"text": "hello"}}
MODERN_CALL = {**CALL, "_meta": eras.envelope(eras.LATEST_MODERN, {"name": "bench", "version": "0"})}
ROUNDS = 5


async def main() -> int:
    """Measure in turns, print, and judge."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--calls", type=int, default=4_000)
    options = arguments.parse_args()
    calls = options.calls // 10 if options.quick else options.calls
    Scheduler.install()
    bare, child = await OsProcess.spawn(ECHO), await OsProcess.spawn(ECHO)
    endpoint = await McpConnector(InstanceSettings()).connect_stdio(
        VersionKey(ServiceName("echo"), 1),
        InstanceId("echo@1#1"),
        child,  # type: ignore[arg-type]  # it has pipes
        on_server_event=lambda *_: None,
        on_closed=lambda _: None,
        timeout_s=10,
    )
    stdin, stdout = bare.stdin, bare.stdout
    assert stdin is not None
    assert stdout is not None
    line = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}) + b"\n"

    async def exchange() -> None:
        stdin.write(line)
        orjson.loads(await stdout.readline())

    async def legacy() -> None:
        await endpoint.request("tools/call", CALL, era=Era.LEGACY)

    async def bridged() -> None:
        await endpoint.request("tools/call", MODERN_CALL, era=Era.MODERN)

    cases: dict[str, tuple[Callable[[], Awaitable[None]], int]] = {
        "bare exchange, 1 caller": (exchange, 1),
        "endpoint, 1 caller": (legacy, 1),
        "endpoint, 32 callers": (legacy, 32),
        "endpoint and bridge, 1 caller": (bridged, 1),
        "endpoint and bridge, 32 callers": (bridged, 32),
    }
    rounds = [{name: await cost_us(call, n, calls) for name, (call, n) in cases.items()} for _ in range(ROUNDS)]
    median = {name: round(statistics.median(found[name] for found in rounds), 1) for name in cases}
    await endpoint.close()
    await asyncio.gather(bare.stop(1.0), child.stop(1.0))
    if options.json:
        print(json.dumps({"cpu_us_per_call": median}))
    else:
        for name, cpu_us in median.items():
            print(f"{name:34s}{cpu_us:8.1f} us of CPU per call")
    return 1 if options.check and median["endpoint, 32 callers"] > median["bare exchange, 1 caller"] else 0


async def cost_us(call: Callable[[], Awaitable[None]], callers: int, calls: int) -> float:
    """CPU of this process per call, in microseconds."""

    async def caller() -> None:
        for _ in range(calls // callers):
            await call()

    started = time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.process_time() - started) / calls * 1e6


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
