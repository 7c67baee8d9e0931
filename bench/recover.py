"""Proof that clients do not notice: versions flip, servers are killed and the node restarts under forty open sessions.

    python bench/recover.py                  # 1,000 flips, 100 kills, 10 restarts, and the same kills at the peers
    python bench/recover.py --quick --check  # a minute; exit code 1 when a promise is broken
    python bench/recover.py --json

Twenty SDK clients of each era make 50 calls a second together, of a tool that says it may be repeated, each on the
one session that it opened at first:

* *flips*: people's commands let one version follow the other, as fast as the node starts it.
* *rollbacks*: an edit goes live, and is taken back, while the version before is warm. Beside the clients, calls one
  after the other tell from when on all new calls meet the version of before.
* *kills*: `kill -9` of the server that answers, again as soon as there is another one.
* *restarts*: of the node itself, in turns asked to stop and killed; its clients' HTTP library tries again while
  nobody listens, everything above it does not know.
* the peers: `kill -9` of the server behind mcp-proxy, supergateway and fastmcp's proxy, each where it is on PATH or
  can be fetched by `uv` or `npm`; with clients of the handshake era alone where it knows no other.

What `--check` holds: no call fails in flips, rollbacks and kills, no session is lost in any part, and 50 ms after a
rollback was asked for (99th percentile) no new call meets the bad version. A table at the end compares.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.probing import Prober, switch_lags_ms
from bench.proxies import Proxy, fastmcp, mcp_proxy, supergateway
from bench.traffic import FAILURES_SHOWN_MAX, Traffic
from tests.e2e.harness import Node, wait_until
from tests.e2e.load import ERAS, LEGACY, Load, client

CLIENTS = 40
CALLS_PER_S = 50.0
SWITCH_MS_MAX = 50.0
"""From a person's command to the last call that the version of before still got; the 99th percentile."""
SETTLE_CALLS = 40
"""Successful calls after the last fault of a part, so that what it broke shows."""
CALLS_BETWEEN = 20
"""Successful calls between two kills: most are made while there is a server, as in life."""
PEER_PAUSE_S = 1.5
"""From a kill behind a peer to the next: enough for a server that starts in 50 ms."""
PLAIN_SOURCE = Path(__file__).parent / "servers" / "plain.py"
PLAIN = [sys.executable, "-S", str(PLAIN_SOURCE)]


@dataclass(slots=True)
class Figures(Traffic):
    """What one part of the proof measured."""

    part: str
    faults: int
    clients: int
    fault_s: list[float] = field(default_factory=list)
    """From each fault to the end of its repair."""
    eras: str = "both"
    switch_ms_p50: float = 0.0
    """From asking for a rollback to the start of the last call that met the version that was taken back."""
    switch_ms_p99: float = 0.0
    probes: int = 0
    """Calls that told."""

    def take(self, load: Load) -> Figures:
        """The figures with those of a finished load; of its failures the calls are counted."""
        self.take_traffic(load)
        self.failed_calls = sum(not failure.what.startswith("session ended") for failure in load.tally.failures)
        return self

    def took(self, began_s: float) -> None:
        """A fault is repaired."""
        self.fault_s.append(round(time.monotonic() - began_s, 3))


# -- this project's node ----------------


def plain_service(workspace: Path, version: int = 1, edit: int = 0) -> None:
    """Save the service that starts at once, in one of its versions; the number of the edit makes it a new one."""
    folder = workspace / "dev" / "plain"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "service.toml").write_text('[launch]\ncommand = ["python", "-S", "server.py"]\n')
    text = PLAIN_SOURCE.read_text().replace("VERSION = 1", f"VERSION = {version}")
    (folder / "server.py").write_text(f"{text}# {edit}\n")


async def flips(options: argparse.Namespace, folder: Path) -> Figures:
    """Two versions follow each other, each time by a command that is answered when it has happened or begun."""
    figures = Figures("flips", options.flips, CLIENTS)
    workspace = folder / "flips"
    plain_service(workspace)
    with Node(workspace, "delivery.strategy=immediate") as node:
        await asyncio.to_thread(node.wait_for_active, "plain", 1)
        plain_service(workspace, 2)
        await asyncio.to_thread(node.wait_for_active, "plain", 2)
        async with Load(node.mcp("plain"), clients=CLIENTS, calls_per_s=CALLS_PER_S) as load:
            for number in range(options.flips):
                began_s = time.monotonic()
                await asyncio.to_thread(_flip, node, 1 + number % 2)
                figures.took(began_s)
                if number % 100 == 99:
                    _say(options, f"flips: {number + 1} of {options.flips}, {_so_far(load)}")
            await load.more_calls(SETTLE_CALLS)
        figures.take(load)
        answered = {text.rpartition(" ")[2] for text in load.tally.answers}
        if answered != {"1", "2"}:
            figures.failures.append(f"expected both versions to answer, got: {answered}")
            figures.failed_calls += 1
    return figures


async def rollbacks(options: argparse.Namespace, folder: Path) -> Figures:
    """Edits that go live and are taken back; the version of before is warm, as it is after any edit."""
    figures = Figures("rollbacks", options.rollbacks, CLIENTS)
    workspace = folder / "rollbacks"
    plain_service(workspace)
    with Node(workspace, "delivery.strategy=immediate") as node:
        await asyncio.to_thread(node.wait_for_active, "plain", 1)
        url, asked = node.mcp("plain"), []
        async with Load(url, clients=CLIENTS, calls_per_s=CALLS_PER_S) as load, Prober(url) as prober:
            for number in range(options.rollbacks):
                began_s = time.monotonic()
                plain_service(workspace, 2, number)
                await asyncio.to_thread(node.wait_for_active, "plain", 2 + number)
                asked_s = time.monotonic()
                await asyncio.to_thread(_flip, node, 1)
                asked.append((asked_s, time.monotonic(), 1))
                figures.took(began_s)
            await load.more_calls(SETTLE_CALLS)
        figures.take(load)
    figures.failed_calls += len(prober.failures)
    figures.failures += prober.failures[:FAILURES_SHOWN_MAX]
    lags_ms = switch_lags_ms(asked, prober.answered)
    figures.switch_ms_p50 = round(lags_ms[len(lags_ms) // 2], 1)
    figures.switch_ms_p99 = round(lags_ms[min(len(lags_ms) - 1, int(0.99 * len(lags_ms)))], 1)
    figures.probes = len(prober.answered)
    return figures


def _flip(node: Node, target: int) -> None:
    """Runs in: a thread."""
    node.api.post("/services/plain/actions/rollback", {"to_version": target})
    node.wait_for("plain", lambda status: status["active"]["version"] == target, f"version {target} to be active")


async def kills(options: argparse.Namespace, folder: Path) -> Figures:
    """`kill -9` of the sample service's server."""
    figures = Figures("kills", options.kills, CLIENTS)
    # A killed server counts as one that crashed: with the usual five in half a minute its version would be broken.
    with Node(folder / "kills", "instances.max_restarts=1000") as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with Load(node.mcp("hello"), clients=CLIENTS, calls_per_s=CALLS_PER_S) as load:
            pid = await asyncio.to_thread(_server, node, 0)
            for number in range(options.kills):
                began_s = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                pid = await asyncio.to_thread(_server, node, pid)
                figures.took(began_s)
                await load.more_calls(CALLS_BETWEEN)
                if number % 10 == 9:
                    _say(options, f"kills: {number + 1} of {options.kills}, {_so_far(load)}")
            await load.more_calls(SETTLE_CALLS)
    return figures.take(load)


def _server(node: Node, killed: int) -> int:
    """The server that runs, other than the killed one. Runs in: a thread."""
    return wait_until(
        lambda: next((pid for pid in node.servers("hello") if pid != killed), None),
        "another server to run",
        said=node.report,
    )


async def restarts(options: argparse.Namespace, folder: Path) -> Figures:
    """The node is asked to stop, or killed, and started again on the same data."""
    figures = Figures("restarts", options.restarts, CLIENTS)
    with Node(folder / "restarts") as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with Load(node.mcp("hello"), clients=CLIENTS, calls_per_s=CALLS_PER_S, patient=True) as load:
            for number in range(options.restarts):
                await load.more_calls(SETTLE_CALLS)
                began_s = time.monotonic()
                await asyncio.to_thread(node.kill if number % 2 else node.stop)
                await asyncio.to_thread(node.wait_for_no_processes)
                await asyncio.to_thread(node.start)
                await asyncio.to_thread(node.wait_for_active, "hello", 1)
                figures.took(began_s)
                _say(options, f"restarts: {number + 1} of {options.restarts}, {_so_far(load)}")
            await load.more_calls(SETTLE_CALLS)
    return figures.take(load)


# -- the peers ----------------


async def peer(options: argparse.Namespace, proxy: Proxy) -> Figures:
    """`kill -9` of what runs behind another proxy, under the same clients."""
    figures = Figures(proxy.name, options.peer_kills, CLIENTS)
    with proxy:
        eras = ERAS if await _knows_both_eras(proxy.url) else (LEGACY,)
        figures.eras = "both" if len(eras) > 1 else "handshake"
        async with Load(proxy.url, clients=CLIENTS, calls_per_s=CALLS_PER_S, eras=eras) as load:
            await asyncio.sleep(PEER_PAUSE_S)
            for _ in range(options.peer_kills):
                began_s = time.monotonic()
                for pid in proxy.servers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(PEER_PAUSE_S)
                figures.took(began_s)
        _say(options, f"{proxy.name}: {_so_far(load)}")
    return figures.take(load)


async def _knows_both_eras(url: str) -> bool:
    """Whether a stateless client gets an answer. What hangs or refuses does not count."""
    try:
        async with asyncio.timeout(10), client(url, ERAS[1]) as connected:
            return not (await connected.call_tool("greet", {"name": "Ada"})).is_error
    except Exception:
        return False


# -- the whole ----------------


async def prove(options: argparse.Namespace, folder: Path) -> tuple[list[Figures], list[Figures]]:
    """All parts that were asked for: this node's, and the peers'."""
    parts: list[tuple[int, Callable[[argparse.Namespace, Path], Awaitable[Figures]]]] = [
        (options.flips, flips),
        (options.rollbacks, rollbacks),
        (options.kills, kills),
        (options.restarts, restarts),
    ]
    ours = [await part(options, folder) for faults, part in parts if faults]
    theirs: list[Figures] = []
    peers = [mcp_proxy(PLAIN), supergateway(PLAIN), fastmcp(folder, PLAIN)] if options.peer_kills else []
    for proxy in peers:
        try:
            theirs.append(await peer(options, proxy))
        except (AssertionError, OSError) as reason:
            _say(options, f"{proxy.name} is left out: {str(reason)[:300]}")
    return ours, theirs


def broken(ours: list[Figures]) -> list[str]:
    """The promises that do not hold."""
    found = []
    for figures in ours:
        if figures.sessions_lost:
            found.append(f"{figures.part}: {figures.sessions_lost} sessions lost")
        if figures.failed_calls and figures.part != "restarts":
            found.append(f"{figures.part}: {figures.failed_calls} of {figures.calls} calls failed")
        if figures.switch_ms_p99 > SWITCH_MS_MAX:
            late = f"the bad version got calls for {figures.switch_ms_p99} ms"
            found.append(f"{figures.part}: expected at most {SWITCH_MS_MAX:g} ms until all calls had switched, {late}")
    return found


def _so_far(load: Load) -> str:
    return f"{load.tally.calls} calls, {len(load.tally.failures)} failures"


def _say(options: argparse.Namespace, line: str) -> None:
    if not options.json:
        print(line, flush=True)


def _table(figures: list[Figures]) -> str:
    columns = (
        f"{'faults':>6} {'eras':>9} {'calls':>6} {'failed':>6} {'lost':>5} {'p50 ms':>7} {'p99 ms':>8} {'gap ms':>8}"
    )
    rows = [
        f"{f.part:13} {f.faults:6} {f.eras:>9} {f.calls:6} {f.failed_calls:6} {f.sessions_lost:5} {f.call_p50_ms:7} "
        f"{f.call_p99_ms:8} {f.gap_ms_max:8} {statistics.median(f.fault_s):>10.3f}/{max(f.fault_s):.3f}"
        for f in figures
    ]
    return "\n".join([f"{'':13} {columns} {'fault s, median/max':>16}", *rows])


def main() -> int:
    """Runs the proof; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, metavar="N", help="versions that follow each other (1,000; quick: 100)")
    parser.add_argument("--rollbacks", type=int, metavar="N", help="edits that are taken back (100; quick: 10)")
    parser.add_argument("--kills", type=int, metavar="N", help="kills of the server (100; quick: 8)")
    parser.add_argument("--restarts", type=int, metavar="N", help="restarts of the node (10; quick: 2)")
    parser.add_argument("--peer-kills", type=int, metavar="N", help="kills behind each peer (10; quick: 0)")
    parser.add_argument("--quick", action="store_true", help="a minute")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is broken")
    options = parser.parse_args()
    usual = {
        "flips": (1_000, 100),
        "rollbacks": (100, 10),
        "kills": (100, 8),
        "restarts": (10, 2),
        "peer_kills": (10, 0),
    }
    for name, (full, quick) in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # its clients report each session that a peer forgets
    with tempfile.TemporaryDirectory(prefix="henslowe-recover-") as folder:
        ours, theirs = asyncio.run(prove(options, Path(folder)))
    promises = broken(ours)
    if options.json:
        shown = {"figures": [asdict(f) for f in ours], "peers": [asdict(f) for f in theirs], "broken": promises}
        print(json.dumps(shown, indent=2))
    else:
        print(_table([*ours, *theirs]))
        for line in [*(failure for part in ours for failure in part.failures), *promises]:
            print(line)
    return 1 if options.check and promises else 0


if __name__ == "__main__":
    sys.exit(main())
