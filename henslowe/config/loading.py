"""Loads a node's settings: flags before environment before `<workspace>/henslowe.toml` before defaults.

A variable is `HENSLOWE_` and the key in capitals, with `__` for the dot: `HENSLOWE_DELIVERY__STRATEGY=canary`. A flag
is an `Override`. The result is valid as a whole and says of each value where it came from; an error names the key, what
was expected, what was found and where, and carries all other problems in its details.

Service manifests are `henslowe.config.manifest`'s; the meaning of the keys is in `henslowe.config.settings`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from henslowe.config import schema
from henslowe.config.access_checks import access_contradictions
from henslowe.config.listen import check_listen
from henslowe.config.node_file import FILE_NAME
from henslowe.config.problems import Problem, problems_of, raise_if_any, shown
from henslowe.config.provenance import Loaded, Origin, Source
from henslowe.config.settings import DeclaredService, Settings
from henslowe.config.toml_file import read_toml
from henslowe.errors import ConfigError

PREFIX: Final = "HENSLOWE_"
_REACHABLE: Final = re.compile(r"(https?|mcp\+[a-z][a-z0-9]*)://")
RESERVED: Final = frozenset({"HENSLOWE_NODE", "HENSLOWE_SECRET_KEY_FILE"})
"""Variables that are not settings: the kernel marks the node's child processes with one, storage looks for its keys
in the other."""


@dataclass(slots=True, frozen=True)
class Override:
    """A value given on the command line: dotted key, text, and the flag that gave it."""

    key: str
    value: str
    flag: str

    @classmethod
    def parse(cls, text: str) -> Override:
        """The override in `KEY=VALUE`, as `--set` takes it.

        Raises:
            ConfigError: There is no `=`.
        """
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set: expected KEY=VALUE, got: {text!r}", hint="for example --set delivery.drain_s=5")
        return cls(key.strip(), value, f"--set {key.strip()}")


@dataclass(slots=True)
class _Layers:
    """Values gathered so far, the later over the earlier."""

    workspace: Path
    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    tables: dict[str, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def put(self, path: schema.Path_, value: Any, origin: Origin) -> None:
        """Set one value; an unknown key becomes a problem with the key that was probably meant."""
        annotation = schema.leaf(path)
        key = ".".join(path)
        if annotation is None:
            self.problems.append(_unknown(path, origin))
            return
        if key == "workspace" and origin.source is Source.FILE:
            self.problems.append(
                Problem(
                    key,
                    f"workspace: expected no such key in {FILE_NAME}, got: {shown(value)}",
                    origin.where,
                    "remove it; the workspace is the folder of the file",
                )
            )
            return
        if isinstance(value, str) and origin.source is not Source.FILE:
            value = schema.from_text(annotation, value)
        if isinstance(value, str) and schema.holds_path(annotation):
            base = self.workspace if origin.source is Source.FILE else Path.cwd()
            value = base / Path(value).expanduser()
        node = self.tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value
        self.origins[key] = origin

    def table(self, path: schema.Path_, origin: Origin) -> None:
        """Make a table exist, even an empty one: `[services.x]` alone names a service."""
        node = self.tree
        for part in path:
            node = node.setdefault(part, {})
        self.tables.setdefault(".".join(path), origin)


def load(
    workspace: Path | None = None,
    *,
    overrides: Sequence[Override] = (),
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """The settings for a workspace, each value from the strongest source that has it.

    Args:
        workspace: The folder; default `HENSLOWE_WORKSPACE`, else the current folder. It need not exist.
        overrides: Flags; a later one wins over an earlier one with the same key.
        environ: The environment; default this process's own.

    Raises:
        ConfigError: Some value, key, variable or the file itself is not what was expected.
        ListenRefused: Others could reach the address, and `allow_remote` or `admin.token_file` is not set.
    """
    environ = os.environ if environ is None else environ
    given = workspace if workspace is not None else Path(environ.get("HENSLOWE_WORKSPACE") or ".")
    layers = _Layers(Path(os.path.abspath(given.expanduser())))  # noqa: PTH100 - resolve() would follow the user's links
    file = layers.workspace / FILE_NAME
    try:
        tree, lines = read_toml(file)
    except FileNotFoundError:
        found = None
    else:
        found = file
        _put_tree(layers, tree, (), lines)
    for path, value, origin in _variables(environ):
        layers.put(path, value, origin)
    for override in overrides:
        layers.put(tuple(override.key.split(".")), override.value, Origin(Source.FLAG, override.flag))
    layers.tree["workspace"] = layers.workspace
    if workspace is not None:
        layers.origins["workspace"] = Origin(Source.FLAG, "WORKSPACE")
    return Loaded(_validated(layers), dict(layers.origins), found)


def _put_tree(layers: _Layers, tree: Mapping[str, Any], path: schema.Path_, lines: Mapping[schema.Path_, int]) -> None:
    for name, value in tree.items():
        inner = (*path, name)
        origin = Origin(Source.FILE, f"{FILE_NAME}:{_line(lines, inner)}")
        if not schema.is_table(inner):
            layers.put(inner, value, origin)
        elif isinstance(value, dict):
            layers.table(inner, origin)
            _put_tree(layers, value, inner, lines)
        else:
            key = ".".join(inner)
            layers.problems.append(
                Problem(key, f"{key}: expected a table, got: {shown(value)}", origin.where, f"write [{key}]")
            )


def _line(lines: Mapping[schema.Path_, int], path: schema.Path_) -> int:
    """The key's own line, else its closest ancestor's, else that of the first key below it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return min((line for key, line in lines.items() if key[: len(path)] == path), default=1)


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[schema.Path_, str, Origin]]:
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in RESERVED:
            parts = name.removeprefix(PREFIX).split("__")
            path = tuple(part.lower() for part in parts)
            if len(path) == 4 and path[0] == "services" and path[2] == "env":
                path = (*path[:3], parts[3])  # names of variables are the person's own, capitals and all
            yield path, environ[name], Origin(Source.ENVIRONMENT, name)


def _unknown(path: schema.Path_, origin: Origin) -> Problem:
    key = ".".join(path)
    meant = schema.suggestion(path)
    if schema.is_table(path):
        message, fix = f"{key}: expected a key of this table, got the table itself", f"write {key}.KEY"
    elif origin.source is Source.ENVIRONMENT:
        name = PREFIX + "__".join(part.upper() for part in meant.split("."))
        message = f"{origin.where}: expected a variable that names a setting, got: {key!r}"
        fix = f"did you mean {name}? Else unset it" if meant else f"unset {origin.where}"
        return Problem(key, message, "", fix)
    else:
        message = f"expected a setting, got: {key!r}"
        fix = f"did you mean {meant}?" if meant else "`henslowe config show --all` lists the keys"
    return Problem(key, message, origin.where, fix)


def _validated(layers: _Layers) -> Settings:
    places = layers.tables | layers.origins
    try:
        settings = Settings.model_validate(layers.tree)
    except ValidationError as error:
        raise_if_any([*layers.problems, *problems_of(error, places)])
        raise  # not reached: a validation error has at least one problem
    raise_if_any(layers.problems + _contradictions(settings, places))
    address = check_listen(settings, where=str(places.get("listen", "")))
    wrong = access_contradictions(settings, loopback=address.loopback)
    raise_if_any([Problem(each.key, each.message, str(places.get(each.key, "")), each.hint) for each in wrong])
    return settings


def _contradictions(settings: Settings, origins: Mapping[str, Origin]) -> list[Problem]:
    """Values that are fine alone and wrong together."""
    found = []
    watcher = settings.watcher
    if watcher.debounce_max_ms < watcher.debounce_ms:
        key = "watcher.debounce_max_ms"
        origin = origins.get(key) or origins.get("watcher.debounce_ms")
        found.append(
            Problem(
                key,
                f"{key}: expected at least watcher.debounce_ms ({watcher.debounce_ms}), got: {watcher.debounce_max_ms}",
                str(origin or ""),
                "raise it, or lower watcher.debounce_ms",
            )
        )
    for name, service in settings.services.items():
        if not service.command and not service.url:
            key = f"services.{name}"
            where = str(origins.get(key, ""))
            found.append(Problem(key, f"{key}: expected a command or a url, got neither", where, f"add {key}.command"))
        found += _url_problems(f"services.{name}.url", service, origins)
    return found


def _url_problems(key: str, service: DeclaredService, origins: Mapping[str, Origin]) -> list[Problem]:
    """An address that no connection can be made to, found before the node is up."""
    where = str(origins.get(key, ""))
    if service.url and not _REACHABLE.match(service.url):
        hint = "for example https://host/mcp; an extension may add a wire for mcp+SCHEME://"
        return [Problem(key, f"{key}: expected an http:// or https:// address, got: {service.url!r}", where, hint)]
    if service.url and service.command and "{port}" not in service.url:
        hint = "for example http://127.0.0.1:{port}/mcp; remove the command for a remote server"
        return [
            Problem(
                key,
                f"{key}: expected {{port}} in the address of a command that listens, got: {service.url!r}",
                where,
                hint,
            )
        ]
    return []
