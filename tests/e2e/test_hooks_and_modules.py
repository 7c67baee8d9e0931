"""A node with hooks and an extension of each kind, killed while a hook is asked, or while a person waits for it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors.hooks.signing import headers_of
from henslowe.config.sample import SERVER
from tests.e2e.harness import Node, quick, wait_until
from tests.extensions.laying_out import KINDS, installed, laid_out

MODERN = "2026-07-28"
SERVICE = """
stages = { lint = { run = "" }, test = { run = "" } }

[[hooks]]
on = "deploy:start"
name = "folder"
command = "cat > $HOME/facts && pwd && touch ./nothing-is-written-here 2>/dev/null; test ! -e ./nothing-is-written-here"
"""
PLAIN = 'stages = { lint = { run = "" }, test = { run = "" } }\n'
NODE = """
[hooks.asked]
on = "deploy:start"
url = "URL/asked"
secret = "secret:signing"

[hooks.told]
on = "promote:after"
url = "URL/told"
"""


class Receiver(ThreadingHTTPServer):
    """Receives webhooks; what it is asked it answers once it may."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, dict[str, Any], dict[str, str], bytes]] = []
        self.may_answer = threading.Event()

    def ids(self, path: str) -> list[str]:
        return [body["id"] for where, body, _, _ in self.received if where == path]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, json.loads(body), dict(self.headers), body))
        if self.path == "/asked":
            self.server.may_answer.wait(30)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join(5)


def test_a_node_killed_while_it_asks_asks_again_and_its_extensions_are_back(
    workspace: Path, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(laid_out(tmp_path), tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    workspace.mkdir()
    (workspace / "henslowe.toml").write_text(NODE.replace("URL", f"http://127.0.0.1:{receiver.server_port}"))
    with Node(workspace, "delivery.strategy=immediate", "modules.disabled=my-transport") as node:
        node.api.post("/secrets", {"name": "signing", "value": "s3cret"})
        node.edit("words", SERVICE, "service.toml")
        node.edit("words", SERVER)
        wait_until(lambda: any("words:" in each for each in receiver.ids("/asked")), "the question", said=node.report)
        assert node.service("words")["hooks"].endswith("waits for hook asked (deploy:start)")
        assert node.service("words")["active"] is None
        node.kill()
        receiver.may_answer.set()
        node.start()
        node.wait_for_active("words", 1)
        asked = [each for each in receiver.ids("/asked") if each.startswith("words:")]
        assert len(asked) >= 2
        assert len(set(asked)) == 1
        wait_until(lambda: [each for each in receiver.ids("/told") if "words:" in each], "the news", said=node.report)
        _signed(receiver)
        _ran_in_its_folder(node, workspace)
        wait_until(lambda: _modules(node)["my-persistence"]["state"] == "running", "the modules", said=node.report)
        modules = _modules(node)
        assert {name: each["state"] for name, each in modules.items()} == {
            "my-persistence": "running",
            "my-protocol-handler": "running",
            "my-state-manager": "running",
            "my-tool": "served",
            "my-transport": "refused",
        }
        assert {each["kind"] for each in modules.values()} == set(KINDS)
        node.wait_for("my-tool", lambda status: status["healthy"] and status["active"], "the tool to be active")
        _each_is_of_use(node, workspace)


def test_a_promotion_that_waits_for_a_hook_outlives_a_killed_node(workspace: Path, receiver: Receiver) -> None:
    workspace.mkdir()
    hook = f'[hooks.asked]\non = "promote:before"\nurl = "http://127.0.0.1:{receiver.server_port}/asked"\n'
    (workspace / "henslowe.toml").write_text(hook)
    with Node(workspace, "delivery.strategy=immediate") as node:
        receiver.may_answer.set()
        node.edit("words", PLAIN, "service.toml")
        node.edit("words", quick())
        node.wait_for_active("words", 1)
        receiver.may_answer.clear()
        node.edit("words", PLAIN + 'strategy = "canary"\n', "service.toml")
        node.edit("words", quick("Good day"))
        node.wait_for("words", lambda status: bool(status["canary"]), "a canary")
        number = node.service("words")["canary"]["version"]
        said = node.api.post("/services/words/actions/promote-full", {"reason": "it mends the outage"})
        assert "waits for its hooks (promote:before)" in said["message"]
        node.kill()
        receiver.may_answer.set()
        node.start()
        node.wait_for_active("words", number)
        obeyed = [each for each in node.events(service="words", type="COMMAND") if each["status"] == "SUCCESS"]
        assert [(each["data"]["command"], each["data"]["reason"]) for each in obeyed] == [
            ("promote-full", "it mends the outage")
        ]


def _post(node: Node, service: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """One request of a stateless client."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method,
        **({"Mcp-Name": params["name"]} if "name" in params else {}),
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    request = urllib.request.Request(node.mcp(service), json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def _modules(node: Node) -> dict[str, Any]:
    return {each["name"]: each for each in node.api.get("/modules")["modules"]}


def _signed(receiver: Receiver) -> None:
    path, _, headers, body = next(each for each in receiver.received if each[0] == "/asked")
    lower = {name.lower(): value for name, value in headers.items()}
    expected = headers_of(lower["webhook-id"], body, float(lower["webhook-timestamp"]), "s3cret")
    assert lower["webhook-signature"] == expected["webhook-signature"]
    assert path == "/asked"


def _ran_in_its_folder(node: Node, workspace: Path) -> None:
    hooks = node.api.get("/hooks", service="words")["hooks"]
    (folder,) = [each for each in hooks if each["hook"] == "folder"]
    assert (folder["state"], folder["reason"]) == ("done", "")
    assert folder["output"].startswith(str(workspace.resolve() / "archive/words/v"))


def _each_is_of_use(node: Node, workspace: Path) -> None:
    echo = _post(node, "words", "my-protocol-handler/echo", {"text": "hi"})
    assert echo["result"]["text"] == "hi"
    call = _post(node, "my-tool", "tools/call", {"name": "count_words", "arguments": {"text": "a b"}})
    assert call["result"]["content"][0]["text"] == "2"
    events = workspace / ".henslowe/modules/my-persistence/events.jsonl"
    wait_until(lambda: '"DEPLOY_COMPLETE"' in events.read_text(), "the events", said=node.report)
    seqs = [json.loads(line)["seq"] for line in events.read_text().splitlines()]
    assert list(dict.fromkeys(seqs)) == sorted(set(seqs)), "in order, but for what came twice"
