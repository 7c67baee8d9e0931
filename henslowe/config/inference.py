"""What a folder of sources tells without being asked: its runtime, its entry, its dependencies, its tests.

Pure reading of small files, no installing, no running. The rules, first match wins:

    pyproject.toml with [project]   first of [project.scripts], server.py, main.py, `python -m <package>`
    package.json                    `bin`, `main`, `scripts.start`, server.js, index.js
    server.py                       `python server.py`; its PEP 723 block or requirements.txt names dependencies

Not here: what `service.toml` overrides (`henslowe.config.manifest`).
"""

from __future__ import annotations

import json
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any

from henslowe.config.section import Section
from henslowe.errors import ManifestError

_FILE_BYTES_MAX = 4 * 1024 * 1024
"""A manifest longer than this is a mistake; `package-lock.json` is only hashed and not read here."""


_BLOCK_BEGIN = "# /// script"
_BLOCK_END = "# ///"


class Runtime(StrEnum):
    """What runs the service."""

    PYTHON = "python"
    NODE = "node"
    OTHER = "other"


class DependencyKind(StrEnum):
    """Who names the dependencies, and so how they are installed."""

    NONE = "none"
    PEP_723 = "pep723"
    """The `# /// script` block of a lone `server.py`."""
    REQUIREMENTS = "requirements"
    PYPROJECT = "pyproject"
    UV_LOCK = "uv-lock"
    NPM = "npm"
    """`package.json` alone: `npm install`."""
    NPM_LOCK = "npm-lock"
    """With a lock file: `npm ci`."""


class Dependencies(Section):
    """What must be installed before the service can run."""

    kind: DependencyKind = DependencyKind.NONE
    requirements: tuple[str, ...] = ()
    """Requirement lines, where the manifest itself lists them."""
    groups: tuple[str, ...] = ()
    """Dependency groups of `pyproject.toml` that its tests want."""
    files: tuple[str, ...] = ()
    """The files whose content decides what is installed."""
    python: str = ""
    """`requires-python`, as the manifest says it."""


class Inferred(Section):
    """The facts found in a folder."""

    runtime: Runtime = Runtime.OTHER
    origin: str = ""
    name: str = ""
    version: str = ""
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    dependencies: Dependencies = Dependencies()
    has_tests: bool = False
    has_ruff_config: bool = False
    has_pytest_config: bool = False
    scripts: tuple[str, ...] = ()
    """Names of the npm scripts that do something."""
    wanted: str = "server.py, a pyproject.toml with [project], a package.json, or service.toml"
    """What would have told how to run it, for the error message."""


def infer(folder: Path) -> Inferred:
    """The facts of the sources in `folder`.

    Raises:
        ManifestError: A file that decides cannot be parsed.
    """
    pyproject = _load(folder, "pyproject.toml")
    if "project" in pyproject:
        return _python_project(folder, pyproject)
    package = _load(folder, "package.json")
    if package:
        return _node_project(folder, package)
    if (folder / "server.py").is_file():
        return _python_script(folder, pyproject)
    return Inferred(has_tests=_has_python_tests(folder))


def script_metadata(source: str) -> dict[str, Any]:
    """The PEP 723 block of a script as a table; empty when there is none.

    Raises:
        ManifestError: The block is not TOML, or is never closed.
    """
    lines = source.splitlines()
    if _BLOCK_BEGIN not in lines:
        return {}
    body: list[str] = []
    for number in range(lines.index(_BLOCK_BEGIN) + 1, len(lines) + 1):
        line = lines[number].rstrip() if number < len(lines) else ""
        if line == _BLOCK_END:
            break
        if line != "#" and not line.startswith("# "):
            raise ManifestError(
                f"server.py: line {number + 1}: expected the script block to end with '# ///', got {line!r:.60}",
                file="server.py",
                key="script",
            )
        body.append(line[2:])
    try:
        return tomllib.loads("\n".join(body))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(
            f"cannot parse the script block of server.py: {error}", file="server.py", key="script"
        ) from error


def _python_script(folder: Path, pyproject: dict[str, Any]) -> Inferred:
    metadata = script_metadata(_text(folder / "server.py"))
    requirements = _strings(metadata.get("dependencies", []), "server.py", "dependencies")
    if requirements:
        wants = Dependencies(
            kind=DependencyKind.PEP_723,
            requirements=requirements,
            files=("server.py.lock",) if (folder / "server.py.lock").is_file() else (),
            python=str(metadata.get("requires-python", "")),
        )
    elif (folder / "requirements.txt").is_file():
        wants = Dependencies(kind=DependencyKind.REQUIREMENTS, files=("requirements.txt",))
    else:
        wants = Dependencies()
    return Inferred(
        runtime=Runtime.PYTHON,
        origin="server.py",
        command=("python", "server.py"),
        dependencies=wants,
        has_tests=_has_python_tests(folder),
        has_ruff_config=_has_ruff_config(folder, pyproject),
        has_pytest_config=_has_pytest_config(folder, pyproject),
    )


def _python_project(folder: Path, pyproject: dict[str, Any]) -> Inferred:
    project = _table(pyproject, "project", "pyproject.toml")
    name = str(project.get("name", ""))
    has_tests = _has_python_tests(folder)
    command = _project_command(folder, project, name)
    return Inferred(
        runtime=Runtime.PYTHON,
        origin="pyproject.toml",
        name=name,
        version=str(project.get("version", "")),
        command=command,
        env={"PYTHONPATH": "src"} if (folder / "src").is_dir() else {},
        dependencies=_project_dependencies(folder, pyproject, project, has_tests=has_tests),
        has_tests=has_tests,
        has_ruff_config=_has_ruff_config(folder, pyproject),
        has_pytest_config=_has_pytest_config(folder, pyproject),
        wanted="[project.scripts] in pyproject.toml, server.py, main.py, or a package with __main__.py",
    )


def _project_command(folder: Path, project: dict[str, Any], name: str) -> tuple[str, ...]:
    scripts = _table(project, "scripts", "pyproject.toml") if "scripts" in project else {}
    if scripts:
        target = str(scripts.get(name, next(iter(scripts.values()))))
        module, _, function = target.partition(":")
        if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise ManifestError(
                f"pyproject.toml: project.scripts: expected 'module:function', got {target!r}",
                file="pyproject.toml",
                key="project.scripts",
            )
        # What an installed console script does, without installing the project again after each edit.
        return ("python", "-c", f"import sys; from {module} import {function}; sys.exit({function}())")
    for file in ("server.py", "main.py"):
        if (folder / file).is_file():
            return ("python", file)
    package = name.replace("-", "_").replace(".", "_")
    for root in (folder / "src", folder):
        if package and (root / package / "__main__.py").is_file():
            return ("python", "-m", package)
    return ()


def _project_dependencies(
    folder: Path, pyproject: dict[str, Any], project: dict[str, Any], *, has_tests: bool
) -> Dependencies:
    python = str(project.get("requires-python", ""))
    if (folder / "uv.lock").is_file():
        return Dependencies(kind=DependencyKind.UV_LOCK, files=("pyproject.toml", "uv.lock"), python=python)
    requirements = _strings(project.get("dependencies", []), "pyproject.toml", "project.dependencies")
    known = pyproject.get("dependency-groups", {})
    groups = tuple(group for group in ("dev", "test", "tests") if has_tests and known.get(group))
    if not requirements and not groups:
        return Dependencies()
    return Dependencies(
        kind=DependencyKind.PYPROJECT,
        requirements=requirements,
        groups=groups,
        files=("pyproject.toml",) if groups else (),
        python=python,
    )


def _node_project(folder: Path, package: dict[str, Any]) -> Inferred:
    scripts = package.get("scripts", {})
    if not isinstance(scripts, dict):
        raise ManifestError(
            f"package.json: scripts: expected an object, got {scripts!r:.60}", file="package.json", key="scripts"
        )
    wanted = any(package.get(key) for key in ("dependencies", "devDependencies", "optionalDependencies"))
    lock = next((f for f in ("package-lock.json", "npm-shrinkwrap.json") if (folder / f).is_file()), "")
    if not wanted:
        dependencies = Dependencies()
    elif lock:
        dependencies = Dependencies(kind=DependencyKind.NPM_LOCK, files=("package.json", lock))
    else:
        dependencies = Dependencies(kind=DependencyKind.NPM, files=("package.json",))
    real = tuple(
        name for name, line in sorted(scripts.items()) if str(line).strip() and "no test specified" not in str(line)
    )
    return Inferred(
        runtime=Runtime.NODE,
        origin="package.json",
        name=str(package.get("name", "")),
        version=str(package.get("version", "")),
        command=_node_command(folder, package, real),
        dependencies=dependencies,
        has_tests="test" in real,
        scripts=real,
        wanted="bin, main or scripts.start in package.json, server.js or index.js",
    )


def _node_command(folder: Path, package: dict[str, Any], scripts: tuple[str, ...]) -> tuple[str, ...]:
    name = str(package.get("name", "")).rpartition("/")[2]
    binary = package.get("bin")
    if isinstance(binary, dict) and binary:
        binary = binary.get(name, next(iter(binary.values())))
    for entry in (binary, package.get("main")):
        if isinstance(entry, str) and entry:
            return ("node", entry)
    if "start" in scripts:
        return ("npm", "run", "--silent", "start")
    found = next((f for f in ("server.js", "server.mjs", "index.js", "index.mjs") if (folder / f).is_file()), None)
    return ("node", found) if found else ()


def _has_python_tests(folder: Path) -> bool:
    patterns = ("test_*.py", "*_test.py", "tests/**/test_*.py", "tests/**/*_test.py", "test/**/test_*.py")
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def _has_ruff_config(folder: Path, pyproject: dict[str, Any]) -> bool:
    return any((folder / f).is_file() for f in ("ruff.toml", ".ruff.toml")) or "ruff" in pyproject.get("tool", {})


def _has_pytest_config(folder: Path, pyproject: dict[str, Any]) -> bool:
    files = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg")
    return any((folder / f).is_file() for f in files) or "pytest" in pyproject.get("tool", {})


def _load(folder: Path, name: str) -> dict[str, Any]:
    """A TOML or JSON file of the folder as a table; empty when it does not exist."""
    path = folder / name
    if not path.is_file():
        return {}
    text = _text(path)
    try:
        table = tomllib.loads(text) if name.endswith(".toml") else json.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise ManifestError(f"cannot parse {name}: {error}", file=name, key="") from error
    if not isinstance(table, dict):
        raise ManifestError(f"{name}: expected an object, got {type(table).__name__}", file=name, key="")
    return table


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
        if len(data) > _FILE_BYTES_MAX:
            raise ManifestError(
                f"cannot read {path.name}: expected at most {_FILE_BYTES_MAX} bytes", file=path.name, key=""
            )
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot read {path.name}: {error}", file=path.name, key="") from error


def _table(parent: dict[str, Any], key: str, file: str) -> dict[str, Any]:
    value = parent[key]
    if not isinstance(value, dict):
        raise ManifestError(f"{file}: {key}: expected a table, got {value!r:.60}", file=file, key=key)
    return value


def _strings(value: Any, file: str, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ManifestError(f"{file}: {key}: expected a list of strings, got {value!r:.60}", file=file, key=key)
    return tuple(value)
