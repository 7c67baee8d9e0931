"""One faulty server per fault, behind a real gateway with real clients: does each meet the verdict that it deserves?

One node, one service per fault. Its good version serves forty sessions of both eras; then an edit brings the fault,
nobody is asked, and the rest is the node's: a version that cannot be right is refused before it meets a client, a bad
one is taken back from its canary, a good one is promoted. No call fails that the good version answers.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.e2e.harness import Node
from tests.e2e.load import Load

SOURCE: Final = Path(__file__).resolve().parents[1] / "servers" / "faulty.py"
CLIENTS: Final = 40
CALLS_PER_S: Final = 60.0
WARM_CALLS: Final = 400
"""Before the edit: what is usual is learned of them."""
VERDICT_S: Final = 240.0
SETTLE_CALLS: Final = 2 * CLIENTS
"""After the verdict: who was on the canary is on the good version again."""
EXPECTED: Final[dict[str, tuple[str, ...]]] = {
    "none": ("ACTIVE",),
    "errors": ("ROLLED_BACK",),
    "latency": ("ROLLED_BACK",),
    "crash": ("ROLLED_BACK", "FAILED"),
    "schema": ("FAILED",),
    "answer": ("FAILED",),
    "leak": ("ROLLED_BACK",),
    "hang": ("ROLLED_BACK",),
}
"""What may become of it. One that crashes may do so under the replay, before it meets a client."""
WHY: Final = {"leak": "max_rss_mb"}
"""What has to be in the reason: the node's limit, not the end of the machine's memory."""
QUICK: Final = ("none", "errors", "schema")
SETTINGS: Final = (
    "delivery.strategy=canary",
    "delivery.canary_percent=25",
    "delivery.holdback_percent=0",
    "gateway.call_timeout_s=2",
)
LAUNCH: Final = '[launch]\ncommand = ["python", "-S", "server.py"]\n[health]\nmax_rss_mb = 120\n'


@dataclass(slots=True)
class Found:
    """What became of one fault."""

    fault: str
    state: str
    why: str
    verdict_s: float
    calls: int
    failed: int
    """Calls that the faulty version failed."""
    failed_stable: int
    sessions_lost: int

    @property
    def problems(self) -> list[str]:
        """What is not as promised."""
        wrong = []
        if self.state not in EXPECTED[self.fault] or WHY.get(self.fault, "") not in self.why:
            wanted = " or ".join(EXPECTED[self.fault]) + f" for {WHY[self.fault]}" * (self.fault in WHY)
            wrong.append(f"{self.fault}: expected {wanted}, got {self.state}: {self.why}")
        if self.failed_stable:
            wrong.append(f"{self.fault}: {self.failed_stable} calls of the good version failed")
        if self.sessions_lost:
            wrong.append(f"{self.fault}: {self.sessions_lost} sessions were lost")
        return wrong


def source(fault: str, seed: int) -> str:
    """The server with this fault; "" for none."""
    return SOURCE.read_text().replace('FAULT = ""', f'FAULT = "{fault}"').replace("SEED = 1", f"SEED = {seed}")


async def _meet(node: Node, fault: str, seed: int) -> Found:
    async with Load(node.mcp(fault), clients=CLIENTS, calls_per_s=CALLS_PER_S) as load:
        await load.more_calls(WARM_CALLS)
        began_s = time.monotonic()
        node.edit(fault, source("" if fault == "none" else fault, seed) + "# edited\n")
        # One that leaks does well for a while: it may be promoted, and is taken back when it ends too often.
        promoted = () if fault == "leak" else ("ACTIVE",)
        states = (*promoted, "ROLLED_BACK", "FAILED", "SUPERSEDED")
        fate = await asyncio.to_thread(node.wait_for_state, fault, 2, *states, timeout_s=VERDICT_S)
        took_s = time.monotonic() - began_s
        await load.more_calls(SETTLE_CALLS)
    failed = await asyncio.to_thread(node.events, service=fault, type="CALL_FAILED", limit=1_000)
    # The good version is the first one; where there is no fault, none may fail.
    stable = [event for event in failed if event["version"] == 1 or fault == "none"]
    lost = load.tally.sessions_lost
    calls_failed = len(load.tally.failures) - lost
    # What clients met and no version is blamed for is the gateway's own.
    unblamed = max(0, calls_failed - sum(1 + event["data"].get("unsaid", 0) for event in failed))
    return Found(
        fault,
        fate["state"],
        fate["reason"],
        round(took_s, 1),
        load.tally.calls,
        calls_failed,
        len(stable) + unblamed,
        lost,
    )


async def _all(faults: tuple[str, ...], seed: int, workspace: Path) -> list[Found]:
    for fault in faults:
        folder = workspace / "dev" / fault
        folder.mkdir(parents=True)
        (folder / "service.toml").write_text(LAUNCH)
        (folder / "server.py").write_text(source("", seed))
    found = []
    with Node(workspace, *SETTINGS) as node:
        for fault in faults:
            await asyncio.to_thread(node.wait_for_active, fault, 1)
        for fault in faults:
            found.append(await _meet(node, fault, seed))
    return found


def prove(faults: tuple[str, ...], seed: int) -> dict[str, Any]:
    """The verdict on each of the faults."""
    with tempfile.TemporaryDirectory(prefix="prove-faults-") as folder:
        found = asyncio.run(_all(faults, seed, Path(folder) / "workspace"))
    return {
        "calls": sum(one.calls for one in found),
        "stable_calls_failed": sum(one.failed_stable for one in found),
        **{f"{one.fault}_s": one.verdict_s for one in found},
        "lines": [f"{one.fault}: {one.state} after {one.verdict_s} s: {one.why}" for one in found],
        "problems": [problem for one in found for problem in one.problems],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("faults", nargs="*", default=list(EXPECTED), help=", ".join(EXPECTED))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    result = prove(tuple(options.faults), options.seed)
    print(*result.pop("lines"), *result.items(), sep="\n")
