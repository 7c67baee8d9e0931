"""A client that comes back with `Last-Event-ID` after the node was killed in the middle of its call."""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from henslowe.actors.replay import REPLAY
from henslowe.storage import open_readonly
from tests.e2e.harness import Node, wait_until

SERVER = """
import json, sys, time

for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m:
        continue
    p = m.get("params") or {}
    if m["method"] == "initialize":
        r = {"protocolVersion": p["protocolVersion"], "capabilities": {"tools": {}, "logging": {}},
             "serverInfo": {"name": "slow", "version": "1"}}
    elif m["method"] == "tools/list":
        r = {"tools": [{"name": "slow", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}]}
    elif m["method"] == "tools/call":
        say = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "begun"}}
        print(json.dumps(say), flush=True)
        time.sleep(2)
        r = {"content": [{"type": "text", "text": "done"}]}
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32601, "message": "?"}}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
"""


def opened(url: str, body: Any = None, **headers: str) -> Any:
    """The response to a POST, or to a GET without a body."""
    sent = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=30)


def event(stream: Any) -> tuple[str, Any]:
    """The next event with a message: its id, and the message."""
    event_id = ""
    for line in stream:
        if line.startswith(b"id: "):
            event_id = line[4:].strip().decode()
        elif line.startswith(b"data: {"):
            return event_id, json.loads(line[6:])
    raise AssertionError("expected an event, the stream ended")


def stored(data: Path) -> int:
    """Events that a restarted node could replay, as another process sees them."""
    with open_readonly(data) as store:
        return sum(row.number > 0 for row in store.table(REPLAY).rows())


def test_a_safe_call_is_answered_after_the_node_was_killed_in_the_middle_of_it(workspace: Path) -> None:
    workspace.mkdir()
    (workspace / "slow.py").write_text(SERVER)
    command = json.dumps([sys.executable, "-S", str(workspace / "slow.py")])
    (workspace / "henslowe.toml").write_text(f"[services.slow]\ncommand = {command}\n")
    with Node(workspace) as node:
        node.wait_for_active("slow", 1)
        url = node.mcp("slow")
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        with opened(url, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}) as response:
            session = response.headers["Mcp-Session-Id"]
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "slow", "arguments": {}}}
        with opened(url, call, Mcp_Session_Id=session) as stream:
            last, message = event(stream)
            assert message["params"]["data"] == "begun"
            wait_until(lambda: stored(node.data) > 0, "the event to be stored")
            node.kill()
        node.start()
        with opened(url, Mcp_Session_Id=session, Last_Event_ID=last, Accept="text/event-stream") as stream:
            _, answer = event(stream)
        assert answer.get("id") == 2, answer
        assert answer["result"]["content"][0]["text"] == "done"
