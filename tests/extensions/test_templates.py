"""What `henslowe new` makes of each extension point: its own test passes, and a node finds it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from henslowe.config.settings import Settings
from henslowe.extensions.finding import find
from henslowe.node_extensions import Extensions
from tests.extensions.laying_out import KINDS, installed, laid_out


def test_the_tests_of_all_templates_pass(tmp_path: Path) -> None:
    folders = laid_out(tmp_path)
    done = subprocess.run(
        # One process for all: what is slow is to start.
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, folders.values())],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_each_is_found_by_its_entry_point_and_loaded(tmp_path: Path, monkeypatch) -> None:
    installed(laid_out(tmp_path), tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")

    def entry_points(group: str) -> list[metadata.EntryPoint]:
        return [each for each in metadata.entry_points(group=group) if each.name.startswith("my-")]

    assert {each.kind.value: each.package for each in find((), entry_points)} == {kind: f"my-{kind}" for kind in KINDS}
    extensions = Extensions(Settings(workspace=tmp_path), tmp_path / "data", entry_points)
    assert extensions.board.troubled() == []
    assert [spec.name for spec in extensions.tables] == ["my_state_manager"]
    assert "my-protocol-handler/echo" in extensions.methods()
    service = extensions.services["my-tool"]
    assert (service.launch.command[1:], service.semver) == (("-m", "henslowe.extensions.serve", "my-tool"), "0.1.0")
