from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from henslowe.cli.app import COMMANDS, cli
from tests.cli.conftest import Henslowe

HEAVY = {"aiohttp", "mcp", "mcp_types", "rich", "lmdb", "pydantic", "pykka", "asyncio", "prometheus_client"}
OF_OTHER_COMMANDS = {
    "henslowe.config.settings",
    "henslowe.transport.admin.models.manifests",
    "henslowe.transport.admin.models.captures",
}
UNHEALTHY = 4
"""Exit status of `henslowe status` while a service has failed."""


def imported(args: list[str], folder: Path) -> tuple[str, set[str]]:
    """What a command prints, and the modules that are there at its end."""
    code = (
        "import sys\n"
        "from henslowe.cli import main\n"
        f"sys.argv = ['henslowe', *{args!r}]\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=folder)
    assert done.returncode in (0, UNHEALTHY), done.stderr
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["status", "--help"], ["events", "--help"]])
def test_help_imports_nothing_heavy(args: list[str], tmp_path: Path) -> None:
    said, modules = imported(args, tmp_path)
    assert said
    assert modules & HEAVY == set()


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("args", [["status"], ["status", "--json"], ["events"], ["versions", "hello"]])
def test_a_look_at_the_node_imports_pydantic_and_the_replies_that_it_shows(args: list[str], workspace: Path) -> None:
    said, modules = imported(args, workspace)
    assert said
    assert modules & (HEAVY | OF_OTHER_COMMANDS) == {"pydantic"}


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "henslowe", "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.startswith("henslowe, version ")


def test_every_command_of_the_table_exists_and_takes_json(henslowe: Henslowe) -> None:
    for entries in COMMANDS.values():
        for entry in entries:
            command = cli.get_command(cli.make_context("henslowe", ["--version"], resilient_parsing=True), entry.name)
            assert command is not None
            leaves = getattr(command, "commands", {entry.name: command}).values()
            for leaf in leaves:
                assert any("--json" in parameter.opts for parameter in leaf.params), leaf.name
                assert leaf.help, leaf.name


@pytest.mark.parametrize(
    ("args", "cause", "fix"),
    [
        (["statu"], "No such command 'statu'", "did you mean henslowe status?"),
        (["status", "--jsn"], "No such option '--jsn'", "henslowe status --help"),
        (["versions"], "Missing argument 'SERVICE'", "henslowe versions --help"),
        (["config", "show", "--set"], "requires an argument", "henslowe config --help"),
        (["--bogus"], "No such option '--bogus'", "henslowe --help"),
    ],
)
def test_a_misuse_is_two_lines_and_exit_code_2(henslowe: Henslowe, args: list[str], cause: str, fix: str) -> None:
    run = henslowe(*args)
    assert run.exit_code == 2
    lines = run.err.splitlines()
    assert len(lines) == 2
    assert cause in lines[0]
    assert fix in lines[1]
    assert run.out == ""


def test_a_misuse_with_json_is_one_object(henslowe: Henslowe) -> None:
    run = henslowe("status", "--bogus", "--json")
    assert run.exit_code == 2
    assert json.loads(run.err)["error"]["code"] == "usage"
