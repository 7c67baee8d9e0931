"""Which stages a manifest leads to, and what is wrong with a graph that cannot run."""

import json
from pathlib import Path

import pytest
from hypothesis import given as example
from hypothesis import strategies as st

from henslowe.actors.pipeline.plan import Kind, PlannedStage, plan_stages, startable
from henslowe.config.manifest import read_manifest
from henslowe.errors import ManifestError

PROJECT = '[project]\nname = "a"\ndependencies = ["mcp"]\n'


def planned(folder: Path, files: dict[str, str]) -> dict[str, PlannedStage]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    stages = plan_stages(read_manifest(folder, "hello"), timeout_s=300.0)
    return {stage.name: stage for stage in stages}


@pytest.mark.parametrize(
    ("files", "needs"),
    [
        ({"server.py": ""}, {"lint": (), "mcp-check": ()}),
        ({"server.py": "", "test_a.py": ""}, {"lint": (), "mcp-check": (), "test": ()}),
        (
            {"pyproject.toml": PROJECT, "server.py": "", "test_a.py": ""},
            {"deps": (), "lint": (), "build": ("deps",), "mcp-check": ("deps",), "test": ("deps",)},
        ),
        (
            {"package.json": json.dumps({"main": "i.js", "scripts": {"build": "x", "test": "y", "lint": "z"}})},
            {"lint": (), "build": (), "mcp-check": ("build",), "test": ("build",)},
        ),
        ({"service.toml": '[launch]\ncommand = ["./run"]\n'}, {"mcp-check": ()}),
    ],
)
def test_the_runtime_decides_the_stages(tmp_path: Path, files: dict, needs: dict) -> None:
    stages = planned(tmp_path, files)
    assert {name: stage.needs for name, stage in stages.items()} == needs


def test_a_stage_of_ones_own_waits_for_the_dependencies(tmp_path: Path) -> None:
    stages = planned(tmp_path, {"pyproject.toml": PROJECT, "server.py": "", "service.toml": "[stages.x]\nrun = 'y'\n"})
    assert stages["x"].needs == ("deps",)
    assert stages["x"].command == ("/bin/sh", "-c", "y")


def test_a_built_in_stage_can_be_changed_in_part(tmp_path: Path) -> None:
    toml = "[stages.lint]\ntimeout_s = 5\nallow_failure = true\n"
    lint = planned(tmp_path, {"server.py": "", "service.toml": toml})["lint"]
    assert (lint.timeout_s, lint.allow_failure, lint.command[0]) == (5, True, "{ruff}")


def test_a_built_in_stage_can_be_left_out_with_its_needs(tmp_path: Path) -> None:
    package = json.dumps({"main": "i.js", "scripts": {"build": "x"}})
    stages = planned(tmp_path, {"package.json": package, "service.toml": "[stages.build]\nrun = ''\n"})
    assert {name: stage.needs for name, stage in stages.items()} == {"mcp-check": ()}


def test_an_own_deps_command_replaces_the_built_in_installation(tmp_path: Path) -> None:
    toml = "[stages.deps]\nrun = 'make deps'\n"
    deps = planned(tmp_path, {"pyproject.toml": PROJECT, "server.py": "", "service.toml": toml})["deps"]
    assert (deps.kind, deps.needs) == (Kind.COMMAND, ())


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[stages.a]\nrun = 'x'\nneeds = ['lnt']\n", "got 'lnt'; did you mean 'lint'?"),
        ("[stages.a]\nrun = 'x'\nneeds = ['b']\n[stages.b]\nrun = 'x'\nneeds = ['a']\n", "wait for each other: a, b"),
        ("[stages.a]\nrun = 'x'\nneeds = ['a']\n", "wait for each other: a"),
        ("[stages.a]\ntimeout_s = 3\n", "stages.a.run: expected a command"),
        (
            "[stages.mcp-check]\nrun = 'x'\n",
            "run: expected no such key (it starts the service itself)",
        ),
        ("[stages.mcp-check]\nrun = ''\n", "stages.mcp-check.run: expected no such key"),
        ("[stages.mcp-check]\nallow_failure = true\n", "stages.mcp-check.allow_failure: expected no such key"),
    ],
)
def test_a_graph_that_cannot_run_is_refused_with_its_key(tmp_path: Path, toml: str, words: str) -> None:
    with pytest.raises(ManifestError) as raised:
        planned(tmp_path, {"server.py": "", "service.toml": toml})
    assert words in raised.value.message
    assert raised.value.details["file"] == "service.toml"


@example(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=10), st.randoms())
def test_whatever_ends_first_each_stage_starts_once_and_after_its_needs(needs: list[set[int]], random) -> None:
    graph = [
        PlannedStage(str(number), needs=tuple(str(need) for need in earlier if need < number))
        for number, earlier in enumerate(needs)
    ]
    started: list[str] = []
    running: list[PlannedStage] = []
    done: set[str] = set()
    while len(done) < len(graph):
        for stage in startable(graph, started=started, done=done):
            assert set(stage.needs) <= done
            started.append(stage.name)
            running.append(stage)
        assert running, "nothing runs and nothing may start"
        done.add(running.pop(random.randrange(len(running))).name)
    assert sorted(started) == sorted(stage.name for stage in graph)
