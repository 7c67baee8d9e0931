from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from henslowe.cli.app import cli
from tests.transport.admin.background import Background, background


@dataclass
class Run:
    """What a command printed and how it ended."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Henslowe = Callable[..., Run]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("HENSLOWE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "ws"
    folder.mkdir()
    return folder


@pytest.fixture
def henslowe(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Henslowe:
    """Runs a command line from inside the workspace; a traceback fails the test."""
    monkeypatch.chdir(workspace)

    def run(*args: str, stdin: str | None = None) -> Run:
        result: Result = CliRunner().invoke(cli, args, input=stdin, prog_name="henslowe")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return Run(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def node(workspace: Path) -> Iterator[Background]:
    """A small node of the workspace, in a thread."""
    with background(workspace) as running:
        yield running
