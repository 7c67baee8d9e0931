"""A service's whole life by commands: made, tried, kept with its reports, changed without a build, removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from henslowe.cli.app import cli
from tests.e2e.harness import Node, wait_until


def test_a_service_is_made_tried_changed_and_removed_by_commands(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("HENSLOWE_")]:
        monkeypatch.delenv(name)  # what is meant for the tests is no setting

    def henslowe(*args: str) -> Any:
        ran = CliRunner().invoke(cli, [*args, "--workspace", str(workspace), "--json"], prog_name="henslowe")
        assert ran.exit_code == 0, ran.output
        return [json.loads(line) for line in ran.stdout.splitlines()] if args[0] == "run" else json.loads(ran.stdout)

    henslowe("new", "words")  # so that the workspace is not empty: no sample is built beside it
    with Node(workspace) as node:
        node.wait_for_active("words", 1)
        facts = henslowe("versions", "words", "1")["facts"]
        assert facts["stages"]["test"]["tests"]["total"] == 2
        assert (facts["examples"], facts["by"]) == (1, "edit")
        assert [each["path"] for each in henslowe("artifacts", "words", "1")["artifacts"]] == ["test/junit-pytest.xml"]
        assert henslowe("run", "words", "test")[-1]["data"]["cached"]

        epoch = node.service("words")["epoch"]
        assert not henslowe("service", "set", "words", "strategy=canary", "health.max_error_rate=0.5")["builds"]
        changed = node.wait_for("words", lambda status: status["strategy"] == "canary", "to take over its service.toml")
        assert changed["epoch"] == epoch, "its routes are what they were"
        assert len(henslowe("versions", "words")["versions"]) == 1

        node.edit("words", "def test_it():\n    assert 1 == 2\n", "test_more.py")
        failed = node.wait_for("words", lambda status: status["failure"], "to fail")
        assert failed["failure"]["tests"]["failures"][0]["name"] == "test_more::test_it"

        removed = henslowe("service", "remove", "words")
        assert removed["retired"]
        assert (Path(removed["kept_at"]) / "test_more.py").exists()
        wait_until(lambda: not node.service("words"), "the service to be gone", said=node.report)
