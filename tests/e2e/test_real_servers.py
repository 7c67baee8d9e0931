"""Servers that people use, driven through one node by the clients that people use, in both eras.

Servers: everything, filesystem and memory from npm; time, git and fetch from PyPI. Clients: the Python SDK, the
TypeScript SDK and the Inspector's command line. With `HENSLOWE_REAL_SERVERS=all`, as `make conformance` sets it, the
Inspector meets each server too, and all that a server offers is used; otherwise the cells that differ most.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Node
from tests.e2e.load import ERAS, LEGACY, client

NPM_BIN = os.environ.get("HENSLOWE_NPM_BIN", "")
SCRIPT = Path(__file__).with_name("ts_client.mjs")
PROGRAM_S = 60
WHOLE = os.environ.get("HENSLOWE_REAL_SERVERS") == "all"
INSPECTED = ("everything", "files", "memory", "time", "git", "fetch") if WHOLE else ("everything", "git")
whole = pytest.mark.skipif(not WHOLE, reason="HENSLOWE_REAL_SERVERS is not 'all': make conformance")

WORDS = {"resourceType": "Text", "resourceId": "1", "repo_path": ".", "url": "http://127.0.0.1/"}
"""What prompts take for some of their arguments."""
TOOL_FAILED = 5
"""The Inspector's exit status when a tool says that it failed."""

pytestmark = [
    pytest.mark.npm,
    pytest.mark.skipif(not NPM_BIN, reason="HENSLOWE_NPM_BIN does not name the folder of the npm packages' programs"),
]


def npm(name: str) -> str:
    return str(Path(NPM_BIN).absolute() / name)


def pypi(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@dataclass
class World:
    """A node with all servers active, and one call for each of them."""

    node: Node
    calls: dict[str, tuple[str, dict[str, Any], str]]
    """By service: tool, arguments, and a word of the answer."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("real")
    shared, repository, workspace = folder / "shared", folder / "repository", folder / "workspace"
    for each in (shared, repository, workspace):
        each.mkdir()
    (shared / "note.txt").write_text("remember the milk")
    git = ["git", "-C", str(repository), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run([*git[:3], "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "Begin with nothing"], check=True)
    commands = {
        "everything": [npm("node"), npm("mcp-server-everything"), "stdio"],
        "files": [npm("node"), npm("mcp-server-filesystem"), str(shared)],
        "memory": [npm("node"), npm("mcp-server-memory")],
        "time": [pypi("mcp-server-time"), "--local-timezone", "UTC"],
        "git": [pypi("mcp-server-git"), "--repository", str(repository)],
        "fetch": [pypi("mcp-server-fetch"), "--ignore-robots-txt"],
    }
    tables = [f"[services.{name}]\ncommand = {command!r}" for name, command in commands.items()]
    tables.append(f'[services.memory.env]\nMEMORY_FILE_PATH = "{folder / "memory.json"}"')
    (workspace / "henslowe.toml").write_text("\n".join(tables))
    entity = {"name": "Ada", "entityType": "person", "observations": ["writes programs"]}
    with Node(workspace) as node:
        for name in commands:
            node.wait_for_active(name, 1)
        yield World(
            node,
            {
                "everything": ("echo", {"message": "hello"}, "hello"),
                "files": ("read_text_file", {"path": str(shared / "note.txt")}, "remember the milk"),
                "memory": ("create_entities", {"entities": [entity]}, "["),
                "time": ("get_current_time", {"timezone": "UTC"}, "UTC"),
                "git": ("git_log", {"repo_path": str(repository)}, "Begin with nothing"),
                # It refuses addresses of the machine itself, in words of its own; and nothing leaves the machine.
                "fetch": ("fetch", {"url": f"{node.url}/livez", "raw": True}, "link-local"),
            },
        )


@pytest.mark.parametrize("era", ERAS)
async def test_the_python_sdk_uses_them_all(world: World, era: str) -> None:
    for service, (tool, arguments, word) in world.calls.items():
        async with client(world.node.mcp(service), era) as connected:
            assert tool in {listed.name for listed in (await connected.list_tools()).tools}, service
            result = await connected.call_tool(tool, arguments)
            assert result.is_error == (service == "fetch"), (service, result)
            assert word in result.content[0].text, (service, result)  # type: ignore[union-attr]
    async with client(world.node.mcp(), era) as connected:
        listed = {listed.name for listed in (await connected.list_tools()).tools}
        assert {f"{service}__{tool}" for service, (tool, _, _) in world.calls.items()} <= listed


@whole
@pytest.mark.parametrize("era", ERAS)
async def test_all_that_they_offer_is_the_same_in_both_eras_and_can_be_used(world: World, era: str) -> None:
    for service in world.calls:
        async with (
            client(world.node.mcp(service), era) as connected,
            client(world.node.mcp(service), other(era)) as twin,
        ):
            listed = {tool.name for tool in (await connected.list_tools()).tools}
            assert listed == {tool.name for tool in (await twin.list_tools()).tools}, service
            # A client that is pinned to the stateless era asks for no capabilities; it has the same ones.
            offered = (connected if era == LEGACY else twin).server_capabilities
            assert offered is not None
            if offered.prompts is not None:
                for prompt in (await connected.list_prompts()).prompts:
                    needed = {a.name: WORDS.get(a.name, "Paris") for a in prompt.arguments or [] if a.required}
                    assert (await connected.get_prompt(prompt.name, needed)).messages, (service, prompt.name)
            if offered.resources is not None:
                for resource in (await connected.list_resources()).resources:
                    assert (await connected.read_resource(str(resource.uri))).contents, (service, resource.uri)
                await connected.list_resource_templates()


def other(era: str) -> str:
    return next(each for each in ERAS if each != era)


@pytest.mark.parametrize("era", ERAS)
def test_the_typescript_sdk_uses_them_all(world: World, era: str) -> None:
    module = Path(NPM_BIN).absolute().parent / "@modelcontextprotocol" / "client" / "dist" / "index.mjs"
    calls = [
        {"url": world.node.mcp(service), "tool": tool, "arguments": arguments}
        for service, (tool, arguments, _) in world.calls.items()
    ]
    ended = subprocess.run(
        [npm("node"), str(SCRIPT)],
        input=json.dumps({"module": str(module), "mode": era, "calls": calls}),
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    for (service, (_, _, word)), said in zip(world.calls.items(), json.loads(ended.stdout), strict=True):
        assert word in said, (service, said)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("service", INSPECTED)
def test_the_inspector_uses_servers_from_npm_and_from_pypi(world: World, service: str, era: str) -> None:
    tool, arguments, word = world.calls[service]
    call = ("--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
    ended = inspected(world, service, era, *call)
    assert ended.returncode == (TOOL_FAILED if service == "fetch" else 0), ended.stderr[-3_000:]
    assert word in ended.stdout


@whole
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("service", INSPECTED)
def test_the_inspector_lists_their_tools(world: World, service: str, era: str) -> None:
    ended = inspected(world, service, era, "--method", "tools/list")
    assert ended.returncode == 0, ended.stderr[-3_000:]
    assert world.calls[service][0] in {tool["name"] for tool in json.loads(ended.stdout)["result"]["tools"]}


def inspected(world: World, service: str, era: str, *what: str) -> subprocess.CompletedProcess[str]:
    """How the Inspector's command line ended."""
    return subprocess.run(
        [
            *(npm("node"), npm("mcp-inspector"), "--cli", world.node.mcp(service), "--transport", "http", "-q"),
            *("--protocol-era", "legacy" if era == LEGACY else "modern", "--format", "json", *what),
        ],
        env={**os.environ, "MCP_INSPECTOR_SECRET_STORE": "memory"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )
