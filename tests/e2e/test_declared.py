"""Servers that others wrote: run, supervised and bridged to clients of both eras."""

import os
import sys
from pathlib import Path

import pytest

from henslowe.errors import Conflict
from tests.e2e.harness import Node
from tests.e2e.load import ERAS, client

NPM_BIN = os.environ.get("HENSLOWE_NPM_BIN", "")


def declare(workspace: Path, *services: tuple[str, list[str]]) -> None:
    """Writes the node's configuration."""
    workspace.mkdir()
    tables = (f"[services.{name}]\ncommand = {command!r}\n" for name, command in services)
    (workspace / "henslowe.toml").write_text("\n".join(tables))


def npm(name: str) -> str:
    """A program of the npm packages in tests/npm."""
    return str(Path(NPM_BIN).absolute() / name)


async def test_a_server_from_pypi_serves_clients_of_both_eras(workspace: Path) -> None:
    command = [str(Path(sys.executable).parent / "mcp-server-time"), "--local-timezone", "UTC"]
    declare(workspace, ("time", command))
    with Node(workspace) as node:
        node.wait_for_active("time", 1)
        assert node.service("time")["kind"] == "declared"
        for path, way_on in (("build", "henslowe restart time"), ("actions/remove", "[services.time]")):
            with pytest.raises(Conflict, match="declared in henslowe") as refused:
                node.api.post(f"/services/time/{path}")
            assert way_on in refused.value.hint
        for era in ERAS:
            async with client(node.mcp("time"), era) as connected:
                assert "get_current_time" in {tool.name for tool in (await connected.list_tools()).tools}
                result = await connected.call_tool("get_current_time", {"timezone": "UTC"})
                assert not result.is_error
                assert '"timezone"' in result.content[0].text
            async with client(node.mcp(), era) as connected:
                assert "time__get_current_time" in {tool.name for tool in (await connected.list_tools()).tools}


@pytest.mark.npm
@pytest.mark.skipif(not NPM_BIN, reason="HENSLOWE_NPM_BIN does not name the folder of the npm packages' programs")
async def test_servers_from_npm_serve_clients_of_both_eras_side_by_side(workspace: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "note.txt").write_text("remember the milk")
    node_program = npm("node")
    declare(
        workspace,
        ("everything", [node_program, npm("mcp-server-everything"), "stdio"]),
        ("files", [node_program, npm("mcp-server-filesystem"), str(shared)]),
    )
    with Node(workspace) as node:
        node.wait_for_active("everything", 1)
        node.wait_for_active("files", 1)
        for era in ERAS:
            async with client(node.mcp("everything"), era) as connected:
                result = await connected.call_tool("echo", {"message": "Ada"})
                assert "Ada" in result.content[0].text
                assert (await connected.list_resources()).resources
                assert (await connected.list_prompts()).prompts
            async with client(node.mcp("files"), era) as connected:
                result = await connected.call_tool("read_text_file", {"path": str(shared / "note.txt")})
                assert result.content[0].text == "remember the milk"
            async with client(node.mcp(), era) as connected:
                names = {tool.name for tool in (await connected.list_tools()).tools}
                assert {"everything__echo", "files__read_text_file"} <= names
