"""Other people's proxies as processes in front of an MCP server, for comparisons in the same run.

    with mcp_proxy(["python", "server.py"]) as proxy:   # started and listening; ended with all that it started
        ... proxy.url, proxy.servers()

Each is taken from PATH, else fetched once by `uv` or `npm` in the version that is named here; nginx, which is no MCP
proxy and shows what any hop costs, from PATH only.
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
        nowhere = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self.command, start_new_session=True, stdin=nowhere, stdout=nowhere, stderr=nowhere
        )
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

    @property
    def pid(self) -> int:
        """The process that was started, while it runs."""
        assert self._process is not None
        return self._process.pid

    def servers(self) -> list[int]:
        """The pids of the servers behind it: its descendants that run the backend's command."""
        return [pid for pid in family(self.pid)[1:] if _command(pid) == self.backend]


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))):
            children.setdefault(int(stat[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def cpu_s(pid: int) -> float:
    """Processor time used so far by a process and all that descend from it."""
    stats = filter(None, map(_stat, family(pid)))
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of a process's statistics from its state on; none when it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _command(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    return []


def mcp_proxy(backend: list[str]) -> Proxy:
    """PyPI's mcp-proxy in front of a child with pipes."""
    port = free_port()
    program = from_pypi(MCP_PROXY, "mcp-proxy")
    return Proxy("mcp-proxy", [*program, "--host", "127.0.0.1", "--port", str(port), "--", *backend], port, backend)


def supergateway(backend: list[str]) -> Proxy:
    """Supergateway of npm in front of a child with pipes for each session."""
    port = free_port()
    wires = ("--stdio", " ".join(backend), "--outputTransport", "streamableHttp", "--stateful", "--port", str(port))
    return Proxy("supergateway", [*from_npm(SUPERGATEWAY, "supergateway"), *wires], port, backend)


def fastmcp(folder: Path, backend: list[str] | str) -> Proxy:
    """The proxy of fastmcp, in front of a child with pipes, or of a URL; its configuration goes to `folder`."""
    port = free_port()
    server = {"url": backend} if isinstance(backend, str) else {"command": backend[0], "args": backend[1:]}
    config = folder / "fastmcp.json"
    config.write_text(json.dumps({"mcpServers": {"server": server}}))
    listen = ("--transport", "http", "--host", "127.0.0.1", "--port", str(port))
    command = [*from_pypi(FASTMCP, "fastmcp"), "run", str(config), *listen]
    return Proxy("fastmcp", command, port, [] if isinstance(backend, str) else backend)


def nginx(folder: Path, to_port: int) -> Proxy:
    """nginx, one worker, keep-alive connections to a server on loopback."""
    port = free_port()
    config = folder / f"nginx-{to_port}.conf"
    config.write_text(
        f"""daemon off; worker_processes 1; pid {folder}/nginx-{to_port}.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 1000000000;
  upstream server {{ server 127.0.0.1:{to_port}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host 127.0.0.1:{to_port}; }}
  }}
}}
"""
    )
    return Proxy("nginx", ["nginx", "-c", str(config), "-e", str(folder / "nginx.log")], port, [])
