"""What a service says of itself: how to run it, how to check it, how to ship it.

`read_manifest` looks at a folder and returns a complete `ServiceManifest`. Most of it is inferred from what is there
anyway (a lone `server.py`, `pyproject.toml`, `package.json`; see `henslowe.config.inference`); `service.toml` overrides
any part:

    version = "1.4.0"
    strategy = "canary"            # auto | immediate | canary
    canary_percent = 5

    [launch]
    command = ["python", "-m", "weather"]
    env = { UNITS = "metric" }

    [stages.test]
    run = "pytest -q tests/fast"
    timeout_s = 60

    [stages.types]
    run = ["mypy", "."]
    needs = ["deps"]
    allow_failure = true

Not here: installing dependencies and running stages (`henslowe.actors.pipeline`), the node's own settings
(`henslowe.config.settings`).
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from henslowe.config.inference import Inferred, Runtime, infer
from henslowe.config.references import Referring
from henslowe.config.semver import as_semver
from henslowe.config.settings import Percent, Section
from henslowe.errors import ManifestError

SERVICE_FILE = "service.toml"
DEFAULT_VERSION = "1.0.0"
"""Of a service that does not say: its first build is `v1.0.0`, the next ones `v1.0.0+2` and so on."""

_STAGE_NAME = r"^[a-z][a-z0-9_-]{0,31}$"
_EXPECTED = {
    "model_type": "a table",
    "dict_type": "a table",
    "tuple_type": "a list of strings",
    "string_type": "a string",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_pattern_mismatch": "a name of lower-case letters, digits, '-' and '_', beginning with a letter, at most 32",
}
"""Kinds of pydantic's errors in TOML's words."""

Command = tuple[str, ...]
TimeoutSeconds = Annotated[float, Field(gt=0, le=24 * 3600)]


class Launch(Section):
    """How to run the server; relative paths and `{port}` as in `henslowe.actors.launch.LaunchSpec`."""

    wire: Literal["stdio", "http"] = "stdio"
    command: Command = ()
    """A word without a slash is looked up in the service's environment first, then on PATH."""
    url: str = ""
    env: dict[str, Referring] = {}
    """Variables of the server. A value may be `secret:NAME`: see `henslowe secrets`."""
    ready_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> Self:
        if self.wire == "http" and self.command and "{port}" not in self.url:
            raise ValueError(
                "expected a url with {port} for a command that listens, for example http://127.0.0.1:{port}/mcp"
            )
        return self


class Stage(Section):
    """One step of the pipeline. What is not said here comes from the built-in stage of the same name."""

    run: Command | None = None
    """A command, as a list or as one line for the shell. Empty: this built-in stage is left out."""
    needs: tuple[str, ...] | None = None
    """Stages that must succeed first; default: `deps` where there is one."""
    inputs: tuple[str, ...] | None = None
    """Globs of the files that matter to this stage (gitignore syntax); default: all."""
    timeout_s: TimeoutSeconds | None = None
    env: dict[str, str] = {}
    cache: bool | None = None
    """Whether an unchanged stage may be replayed instead of run; default: true."""
    allow_failure: bool = False
    artifacts: tuple[str, ...] | None = None
    """Globs of the files that the stage makes and that belong to the build."""

    @field_validator("run", mode="before")
    @classmethod
    def _line_or_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return ("/bin/sh", "-c", value) if value.strip() else ()
        return value


class ServiceFile(Section):
    """The content of `service.toml`; every key is optional."""

    name: str | None = None
    """If given, the folder's name: it guards against a copied file."""
    version: str | None = None
    strategy: Literal["auto", "immediate", "canary"] | None = None
    canary_percent: Percent | None = None
    on_break: Literal["go", "hold", "fail"] | None = None
    """What becomes of a version that breaks clients of the active one without a greater major version: it goes on
    and says so, waits for a person, or fails."""
    launch: Launch = Launch()
    stages: dict[Annotated[str, Field(pattern=_STAGE_NAME)], Stage] = {}


class ServiceManifest(Section):
    """Everything the pipeline needs to know of a service, complete: inferred facts with `service.toml` laid over."""

    service: str
    version: str
    """Semantic version."""
    runtime: Runtime
    origin: str
    """The file that decided what the service is: `service.toml`, `pyproject.toml`, `package.json` or `server.py`."""
    launch: Launch
    inferred: Inferred
    strategy: Literal["auto", "immediate", "canary"] | None = None
    """None: as the node's `delivery.strategy` says."""
    canary_percent: Percent | None = None
    on_break: Literal["go", "hold", "fail"] | None = None
    """None: as the node's `delivery.on_break` says."""
    stages: dict[str, Stage] = {}


def read_manifest(folder: Path, service: str) -> ServiceManifest:
    """The manifest of the service in `folder`.

    Runs in: any thread; reads a handful of small files.

    Raises:
        ManifestError: A file cannot be parsed, has a key or a value it should not have, or nothing says how to run it.
    """
    given = _read_service_file(folder)
    if given.name is not None and given.name != service:
        raise ManifestError(
            f"{SERVICE_FILE}: name: expected {service!r} (the folder's name), got {given.name!r}",
            hint="remove the key, or rename the folder",
            file=SERVICE_FILE,
            key="name",
        )
    inferred = infer(folder)
    return ServiceManifest(
        service=service,
        version=_version(given, inferred),
        runtime=inferred.runtime,
        origin=SERVICE_FILE if given.launch.command or given.launch.url else inferred.origin,
        launch=_launch(given.launch, inferred),
        inferred=inferred,
        strategy=given.strategy,
        canary_percent=given.canary_percent,
        on_break=given.on_break,
        stages=given.stages,
    )


def _version(given: ServiceFile, inferred: Inferred) -> str:
    text, file = (given.version, SERVICE_FILE) if given.version is not None else (inferred.version, inferred.origin)
    version = as_semver(text) if text else DEFAULT_VERSION
    if version is None:
        raise ManifestError(
            f"{file}: version: expected a semantic version such as 1.4.0, got {text!r}", file=file, key="version"
        )
    return version


def _launch(given: Launch, inferred: Inferred) -> Launch:
    env = {**inferred.env, **given.env}
    if given.command or (given.url and given.wire == "http"):
        return given.model_copy(update={"env": env})
    if not inferred.command:
        raise ManifestError(
            f"cannot tell how to run the service: expected {inferred.wanted}",
            hint=f'add server.py, or {SERVICE_FILE} with [launch] command = ["python", "..."]',
            file=SERVICE_FILE,
            key="launch.command",
        )
    return given.model_copy(update={"command": inferred.command, "env": env})


def _read_service_file(folder: Path) -> ServiceFile:
    path = folder / SERVICE_FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ServiceFile()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot parse {SERVICE_FILE}: {error}", file=SERVICE_FILE, key="") from error
    try:
        return ServiceFile.model_validate(table)
    except ValidationError as error:
        raise _explain(error) from error


def _explain(error: ValidationError) -> ManifestError:
    """The first of pydantic's complaints as a sentence about a file and a key."""
    first = error.errors(include_url=False)[0]
    loc = [part for part in first["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in loc)
    kind, got = first["type"], first["input"]
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if kind == "extra_forbidden":
        allowed = _keys_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1, cutoff=0.5)
        asked = f"; did you mean {near[0]!r}?" if near else ""
        return ManifestError(
            f"{SERVICE_FILE}: {key}: expected one of {', '.join(allowed)}, got {str(loc[-1])!r}{asked}{more}",
            hint=f"rename the key to {near[0]!r}" if near else "remove the key",
            file=SERVICE_FILE,
            key=key,
        )
    expected = _EXPECTED.get(kind) or first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not expected.startswith("expected"):
        expected = f"expected {expected}"
    if kind == "value_error":
        got = {}
    said = "" if isinstance(got, dict) else f", got {got!r:.80}"
    return ManifestError(f"{SERVICE_FILE}: {key}: {expected}{said}{more}", file=SERVICE_FILE, key=key)


def _keys_at(loc: list[int | str]) -> list[str]:
    """The keys that `service.toml` may have at a place."""
    model: Any = ServiceFile
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:  # a dictionary of models: any key leads to its value type
            model = get_args(model)[1]
    return sorted(model.model_fields)
