from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from henslowe.config.node_file import NodeFile, admin_socket, announce, boot_id, read_node_file
from henslowe.config.sample import ensure_sample
from henslowe.errors import ConfigError, WorkspaceError


def test_an_empty_workspace_gets_a_sample_once(tmp_path: Path) -> None:
    workspace = tmp_path / "new" / "ws"
    assert ensure_sample(workspace) is True
    assert sorted(p.name for p in (workspace / "dev" / "hello").iterdir()) == ["server.py", "test_server.py"]
    assert ensure_sample(workspace) is False


def test_a_workspace_with_only_hidden_files_is_empty_and_any_other_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "git" / ".git").mkdir(parents=True)
    assert ensure_sample(tmp_path / "git") is True
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "henslowe.toml").write_text("")
    assert ensure_sample(tmp_path / "used") is False
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["henslowe.toml"]


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="to be a folder"):
        ensure_sample(tmp_path / "file")


def test_the_sample_passes_its_own_test_and_the_strictest_linter(tmp_path: Path) -> None:
    ensure_sample(tmp_path)
    folder = tmp_path / "dev" / "hello"
    for command in (
        ["-c", "import test_server; test_server.test_the_greeting_names_the_person()"],
        ["-m", "ruff", "check", "--no-cache", "--select", "ALL", "--ignore", "S101,INP001,D203,D212,COM812,CPY", "."],
        ["-m", "ruff", "format", "--no-cache", "--check", "."],
    ):
        done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr


async def test_the_sample_serves_its_read_only_tool_over_stdio(tmp_path: Path) -> None:
    from mcp import StdioServerParameters
    from mcp.client import Client
    from mcp.client.stdio import stdio_client

    ensure_sample(tmp_path)
    parameters = StdioServerParameters(
        command=sys.executable, args=["server.py"], cwd=tmp_path / "dev" / "hello", env=dict(os.environ)
    )
    async with Client(stdio_client(parameters)) as client:
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool("greet", {"name": "Ada"})
    assert tool.name == "greet"
    assert tool.annotations is not None
    assert tool.annotations.read_only_hint is True
    assert [block.text for block in result.content if block.type == "text"] == ["Hello, Ada!"]


def node_file(workspace: Path, data: Path) -> NodeFile:
    return NodeFile(
        pid=os.getpid(),
        boot_id=boot_id(),
        url="http://127.0.0.1:1",
        socket="",
        token_file="",
        workspace=str(workspace),
        data=str(data),
        name="n",
        version="1",
    )


def test_a_node_is_announced_in_its_data_directory_and_from_its_workspace(tmp_path: Path) -> None:
    node = node_file(tmp_path / "ws", tmp_path / "data")
    withdraw = announce(node)
    places = [tmp_path / "data" / "node.json", tmp_path / "ws" / ".henslowe" / "node.json"]
    assert [read_node_file(place) for place in places] == [node, node]
    withdraw()
    assert [read_node_file(place) for place in places] == [None, None]


def test_a_node_does_not_take_away_the_announcement_of_its_successor(tmp_path: Path) -> None:
    node = node_file(tmp_path, tmp_path / ".henslowe")
    withdraw = announce(node)
    successor = dataclasses.replace(node, pid=node.pid + 1)
    announce(successor)
    withdraw()
    assert read_node_file(tmp_path / ".henslowe" / "node.json") == successor


def test_keys_of_a_newer_node_are_ignored_and_a_broken_file_is_an_error(tmp_path: Path) -> None:
    node = node_file(tmp_path, tmp_path)
    path = tmp_path / "node.json"
    path.write_text(json.dumps(dataclasses.asdict(node) | {"cluster": "x"}))
    assert read_node_file(path) == node
    for broken in ("", "[]", "{}", "{"):
        path.write_text(broken)
        with pytest.raises(ConfigError, match="cannot read"):
            read_node_file(path)


def test_a_path_too_long_for_a_socket_has_none(tmp_path: Path) -> None:
    assert admin_socket(Path("/d")) == Path("/d/admin.sock")
    assert admin_socket(Path("/" + "d" * 88)) == Path("/" + "d" * 88 + "/admin.sock")
    assert admin_socket(Path("/" + "d" * 89)) is None
    assert admin_socket(Path("/" + "ä" * 45)) is None
