"""What clients notice of an edit: Henslowe, `watchmedo auto-restart`, `uvicorn --reload`, each under 50 calls a second.

The same server on the SDK behind each: Henslowe runs it over pipes and checks every edit first; the other two serve it
over Streamable HTTP and restart it untested. A contender's round is one edit: how long until a call gets the new
answer, how many calls failed meanwhile, and the longest time without an answer. Rounds of the contenders alternate.

Used by `bench/edit_to_live.py`; not a script of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from henslowe.config.listen import Address
from henslowe.config.node_file import read_node_file
from henslowe.transport.listener import bind_tcp

CALLS_PER_S = 50
SETTLE_S = 1.0
"""Of calls after the new answer: whoever restarts twice is seen."""
WAIT_S = 30.0

SERVER = '''
from mcp.server import MCPServer
from mcp.types import ToolAnnotations

mcp = MCPServer("bench")


@mcp.tool(annotations=ToolAnnotations(readOnlyHint=True))
def which() -> int:
    """Which edit this is."""
    return {edit}


app = mcp.streamable_http_app(stateless_http=True, json_response=True)

if __name__ == "__main__":
    import sys

    if sys.argv[1:]:
        mcp.run("streamable-http", port=int(sys.argv[1]), stateless_http=True, json_response=True)
    else:
        mcp.run()
'''
TESTS = """
import server


def test_which():
    assert server.which() >= 0
"""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "which",
}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "which", "arguments": {}, "_meta": META},
}


@dataclass(slots=True)
class Rounds:
    """What was measured of one contender, a value per edit."""

    live_ms: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    gap_ms: list[float] = field(default_factory=list)

    def figures(self, name: str) -> dict[str, float]:
        """Medians, and all failed calls."""
        return {
            f"{name}_live_ms_p50": round(statistics.median(self.live_ms)),
            f"{name}_gap_ms_p50": round(statistics.median(self.gap_ms)),
            f"{name}_failed_per_edit": round(sum(self.failed) / len(self.failed), 2),
        }


def _free_port() -> int:
    with contextlib.closing(bind_tcp(Address("127.0.0.1", 0))) as sock:
        port: int = sock.getsockname()[1]
        return port


@dataclass(slots=True)
class Contender:
    """One way to serve a file that is edited."""

    name: str
    file: Path
    url: str
    edit: int = 0

    def save(self) -> None:
        """The next edit."""
        self.edit += 1
        self.file.write_text(SERVER.format(edit=self.edit))


async def _answer(session: aiohttp.ClientSession, url: str) -> int | None:
    """The number of the edit that answers, or None for a call that failed."""
    try:
        async with session.post(url, json=CALL, headers=HEADERS) as response:
            body = await response.json()
            return int(body["result"]["structuredContent"]["result"])
    except (aiohttp.ClientError, TimeoutError, KeyError, TypeError, ValueError):
        return None


async def one_edit(contender: Contender, rounds: Rounds) -> None:
    """Edit under load; returns once the new answer has come and a second has passed."""
    calls: set[asyncio.Task[None]] = set()
    answered_s = [time.perf_counter()]
    live_s: list[float] = []
    failed = [0]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:

        async def call() -> None:
            number = await _answer(session, contender.url)
            now_s = time.perf_counter()
            if number is None:
                failed[0] += 1
                return
            answered_s.append(now_s)
            if number == contender.edit and not live_s:
                live_s.append(now_s)

        contender.save()
        began_s = time.perf_counter()
        due_s = began_s
        while not live_s or time.perf_counter() < live_s[0] + SETTLE_S:
            if time.perf_counter() > began_s + WAIT_S:
                raise SystemExit(f"{contender.name} did not serve edit {contender.edit} within {WAIT_S:g} s")
            calls.add(asyncio.create_task(call()))
            due_s += 1 / CALLS_PER_S
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        await asyncio.gather(*calls)
    ordered = sorted(answered_s)
    gaps = [after - before for before, after in itertools.pairwise(ordered)]
    rounds.live_ms.append((live_s[0] - began_s) * 1000)
    rounds.failed.append(failed[0])
    rounds.gap_ms.append(max(gaps) * 1000)


@contextlib.asynccontextmanager
async def _running(argv: list[str], cwd: Path) -> AsyncIterator[None]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("HENSLOWE_")}
    child = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(child.pid, signal.SIGINT)
        try:
            await asyncio.wait_for(child.wait(), 15)
        except TimeoutError:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()


async def _until_it_answers(contender: Contender) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while await _answer(session, contender.url) is None:
            await asyncio.sleep(0.05)


async def measure(root: Path, edits: int) -> dict[str, Rounds]:
    """`edits` rounds of each contender, alternating."""
    bin_ = Path(sys.executable).parent
    async with contextlib.AsyncExitStack() as stack:
        contenders = []
        workspace = root / "henslowe"
        source = workspace / "dev" / "bench"
        source.mkdir(parents=True)
        (source / "test_server.py").write_text(TESTS)
        (source / "server.py").write_text(SERVER.format(edit=0))
        argv = [sys.executable, "-m", "henslowe", "up", str(workspace), "--listen", "127.0.0.1:0"]
        await stack.enter_async_context(_running([*argv, "--set", "delivery.strategy=immediate"], root))
        async with asyncio.timeout(60):
            while (node := read_node_file(workspace / ".henslowe" / "node.json")) is None:
                await asyncio.sleep(0.05)
        contenders.append(Contender("henslowe", source / "server.py", f"{node.url}/mcp/bench"))
        for name in ("watchmedo", "uvicorn"):
            folder, port = root / name, _free_port()
            folder.mkdir()
            (folder / "server.py").write_text(SERVER.format(edit=0))
            if name == "watchmedo":
                restart = [str(bin_ / "watchmedo"), "auto-restart", "--patterns=*.py", "--signal=SIGTERM"]
                argv = [*restart, "--", sys.executable, "server.py", str(port)]
            else:
                argv = [str(bin_ / "uvicorn"), "--reload", "--port", str(port), "server:app"]
            await stack.enter_async_context(_running(argv, folder))
            contenders.append(Contender(name, folder / "server.py", f"http://127.0.0.1:{port}/mcp"))
        for contender in contenders:
            await _until_it_answers(contender)
        rounds = {contender.name: Rounds() for contender in contenders}
        for _ in range(edits):
            for contender in contenders:
                await one_edit(contender, rounds[contender.name])
        return rounds
