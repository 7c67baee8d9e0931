"""The MCP project's own conformance suite, against a service behind a node: its required scenarios of both eras."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import Node

NPM_BIN = os.environ.get("HENSLOWE_NPM_BIN", "")
SERVER = Path(__file__).parent.parent / "conformance" / "server.py"


@pytest.mark.npm
@pytest.mark.skipif(not NPM_BIN, reason="HENSLOWE_NPM_BIN does not name the folder of the npm packages' programs")
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_a_service_behind_a_node_meets_every_required_scenario(
    workspace: Path, tmp_path: Path, revision: str
) -> None:
    workspace.mkdir()
    command = [sys.executable, str(SERVER)]
    (workspace / "henslowe.toml").write_text(f"[services.suite]\ncommand = {command!r}\n")
    with Node(workspace) as node:
        await asyncio.to_thread(node.wait_for_active, "suite", 1)
        programs = Path(NPM_BIN).absolute()
        suite = await asyncio.create_subprocess_exec(
            str(programs / "node"),
            str(programs / "conformance"),
            *("server", "--url", node.mcp("suite"), "--requirements", revision, "-o", str(tmp_path / "results")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(120):
            said, _ = await suite.communicate()
        assert suite.returncode == 0, said.decode()[-8_000:]
