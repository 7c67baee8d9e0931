"""What the built-in stages find, with real tools and real servers."""

import json
import shutil
import stat

import pytest
from delivering import SDK_SERVER, TOOL, Node, server


async def test_a_good_server_becomes_an_archived_version(node: Node) -> None:
    node.change({"server.py": server(), "README.md": "hello"})
    built = await node.built()
    folder = node.workspace / "archive/hello/v1.0.0"
    assert (built.semver, built.metadata["root"]) == ("1.0.0", str(folder))
    assert node.store.archive.verify(built.build).build_id == built.build
    assert (folder / "README.md").read_text() == "hello"
    assert stat.S_IMODE((folder / "server.py").stat().st_mode) == 0o444
    note = json.loads((folder / ".henslowe-version.json").read_text())
    assert (note["build"], note["semver"], note["isolation"]) == (built.build, "1.0.0", "none")
    assert built.launch.command[1:] == ("server.py",)
    assert [tool["name"] for tool in built.contract.tools] == ["add"]
    assert built.metadata["era"] == "legacy"
    assert built.metadata["stages"].keys() == {"lint", "mcp-check"}


async def test_each_stage_says_when_it_starts_and_how_it_ended(node: Node) -> None:
    node.change({"server.py": server()})
    await node.built()
    await node.event("PIPELINE_COMPLETE")
    said = node.said()
    for word in ("LINT", "MCP_CHECK", "PIPELINE"):
        assert said.index((f"{word}_START", "PENDING")) < said.index((f"{word}_COMPLETE", "SUCCESS"))
    assert ("ARCHIVE_COMPLETE", "SUCCESS") in said
    lint = await node.event("LINT_COMPLETE")
    assert lint.data["duration_ms"] >= 0
    assert lint.data["cached"] is False
    assert node.lines() == ["1 tool, 0 prompts, 0 resources; speaks 2025-11-25 (legacy)"]


async def test_a_server_of_the_sdk_is_checked_in_both_eras(node: Node) -> None:
    tests = "import server\n\n\ndef test_add():\n    assert server.add(1, 2) == 3\n"
    node.change({"server.py": SDK_SERVER, "test_server.py": tests})
    built = await node.built()
    assert (built.metadata["era"], built.metadata["protocol_version"]) == ("modern", "2026-07-28")
    assert built.metadata["eras"] == ["legacy", "modern"]
    assert built.metadata["stages"].keys() == {"lint", "mcp-check", "test"}
    (tool,) = built.contract.tools
    assert tool["description"] == "The sum of two numbers."
    assert any("1 passed" in line for line in node.lines())


async def test_a_syntax_error_fails_the_lint_with_its_line(node: Node) -> None:
    node.change({"server.py": "x = 1\ndef broken(:\n"})
    broken = await node.broken()
    assert broken.stage == "lint"
    assert "server.py:2" in broken.reason
    assert (await node.event("PIPELINE_COMPLETE")).status == "FAILED"
    await node.idle()
    assert list((node.workspace / "archive").glob("*/*")) == []


async def test_an_undefined_name_fails_the_lint_and_an_unused_one_does_not(node: Node) -> None:
    node.change({"server.py": server(before="import os\n")})
    await node.built()
    node.change({"server.py": server(before="def later():\n    return nowhere\n")})
    broken = await node.broken()
    assert (broken.stage, "F821" in broken.reason) == ("lint", True)


async def test_the_projects_own_lint_configuration_is_used(node: Node) -> None:
    node.change({"server.py": server(before="import os\n"), "ruff.toml": "[lint]\nselect = ['F401']\n"})
    assert "F401" in (await node.broken()).reason


async def test_a_failing_test_fails_the_version_with_the_assertion(node: Node) -> None:
    node.change({"server.py": server(), "test_sum.py": "def test_sum():\n    assert 1 + 1 == 3\n"})
    broken = await node.broken()
    assert broken.stage == "test"
    assert "assert (1 + 1) == 3" in broken.reason
    complete = await node.event("TEST_COMPLETE")
    assert (complete.status, complete.data["exit_code"]) == ("FAILED", 1)
    assert "test_sum.py:2" in complete.data["excerpt"]


async def test_a_server_that_never_answers_fails_in_time(node: Node) -> None:
    toml = "[launch]\nready_timeout_s = 0.5\n"
    node.change({"server.py": "import time\ntime.sleep(300)\n", "service.toml": toml})
    broken = await node.broken()
    assert broken.stage == "mcp-check"
    assert "did not answer the handshake within 0.5 s" in broken.reason


async def test_a_server_that_prints_on_its_protocol_pipe_fails_with_the_line(node: Node) -> None:
    node.change({"server.py": server(before="print('Loading the model...')")})
    broken = await node.broken()
    assert broken.stage == "mcp-check"
    assert "expected only JSON-RPC on standard output, got: 'Loading the model...'" in broken.reason
    assert "file=sys.stderr" in broken.reason


async def test_a_server_is_checked_with_the_variables_that_an_instance_has(node: Node, monkeypatch) -> None:
    monkeypatch.setenv("API_TOKEN", "hunter2")
    demands = """
import os
assert os.environ["UNITS"] == "metric"
assert os.path.isdir(os.environ["HENSLOWE_SERVICE_DATA"])
assert "API_TOKEN" not in os.environ
"""
    node.change({"server.py": server(before=demands), "service.toml": '[launch]\nenv = { UNITS = "metric" }\n'})
    await node.built()


async def test_a_server_that_dies_at_its_start_fails_with_its_traceback(node: Node) -> None:
    node.change({"server.py": "raise RuntimeError('no database here')\n"})
    broken = await node.broken()
    assert broken.stage == "mcp-check"
    assert broken.reason.count("RuntimeError: no database here") == 1, "it is started twice, once for each era"


async def test_a_missing_package_is_answered_with_the_ways_to_declare_it(node: Node) -> None:
    node.change({"server.py": server(before="import no_such_package.part\n")})
    broken = await node.broken()
    assert "No module named 'no_such_package'" in broken.reason
    hint = broken.reason.splitlines()[-1]
    assert "no_such_package" in hint
    assert "pyproject.toml" in hint
    assert "# /// script" in hint


async def test_a_schema_nobody_can_use_fails_with_the_tools_name(node: Node) -> None:
    bad = {"name": "broken", "inputSchema": {"type": "object", "properties": {"a": {"type": "number?"}}}}
    node.change({"server.py": server(TOOL, bad)})
    broken = await node.broken()
    assert broken.stage == "mcp-check"
    assert "tool 'broken': inputSchema: " in broken.reason


async def test_a_typo_in_the_manifest_fails_before_any_stage(node: Node) -> None:
    node.change({"server.py": server(), "service.toml": "[launch]\nready_timout_s = 3\n"})
    broken = await node.broken()
    assert broken.stage == "manifest"
    assert "did you mean 'ready_timeout_s'?" in broken.reason
    check = await node.event("MANIFEST_CHECK")
    assert (check.status, check.data["file"], check.data["manifest_key"]) == (
        "FAILED",
        "service.toml",
        "launch.ready_timout_s",
    )
    assert not [event for event in node.events if event.type.endswith("_START")]


async def test_a_server_that_listens_is_checked_over_http(node: Node) -> None:
    listener = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "id" not in request:
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        answer = {"error": {"code": -32601, "message": "Method not found"}}
        if request["method"] == "initialize":
            answer = {"result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                                 "serverInfo": {"name": "http", "version": "1"}}}
        if request["method"] == "tools/list":
            answer = {"result": {"tools": [{"name": "over-http", "inputSchema": {"type": "object"}}]}}
        body = json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_error(405)


print("listening on", sys.argv[1])
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
    toml = '[launch]\nwire = "http"\ncommand = ["python", "server.py", "{port}"]\nurl = "http://127.0.0.1:{port}/mcp"\n'
    node.change({"server.py": listener, "service.toml": toml})
    built = await node.built()
    assert [tool["name"] for tool in built.contract.tools] == ["over-http"]
    assert built.launch.command[-1] == "{port}"


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
async def test_a_node_project_is_built_tested_and_checked(node: Node) -> None:
    source = """
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const request = JSON.parse(line);
  if (request.id === undefined) return;
  const results = {
    initialize: {
      protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "js", version: "1" },
    },
    "tools/list": { tools: [{ name: "from-js", inputSchema: { type: "object" } }] },
  };
  const result = results[request.method];
  const answer = result ? { result } : { error: { code: -32601, message: "Method not found" } };
  console.log(JSON.stringify({ jsonrpc: "2.0", id: request.id, ...answer }));
});
"""
    package = {
        "name": "js",
        "version": "3.1.4",
        "main": "dist/server.js",
        "scripts": {"build": "mkdir -p dist && cp src/server.js dist/", "test": "node --check dist/server.js"},
    }
    node.change({"package.json": json.dumps(package), "src/server.js": source})
    built = await node.built()
    assert built.semver == "3.1.4"
    assert [tool["name"] for tool in built.contract.tools] == ["from-js"]
    assert built.metadata["stages"].keys() == {"build", "mcp-check", "test"}
    assert (node.workspace / "archive/hello/v3.1.4/dist/server.js").is_file()
