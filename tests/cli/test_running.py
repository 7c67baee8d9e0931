"""`henslowe run` through a node, and without one; `henslowe new`; what a version left."""

import json
import shutil
from pathlib import Path

import pytest

from henslowe import templates
from henslowe.cli.client import NodeClient, service_path
from henslowe.cli.locate import find_node
from tests.cli.conftest import Henslowe
from tests.transport.admin.background import Background

# -- through a node ----------------


def test_stages_are_shown_and_the_failing_ones_code_is_the_exit_code(henslowe: Henslowe, node: Background) -> None:
    ran = henslowe("run", "hello")
    assert ran.exit_code == 7
    lines = ran.out.splitlines()
    assert lines[0].startswith("lint passed in 0.0 s (not changed")
    assert lines[1].startswith("test | expected")
    assert "\x1b" not in ran.out
    assert lines[2] == "test failed in 1.2 s"
    assert "test failed with exit code 7" in ran.err
    assert node.node.asked[-1][:4] == ("run", "hello", "", True)


def test_one_stage_passes_with_0_and_json_is_a_line_per_event(henslowe: Henslowe, node: Background) -> None:
    ran = henslowe("run", "hello", "lint", "--no-cache", "--json")
    assert ran.exit_code == 0
    assert [event["type"] for event in ran.json_lines] == ["PIPELINE_START", "LINT_COMPLETE", "PIPELINE_COMPLETE"]
    assert node.node.asked[-1][:4] == ("run", "hello", "lint", False)


@pytest.mark.parametrize(("service", "stage"), [("hello", "tset"), ("nobody", "")])
def test_what_keeps_a_run_from_beginning_is_an_error_as_everywhere(
    henslowe: Henslowe, node: Background, service: str, stage: str
) -> None:
    ran = henslowe("run", service, stage)
    assert ran.exit_code == 2
    assert "error:" in ran.err


def test_who_leaves_a_silent_run_ends_it(henslowe: Henslowe, node: Background, workspace: Path) -> None:
    events = NodeClient(find_node(workspace)).post_lines(f"{service_path('hello')}/run", {"stage": "endless"})
    assert next(events)["type"] == "PIPELINE_START"
    events.close()
    node.run(node.node.left.wait())


# -- without a node ----------------


def test_without_a_node_the_stages_run_here(henslowe: Henslowe, workspace: Path) -> None:
    folder = workspace / "dev/hello"
    folder.mkdir(parents=True)
    (folder / "server.py").write_text("import sys\n")
    (folder / "service.toml").write_text('[stages.say]\nrun = "echo it said $WORD; exit 3"\nenv = {WORD = "so"}\n')
    ran = henslowe("run", "hello", "say")
    assert ran.exit_code == 3
    assert "running here" in ran.err
    assert "say | it said so" in ran.out
    assert henslowe("run", "hello", "lint").exit_code == 0
    again = henslowe("run", "hello", "lint", "--json")
    assert again.json_lines[-1]["data"]["cached"] is True
    assert not list((workspace / ".henslowe/runs").iterdir())
    assert henslowe("run", "hello", "lnt").exit_code == 2
    unclean = workspace / ".henslowe/running"
    unclean.touch()  # a node was killed: that is for the next node to deal with
    assert henslowe("run", "hello", "lint").exit_code == 0
    assert unclean.exists()
    nobody = henslowe("run", "nobody")
    assert nobody.exit_code == 2
    assert "there is hello" in nobody.err


# -- new ----------------


@pytest.mark.parametrize("template", [each.name for each in templates.templates() if each.is_service])
def test_a_new_service_is_whole_and_says_what_comes_next(henslowe: Henslowe, workspace: Path, template: str) -> None:
    made = henslowe("new", "my-words", "--template", template, "--json")
    assert made.exit_code == 0
    folder = workspace / "dev/my-words"
    assert sorted(made.json["files"]) == sorted(path.name for path in folder.iterdir())
    assert made.json["next"][-1] == "henslowe up"
    assert [path.name for path in folder.parent.iterdir()] == ["my-words"]
    for path in folder.iterdir():
        assert not templates._PLACEHOLDER.search(path.read_text()), path


def test_a_name_that_is_taken_or_is_none_is_refused(henslowe: Henslowe, workspace: Path) -> None:
    (workspace / "henslowe.toml").write_text('[services.time]\ncommand = ["x"]\n')
    assert henslowe("new", "hello").exit_code == 0
    again = henslowe("new", "hello")
    assert again.exit_code == 1
    assert "it is there already" in again.err
    assert "declares a service of that name" in henslowe("new", "time").err
    assert henslowe("new", "Not Good").exit_code == 2
    assert henslowe("new", "x", "-t", "cobol").exit_code == 2
    assert henslowe("new").exit_code == 2


def test_a_place_that_cannot_be_written_is_said_and_nothing_is_left(henslowe: Henslowe, workspace: Path) -> None:
    (workspace / "dev").write_text("a file")
    made = henslowe("new", "hello")
    assert made.exit_code == 2
    assert "cannot make" in made.err


def test_the_list_has_every_template(henslowe: Henslowe) -> None:
    listed = henslowe("new", "--list", "--json").json["templates"]
    assert {"python", "node"} <= {each["name"] for each in listed}
    assert all(each["about"] for each in listed)


@pytest.mark.npm
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_the_node_template_passes_its_own_pipeline(henslowe: Henslowe, workspace: Path) -> None:
    henslowe("new", "words", "-t", "node")
    ran = henslowe("run", "words", "--json")
    assert ran.exit_code == 0, ran.out
    assert ran.json_lines[-1]["data"]["stages"].keys() == {"deps", "lint", "test", "mcp-check"}
    assert json.loads((workspace / "dev/words/package-lock.json").read_text())["name"] == "words"
