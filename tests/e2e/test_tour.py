"""The first five minutes: an empty folder becomes a node with a service that any client can list and call."""

import json
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.e2e.harness import Node, http_status
from tests.e2e.load import ERAS, client


def henslowe(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a person types it."""
    argv = [sys.executable, "-m", "henslowe", *arguments, "--workspace", str(node.workspace)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_lists_and_calls_the_sample_at_its_own_endpoint(node: Node, era: str) -> None:
    async with client(node.mcp("hello"), era) as connected:
        (tool,) = (await connected.list_tools()).tools
        assert (tool.name, tool.description) == ("greet", "Greet somebody by name.")
        result = await connected.call_tool("greet", {"name": "Ada"})
        assert [block.text for block in result.content] == ["Hello, Ada!"]
        assert not result.is_error


@pytest.mark.parametrize("era", ERAS)
async def test_the_common_endpoint_names_tools_by_their_service(node: Node, era: str) -> None:
    async with client(node.mcp(), era) as connected:
        assert [tool.name for tool in (await connected.list_tools()).tools] == ["hello__greet"]
        result = await connected.call_tool("hello__greet", {"name": "Ada"})
        assert [block.text for block in result.content] == ["Hello, Ada!"]


@pytest.mark.parametrize("era", ERAS)
async def test_wrong_arguments_are_the_callers_error_and_hurt_nobody(node: Node, era: str) -> None:
    async with client(node.mcp("hello"), era) as connected:
        result = await connected.call_tool("greet", {"nam": "Ada"})
        assert result.is_error
        assert not (await connected.call_tool("greet", {"name": "Ada"})).is_error
    assert node.service("hello")["healthy"]


def test_status_says_what_runs_and_exits_with_0(node: Node) -> None:
    shown = henslowe(node, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    (service,) = json.loads(shown.stdout)["services"]
    assert (service["name"], service["healthy"], service["tools"]) == ("hello", True, 1)
    assert service["active"]["version"] == 1


def test_a_tool_can_be_called_without_a_client(node: Node) -> None:
    called = henslowe(node, "call", "hello", "greet", '{"name": "Ada"}')
    assert (called.returncode, called.stdout.strip()) == (0, "Hello, Ada!"), called.stderr


def test_what_was_called_is_recorded_without_its_secrets(node: Node) -> None:
    henslowe(node, "call", "hello", "greet", '{"name": "password=hunter2"}')
    listed = json.loads(henslowe(node, "captures", "--service", "hello", "--limit", "1", "--json").stdout)
    [newest] = listed["captures"]
    assert (newest["name"], newest["outcome"], newest["read_only"]) == ("greet", "ok", True)
    shown = henslowe(node, "captures", "show", str(newest["seq"]))
    assert shown.returncode == 0, shown.stderr
    assert "password=[redacted:assigned:len=7]" in shown.stdout
    assert "hunter2" not in shown.stdout
    files = [path.read_bytes() for path in (node.workspace / ".henslowe" / "capture").iterdir()]
    assert files
    assert not any(b"hunter2" in content for content in files)


def test_the_log_tells_how_the_version_came_to_be(node: Node) -> None:
    said = [f"{event['type']} {event['status']}" for event in node.events(service="hello", limit=200)]
    for line in ("VERSION_CREATED", "TEST_COMPLETE SUCCESS", "MCP_CHECK_COMPLETE SUCCESS", "DEPLOY_COMPLETE SUCCESS"):
        assert any(found.startswith(line) for found in said), said


def test_the_workspace_shows_what_is_where(node: Node) -> None:
    active = node.workspace / "active" / "hello"
    assert active.is_symlink()
    assert active.resolve().is_relative_to((node.workspace / "archive" / "hello").resolve())
    assert (active / "server.py").read_bytes() == (node.source("hello") / "server.py").read_bytes()


def test_health_is_open_and_the_admin_api_is_not(node: Node) -> None:
    assert http_status(f"{node.url}/livez") == 200
    assert http_status(f"{node.url}/readyz") == 200
    assert http_status(f"{node.url}/admin/v1/status") == 401


def test_nothing_answers_for_a_service_that_does_not_exist(node: Node) -> None:
    assert http_status(node.mcp("nobody")) == 404


def test_the_bare_address_says_where_everything_is(node: Node) -> None:
    with urllib.request.urlopen(node.url, timeout=5) as answer:
        places = json.load(answer)
    assert {places["mcp"], places["admin"], places["metrics"]} == {"/mcp", "/admin/v1/openapi.json", "/metrics"}
    assert http_status(f"{node.url}{places['metrics']}") == 200


@pytest.mark.parametrize(
    "request_line", ["GET /livez HTTP/1.1", "GET /nowhere HTTP/1.1", "GET /mcp/nobody HTTP/1.1", "GET / HTTP/9.x"]
)
def test_no_answer_tells_the_versions_of_what_serves_it(node: Node, request_line: str) -> None:
    host, port = node.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"{request_line}\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        head = connection.makefile("rb").read().partition(b"\r\n\r\n")[0].decode().splitlines()
    assert [line for line in head if line.startswith("Server:")] == ["Server: henslowe"]
