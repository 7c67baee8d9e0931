"""Other people's MCP proxies as processes in front of one server over pipes, for comparisons in the same run.

    for proxy in proxies(folder):
        with proxy:                 # started and listening; ended with all that it started
            ... proxy.url, proxy.servers()

Each is taken from PATH, else fetched once by `uv` or `npm` in the version that is named here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

PLAIN: Final = [sys.executable, "-S", str(Path(__file__).parent / "servers" / "plain.py")]
MCP_PROXY: Final = "mcp-proxy==0.13.0"
SUPERGATEWAY: Final = "supergateway@4.0.0"
FASTMCP: Final = "fastmcp==4.1.2"
START_S: Final = 120.0
"""The first start may have to fetch the program."""


def free_port() -> int:
    """A port of loopback that nobody used a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def from_pypi(package: str, program: str) -> list[str]:
    """How to run a program of a Python package."""
    if shutil.which(program):
        return [program]
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    return [uv, "tool", "run", "--from", package, program]


def from_npm(package: str, program: str) -> list[str]:
    """How to run a program of an npm package."""
    return [program] if shutil.which(program) else ["npm", "exec", "--yes", f"--package={package}", "--", program]


@dataclass
class Proxy:
    """One proxy process; its output is dropped."""

    name: str
    command: Sequence[str]
    port: int
    backend: list[str]
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its MCP endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def __enter__(self) -> Self:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(self.command, start_new_session=True, **quiet)
        give_up_s = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            if self._process.poll() is not None or time.monotonic() > give_up_s:
                self.__exit__()
                raise OSError(f"{self.name} does not listen; its command: {' '.join(self.command)}")
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        servers = self.servers()  # afterwards nobody knows whose they were
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        for pid in servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def servers(self) -> list[int]:
        """The pids of the servers behind it: its descendants that run the backend's command."""
        assert self._process is not None
        parents, running = {}, []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # a process may end while we look at it
                if folder.name.isdigit():
                    pid = int(folder.name)
                    parents[pid] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    if (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1] == self.backend:
                        running.append(pid)
        return [pid for pid in running if self._process.pid in _ancestors(pid, parents)]


def _ancestors(pid: int, parents: dict[int, int]) -> list[int]:
    found = []
    while pid in parents:
        pid = parents[pid]
        found.append(pid)
    return found


def proxies(folder: Path, backend: list[str] = PLAIN) -> list[Proxy]:
    """The peers in front of a server over pipes; `folder` is for their configuration."""
    ports = [free_port() for _ in range(3)]
    config = folder / "fastmcp.json"
    config.write_text(json.dumps({"mcpServers": {"plain": {"command": backend[0], "args": backend[1:]}}}))
    http = ["--host", "127.0.0.1", "--port"]
    return [
        Proxy(
            "mcp-proxy", [*from_pypi(MCP_PROXY, "mcp-proxy"), *http, str(ports[0]), "--", *backend], ports[0], backend
        ),
        Proxy(
            "supergateway",
            [
                *from_npm(SUPERGATEWAY, "supergateway"),
                *("--stdio", " ".join(backend), "--outputTransport", "streamableHttp", "--stateful"),
                *("--port", str(ports[1])),
            ],
            ports[1],
            backend,
        ),
        Proxy(
            "fastmcp",
            [*from_pypi(FASTMCP, "fastmcp"), "run", str(config), "--transport", "http", *http, str(ports[2])],
            ports[2],
            backend,
        ),
    ]
