"""Proof that clients do not notice how many instances there are: more, fewer, one that is killed, none at all.

    python bench/scaling.py                  # 40 changes, 20 kills with and without a spare, 20 sleeps
    python bench/scaling.py --quick --check  # a minute; exit code 1 when a promise is broken
    python bench/scaling.py --json

Twenty SDK clients of each era make 50 calls a second together, each on the one session that it opened at first:

* *changes*: the service's `[scale]` is edited again and again, between one instance and three.
* *kills, alone* and *kills, spare*: `kill -9` of an instance that serves, without and with another that stands by. The
  longest time in which no call succeeded shows what the spare is worth.
* *sleeps*: nobody calls until the service sleeps; then a call of each of the open sessions, at once. `wake_ms` is
  how long the slowest of them took: the start of the server and little more.

What `--check` holds: no call fails, no session is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.traffic import Traffic
from tests.e2e.harness import Node, wait_until
from tests.e2e.load import ERAS, Load, client

CLIENTS = 40
CALLS_PER_S = 50.0
CALLS_BETWEEN = 20
SETTLE_CALLS = 40
SLEEPERS = 10
"""Sessions that are open while the service sleeps."""
PLAIN_SOURCE = Path(__file__).parent / "servers" / "plain.py"


@dataclass(slots=True)
class Figures(Traffic):
    """What one part of the proof measured."""

    part: str
    times: int
    wake_ms: list[float] = field(default_factory=list)


def plain_service(workspace: Path, **scale: float) -> None:
    """Save the service that starts at once, with so many instances."""
    folder = workspace / "dev" / "plain"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.py").write_text(PLAIN_SOURCE.read_text())
    numbers = "".join(f"{key} = {value}\n" for key, value in scale.items())
    text = f'[launch]\ncommand = ["python", "-S", "server.py"]\n[scale]\n{numbers}'
    aside = folder / ".service.toml"
    aside.write_text(text)
    aside.replace(folder / "service.toml")


def instances(node: Node, name: str, state: str) -> list[int]:
    """The processes of a service's instances with this duty."""
    return [each["pid"] for each in node.service(name)["instances"] if each["state"] == state and each["pid"]]


async def reached(node: Node, name: str, serving: int, standby: int) -> list[int]:
    """The processes that serve, once there are so many, and others stand by."""

    def look() -> list[int] | None:
        found = instances(node, name, "ready")
        return found if len(found) == serving and len(instances(node, name, "standby")) == standby else None

    return await asyncio.to_thread(wait_until, look, f"{serving} instances and {standby} more", said=node.report)


async def changes(times: int, folder: Path) -> Figures:
    """More instances and fewer, by edits."""
    figures, workspace = Figures("changes", times), folder / "changes"
    plain_service(workspace, min=1, max=3, down_s=0.5)
    with Node(workspace) as node:
        await asyncio.to_thread(node.wait_for_active, "plain", 1)
        async with Load(node.mcp("plain"), clients=CLIENTS, calls_per_s=CALLS_PER_S) as load:
            for number in range(times):
                serving = (3, 1)[number % 2]
                plain_service(workspace, min=serving, max=serving, down_s=0.5)
                await reached(node, "plain", serving, 0)
                await load.more_calls(CALLS_BETWEEN)
            await load.more_calls(SETTLE_CALLS)
    figures.take_traffic(load)
    return figures


async def kills(times: int, folder: Path, *, standby: int) -> Figures:
    """`kill -9` of the instance that serves, of a server that takes about a second to start."""
    figures = Figures(f"kills, {'spare' if standby else 'alone'}", times)
    flags = (f"scale.standby={standby}", "instances.max_restarts=1000")
    with Node(folder / f"kills{standby}", *flags) as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with Load(node.mcp("hello"), clients=CLIENTS, calls_per_s=CALLS_PER_S) as load:
            for _ in range(times):
                (serving,) = await reached(node, "hello", 1, standby)
                os.kill(serving, signal.SIGKILL)
                await load.more_calls(CALLS_BETWEEN)
            await load.more_calls(SETTLE_CALLS)
    figures.take_traffic(load)
    return figures


async def sleeps(times: int, folder: Path) -> Figures:
    """All instances end, and a call of each open session wakes the service."""
    figures = Figures("sleeps", times)
    with Node(folder / "sleeps", "scale.min=0", "scale.idle_s=1") as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with _sessions(node.mcp("hello")) as sessions:
            for _ in range(times):
                await asyncio.to_thread(node.wait_for, "hello", _asleep, "the service to sleep")
                began_s = time.monotonic()
                answers = await asyncio.gather(*map(_greet, sessions))
                figures.wake_ms.append(round(1_000 * (time.monotonic() - began_s), 1))
                figures.calls += len(answers)
                figures.failures += [answer for answer in answers if answer]
    figures.failed_calls = len(figures.failures)
    return figures


@contextlib.asynccontextmanager
async def _sessions(url: str) -> AsyncIterator[list[Any]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client(url, ERAS[n % len(ERAS)])) for n in range(SLEEPERS)]


async def _greet(session: Any) -> str:
    """What went wrong; "" when nothing did."""
    try:
        result = await session.call_tool("greet", {"name": "Ada"})
    except Exception as failure:
        return repr(failure)
    return repr(result) if result.is_error else ""


def _asleep(status: dict[str, Any]) -> bool:
    return bool(status["scale"] and status["scale"]["asleep_since_s"]) and not status["instances"]


async def prove(options: argparse.Namespace, folder: Path) -> list[Figures]:
    """All parts."""
    return [
        await changes(options.changes, folder),
        await kills(options.kills, folder, standby=0),
        await kills(options.kills, folder, standby=1),
        await sleeps(options.sleeps, folder),
    ]


def broken(parts: list[Figures]) -> list[str]:
    """The promises that do not hold."""
    found = [f"{each.part}: {each.failed_calls} of {each.calls} calls failed" for each in parts if each.failed_calls]
    return found + [f"{each.part}: {each.sessions_lost} sessions lost" for each in parts if each.sessions_lost]


def table(parts: list[Figures]) -> str:
    """For people."""
    lines = [f"{'':14} {'times':>5} {'calls':>7} {'failed':>6} {'lost':>5} {'p50 ms':>7} {'p99 ms':>8} {'gap ms':>7}"]
    for each in parts:
        lines.append(
            f"{each.part:14} {each.times:5} {each.calls:7} {each.failed_calls:6} {each.sessions_lost:5} "
            f"{each.call_p50_ms:7} {each.call_p99_ms:8} {each.gap_ms_max:7}"
        )
        if each.wake_ms:
            lines.append(
                f"  woken in {statistics.median(each.wake_ms):.0f} ms (median), {max(each.wake_ms):.0f} at most"
            )
        lines += [f"  {failure}" for failure in each.failures]
    return "\n".join(lines)


def main() -> int:
    """Prove and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=40)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--sleeps", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a tenth of each")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is broken")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.changes, options.kills, options.sleeps = (
            max(2, each // 10) for each in (options.changes, options.kills, options.sleeps)
        )
    with tempfile.TemporaryDirectory() as folder:
        parts = asyncio.run(prove(options, Path(folder)))
    print(json.dumps([asdict(each) for each in parts], indent=2) if options.json else table(parts))
    problems = broken(parts)
    for problem in problems:
        print(f"broken: {problem}", file=sys.stderr)
    return 1 if options.check and problems else 0


if __name__ == "__main__":
    sys.exit(main())
