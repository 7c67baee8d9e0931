"""A task outlives what made it visible: promotions of other versions, a rollback, and the node itself."""

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Node, wait_until

FIXTURE = Path(__file__).parents[1] / "conformance"
EXTENSION = "io.modelcontextprotocol/tasks"
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}, "elicitation": {}},
}


def ask(url: str, method: str, **params: Any) -> Any:
    """The result of a request, or its error."""
    name = params.get("name") or params.get("taskId") or ""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        **({"Mcp-Name": name} if name else {}),
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as refusal:
        answer = json.load(refusal)
    return answer.get("result") or answer["error"]


def deploy(node: Node, version: int) -> None:
    """Saves the task server once more, and waits until it serves."""
    folder = node.source("jobs")
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("suite_tools", "tasks", "wire"):
        shutil.copy(FIXTURE / f"{part}.py", folder)
    (folder / "server.py").write_text((FIXTURE / "server.py").read_text() + f"\n# version {version}\n")
    node.wait_for_active("jobs", version)


def status(url: str, task_id: str) -> str:
    return str(ask(url, "tasks/get", taskId=task_id).get("status"))


@pytest.mark.timeout(150)
def test_a_task_is_found_again_after_promotions_and_its_outcome_after_the_node_was_killed(workspace: Path) -> None:
    with Node(workspace, "delivery.drain_s=2", "delivery.probation_s=0") as node:
        deploy(node, 1)
        url = node.mcp("jobs")
        asking = ask(url, "tools/call", name="confirm_delete", arguments={"filename": "f"})["taskId"]
        lasting = ask(url, "tools/call", name="slow_compute", arguments={"seconds": 600})["taskId"]
        deploy(node, 2)
        deploy(node, 3)  # version 1 is neither active nor warm any more; its tasks hold it
        assert ask(url, "tasks/get", taskId=asking)["status"] == "input_required"
        ask(url, "tasks/update", taskId=asking, inputResponses={"confirm": {"action": "accept"}})
        wait_until(lambda: status(url, asking) == "completed", "the task to be done")
        node.kill()
        node.start()
        node.wait_for_active("jobs", 3)
        assert ask(url, "tasks/get", taskId=asking)["result"]["content"][0]["text"] == "Answered: accept."
        assert ask(url, "tasks/cancel", taskId=asking) == {"resultType": "complete"}
        assert ask(url, "tasks/get", taskId=lasting)["code"] == -32602  # it was in its server's memory
