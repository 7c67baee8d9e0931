"""A fetched server is exact: asked for once per version, from an index in a folder and from a registry on loopback."""

import hashlib
import json
import shutil
import textwrap
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from delivering import Node, server

from henslowe.actors import names
from henslowe.actors.ids import ServiceName
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Rebuild
from henslowe.actors.pipeline import Tools, resolving
from henslowe.actors.pipeline.packages import Package, Release
from henslowe.actors.pipeline.preparing import understand
from henslowe.actors.pipeline.workdir import Workdir, take_snapshot
from henslowe.transport.mcp import McpConnector


def release(index: Path, version: str, needs: str = "") -> str:
    """A server from PyPI, made by hand; the hash of its wheel."""
    path = index / f"quick_time-{version}-py3-none-any.whl"
    tool = {"name": f"at_{version.replace('.', '_')}", "inputSchema": {"type": "object"}}
    body = textwrap.indent(server(tool), "    ")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("quick_time.py", f"def main():\n{body}\n")
        for name, text in (
            ("METADATA", f"Metadata-Version: 2.1\nName: quick-time\nVersion: {version}\n{needs}"),
            ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            ("entry_points.txt", "[console_scripts]\nquick-time = quick_time:main\n"),
            ("RECORD", ""),
        ):
            archive.writestr(f"quick_time-{version}.dist-info/{name}", text)
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


def service(command: list[str], env: dict[str, str]) -> dict[str, str]:
    settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in env.items())
    return {"service.toml": f"[launch]\ncommand = {json.dumps(command)}\n[launch.env]\n{settings}"}


def uvx(index: Path, *words: str) -> dict[str, str]:
    """A service that is fetched from a folder, and from nowhere else."""
    env = {"UV_CACHE_DIR": str(index.parent / "cache"), "UV_PYTHON_DOWNLOADS": "never"}
    return service(["uvx", "--no-index", "--find-links", str(index), *words], env)


async def test_a_version_runs_the_release_of_its_day_and_a_build_takes_the_newest(node: Node, index: Path) -> None:
    wheel = release(index, "1.0")
    node.change(uvx(index, "quick-time"))
    built = await node.built()
    assert built.launch.command[4:] == ("--from", "quick-time==1.0", "quick-time")
    resolved = built.metadata["resolved"]
    assert resolved.pop("at_s") > 0
    assert resolved == {"exact": True, "package": "quick-time==1.0", "wanted": "quick-time", "integrity": [wheel]}
    assert [tool["name"] for tool in built.contract.tools] == ["at_1_0"]
    release(index, "1.1")
    release(index, "1.2", needs="Requires-Dist: quick-nothing\n")  # which nobody can install
    await registry.via(names.PIPELINE).call(Rebuild(ServiceName("hello"), by="ada"))
    newer = await node.built()
    assert newer.launch.command[4:] == ("--from", "quick-time==1.1", "quick-time")
    assert [tool["name"] for tool in newer.contract.tools] == ["at_1_1"]


async def test_what_no_registry_knows_runs_as_before_and_the_version_says_why(node: Node, index: Path) -> None:
    release(index, "1.0")
    words = ("--from", str(index / "quick_time-1.0-py3-none-any.whl"), "quick-time")
    node.change(uvx(index, *words))
    built = await node.built()
    assert built.launch.command[4:] == words
    assert built.metadata["resolved"]["exact"] is False
    assert "expected a package of a registry" in built.metadata["resolved"]["why"]
    node.change(uvx(index, "quick-nothing"))
    broken = await node.broken()
    assert broken.stage == "mcp-check"  # as without asking: the tool itself says so
    assert broken.metadata["resolved"]["exact"] is False
    assert "quick-nothing" in broken.metadata["resolved"]["why"]


OVER = threading.Event()
"""Whether the test is over, and a slow answer of no interest."""


class Npm(BaseHTTPRequestHandler):
    """What a registry says of one package."""

    def do_GET(self) -> None:
        versions = {
            version: {"name": "quick-time", "version": version, "dist": {"integrity": f"sha512-{version}"}}
            for version in ("1.2.0", "1.10.0", "2.0.0")
        }
        if self.path == "/slow-time":
            OVER.wait(5)
        known = self.path == "/quick-time"
        tags = {"latest": "2.0.0"}
        answer: dict[str, Any] = {"name": "quick-time", "dist-tags": tags, "versions": versions} if known else {}
        body = json.dumps(answer).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def npm_registry() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Npm) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        OVER.clear()
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}/"
        OVER.set()
        served.shutdown()
        thread.join(5)


def npx(tmp_path: Path, npm_registry: str, spec: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """A service and its command. Only the asking is of interest: what is "fetched" is a lone server."""
    program = tmp_path / "npx"
    (tmp_path / "quick.py").write_text(server())
    program.write_text(f'#!/bin/sh\nexec python3 {tmp_path / "quick.py"} "$@"\n')
    program.chmod(0o755)
    env = {"npm_config_registry": npm_registry, "npm_config_cache": str(tmp_path / "npm-cache")}
    command = (str(program), "-y", spec, "/srv")
    return service(list(command), env), command


with_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not on PATH")


@with_npm
async def test_npm_is_asked_for_what_npx_would_take(node: Node, tmp_path: Path, npm_registry: str) -> None:
    source, command = npx(tmp_path, npm_registry, "quick-time@^1.0.0")
    node.change(source)
    built = await node.built()
    assert built.launch.command == (*command[:2], "quick-time@1.10.0", "/srv")
    assert built.metadata["resolved"]["integrity"] == ["sha512-1.10.0"]


@with_npm
@pytest.mark.parametrize(("spec", "why"), [("no-such-time", "404"), ("slow-time", "expected an end within 1 s")])
async def test_a_registry_that_does_not_know_or_answer_costs_no_version(
    node: Node, tmp_path: Path, npm_registry: str, monkeypatch: pytest.MonkeyPatch, *, spec: str, why: str
) -> None:
    if spec == "slow-time":
        monkeypatch.setattr(resolving, "RESOLVE_S", 1.0)
    source, command = npx(tmp_path, npm_registry, spec)
    node.change(source)
    built = await node.built()
    assert built.launch.command == command
    assert built.metadata["resolved"]["exact"] is False
    assert why in built.metadata["resolved"]["why"]


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        (service(["npx", "-y", "some"], {}), ["some"]),
        (service(["npx", "-y", "some@1.2.3"], {}), []),
        (service(["npx", "some"], {}) | {"package.json": '{"dependencies": {"some": "1"}}', "server.js": ""}, []),
        (service(["python3", "server.py"], {}), []),
    ],
)
async def test_no_registry_is_asked_for_what_is_exact_or_installed(
    node: Node, tmp_path: Path, files: dict[str, str], asked: list[str]
) -> None:
    heard: list[str] = []

    async def resolver(package: Package) -> Release:
        heard.append(package.wanted)
        return Release("4.5.6")

    work = Workdir(tmp_path / "work")
    snapshot = take_snapshot(node.write(files), work, ())
    tools = Tools.of(node.store, node.settings, McpConnector(node.settings.instances))
    prepared = understand(tools, ServiceName("hello"), work, snapshot)
    exact, said = await resolving.made_exact(
        prepared, prepared.place(tools, work, node.executor), resolver, lambda: 1.0
    )
    assert heard == asked
    command = prepared.manifest.launch.command
    assert exact.manifest.launch.command == (("npx", "-y", "some@4.5.6") if asked else command)
    assert said.get("at_s") == (1.0 if asked else None)
