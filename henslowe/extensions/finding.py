"""Finds the extensions that are installed, checks them, and says of each that is refused why.

Finding reads the metadata of packages and imports nothing; loading imports, and contains whatever that raises.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import metadata
from typing import Any, Final, TypeAlias

from henslowe.actors.ids import service_name
from henslowe.errors import ConfigError
from henslowe.extensions import API_VERSION
from henslowe.storage import TableSpec

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
SCHEME: Final = re.compile(r"[a-z][a-z0-9]{0,15}")
_OF_MCP: Final = (
    *("initialize", "ping", "tools/", "prompts/", "resources/", "completion/", "logging/", "notifications/"),
    *("sampling/", "roots/", "elicitation/", "tasks/", "server/", "subscriptions/"),
)

Lookup: TypeAlias = Callable[..., Iterable[metadata.EntryPoint]]


class Kind(StrEnum):
    """What an extension is."""

    TOOL = "tool"
    TRANSPORT = "transport"
    STATE_MANAGER = "state-manager"
    PROTOCOL_HANDLER = "protocol-handler"
    PERSISTENCE = "persistence"
    INTERCEPTOR = "interceptor"

    @property
    def group(self) -> str:
        """The group of its entry points."""
        return _GROUPS[self]


_GROUPS: Final[Mapping[Kind, str]] = {
    Kind.TOOL: "henslowe.tools",
    Kind.TRANSPORT: "henslowe.transports",
    Kind.STATE_MANAGER: "henslowe.state_managers",
    Kind.PROTOCOL_HANDLER: "henslowe.protocol_handlers",
    Kind.PERSISTENCE: "henslowe.persistence",
    Kind.INTERCEPTOR: "henslowe.interceptors",
}


@dataclass(slots=True, frozen=True)
class Found:
    """One extension that is installed."""

    kind: Kind
    name: str
    package: str
    package_version: str
    entry: metadata.EntryPoint
    refused: str = ""
    """Why it is not used; "" where it is."""


def find(disabled: Collection[str] = (), entry_points: Lookup = metadata.entry_points) -> tuple[Found, ...]:
    """All extensions that are installed, by name. Imports nothing.

    Args:
        disabled: Names of those that are not wanted; `*` for all.
        entry_points: As `importlib.metadata.entry_points`.
    """
    found = [_found(kind, entry) for kind in Kind for entry in entry_points(group=kind.group)]
    times = Counter(each.name for each in found)
    checked = (replace(each, refused=_refusal(each, times[each.name], disabled)) for each in found)
    return tuple(sorted(checked, key=lambda each: (each.name, each.kind)))


def _found(kind: Kind, entry: metadata.EntryPoint) -> Found:
    package = entry.dist
    version = package.version if package is not None else ""
    return Found(kind, entry.name, package.name if package is not None else "", version, entry)


def _refusal(found: Found, times: int, disabled: Collection[str]) -> str:
    if found.name in disabled or "*" in disabled:
        return "it is named in modules.disabled"
    if not NAME.fullmatch(found.name):
        return "expected a name of lower-case letters, digits and '-', beginning with a letter, at most 32"
    if times > 1:
        return f"expected one extension of this name, got {times}; uninstall the others"
    return ""


def load(found: Found) -> Any:
    """The extension's object, made and checked.

    Raises:
        ConfigError: It cannot be imported or made, or is not what its kind wants; the message says why.
    """
    try:
        module = found.entry.load()()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError(
            f"cannot load {found.entry.value}: {type(error).__name__}: {error}",
            hint=f"update or uninstall {found.package or found.name}",
        ) from error
    version = getattr(module, "api_version", None)
    if version != API_VERSION:
        raise ConfigError(
            f"expected {found.entry.value} to have api_version {API_VERSION}, got {version!r}",
            hint=f"install a version of {found.package or found.name} for this Henslowe",
        )
    missing = [name for name in ("start", "stop", *_WANTED[found.kind]) if not hasattr(module, name)]
    if missing:
        raise ConfigError(f"expected {found.entry.value} to be a {found.kind}, but it has no {', '.join(missing)}")
    _CHECKS[found.kind](found, module)
    return module


_WANTED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.TOOL: ("tools",),
    Kind.TRANSPORT: ("schemes", "open"),
    Kind.STATE_MANAGER: ("tables", "child"),
    Kind.PROTOCOL_HANDLER: ("methods", "handle"),
    Kind.PERSISTENCE: ("streams", "write"),
    Kind.INTERCEPTOR: ("interceptors",),
}


def _tool(found: Found, _module: Any) -> None:
    service_name(found.name)


def _transport(_found: Found, module: Any) -> None:
    for scheme in module.schemes:
        if not SCHEME.fullmatch(scheme):
            raise ConfigError(f"expected schemes of lower-case letters and digits, got {scheme!r}")


def _state_manager(found: Found, module: Any) -> None:
    own = found.name.replace("-", "_")
    for spec in module.tables:
        if not isinstance(spec, TableSpec) or not (spec.name == own or spec.name.startswith(f"{own}_")):
            got = spec.name if isinstance(spec, TableSpec) else type(spec).__name__
            raise ConfigError(f"expected tables of the name {own} or {own}_..., got {got}")


def _protocol_handler(_found: Found, module: Any) -> None:
    for method in module.methods:
        if "/" not in method or method.startswith(_OF_MCP):
            raise ConfigError(f"expected methods that MCP does not have, such as acme/inventory, got {method!r}")


def _persistence(_found: Found, module: Any) -> None:
    streams = tuple(module.streams)
    if not streams or not set(streams) <= {"lifecycle", "activity", "output"}:
        raise ConfigError(f"expected streams out of lifecycle, activity and output, got {streams!r}")


def _interceptor(_found: Found, module: Any) -> None:
    if not all(callable(each.before or each.after) for each in module.interceptors):
        raise ConfigError("expected each interceptor to have a before or an after, got one with neither")


_CHECKS: Final[Mapping[Kind, Callable[[Found, Any], None]]] = {
    Kind.TOOL: _tool,
    Kind.TRANSPORT: _transport,
    Kind.STATE_MANAGER: _state_manager,
    Kind.PROTOCOL_HANDLER: _protocol_handler,
    Kind.PERSISTENCE: _persistence,
    Kind.INTERCEPTOR: _interceptor,
}
