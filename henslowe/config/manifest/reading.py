"""From a folder to its complete manifest."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from henslowe.config.inference import Inferred, infer
from henslowe.config.manifest.delivery import Delivery
from henslowe.config.manifest.launch import Launch
from henslowe.config.manifest.mistakes import explain
from henslowe.config.manifest.models import SERVICE_FILE, ServiceFile, ServiceManifest
from henslowe.config.semver import as_semver
from henslowe.errors import ManifestError

DEFAULT_VERSION = "1.0.0"
"""Of a service that does not say: its first build is `v1.0.0`, the next ones `v1.0.0+2` and so on."""


def read_manifest(folder: Path, service: str, *, text: str | None = None) -> ServiceManifest:
    """The manifest of the service in `folder`; `text` stands for its `service.toml` where it is given.

    Runs in: any thread; reads a handful of small files.

    Raises:
        ManifestError: A file cannot be parsed, has a key or a value it should not have, or nothing says how to run it.
    """
    given = _parsed(_service_file(folder) if text is None else text)
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
        stages=given.stages,
        examples=given.examples,
        **{key: getattr(given, key) for key in Delivery.model_fields},
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


def _service_file(folder: Path) -> str:
    try:
        return (folder / SERVICE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ManifestError(f"cannot parse {SERVICE_FILE}: {error}", file=SERVICE_FILE, key="") from error


def _parsed(text: str) -> ServiceFile:
    try:
        return ServiceFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"cannot parse {SERVICE_FILE}: {error}", file=SERVICE_FILE, key="") from error
    except ValidationError as error:
        raise explain(error) from error
