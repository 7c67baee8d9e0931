"""Edits that must never reach a client: each is refused with its reason, while every call gets the working version."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.harness import QUICK_TEST, Node, quick
from tests.e2e.load import Load

INVALID_SCHEMA = '''\
"""A server of few words whose tool has a schema that is none."""

import json
import sys

TOOL = {"name": "greet", "inputSchema": {"type": "object", "properties": {"name": {"type": "strin"}}}}


def greet(name: str) -> str:
    return f"Hello, {name}!"


def answer(method: str) -> dict:
    if method == "initialize":
        info = {"name": "hello", "version": "1.0.0"}
        return {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}}
    if method == "tools/list":
        return {"result": {"tools": [TOOL]}}
    return {"error": {"code": -32601, "message": "Method not found"}}


if __name__ == "__main__":
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer(message["method"])}), flush=True)
'''


@dataclass(frozen=True)
class Broken:
    """Files of an edit, and what the node must say of it."""

    files: dict[str, str]
    stages: frozenset[str]
    reason: str
    """A pattern."""


BROKEN = {
    "a syntax error": Broken({"server.py": quick() + "\ndef broken(:\n"}, frozenset({"lint", "test"}), r"(?i)syntax"),
    "a failing test": Broken(
        {"server.py": quick().replace("{given['name']}", "{given['name'][:1]}")},
        frozenset({"test"}),
        r"the_greeting_names_the_person|Ada",
    ),
    "a server that never answers": Broken(
        {
            "server.py": quick(before_run="__import__('time').sleep(3600)"),
            "service.toml": "[launch]\nready_timeout_s = 2\n",
        },
        frozenset({"mcp-check"}),
        r"(?i)answer|within|time",
    ),
    "a server that prints to standard output": Broken(
        {"server.py": quick(before_run='print("debug: starting", flush=True)')},
        frozenset({"mcp-check"}),
        r"debug: starting|JSON",
    ),
    "a tool with an invalid schema": Broken({"server.py": INVALID_SCHEMA}, frozenset({"mcp-check"}), r"(?i)schema"),
    "a typo in the manifest": Broken({"service.toml": 'stratgy = "canary"\n'}, frozenset({"manifest"}), r"stratgy"),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose service has a test, and starts at once."""
    running = Node(tmp_path_factory.mktemp("node") / "workspace", "delivery.strategy=immediate")
    running.edit("hello", quick())
    running.edit("hello", QUICK_TEST, "test_server.py")
    with running:
        running.wait_for_active("hello", 1)
        yield running


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_edit_is_refused_with_its_reason_and_no_call_meets_it(node: Node, name: str) -> None:
    broken = BROKEN[name]
    files = {path: (node.source("hello") / path) for path in broken.files}
    saved = {path: file.read_text() if file.exists() else None for path, file in files.items()}
    before = node.service("hello")
    async with Load(node.mcp("hello"), clients=4, calls_per_s=10) as load:
        for path, text in broken.files.items():
            node.edit("hello", text, path)

        def refused(status: dict[str, Any]) -> bool:
            failure = status.get("failure")
            return failure is not None and failure != before["failure"] and re.search(broken.reason, failure["reason"])

        status = await asyncio.to_thread(node.wait_for, "hello", refused, f"{name} to be refused ({broken.reason})")
        await load.more_calls(10)
        for path, text in saved.items():
            if text is None:
                (node.source("hello") / path).unlink()
            else:
                node.edit("hello", text, path)
        if status["failure"]["stage"] == "manifest":  # nothing was ever made of it: what serves is what is there again
            await asyncio.to_thread(node.wait_for, "hello", lambda now: now["failure"] is None, "to be well again")
        else:  # going back is an edit, too: a new version of the old build
            await asyncio.to_thread(node.wait_for_active, "hello", status["failure"]["version"] + 1)
    assert status["failure"]["stage"] in broken.stages
    assert status["healthy"]
    assert status["active"]["version"] == before["active"]["version"]
    assert load.tally.failures == []
    assert set(load.tally.answers) == {"Hello, Ada!"}
    assert set(load.tally.tools.values()) == {frozenset({"greet"})}
