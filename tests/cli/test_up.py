"""The whole command line against a whole node: what a newcomer does in the first minute."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Henslowe

pytestmark = pytest.mark.e2e


@pytest.fixture
def up(workspace: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """`henslowe up` in a process of its own, for programs unless it has other options."""
    options = getattr(request, "param", ("--json",))
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup: what is ignored is inherited
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "henslowe", "up", str(workspace), "--listen", "127.0.0.1:0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGHUP, inherited)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=5)


@pytest.mark.parametrize("up", [("--access", "token")], indirect=True)
def test_a_node_that_asks_for_tokens_says_how_a_client_gets_one(up: subprocess.Popen[str], workspace: Path) -> None:
    assert up.stdout is not None
    said = "".join(iter(up.stdout.readline, "next\n")) + up.stdout.readline() + up.stdout.readline()
    assert said.endswith("  2. make a token for an MCP client, and the entry to paste into its configuration:\n")
    command = up.stdout.readline().split()
    assert command[0] == "henslowe"
    snippet = subprocess.run(
        [sys.executable, "-m", *command, "--json"], capture_output=True, text=True, check=True, timeout=30
    )
    assert "Bearer " in json.loads(snippet.stdout)["mcpServers"]["henslowe"]["headers"]["Authorization"]


def wait_for(workspace: Path, *types: str) -> dict[str, Any]:
    """The first event of one of these types, past or future."""
    follower = subprocess.Popen(
        [sys.executable, "-u", "-m", "henslowe", "events", "-f", "--json", "--since", "0", "-w", str(workspace)]
        + [f"--type={each}" for each in types],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert follower.stdout is not None
        event: dict[str, Any] = json.loads(follower.stdout.readline())
        return event
    finally:
        follower.kill()
        follower.communicate(timeout=5)


def test_a_newcomer_gets_a_service_calls_it_and_stops_the_node(
    up: subprocess.Popen[str], workspace: Path, henslowe: Henslowe
) -> None:
    assert up.stdout is not None
    ready = json.loads(up.stdout.readline())
    assert ready["made"] is True
    assert wait_for(workspace, "DEPLOY_COMPLETE", "VERSION_FAILED")["type"] == "DEPLOY_COMPLETE"
    assert henslowe("call", "hello", "greet", '{"name": "Ada"}').out == "Hello, Ada!\n"
    status = henslowe("status", "--json")
    assert status.exit_code == 0
    assert status.json["url"] == ready["url"]
    assert status.json["services"][0]["active"]["version"] == 1
    for screen in (["status"], ["tree"], ["versions", "hello"], ["events"], ["logs", "hello"], ["client", "snippet"]):
        run = henslowe(*screen)
        assert run.exit_code == 0, run
        assert "next: henslowe" in run.out or "next: edit" in run.out
    assert "hello@1" in henslowe("promote", "hello").out
    assert henslowe("rollback", "hello", "--to", "99").exit_code in {1, 2}
    second = subprocess.run(
        [sys.executable, "-m", "henslowe", "up", str(workspace), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 2, "cause and fix, no traceback"
    same_port = subprocess.run(
        [sys.executable, "-m", "henslowe", "up", str(workspace), "--listen", ready["url"].removeprefix("http://")],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert "a node is running on it" in same_port.stderr, "not: choose another port"
    assert "held by process" in henslowe("doctor").out
    assert "has stopped" in henslowe("stop").out
    assert up.wait(1) == 0, "stop comes back when the node is gone"
    assert henslowe("status").exit_code == 3


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_a_terminal_that_is_gone_stop_the_node_in_order(
    up: subprocess.Popen[str], workspace: Path, signum: signal.Signals
) -> None:
    assert up.stdout is not None
    json.loads(up.stdout.readline())
    up.send_signal(signum)
    assert up.wait(15) == 0
    assert not (workspace / ".henslowe" / "node.json").exists()
