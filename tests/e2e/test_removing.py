"""A service that is developed ends when its folder is gone and somebody says so, and comes back with its folder."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

import pytest

from henslowe.errors import Conflict, NotFound
from tests.e2e.harness import Node, http_status, wait_until


def test_a_service_is_removed_once_its_folder_is_gone_and_goes_on_when_it_is_back(quick_workspace: Path) -> None:
    workspace = quick_workspace
    with Node(workspace) as node:
        node.wait_for_active("hello", 1)
        remove = "/services/hello/actions/remove"
        with pytest.raises(Conflict, match="folder dev/hello is still there") as refused:
            node.api.post(remove)
        assert "henslowe remove hello" in refused.value.hint

        kept = workspace / "kept"
        shutil.move(node.source("hello"), kept)
        gone = node.wait_for("hello", lambda status: status["sources_gone"], "to be without sources")
        assert (gone["state"], gone["healthy"]) == ("active", True)

        node.api.post(remove, {"reason": "renamed"})
        assert node.service("hello") == {}
        assert http_status(node.mcp("hello")) == 404
        with urllib.request.urlopen(f"{node.url}/metrics", timeout=5) as metrics:
            assert b'henslowe_service_healthy{service="hello"}' not in metrics.read()
        link = workspace / "active" / "hello"
        wait_until(lambda: not link.is_symlink(), "its link to go", said=node.report)
        assert node.version("hello", 1)["state"] == "ARCHIVED"
        assert node.events(type="COMMAND", service="hello")[-1]["data"]["reason"] == "renamed"
        wait_until(lambda: not node.servers("hello"), "its server to end", said=node.report)
        with pytest.raises(NotFound, match="cannot find service nobody"):
            node.api.post("/services/nobody/actions/remove")

        shutil.move(kept, node.source("hello"))
        back = node.wait_for_active("hello", 2)
        assert not back["sources_gone"]
