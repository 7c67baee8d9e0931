"""A pipeline with real processes, a real archive and a real connector; its version machine only counts."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from henslowe.actors import names
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import LoopActor, Ref, WhichChildren
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import (
    Created,
    CreateVersion,
    NameVersion,
    Publish,
    SourceChanged,
    VersionBroken,
    VersionBuilt,
)
from henslowe.actors.pipeline import PipelineExecutor
from henslowe.actors.sources import Tree, scan
from henslowe.config.settings import Settings
from henslowe.storage import EventDraft, Store
from henslowe.supervisors import DynamicSupervisor
from henslowe.transport.mcp import McpConnector

WAIT_S = 20.0
"""Stages are processes on a machine that others use, too."""

TOOL = {"name": "add", "inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def server(*tools: dict[str, Any], before: str = "") -> str:
    """A server in the handshake era that needs no library and so starts at once."""
    return f"""{before}
import json, sys
TOOLS = json.loads({json.dumps(list(tools) or [TOOL])!r})
for line in sys.stdin:
    request = json.loads(line)
    method = request["method"]
    if "id" not in request:
        continue
    if method == "initialize":
        answer = {{"result": {{"protocolVersion": "2025-11-25", "capabilities": {{"tools": {{}}}},
                   "serverInfo": {{"name": "quick", "version": "1"}}}}}}
    elif method == "tools/list":
        answer = {{"result": {{"tools": TOOLS}}}}
    else:
        answer = {{"error": {{"code": -32601, "message": "Method not found"}}}}
    print(json.dumps({{"jsonrpc": "2.0", "id": request["id"], **answer}}), flush=True)
"""


SDK_SERVER = '''
from mcp.server import MCPServer

mcp = MCPServer("sums")


@mcp.tool()
def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


if __name__ == "__main__":
    mcp.run()
'''


class Ledger(LoopActor):
    """Counts versions and remembers how they ended."""

    crash_on_call_error = False

    def __init__(self, ended: asyncio.Queue) -> None:
        super().__init__()
        self.ended = ended
        self.sources: dict[str, VersionKey] = {}
        self.taken: dict[str, str] = {}
        self.created: list[CreateVersion] = []
        self.crashes = 0

    def handle_call(self, message: Any, _sender: Any) -> Any:
        match message:
            case CreateVersion(service, digest):
                if self.crashes:
                    self.crashes -= 1
                    raise RuntimeError("not today")
                self.created.append(message)
                if digest in self.sources and not message.force:
                    return Created(self.sources[digest], unchanged=True)
                return Created(VersionKey(service, len(self.created)))
            case NameVersion(version, semver, build):
                known = next((name for name, other in self.taken.items() if other == build), None)
                name = known or (semver if semver not in self.taken else f"{semver}+{version.number}")
                self.taken[name] = build
                return name
            case VersionBuilt() | VersionBroken():
                self.ended.put_nowait(message)
        return None


class Bus(LoopActor):
    def __init__(self, events: list[EventDraft], changed: asyncio.Condition) -> None:
        super().__init__()
        self.events = events
        self.changed = changed

    async def handle_cast(self, message: Publish) -> None:
        self.events.extend(message.events)
        async with self.changed:
            self.changed.notify_all()


def stage(name: str, run: str, **more: str) -> str:
    """A stage of the user's own, for `service.toml`."""
    lines = [f"[stages.{name}]", f"run = {run!r}", *(f"{key} = {value}" for key, value in more.items())]
    return "\n".join(lines) + "\n"


class Node:
    """A workspace with its pipeline. Stages are isolated where a test asks for it: most leave traces to look at."""

    def __init__(self, root: Path, store: Store, **pipeline: Any) -> None:
        pipeline = {"isolation": "none", **pipeline}
        self.workspace = root / "workspace"
        self.store = store
        self.settings = Settings(workspace=self.workspace, data=store.data_dir, pipeline=pipeline)
        self.events: list[EventDraft] = []
        self.changed = asyncio.Condition()
        self.ended: asyncio.Queue[VersionBuilt | VersionBroken] = asyncio.Queue()
        self.ledger: Ledger
        self.executor: Ref
        self._refs: list[Ref] = []

    async def start(self) -> None:
        self._refs.append(await Bus.start_link(self.events, self.changed, name=names.BUS))
        ledger = await Ledger.start_link(self.ended, name=names.VERSIONS)
        self.ledger = ledger._actor
        self._refs += [ledger, await DynamicSupervisor.start_link(name=names.PIPELINE_RUNS)]
        await self.start_executor()

    async def start_executor(self) -> None:
        self.executor = await PipelineExecutor.start_link(
            self.store, self.settings, McpConnector(self.settings.instances), name=names.PIPELINE
        )

    async def stop(self) -> None:
        for ref in (self.executor, *reversed(self._refs)):
            if ref.is_alive():
                await ref.stop(block=False)

    def write(self, files: dict[str, str], service: str = "hello") -> Path:
        folder = self.workspace / "dev" / service
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        return folder

    def change(self, files: dict[str, str], service: str = "hello") -> SourceChanged:
        """Edit, and tell the pipeline what the watcher would."""
        folder = self.write(files, service)
        change = SourceChanged(ServiceName(service), folder, scan(folder, Tree(), 0).digest, tuple(files))
        registry.via(names.PIPELINE).cast(change)
        return change

    async def outcome(self) -> VersionBuilt | VersionBroken:
        return await asyncio.wait_for(self.ended.get(), WAIT_S)

    async def built(self) -> VersionBuilt:
        outcome = await self.outcome()
        assert isinstance(outcome, VersionBuilt), outcome
        return outcome

    async def broken(self) -> VersionBroken:
        outcome = await self.outcome()
        assert isinstance(outcome, VersionBroken), outcome
        return outcome

    async def event(self, event_type: str, where: Callable[[EventDraft], bool] = lambda _: True) -> EventDraft:
        """The first event of this type for which `where` holds."""
        async with self.changed, asyncio.timeout(WAIT_S):
            while True:
                for event in self.events:
                    if event.type == event_type and where(event):
                        return event
                await self.changed.wait()

    async def idle(self) -> None:
        """Returns once no run is left."""
        async with asyncio.timeout(WAIT_S):
            while await registry.via(names.PIPELINE_RUNS).call(WhichChildren()):
                await asyncio.sleep(0.01)

    def said(self, *types: str) -> list[tuple[str, str]]:
        """Type and status of the events so far, in order."""
        return [(event.type, event.status) for event in self.events if not types or event.type in types]

    def lines(self, version: int | None = None) -> list[str]:
        """What stages printed."""
        return [
            event.data["line"]
            for event in self.events
            if event.type == "STAGE_OUTPUT" and version in (None, event.version)
        ]
