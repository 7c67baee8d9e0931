"""A whole node as a process of its own, and the hands of a person: edit, look, kill.

    with Node(workspace) as node:              # started and ready; stopped at the end, and nothing is left over
        node.edit("hello", server(greeting="Good day"))
        node.wait_for_active("hello", version=2)
        node.kill()
        node.start()                           # on the same address

Everything waits with a limit, and says what the node said when the limit is reached. Methods block: call them with
`asyncio.to_thread` beside a running load.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from henslowe.cli.client import NodeClient
from henslowe.config.node_file import NodeFile, read_node_file
from henslowe.config.sample import SERVER
from henslowe.errors import HensloweError

T = TypeVar("T")

MARKER: Final = "TEST_RUN_OF_NODE"
"""Environment variable that every process of a test's node inherits, children of children too."""
POLL_S: Final = 0.05
READY_S: Final = 30.0
VERSION_S: Final = 60.0
"""From a saved edit to the version's fate: dependencies, lint, tests, check and start on two busy cores."""
STOP_S: Final = 30.0
LOG_TAIL_LINES: Final = 40


def wait_until(look: Callable[[], T | None], what: str, *, timeout_s: float = 30.0, said: Callable[[], str] = str) -> T:
    """The first result of `look` that is neither None nor False; `said` explains a failure."""
    give_up_s = time.monotonic() + timeout_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > give_up_s:
            raise AssertionError(f"expected {what} within {timeout_s} s\n{said()}")
        time.sleep(POLL_S)


class Node:
    """One node and its workspace. A restarted node listens where it listened before.

    Args:
        workspace: Its folder; empty for the sample service.
        settings: `--set` assignments.
        data: The data directory, if not inside the workspace.
        log_folder: Where the output of each life goes, if not beside the workspace.
    """

    def __init__(
        self, workspace: Path, *settings: str, data: Path | None = None, log_folder: Path | None = None
    ) -> None:
        self.workspace = workspace
        self.data = data or workspace / ".henslowe"
        self._log_folder = log_folder or workspace.parent
        self.marker = uuid.uuid4().hex
        self.logs: list[Path] = []
        self._settings = settings
        # Variables of that name are settings; those of the tests' own are not the node's.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HENSLOWE_")}
        self._env = {**inherited, MARKER: self.marker}
        self._listen = "127.0.0.1:0"
        self._process: subprocess.Popen[bytes] | None = None
        self._file: NodeFile | None = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self._end()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            if self.running:
                self.stop()
        finally:
            self._end()
        self.wait_for_no_processes()

    # -- life ----------------

    @property
    def running(self) -> bool:
        """Whether the node's process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the node's process."""
        assert self._process is not None, "the node was not started"
        return self._process.pid

    @property
    def url(self) -> str:
        """`http://HOST:PORT`."""
        assert self._file is not None, "the node is not ready"
        return self._file.url

    def mcp(self, service: str = "") -> str:
        """An MCP endpoint: of one service, or of all."""
        return f"{self.url}/mcp/{service}" if service else f"{self.url}/mcp"

    def spawn(self, *flags: str) -> subprocess.Popen[bytes]:
        """Starts the process and does not wait."""
        argv = [sys.executable, "-m", "henslowe", "up", str(self.workspace), "--listen", self._listen, "--json"]
        for assignment in self._settings:
            argv += ["--set", assignment]
        if self.data != self.workspace / ".henslowe":
            argv += ["--data", str(self.data)]
        self.logs.append(self._log_folder / f"{self.workspace.name}-node-{len(self.logs)}.log")
        with self.logs[-1].open("wb") as log:
            # Its own session: what ends the node must come from the test, not from the terminal.
            self._process = subprocess.Popen(
                [*argv, *flags], env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        return self._process

    def start(self) -> Self:
        """Starts the node and returns when it is ready."""
        process = self.spawn()

        def ready() -> NodeFile | None:
            if process.poll() is not None:
                raise AssertionError(f"expected the node to start, it ended with {process.returncode}\n{self.report()}")
            file = read_node_file(self.data / "node.json")
            return file if file is not None and file.pid == process.pid and self._answers(file.url) else None

        self._file = wait_until(ready, "the node to be ready", timeout_s=READY_S, said=self.report)
        self._listen = self._file.url.removeprefix("http://")
        return self

    def kill(self) -> None:
        """`kill -9` of the node's process alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"expected the node to stop within {STOP_S} s\n{self.report()}") from None

    def _answers(self, url: str) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
        return False

    def _end(self) -> None:
        if self.running:
            self.kill()

    # -- the person's hands ----------------

    def source(self, service: str) -> Path:
        """The folder of a service that is developed."""
        return self.workspace / "dev" / service

    def edit(self, service: str, text: str, name: str = "server.py") -> None:
        """Saves one file of a service."""
        path = self.source(service) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    # -- looking ----------------

    @property
    def api(self) -> NodeClient:
        """The admin API, over its socket."""
        assert self._file is not None, "the node is not ready"
        return NodeClient(self._file, timeout_s=10.0)

    def service(self, name: str) -> dict[str, Any]:
        """One service as `henslowe status --json` shows it; {} while there is none of that name."""
        for found in self.api.get("/status")["services"]:
            if found["name"] == name:
                return dict(found)
        return {}

    def versions(self, name: str) -> list[dict[str, Any]]:
        """The versions of a service, newest first."""
        return list(self.api.get(f"/services/{name}/versions")["versions"])

    def version(self, name: str, number: int) -> dict[str, Any]:
        """One version of a service; {} while there is none."""
        return next((v for v in self.versions(name) if v["version"] == number), {})

    def events(self, **query: Any) -> list[dict[str, Any]]:
        """A page of events."""
        return list(self.api.get("/events", **query)["events"])

    def wait_for(
        self, service: str, holds: Callable[[dict[str, Any]], object], what: str, timeout_s: float = VERSION_S
    ) -> dict[str, Any]:
        """The service's status as soon as it satisfies `holds`."""

        def look() -> dict[str, Any] | None:
            try:
                status = self.service(service)
            except HensloweError:
                return None
            return status if status and holds(status) else None

        return wait_until(look, f"{service}: {what}", timeout_s=timeout_s, said=self.report)

    def wait_for_active(self, service: str, version: int, timeout_s: float = VERSION_S) -> dict[str, Any]:
        """The service's status as soon as this version takes its traffic and can answer."""

        def active(status: dict[str, Any]) -> bool:
            if newest_fate(self, service, version) in {"FAILED", "ROLLED_BACK", "SUPERSEDED"}:
                raise AssertionError(f"expected {service}@{version} to become active\n{self.report()}")
            return bool(status["healthy"] and status["active"] and status["active"]["version"] == version)

        return self.wait_for(service, active, f"version {version} to be active", timeout_s)

    def wait_for_state(self, service: str, version: int, *states: str, timeout_s: float = VERSION_S) -> dict[str, Any]:
        """The version's row as soon as it is in one of the states."""

        def look() -> dict[str, Any] | None:
            with suppress(HensloweError):
                row = self.version(service, version)
                return row if row.get("state") in states else None
            return None

        return wait_until(look, f"{service}@{version} in {' or '.join(states)}", timeout_s=timeout_s, said=self.report)

    def report(self) -> str:
        """What the node said last: its log, and the state of its services."""
        lines: list[str] = []
        if self.logs and self.logs[-1].exists():
            lines += self.logs[-1].read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        if self.running and self._file is not None:
            with suppress(Exception):
                lines += [str(service) for service in self.api.get("/status")["services"]]
        return "\n".join(lines)

    # -- processes ----------------

    def processes(self) -> dict[int, str]:
        """Every process that this node or an earlier life of it started and that still lives: pid -> command line."""
        found: dict[int, str] = {}
        for folder in Path("/proc").iterdir():
            # A process may end while we look at it.
            with suppress(OSError):
                if folder.name.isdigit() and self._is_ours(folder):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        return found

    def _is_ours(self, proc: Path) -> bool:
        if (proc / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        environ = (proc / "environ").read_bytes()
        if f"{MARKER}={self.marker}".encode() in environ.split(b"\0"):
            return True
        # A server's environment may be made anew; then it is known by where it runs.
        return (proc / "cwd").readlink().is_relative_to(self.workspace)

    def servers(self, service: str) -> list[int]:
        """The pids of a service's running instances, as the log tells them."""
        ready = self.events(service=service, type="INSTANCE_READY", limit=100)
        ours = self.processes()
        return sorted({event["data"]["pid"] for event in ready if event["data"].get("pid") in ours})

    def wait_for_no_processes(self, timeout_s: float = 10.0) -> None:
        """Returns when nothing that the node started lives any more; ends what does, and says so, at the limit."""
        try:
            wait_until(lambda: not self.processes(), "no process to be left over", timeout_s=timeout_s)
        except AssertionError:
            left = self.processes()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"expected no process to be left over, got {left}\n{self.report()}") from None


def newest_fate(node: Node, service: str, version: int) -> str:
    """The state of a version, "" while it is unknown."""
    with suppress(HensloweError):
        return str(node.version(service, version).get("state", ""))
    return ""


def server(greeting: str = "Hello", *, tools: tuple[str, ...] = (), before_run: str = "") -> str:
    """The sample server with another greeting, more tools, or a statement before it runs."""
    text = SERVER.replace('f"Hello, {name}!"', f'f"{greeting}, {{name}}!"')
    more = "".join(
        f'\n\n@server.tool()\ndef {name}(text: str) -> str:\n    """Give the text back."""\n    return text\n'
        for name in tools
    )
    marker = '\n\nif __name__ == "__main__":\n'
    assert marker in text, "the sample server ends with its start"
    return text.replace(marker, f"{more}{marker}" + (f"    {before_run}\n" if before_run else ""))


QUICK: Final = '''\
"""A server without a library: it starts in a twentieth of the sample's time."""

import json
import sys

TOOLS = {tools!r}


def answer(method: str, params: dict) -> dict:
    if method == "tools/call":
        given = params["arguments"]
        text = f"{greeting}, {{given['name']}}!" if params["name"] == "greet" else given["text"]
        return {{"result": {{"content": [{{"type": "text", "text": text}}]}}}}
    if method == "initialize":
        me = {{"name": "hello", "version": "1.0.0"}}
        version = params["protocolVersion"]
        return {{"result": {{"protocolVersion": version, "capabilities": {{"tools": {{}}}}, "serverInfo": me}}}}
    if method == "tools/list":
        return {{"result": {{"tools": TOOLS}}}}
    if method == "ping":
        return {{"result": {{}}}}
    return {{"error": {{"code": -32601, "message": "Method not found"}}}}


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message and "method" in message:
            reply = answer(message["method"], message.get("params") or {{}})
            print(json.dumps({{"jsonrpc": "2.0", "id": message["id"], **reply}}), flush=True)
'''
QUICK_TEST: Final = """\
from server import answer


def test_the_greeting_names_the_person() -> None:
    assert "Ada" in str(answer("tools/call", {"name": "greet", "arguments": {"name": "Ada"}}))
"""


def quick(greeting: str = "Hello", *, tools: tuple[str, ...] = (), before_run: str = "") -> str:
    """What `server` gives, as a server of the handshake era that needs no library."""
    listed = [_tool("greet", "name", "Greet somebody by name."), *(_tool(name, "text", "Echo.") for name in tools)]
    text = QUICK.format(greeting=greeting, tools=listed)
    loop = "    for line in sys.stdin"
    return text.replace(loop, f"    {before_run}\n{loop}") if before_run else text


def _tool(name: str, argument: str, description: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": {"readOnlyHint": True}}


def http_status(url: str) -> int:
    """The status of a GET, also of a refusal."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
