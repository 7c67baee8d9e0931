"""What is inferred from a folder, what service.toml overrides, and what a mistake in it says."""

import json
from pathlib import Path

import pytest

from henslowe.config.inference import DependencyKind, Runtime
from henslowe.config.manifest import ServiceFile, ServiceManifest, read_manifest
from henslowe.config.semver import as_semver
from henslowe.errors import ManifestError


def given(folder: Path, files: dict[str, str]) -> ServiceManifest:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return read_manifest(folder, "hello")


# -- Python ----------------


def test_a_lone_server_needs_nothing_else(tmp_path: Path) -> None:
    found = given(tmp_path, {"server.py": "print()"})
    assert (found.runtime, found.origin, found.version) == (Runtime.PYTHON, "server.py", "1.0.0")
    assert found.launch.command == ("python", "server.py")
    assert found.inferred.dependencies.kind is DependencyKind.NONE
    assert not found.inferred.has_tests


def test_a_scripts_own_dependencies_are_found(tmp_path: Path) -> None:
    block = '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "mcp>=2",\n# ]\n# ///\nimport mcp\n'
    found = given(tmp_path, {"server.py": block}).inferred.dependencies
    assert (found.kind, found.requirements, found.python) == (DependencyKind.PEP_723, ("mcp>=2",), ">=3.11")


def test_a_requirements_file_beside_a_script_counts(tmp_path: Path) -> None:
    found = given(tmp_path, {"server.py": "", "requirements.txt": "mcp\n"}).inferred.dependencies
    assert (found.kind, found.files) == (DependencyKind.REQUIREMENTS, ("requirements.txt",))


def test_a_project_runs_its_first_script_without_being_installed(tmp_path: Path) -> None:
    pyproject = (
        '[project]\nname = "weather"\nversion = "1.2"\ndependencies = ["mcp"]\n'
        '[project.scripts]\nother = "a.b:c"\nweather = "weather.app:main"\n'
    )
    found = given(tmp_path, {"pyproject.toml": pyproject, "src/weather/app.py": ""})
    assert found.launch.command == ("python", "-c", "import sys; from weather.app import main; sys.exit(main())")
    assert found.launch.env == {"PYTHONPATH": "src"}
    assert found.version == "1.2.0"
    assert found.inferred.dependencies.requirements == ("mcp",)


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("server.py", ("python", "server.py")),
        ("main.py", ("python", "main.py")),
        ("src/my_weather/__main__.py", ("python", "-m", "my_weather")),
    ],
)
def test_a_project_without_scripts_runs_what_there_is(tmp_path: Path, file: str, command: tuple[str, ...]) -> None:
    found = given(tmp_path, {"pyproject.toml": '[project]\nname = "my-weather"\n', file: ""})
    assert found.launch.command == command


def test_a_pyproject_that_only_configures_tools_leaves_a_script_a_script(tmp_path: Path) -> None:
    found = given(tmp_path, {"pyproject.toml": "[tool.ruff]\nline-length = 100\n", "server.py": ""})
    assert (found.origin, found.inferred.has_ruff_config) == ("server.py", True)


def test_a_lock_file_decides_how_a_project_is_installed(tmp_path: Path) -> None:
    found = given(tmp_path, {"pyproject.toml": '[project]\nname = "a"\n', "server.py": "", "uv.lock": "version = 1"})
    assert found.inferred.dependencies.kind is DependencyKind.UV_LOCK


@pytest.mark.parametrize("file", ["test_a.py", "a_test.py", "tests/deep/test_a.py"])
def test_tests_are_found(tmp_path: Path, file: str) -> None:
    assert given(tmp_path, {"server.py": "", file: ""}).inferred.has_tests


# -- Node ----------------


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ({"name": "@me/tool", "bin": {"other": "o.js", "tool": "cli.js"}, "main": "m.js"}, ("node", "cli.js")),
        ({"bin": "cli.js"}, ("node", "cli.js")),
        ({"main": "m.js", "scripts": {"start": "node s.js"}}, ("node", "m.js")),
        ({"scripts": {"start": "node s.js"}}, ("npm", "run", "--silent", "start")),
        ({"name": "x"}, ("node", "index.js")),
    ],
)
def test_a_node_project_runs_its_bin_main_or_start(tmp_path: Path, package: dict, command: tuple[str, ...]) -> None:
    found = given(tmp_path, {"package.json": json.dumps(package), "index.js": ""})
    assert (found.runtime, found.launch.command) == (Runtime.NODE, command)


def test_npms_placeholder_test_is_no_test(tmp_path: Path) -> None:
    package = {"main": "i.js", "scripts": {"test": 'echo "Error: no test specified" && exit 1', "build": "tsc"}}
    found = given(tmp_path, {"package.json": json.dumps(package)}).inferred
    assert (found.has_tests, found.scripts) == (False, ("build",))


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, DependencyKind.NONE),
        ({"dependencies": {"a": "1"}}, DependencyKind.NPM),
        ({"devDependencies": {"a": "1"}}, DependencyKind.NPM),
    ],
)
def test_npm_dependencies_are_found(tmp_path: Path, files: dict, kind: DependencyKind) -> None:
    assert given(tmp_path, {"package.json": json.dumps({"main": "i.js", **files})}).inferred.dependencies.kind is kind


def test_a_package_lock_is_installed_as_it_is(tmp_path: Path) -> None:
    package = json.dumps({"main": "i.js", "dependencies": {"a": "1"}})
    found = given(tmp_path, {"package.json": package, "package-lock.json": "{}"}).inferred.dependencies
    assert (found.kind, found.files) == (DependencyKind.NPM_LOCK, ("package.json", "package-lock.json"))


# -- service.toml ----------------


def test_service_toml_overrides_every_part(tmp_path: Path) -> None:
    toml = """
        version = "2.0.0"
        strategy = "canary"
        canary_percent = 5
        [launch]
        wire = "http"
        command = ["python", "app.py", "--port", "{port}"]
        url = "http://127.0.0.1:{port}/mcp"
        env = { UNITS = "metric" }
        ready_timeout_s = 5
        [stages.test]
        run = "pytest -q fast"
        timeout_s = 60
        [stages.types]
        run = ["mypy", "."]
        needs = ["deps"]
        inputs = ["*.py"]
        cache = false
        allow_failure = true
        artifacts = ["report/"]
    """
    found = given(tmp_path, {"server.py": "", "service.toml": toml})
    assert (found.version, found.strategy, found.canary_percent) == ("2.0.0", "canary", 5)
    assert found.origin == "service.toml"
    assert found.launch.command == ("python", "app.py", "--port", "{port}")
    assert found.launch.env == {"UNITS": "metric"}
    assert found.stages["test"].run == ("/bin/sh", "-c", "pytest -q fast")
    assert found.stages["types"].run == ("mypy", ".")
    assert found.stages["types"].allow_failure


def test_a_part_of_launch_may_be_given_alone(tmp_path: Path) -> None:
    found = given(tmp_path, {"server.py": "", "service.toml": "[launch]\nready_timeout_s = 5\n"})
    assert (found.launch.command, found.launch.ready_timeout_s) == (("python", "server.py"), 5)


def test_a_remote_service_needs_no_sources(tmp_path: Path) -> None:
    found = given(tmp_path, {"service.toml": '[launch]\nwire = "http"\nurl = "https://example.com/mcp"\n'})
    assert (found.launch.command, found.launch.url) == ((), "https://example.com/mcp")


def test_any_other_runtime_needs_a_command(tmp_path: Path) -> None:
    found = given(tmp_path, {"service.toml": '[launch]\ncommand = ["./server"]\n', "server": ""})
    assert (found.runtime, found.launch.command) == (Runtime.OTHER, ("./server",))


@pytest.mark.parametrize(
    ("toml", "key", "words"),
    [
        ("stages.test.timout_s = 3", "stages.test.timout_s", "did you mean 'timeout_s'?"),
        ('[launch]\ncomand = ["x"]', "launch.comand", "did you mean 'command'?"),
        ("strategi = 'auto'", "strategi", "did you mean 'strategy'?"),
        (
            "zzz = 1",
            "zzz",
            f"expected one of {', '.join(sorted(ServiceFile.model_fields))}, got 'zzz'",
        ),
        ("strategy = 'blue'", "strategy", "expected 'auto', 'immediate', 'canary' or 'blue-green', got 'blue'"),
        ("canary_percent = 200", "canary_percent", "expected less than or equal to 100, got 200"),
        ("[launch]\nready_timeout_s = 'x'", "launch.ready_timeout_s", "expected a number, got 'x'"),
        ("[stages]\ntest = 3", "stages.test", "expected a table, got 3"),
        ("[stages.test]\nrun = 3", "stages.test.run", "expected a list of strings, got 3"),
        ("[stages.test]\nrun = [1]", "stages.test.run.0", "expected a string, got 1"),
        ("[stages.Test]\nrun = 'x'", "stages.Test", "expected a name of lower-case letters"),
        ('[launch]\nwire = "http"\ncommand = ["x"]', "launch", "expected a url with {port}"),
        ("version = 'one'", "version", "expected a semantic version such as 1.4.0, got 'one'"),
        ("name = 'other'", "name", "expected 'hello' (the folder's name), got 'other'"),
    ],
)
def test_a_mistake_names_the_file_the_key_and_what_was_expected(
    tmp_path: Path, toml: str, key: str, words: str
) -> None:
    with pytest.raises(ManifestError) as raised:
        given(tmp_path, {"server.py": "", "service.toml": toml})
    assert raised.value.message.startswith(f"service.toml: {key}: ")
    assert words in raised.value.message
    assert (raised.value.details["file"], raised.value.details["key"]) == ("service.toml", key)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"service.toml": "x ="}, "cannot parse service.toml"),
        ({"pyproject.toml": "[project"}, "cannot parse pyproject.toml"),
        ({"package.json": "{"}, "cannot parse package.json"),
        ({"package.json": "[]"}, "package.json: expected an object, got list"),
        ({"server.py": "# /// script\n# dependencies = [\n# ///\n"}, "cannot parse the script block"),
        ({"server.py": "# /// script\n# x = 1\nimport x\n"}, "line 3: expected the script block to end"),
        ({"server.py": '# /// script\n# dependencies = "x"\n# ///\n'}, "dependencies: expected a list of strings"),
        ({"pyproject.toml": '[project]\nname = "a"\n[project.scripts]\na = "x y"\n'}, "expected 'module:function'"),
        ({"README.md": ""}, "cannot tell how to run the service: expected server.py"),
        ({"package.json": '{"name": "x"}'}, "expected bin, main or scripts.start in package.json"),
    ],
)
def test_sources_that_cannot_be_understood_say_why(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(ManifestError) as raised:
        given(tmp_path, files)
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("text", "semver"),
    [
        ("1.2.3", "1.2.3"),
        ("1.2.3-rc.1+build.5", "1.2.3-rc.1+build.5"),
        ("1.2", "1.2.0"),
        ("1.2.3rc1", "1.2.3-rc.1"),
        ("2.0a2.dev3", "2.0.0-alpha.2.dev.3"),
        ("1.0.post1", "1.0.0+post.1"),
        ("v1.0.0", "1.0.0"),
        ("latest", None),
    ],
)
def test_versions_of_both_worlds_become_semantic_versions(text: str, semver: str | None) -> None:
    assert as_semver(text) == semver
