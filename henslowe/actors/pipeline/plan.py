"""Which stages a service goes through: the built-in ones for its runtime, with `service.toml` laid over.

Pure: a manifest in, a checked graph out. Built-in stages:

| stage | Python | Node | else |
|---|---|---|---|
| `deps` | uv, when dependencies are named | npm | |
| `lint` | ruff: syntax and undefined names, or as the project configures it | script `lint` | |
| `build` | byte-compilation, for projects | script `build` | |
| `test` | pytest, when there are tests | script `test` | |
| `mcp-check` | always: starts the server and reads its contract | always | always |

Not here: running them (`run`), their cache (`stage_cache`).
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from henslowe.config.inference import DependencyKind, Inferred, Runtime
from henslowe.config.manifest import SERVICE_FILE, Reports, ServiceFolders, ServiceManifest, Stage
from henslowe.config.settings import Settings
from henslowe.errors import ManifestError

DEPS: Final = "deps"
LINT: Final = "lint"
BUILD: Final = "build"
TEST: Final = "test"
MCP_CHECK: Final = "mcp-check"
STAGES_MAX: Final = 50

_ERRORS_ONLY: Final = ("--isolated", "--select=E9,F", "--ignore=F401,F841")
"""Without a configuration: what cannot be right (syntax, undefined names), not what is untidy (unused names)."""
_NO_TESTS_COLLECTED: Final = 5
_BUILD_OUTPUTS: Final = ("dist/", "build/", "out/", "lib/")


NO_REPORTS: Final = Reports()
_PYTEST_REPORT: Final = "{tmp}/junit-pytest.xml"


class Kind(StrEnum):
    """What runs a stage."""

    COMMAND = "command"
    DEPS = "deps"
    """The environment's own steps (`environment`)."""
    MCP_CHECK = "mcp-check"


@dataclass(slots=True, frozen=True)
class PlannedStage:
    """One step, complete. `command` words `{python}`, `{ruff}` and so on are resolved when it runs."""

    name: str
    kind: Kind = Kind.COMMAND
    command: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    timeout_s: float = 300.0
    env: Mapping[str, str] = field(default_factory=dict)
    cache: bool = True
    allow_failure: bool = False
    artifacts: tuple[str, ...] = ()
    reports: Reports = NO_REPORTS
    good_codes: tuple[int, ...] = (0,)
    """Exit codes that mean success."""


def plan_stages(manifest: ServiceManifest, *, timeout_s: float) -> tuple[PlannedStage, ...]:
    """The stages of a service in the order in which they should start when there is a choice.

    Raises:
        ManifestError: A stage needs one that does not exist, needs itself in a circle, or does not say what to run.
    """
    stages = {stage.name: replace(stage, timeout_s=timeout_s) for stage in _built_in(manifest)}
    for name, given in manifest.stages.items():
        merged = _merge(name, stages.get(name), given, timeout_s, has_deps=DEPS in stages)
        if merged is None:
            stages.pop(name, None)
        else:
            stages[name] = merged
    left_out = {name for name, given in manifest.stages.items() if given.run == ()}
    known = {
        name: replace(stage, needs=tuple(need for need in stage.needs if need not in left_out))
        for name, stage in stages.items()
    }
    _check(known)
    return tuple(known.values())


def service_folders(settings: Settings) -> ServiceFolders:
    """The services of a workspace as data; a manifest is good when its stages fit together, too."""
    return ServiceFolders(
        settings.workspace,
        settings.data_dir,
        declared=settings.services,
        check=functools.partial(plan_stages, timeout_s=settings.pipeline.stage_timeout_s),
    )


def startable(stages: Iterable[PlannedStage], *, started: Collection[str], done: Collection[str]) -> list[PlannedStage]:
    """The stages that may start now: not started, and everything they need is done."""
    return [stage for stage in stages if stage.name not in started and all(need in done for need in stage.needs)]


def upstream(stages: Mapping[str, PlannedStage], name: str) -> frozenset[str]:
    """Everything that a stage needs, directly or not."""
    found: set[str] = set()
    waiting = list(stages[name].needs)
    while waiting:
        need = waiting.pop()
        if need not in found:
            found.add(need)
            waiting.extend(stages[need].needs)
    return frozenset(found)


def _built_in(manifest: ServiceManifest) -> list[PlannedStage]:
    inferred = manifest.inferred
    has_deps = inferred.dependencies.kind is not DependencyKind.NONE
    deps = (DEPS,) if has_deps else ()
    stages = [PlannedStage(DEPS, Kind.DEPS, cache=False)] if has_deps else []
    if inferred.runtime is Runtime.PYTHON:
        stages += _python(inferred, deps)
    elif inferred.runtime is Runtime.NODE:
        stages += _node(inferred, deps)
    built = (BUILD,) if any(stage.name == BUILD and stage.artifacts for stage in stages) else ()
    check = PlannedStage(MCP_CHECK, Kind.MCP_CHECK, needs=(*deps, *built))
    # before the tests: it is the one with an upper bound known to the author, and most often the shorter one
    tests = [stage for stage in stages if stage.name == TEST]
    return [stage for stage in stages if stage.name != TEST] + [check, *tests]


def _python(inferred: Inferred, deps: tuple[str, ...]) -> list[PlannedStage]:
    options = () if inferred.has_ruff_config else _ERRORS_ONLY
    stages = [
        PlannedStage(
            LINT,
            command=("{ruff}", "check", "--no-cache", "--quiet", "--output-format=concise", *options, "."),
            inputs=("*.py", "*.pyi", "*.ipynb", "pyproject.toml", "ruff.toml", ".ruff.toml"),
        )
    ]
    if inferred.origin == "pyproject.toml":
        stages.append(
            PlannedStage(
                BUILD,
                command=("{python}", "-m", "compileall", "-q", "-j1", "."),
                inputs=("*.py",),
                needs=deps,
                env={"PYTHONPYCACHEPREFIX": "{tmp}/bytecode"},
            )
        )
    if inferred.has_tests:
        isolated = () if inferred.has_pytest_config else ("-c", "/dev/null", "--rootdir=.")
        stages.append(
            PlannedStage(
                TEST,
                command=(
                    "{python}",
                    "-m",
                    "pytest",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "--color=no",
                    f"--junitxml={_PYTEST_REPORT}",
                    *isolated,
                ),
                needs=deps,
                env=inferred.env,
                reports=Reports(junit=(_PYTEST_REPORT,)),
                good_codes=(0, _NO_TESTS_COLLECTED),
            )
        )
    return stages


def _node(inferred: Inferred, deps: tuple[str, ...]) -> list[PlannedStage]:
    stages = []
    if "lint" in inferred.scripts:
        stages.append(PlannedStage(LINT, command=("npm", "run", "--silent", "lint"), needs=deps))
    if "build" in inferred.scripts:
        stages.append(
            PlannedStage(BUILD, command=("npm", "run", "--silent", "build"), needs=deps, artifacts=_BUILD_OUTPUTS)
        )
    if inferred.has_tests:
        built = (BUILD,) if "build" in inferred.scripts else ()
        stages.append(PlannedStage(TEST, command=("npm", "test", "--silent"), needs=(*deps, *built)))
    return stages


def _merge(
    name: str, base: PlannedStage | None, given: Stage, timeout_s: float, *, has_deps: bool
) -> PlannedStage | None:
    """The stage with what the manifest says of it; None when it is left out."""
    if name == MCP_CHECK:
        _refuse_for_the_check("run", given.run, "it starts the service itself", refused=given.run is not None)
        _refuse_for_the_check("allow_failure", True, "its result is the contract", refused=given.allow_failure)
    if given.run == ():
        return None
    if base is None and not given.run:
        raise ManifestError(
            f"{SERVICE_FILE}: stages.{name}.run: expected a command, since there is no such built-in stage here",
            hint=f'add run = "..." to [stages.{name}], or remove the table',
            file=SERVICE_FILE,
            key=f"stages.{name}.run",
        )
    if base is None:
        base = PlannedStage(name, needs=(DEPS,) if has_deps and name != DEPS else (), timeout_s=timeout_s)
    if given.run:
        base = replace(base, kind=Kind.COMMAND, command=given.run, good_codes=(0,), inputs=(), reports=NO_REPORTS)
    return replace(
        base,
        needs=base.needs if given.needs is None else given.needs,
        inputs=base.inputs if given.inputs is None else given.inputs,
        timeout_s=base.timeout_s if given.timeout_s is None else given.timeout_s,
        env={**base.env, **given.env},
        cache=base.cache if given.cache is None else given.cache,
        allow_failure=given.allow_failure,
        artifacts=base.artifacts if given.artifacts is None else given.artifacts,
        reports=base.reports if given.reports is None else base.reports.with_these(given.reports),
    )


def _refuse_for_the_check(key: str, got: object, why: str, *, refused: bool) -> None:
    if refused:
        raise ManifestError(
            f"{SERVICE_FILE}: stages.{MCP_CHECK}.{key}: expected no such key ({why}), got {got!r}",
            file=SERVICE_FILE,
            key=f"stages.{MCP_CHECK}.{key}",
        )


def _check(stages: Mapping[str, PlannedStage]) -> None:
    if len(stages) > STAGES_MAX:
        raise ManifestError(f"{SERVICE_FILE}: stages: expected at most {STAGES_MAX}, got {len(stages)}")
    for stage in stages.values():
        for need in stage.needs:
            if need not in stages:
                near = difflib.get_close_matches(need, stages, n=1)
                asked = f"; did you mean {near[0]!r}?" if near else ""
                raise ManifestError(
                    f"{SERVICE_FILE}: stages.{stage.name}.needs: expected one of {', '.join(sorted(stages))}, "
                    f"got {need!r}{asked}",
                    file=SERVICE_FILE,
                    key=f"stages.{stage.name}.needs",
                )
    done: set[str] = set()
    while len(done) < len(stages):
        ready = startable(stages.values(), started=done, done=done)
        if not ready:
            circle = sorted(stages.keys() - done)
            raise ManifestError(
                f"{SERVICE_FILE}: stages: expected no circle, but these wait for each other: {', '.join(circle)}",
                hint="remove one of their needs",
                file=SERVICE_FILE,
                key=f"stages.{circle[0]}.needs",
            )
        done.update(stage.name for stage in ready)
