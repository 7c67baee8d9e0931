"""From a saved file to a staged and to a live version, beside a script of the same commands and beside reloaders.

    python -m bench.edit_to_live            # 15 edits of a server on the SDK, with tests
    python -m bench.edit_to_live --quick    # 4 edits, 3 of the reloaders'
    python -m bench.edit_to_live --json     # one JSON object, for machines
    python -m bench.edit_to_live --check    # fails when a mark is missed (see below)

The node runs whole, in this process: watcher, pipeline, versions, instances, router. The script is what somebody would
write by hand: ruff, pytest, and a handshake with the server, at once, then wait. Edits and scripts alternate, so that
both meet the same machine.

`outside` is what the node itself takes: from the save to the start of the first stage (noticing, copying, the version's
commit), and from the end of the last stage to the commit of STAGED (naming and laying out the build). `added` is the
whole way less the script's; on a machine that others use, its spread is that of the stages.

Beside it, in the same run, what clients notice of an edit: Henslowe, `watchmedo auto-restart` and `uvicorn --reload`,
each under 50 calls a second (`bench/reloaders.py`). The latter two serve every edit untested.

Marks: at most 250 ms outside of stages and added (95th percentile), at most 4 s until live, no failed call.
"""

# ruff: noqa: D102  # one actor of a few lines

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench import reloaders
from henslowe.actors import names
from henslowe.actors.ids import ServiceName
from henslowe.actors.kernel import LoopActor
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Confirm, Delivery, Subscribe
from henslowe.actors.routes import Route
from henslowe.actors.vocabulary import STAGE_EVENTS
from henslowe.config.loading import Override, load
from henslowe.node import Node

ADDED_MS_MAX = 250.0
LIVE_MS_MAX = 4_000.0
WAIT_S = 60.0

SERVER = '''
from mcp.server import MCPServer

mcp = MCPServer("bench")


@mcp.tool()
def which() -> int:
    """Which edit this is."""
    return {edit}


if __name__ == "__main__":
    mcp.run()
'''
TESTS = """
import server


def test_which():
    assert server.which() >= 0
"""
CHECK = """
import json, subprocess, sys

server = subprocess.Popen([sys.executable, "server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "script", "version": "1"}}
for number, (method, params) in enumerate([("initialize", hello), ("tools/list", {})]):
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    server.stdin.write(json.dumps(request).encode() + b"\\n")
    server.stdin.flush()
    assert "result" in json.loads(server.stdout.readline())
server.kill()
"""
SCRIPT = """
ruff check --no-cache --quiet --isolated --select=E9,F . & lint=$!
python -m pytest -q -p no:cacheprovider -c /dev/null --rootdir=. >/dev/null 2>&1 & test=$!
python check.py & check=$!
wait $lint && wait $test && wait $check
"""


Peer = Callable[[str], Awaitable[float]]
"""Saves a server's text and waits until what was to be done with it is done; milliseconds."""
STARTS = {start.value for start, _ in STAGE_EVENTS.values()}
ENDS = {end.value for _, end in STAGE_EVENTS.values()}


class Clock(LoopActor):
    """Notes when things happened to each version, in nanoseconds of Unix time."""

    def __init__(self) -> None:
        super().__init__()
        self.first_start: dict[int, int] = {}
        self.last_end: dict[int, int] = {}
        self.staged: dict[int, int] = {}
        self.replayed_ms: list[float] = []
        """What each stage took that did not run, because nothing of it had changed."""
        self._starts: dict[tuple[int, str], int] = {}
        self.changed = asyncio.Condition()

    async def handle_cast(self, message: Delivery) -> None:
        async with self.changed:
            for event in message.events:
                if event.type in STARTS:
                    self.first_start.setdefault(event.version, event.time_ns)
                    self._starts[event.version, event.data["stage"]] = event.time_ns
                elif event.type in ENDS:
                    self.last_end[event.version] = event.time_ns
                    if event.data.get("cached"):
                        began_ns = self._starts[event.version, event.data["stage"]]
                        self.replayed_ms.append((event.time_ns - began_ns) / 1e6)
                elif event.type == "VERSION_STAGED":
                    self.staged[event.version] = event.time_ns
                elif event.type == "VERSION_FAILED":
                    raise SystemExit(f"version {event.version} failed: the bench's own server is broken")
            self.changed.notify_all()
        registry.via(names.BUS).cast(Confirm(message.subscription, message.events[-1].seq))

    async def until_staged(self, version: int) -> None:
        async with self.changed, asyncio.timeout(WAIT_S):
            await self.changed.wait_for(lambda: version in self.staged)


async def run_script(folder: Path) -> float:
    """How long the script takes in `folder`, in milliseconds."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    began_s = time.perf_counter()
    child = await asyncio.create_subprocess_exec("sh", "-c", SCRIPT, cwd=folder, env={**os.environ, "PATH": path})
    if await child.wait() != 0:
        raise SystemExit("the script failed: the bench's own server is broken")
    return (time.perf_counter() - began_s) * 1000


async def measure(edits: int, reverts: int = 0, peer: Peer | None = None) -> dict[str, list[float]]:
    """What each edit took, by what was measured, in milliseconds.

    Args:
        edits: How many; a run of the script, and one of the peer, before each.
        reverts: How many times, after that, one of two states comes back of which every stage is remembered.
        peer: Something else that notices the same edits in a folder of its own.
    """
    with tempfile.TemporaryDirectory(prefix="edit-to-live-") as root:
        workspace = Path(root) / "workspace"
        source = workspace / "dev" / "bench"
        source.mkdir(parents=True)
        (source / "test_server.py").write_text(TESTS)
        (source / "server.py").write_text(SERVER.format(edit=0))
        loaded = load(workspace, environ={}, overrides=[Override.parse("listen=127.0.0.1:0")])
        node = await Node.start(loaded)
        try:
            clock, live = await _clock(node)
            took = await _edits(clock, live, (source, Path(root) / "script"), edits, peer)
            return took | await _reverts(clock, source, edits, reverts)
        finally:
            await node.stop()


class Live(dict[int, int]):
    """When each version took the traffic, in nanoseconds of Unix time."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def on_routes(self, _old: Mapping[ServiceName, Route], new: Mapping[ServiceName, Route]) -> None:
        for route in new.values():
            self.setdefault(route.stable.number, time.time_ns())
        self.changed.set()

    async def until(self, version: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while version not in self:
                self.changed.clear()
                await self.changed.wait()


async def _clock(node: Node) -> tuple[Clock, Live]:
    clock_ref = await Clock.start_link()
    assert clock_ref is not None
    await registry.via(names.BUS).call(Subscribe(clock_ref, after_seq=0))
    live = Live()
    node.shared.routes.on_change(live.on_routes)
    clock: Clock = clock_ref._actor
    return clock, live


async def _edits(
    clock: Clock, live: Live, folders: tuple[Path, Path], edits: int, peer: Peer | None
) -> dict[str, list[float]]:
    source, script = folders
    await clock.until_staged(1)
    script.mkdir()
    (script / "test_server.py").write_text(TESTS)
    (script / "check.py").write_text(CHECK)
    took: dict[str, list[float]] = {"script": [], "staged": [], "outside": [], "live": [], "peer": []}
    for edit in range(1, edits + 1):
        (script / "server.py").write_text(SERVER.format(edit=edit))
        took["script"].append(await run_script(script))
        if peer is not None:
            took["peer"].append(await peer(SERVER.format(edit=edit)))
        version, began_ns = edit + 1, time.time_ns()
        (source / "server.py").write_text(SERVER.format(edit=edit))
        await clock.until_staged(version)
        await live.until(version)
        staged_ns = clock.staged[version]
        took["staged"].append((staged_ns - began_ns) / 1e6)
        took["live"].append((live[version] - began_ns) / 1e6)
        inside_ns = clock.last_end[version] - clock.first_start[version]
        took["outside"].append((staged_ns - began_ns - inside_ns) / 1e6)
    return took


async def _reverts(clock: Clock, source: Path, edits: int, reverts: int) -> dict[str, list[float]]:
    """Goes back and forth between two states that were built already."""
    took_ms, ran = [], len(clock.replayed_ms)
    for number in range(reverts):
        began_ns = time.time_ns()
        (source / "server.py").write_text(SERVER.format(edit=edits - 1 - number % 2))
        version = edits + 2 + number
        await clock.until_staged(version)
        took_ms.append((clock.staged[version] - began_ns) / 1e6)
    return {"reverted": took_ms, "replayed": clock.replayed_ms[ran:]}


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("quick", "json", "check"):
        parser.add_argument(f"--{flag}", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    took = asyncio.run(measure(4 if options.quick else 15))
    took["added"] = [staged - script for staged, script in zip(took["staged"], took["script"], strict=True)]
    figures: dict[str, float] = {"edits": len(took["added"])}
    for name in ("script", "staged", "live", "added", "outside"):
        figures[f"{name}_ms_p50"] = round(statistics.median(took[name]))
        figures[f"{name}_ms_p95"] = round(percentile(took[name], 0.95))
    with tempfile.TemporaryDirectory(prefix="reloaders-") as root:
        rounds = asyncio.run(reloaders.measure(Path(root), 3 if options.quick else 7))
    for name, one in rounds.items():
        figures |= one.figures(name)
    for name in ("watchmedo", "uvicorn"):
        figures[f"live_over_{name}"] = round(figures["henslowe_live_ms_p50"] / figures[f"{name}_live_ms_p50"], 2)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:>28} {value:g}")
    marks = {
        "outside_ms_p95": ADDED_MS_MAX,
        "added_ms_p95": ADDED_MS_MAX,
        "live_ms_p95": LIVE_MS_MAX,
        "henslowe_live_ms_p50": LIVE_MS_MAX,
        "henslowe_failed_per_edit": 0,
    }
    missed = [
        f"{name}: at most {mark:g}, got {figures[name]:g}" for name, mark in marks.items() if figures[name] > mark
    ]
    if options.check and missed:
        sys.exit("marks missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
