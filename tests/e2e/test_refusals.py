"""What a node refuses at its start: one sentence, one hint, and the exit code that scripts rely on."""

import json
import socket
from pathlib import Path
from typing import Any

import lmdb
import pytest

from henslowe.storage.env_files import FORMAT, META
from tests.e2e.harness import Node


def refusal(node: Node, *flags: str) -> tuple[int, dict[str, Any]]:
    """Exit code and error of a node that does not start."""
    code = node.spawn(*flags).wait(30)
    lines = [line for line in node.logs[-1].read_text().splitlines() if line.startswith('{"error"')]
    assert lines, f"expected an error as JSON, got:\n{node.report()}"
    return code, json.loads(lines[-1])["error"]


def test_a_port_that_is_taken_is_named_with_what_to_do(workspace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, error = refusal(Node(workspace), "--listen", address)
    assert (code, error["code"]) == (1, "listen_failed")
    assert address in error["message"]
    assert error["hint"]


def test_another_nodes_data_directory_is_refused_with_its_pid(quick_workspace: Path) -> None:
    workspace = quick_workspace
    with Node(workspace) as node:
        code, error = refusal(Node(workspace))
        assert (code, error["code"]) == (1, "data_dir_busy")
        assert str(node.pid) in error["message"] + error["hint"]
        assert node.api.get("/status")["pid"] == node.pid, "the first one is not disturbed"


@pytest.mark.parametrize("place", ["a file", "a place where nobody may write"])
def test_a_workspace_that_cannot_be_used_is_a_usage_error(tmp_path: Path, place: str) -> None:
    workspace = tmp_path / "workspace" if place == "a file" else Path("/proc/henslowe-workspace")
    if place == "a file":
        workspace.write_text("not a folder")
    code, error = refusal(Node(workspace, log_folder=tmp_path))
    assert (code, error["code"]) == (2, "workspace")
    assert str(workspace) in error["message"]


def test_data_of_a_newer_henslowe_are_left_alone(quick_workspace: Path) -> None:
    with Node(quick_workspace) as node:
        assert node.stop() == 0
        core = node.data / "core"
        with lmdb.open(str(core), max_dbs=4, lib_version=0) as env, env.begin(write=True) as txn:
            txn.put(b"format", (FORMAT + 1).to_bytes(2, "big"), db=env.open_db(META.encode(), txn))
        before = (core / "data.mdb").read_bytes()
        code, error = refusal(node)
        assert (code, error["code"]) == (2, "format_too_new")
        assert (core / "data.mdb").read_bytes() == before


def test_other_machines_are_not_let_in_without_a_token(workspace: Path) -> None:
    code, error = refusal(Node(workspace), "--listen", "0.0.0.0:0")
    assert (code, error["code"]) == (2, "listen_refused")
    assert "--token-file" in error["hint"]


def test_a_misspelt_setting_is_refused_with_the_right_spelling(workspace: Path) -> None:
    code, error = refusal(Node(workspace), "--set", "delivery.canary_percnt=5")
    assert (code, error["code"]) == (2, "config")
    assert "canary_percent" in error["message"] + error["hint"]
