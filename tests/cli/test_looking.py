from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from henslowe.cli.app import cli
from tests.cli.conftest import Henslowe
from tests.transport.admin.background import Background, background

if TYPE_CHECKING:
    from henslowe.transport.admin.models.services import ServiceReply


def next_step(out: str) -> str:
    """The last line of a screen, which says what to do next."""
    last = out.rstrip("\n").splitlines()[-1]
    assert last.startswith("next: ")
    return last.removeprefix("next: ")


def test_status_shows_where_the_versions_are_the_evidence_and_the_failing_lines(
    node: Background, henslowe: Henslowe
) -> None:
    run = henslowe("status")
    assert run.exit_code == 0
    assert "hello  canary  dev - | staged - | canary v4 10% | active v3 permanent" in run.out
    assert "12 of 20 units, no difference so far" in run.out
    assert "hello@3#1 ready (1 restart)" in run.out
    assert "123 total, 1 failed, 12.0/min, p50 3 ms, p95 12 ms" in run.out
    assert "v5 at test:" in run.out
    assert "E   assert 1 == 2" in run.out
    assert next_step(run.out) == "henslowe logs hello --version 5"


def test_status_says_that_the_sources_of_a_service_are_gone_and_how_to_end_it(
    node: Background, henslowe: Henslowe
) -> None:
    assert node.node.hello is not None
    node.node.hello.sources_gone = True
    run = henslowe("status")
    assert "sources gone: there is no dev/hello" in run.out
    assert next_step(run.out).startswith("henslowe remove hello")


def test_what_a_server_printed_cannot_steer_the_terminal(node: Background, henslowe: Henslowe) -> None:
    assert "\x1b" not in henslowe("status").out


def test_status_as_json_is_the_nodes_reply(node: Background, henslowe: Henslowe) -> None:
    body = henslowe("status", "--json").json
    assert body["services"][0]["canary"] == {"version": 4, "state": "CANARY", "semver": "", "detail": ""}
    assert {"name", "version", "pid", "url", "workspace", "data", "uptime_s", "health", "services", "last_seq"} <= set(
        body
    )


def test_status_of_one_service_leaves_the_others_out(node: Background, henslowe: Henslowe) -> None:
    assert [each["name"] for each in henslowe("status", "hello", "--json").json["services"]] == ["hello"]
    run = henslowe("status", "nobody")
    assert (run.exit_code, run.out) == (2, "")
    assert "this node has hello" in run.err


@pytest.mark.parametrize("cause", ["node", "service"])
def test_status_of_something_unhealthy_exits_with_4(node: Background, henslowe: Henslowe, cause: str) -> None:
    assert node.node.hello is not None
    if cause == "node":
        node.node.well = False
    else:
        node.node.hello.instances = False
    run = henslowe("status")
    assert run.exit_code == 4
    assert ("storage: disk full" in run.out) is (cause == "node")


def test_what_works_with_a_restriction_is_noted(node: Background, henslowe: Henslowe) -> None:
    node.node.note = "watch limit reached: polling"
    run = henslowe("status")
    assert run.exit_code == 0
    assert "- watcher: watch limit reached: polling" in run.out


def test_a_workspace_whose_node_is_down_does_not_fall_back_to_the_node_of_a_folder_above(
    node: Background, henslowe: Henslowe, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = workspace / "inner" / "dev"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert henslowe("status").exit_code == 0
    (inner.parent / "henslowe.toml").write_text("")
    assert henslowe("stop").exit_code == 3
    assert not node.node.stopped.is_set()


def test_a_watched_status_is_redrawn_on_a_terminal_until_ctrl_c(node: Background, workspace: Path) -> None:
    controller, terminal = pty.openpty()
    with os.fdopen(controller, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [sys.executable, "-m", "henslowe", "status", "--watch"], cwd=workspace, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        drawn = b""
        while drawn.count(b"hello") < 2:
            assert select.select([screen], [], [], 5)[0], drawn
            drawn += screen.read(4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0


def test_an_empty_node_says_how_to_begin(node: Background, henslowe: Henslowe, workspace: Path) -> None:
    node.node.hello = None
    run = henslowe("status")
    assert run.exit_code == 0
    assert next_step(run.out) == f"put an MCP server into {workspace}/dev/NAME/server.py"


def test_a_watched_status_prints_each_change_and_ends_with_3_when_the_node_is_gone(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("henslowe.cli.status.WATCH_S", 0.02)
    with background(workspace) as node:

        class Watcher(threading.Thread):
            def run(self) -> None:
                self.result = CliRunner().invoke(cli, ["status", "--watch", "--json", "-w", str(workspace)])

        asked = threading.Event()
        status = node.node.status

        def counted() -> object:
            asked.set()
            return status()

        node.node.status = counted  # type: ignore[method-assign]
        watcher = Watcher()
        watcher.start()
        assert asked.wait(5)
        asked.clear()
        assert node.node.hello is not None
        node.node.hello.canary = None
        assert asked.wait(5)
        asked.clear()
        assert asked.wait(5)
    watcher.join(10)
    assert watcher.result.exit_code == 3
    lines = watcher.result.stdout.splitlines()
    assert [('"canary": null' in line) for line in lines] == [False, True]


def test_versions_are_listed_with_their_fate(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("versions", "hello")
    assert run.exit_code == 0
    lines = run.out.splitlines()
    assert lines[1].startswith("v5       FAILED")
    assert "test:failed" in lines[1]
    assert "assert 1 == 2" in lines[1]
    assert next_step(run.out) == "henslowe rollback hello --to 2"
    assert [row["version"] for row in henslowe("versions", "hello", "--json").json["versions"]] == [5, 4, 3, 2]


def test_the_tree_shows_each_actors_state_mailbox_and_restarts(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("tree")
    assert run.exit_code == 0
    lines = run.out.splitlines()
    assert lines[0] == "node  rest_for_one, running, mailbox 0, restarts 0"
    assert lines[1] == "├─ writer  thread, running, mailbox 4, restarts 0"
    assert lines[2] == "└─ hello@3#1  process, running, pid 4242, mailbox 0, restarts 2"
    assert henslowe("tree", "--json").json["children"][0]["mailbox_depth"] == 4


def test_a_data_directory_elsewhere_is_found_from_the_workspace_and_by_flag(
    tmp_path: Path, workspace: Path, henslowe: Henslowe, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "henslowe.toml").write_text(f'data = "{tmp_path}/elsewhere"\n')
    deep = workspace / "dev" / "hello"
    deep.mkdir(parents=True)
    with background(workspace):
        monkeypatch.chdir(deep)
        assert henslowe("status").exit_code == 0
        monkeypatch.chdir(tmp_path)
        assert henslowe("status").exit_code == 3
        assert henslowe("status", "--workspace", str(workspace)).exit_code == 0
        assert henslowe("status", "--data", f"{tmp_path}/elsewhere").exit_code == 0
        monkeypatch.setenv("HENSLOWE_DATA", f"{tmp_path}/elsewhere")
        assert henslowe("status").exit_code == 0


def test_without_a_socket_the_cli_uses_tcp_and_the_token(workspace: Path, henslowe: Henslowe) -> None:
    with background(workspace, socket=False) as node:
        assert node.served.file.socket == ""
        assert henslowe("status").exit_code == 0
        Path(node.served.file.token_file).write_text("x" * 40)
        run = henslowe("status")
        assert run.exit_code == 1
        assert "admin token" in run.err
        Path(node.served.file.token_file).unlink()
        assert henslowe("status").exit_code == 2


def test_when_the_socket_was_deleted_the_cli_uses_tcp_and_the_token(node: Background, henslowe: Henslowe) -> None:
    Path(node.served.file.socket).unlink()
    assert henslowe("status").exit_code == 0


@pytest.mark.parametrize("args", [["status"], ["tree"], ["versions", "x"], ["events"], ["logs", "x"], ["stop"]])
def test_without_a_node_every_command_exits_with_3_and_says_how_to_start_one(
    henslowe: Henslowe, args: list[str]
) -> None:
    run = henslowe(*args)
    assert (run.exit_code, run.out) == (3, "")
    assert run.err.splitlines()[0].startswith("error: cannot find a running node: ")
    assert run.err.splitlines()[1].startswith("fix:   start one with: henslowe up")


def test_a_node_that_ended_without_saying_so_is_told_apart(workspace: Path, henslowe: Henslowe) -> None:
    import dataclasses
    import json

    with background(workspace) as node:
        file = node.served.file
    path = workspace / ".henslowe" / "node.json"
    assert not path.exists(), "a node that stops takes its announcement away"
    path.write_text(json.dumps(dataclasses.asdict(file) | {"pid": 2**22 + 1}))
    run = henslowe("status")
    assert run.exit_code == 3
    assert "has ended" in run.err
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays there: nobody took its status
        path.write_text(json.dumps(dataclasses.asdict(file) | {"pid": ended.pid}))
        assert f"its process {ended.pid} has ended" in henslowe("status").err
    path.write_text(json.dumps(dataclasses.asdict(file) | {"boot_id": "another"}))
    assert "restarted since" in henslowe("status").err
    path.write_text("{")
    assert henslowe("status").exit_code == 2


@pytest.mark.parametrize(
    ("kind", "stage", "step"),
    [
        ("developed", "test", "henslowe logs hello --version 5"),
        ("developed", "manifest", "edit dev/hello/service.toml and save: it is built again by itself"),
        ("declared", "start", "correct [services.hello] in henslowe.toml, then restart the node"),
    ],
)
def test_the_next_step_after_a_failure_leads_to_where_it_can_be_mended(kind: str, stage: str, step: str) -> None:
    from henslowe.transport.admin.models.services import FailureReply, ServiceReply

    failure = FailureReply(version=5, stage=stage, reason="it broke")
    service = ServiceReply(name="hello", state="failed", healthy=True, kind=kind, path="/mcp/hello", failure=failure)
    assert following(service) == step


def following(service: ServiceReply) -> str:
    """What to do next on a node that has this service alone."""
    from henslowe.cli.render import next_step
    from henslowe.transport.admin.models.node import HealthReply, NodeReply

    well = HealthReply(ok=True)
    node = NodeReply(
        name="n", version="1", pid=1, url="", workspace="", data="", uptime_s=1.0, health=well, services=(service,)
    )
    return next_step(node)


def test_a_command_that_waits_is_shown_with_who_said_it_and_why() -> None:
    from henslowe.cli.render import service_lines
    from henslowe.transport.admin.models.services import ServiceReply, WaitingCommandReply

    words = "promote of v4 by ann waits for its hooks (promote:before)"
    waiting = WaitingCommandReply(
        version=4, command="promote", by="ann", reason="looks good", since_s=0.0, waits_for="hooks", words=words
    )
    service = ServiceReply(name="hello", state="canary", healthy=True, path="/mcp/hello", waiting=waiting)
    (line,) = [line for line in map(click.unstyle, service_lines(service)) if "waiting" in line]
    assert line == f"  waiting    {words} (looks good), since -"
    assert following(service) == "henslowe hooks hello"
