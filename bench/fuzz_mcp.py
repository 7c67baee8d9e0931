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
import json
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.gateway import INITIALIZE, post, resident_kb
from bench.mcp_fuzzing.driving import Driver, Figures, Sessions
from bench.mcp_fuzzing.requests import Fuzzer
from tests.e2e.harness import Node, http_status

SERVER = Path(__file__).resolve().parent.parent / "tests" / "conformance" / "server.py"
RECOVERY_S = 15.0
"""Longest wait at the end for a server that fell over what it was sent, and is left alone for a few seconds."""


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
