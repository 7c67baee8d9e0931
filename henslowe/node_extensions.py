"""The extensions of one node: found and checked before anything is opened, then handed to where each kind is used.

What a kind needs of the node is here, and nothing else: tables before the store opens, a service for each tool, a
connector, methods of the gateway, interceptors, and a subtree under the plane `modules`.
"""

from __future__ import annotations

import json
import logging
import site
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from henslowe.actors.bounded import bounded
from henslowe.actors.interceptors import Interceptor, Interceptors
from henslowe.actors.kernel import Backoff, ChildSpec
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.modules import ModuleBoard, ModuleHost, ModuleInfo, ModulePlan, ModuleState, SinkHost
from henslowe.actors.modules.host import START_S
from henslowe.config.semver import as_semver
from henslowe.config.settings import Settings
from henslowe.errors import Conflict, HensloweError
from henslowe.extensions import Context, ProtocolHandler, Transport
from henslowe.extensions.finding import Kind, Lookup, find, load
from henslowe.extensions.serve import OPTIONS
from henslowe.storage import Store, Table, TableSpec
from henslowe.transport.gateway.extra import PluggedMethods

log = logging.getLogger(__name__)

HOST_BACKOFF = Backoff(first_s=0.2, max_s=5.0)


@dataclass(slots=True, frozen=True)
class ToolService:
    """A service that an extension is."""

    launch: LaunchSpec
    semver: str


class Extensions:
    """What was found, and what it adds. Runs in: the node's loop.

    Args:
        settings: The node's.
        data_dir: Where each has a folder of its own.
        entry_points: As `importlib.metadata.entry_points`.
    """

    def __init__(self, settings: Settings, data_dir: Path, entry_points: Lookup = metadata.entry_points) -> None:
        self._settings = settings
        self._folder = data_dir / "modules"
        self.board = ModuleBoard()
        self._loaded: dict[str, Any] = {}
        """What each says of itself; another object is started."""
        for found in find(settings.modules.disabled, entry_points):
            info = self.board.enter(found)
            if not found.refused:
                self._check(info)

    def _check(self, info: ModuleInfo) -> None:
        name, kind = info.found.name, info.found.kind
        try:
            if kind is Kind.TOOL:
                self._check_service(name)
                return
            module = load(info.found)
            self._check_unique(kind, module)
            self._loaded[name] = module
        except HensloweError as error:
            info.state, info.reason = ModuleState.REFUSED, error.message + (f"; {error.hint}" if error.hint else "")
            log.warning("extension_refused name=%s reason=%s", name, error.message)

    def _check_service(self, name: str) -> None:
        if name in self._settings.services or (self._settings.workspace / "dev" / name).exists():
            raise Conflict(
                f"there is another service {name}", hint="rename that, or name the extension in modules.disabled"
            )

    def _check_unique(self, kind: Kind, module: Any) -> None:
        """Two extensions cannot have the same scheme or method."""
        field = {Kind.TRANSPORT: "schemes", Kind.PROTOCOL_HANDLER: "methods"}.get(kind)
        for name, other in self._loaded.items() if field else ():
            if self.board.infos[name].found.kind is kind:
                taken = set(getattr(module, str(field))) & set(getattr(other, str(field)))
                if taken:
                    raise Conflict(f"expected {field} of its own, got {', '.join(sorted(taken))}, which {name} has")

    # -- what the kinds add ----------------

    @property
    def tables(self) -> tuple[TableSpec[Any], ...]:
        """Of state managers."""
        return tuple(spec for _, module in self._of(Kind.STATE_MANAGER) for spec in module.tables)

    @property
    def services(self) -> dict[str, ToolService]:
        """Of tools: each is a service, whose version is its package's."""
        return {info.found.name: self._service(info) for info in self._used(Kind.TOOL)}

    def served(self) -> None:
        """Note that the tools were declared: from here on their services say how they do."""
        for info in self._used(Kind.TOOL):
            self.board.set(info.found.name, ModuleState.SERVED)

    def transport(self, scheme: str) -> tuple[str, Transport] | None:
        """The transport of a scheme, if it runs."""
        return self._running(Kind.TRANSPORT, lambda module: scheme in module.schemes)

    def methods(self) -> PluggedMethods:
        """The methods of protocol handlers."""
        known = frozenset(method for _, module in self._of(Kind.PROTOCOL_HANDLER) for method in module.methods)
        return PluggedMethods(known, self._handler, self.board.called)

    async def intercept(self, interceptors: Interceptors) -> None:
        """Register what extensions of that kind bring. One that cannot be had refuses in its own name: fail closed."""
        for info in self.board.infos.values():
            if info.found.kind is not Kind.INTERCEPTOR or info.found.refused:
                continue
            try:
                await self._intercept(info, interceptors)
            except Exception as error:  # noqa: BLE001 - foreign code; closed is the safe side
                said = error.message if isinstance(error, HensloweError) else f"{type(error).__name__}: {error}"
                reason = info.reason or said
                info.state, info.reason = ModuleState.REFUSED, reason
                interceptors.register(Interceptor(info.found.name, before=partial(_closed, info.found.name, reason)))

    async def _intercept(self, info: ModuleInfo, interceptors: Interceptors) -> None:
        module = self._loaded.get(info.found.name)
        if module is None:
            raise Conflict(info.reason)
        context = self._context(info.found.name)
        context.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await bounded(module.start, context, deadline_s=START_S)
        for each in module.interceptors:
            interceptors.register(each)
        info.state, info.module = ModuleState.RUNNING, module

    def plans(self, store: Store) -> list[ModulePlan]:
        """The subtrees to run; tools and interceptors have none."""
        return [
            ModulePlan(name, partial(self._children, name, module, store))
            for kind in (Kind.TRANSPORT, Kind.STATE_MANAGER, Kind.PROTOCOL_HANDLER, Kind.PERSISTENCE)
            for name, module in self._of(kind)
        ]

    # -- parts ----------------

    def _children(self, name: str, module: Any, store: Store) -> Sequence[ChildSpec]:
        found = self.board.infos[name].found
        context = self._context(name, store if found.kind is Kind.STATE_MANAGER else None)
        context.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        args = (partial(load, found), context, self.board)
        if found.kind is Kind.PERSISTENCE:
            return [ChildSpec(id="host", actor=SinkHost, args=(*args, store), backoff=HOST_BACKOFF)]
        host = ChildSpec(id="host", actor=ModuleHost, args=args, backoff=HOST_BACKOFF)
        if found.kind is not Kind.STATE_MANAGER:
            return [host]
        return [host, replace(module.child(context), id="actor", name=f"modules.{name}", backoff=HOST_BACKOFF)]

    def _context(self, name: str, store: Store | None = None) -> Context:
        options = self._settings.modules.options.get(name, {})
        tables: Callable[[TableSpec[Any]], Table[Any]] | None = None
        if store is not None:
            own = {spec.name for spec in self._loaded[name].tables}
            tables = partial(_table, store, own)
        return Context(name, self._folder / name, options, tables)

    def _service(self, info: ModuleInfo) -> ToolService:
        options = self._settings.modules.options.get(info.found.name)
        launch = LaunchSpec(
            command=(sys.executable, "-m", "henslowe.extensions.serve", info.found.name),
            env=({OPTIONS: json.dumps(options, default=str)} if options else {}) | _path_to(info),
        )
        return ToolService(launch, as_semver(info.found.package_version) or "0.0.0")

    def _of(self, kind: Kind) -> list[tuple[str, Any]]:
        return [(name, self._loaded[name]) for info in self._used(kind) if (name := info.found.name) in self._loaded]

    def _used(self, kind: Kind) -> Iterable[ModuleInfo]:
        infos = self.board.infos.values()
        return [each for each in infos if each.found.kind is kind and each.state is not ModuleState.REFUSED]

    def _handler(self, method: str) -> tuple[str, ProtocolHandler] | None:
        return self._running(Kind.PROTOCOL_HANDLER, lambda module: method in module.methods)

    def _running(self, kind: Kind, wanted: Callable[[Any], bool]) -> tuple[str, Any] | None:
        for info in self.board.running(kind):
            if wanted(info.module):
                return info.found.name, info.module
        return None


def _path_to(info: ModuleInfo) -> dict[str, str]:
    """The variable by which another process finds a package that is not where all are."""
    package = info.found.entry.dist
    folder = str(Path(str(package.locate_file("")))) if package is not None else ""
    return {"PYTHONPATH": folder} if folder and folder not in site.getsitepackages() else {}


def _table(store: Store, own: set[str], spec: TableSpec[Any]) -> Table[Any]:
    if spec.name not in own:
        raise LookupError(f"cannot open table {spec.name!r}: expected one of {', '.join(sorted(own))}")
    return store.table(spec)


def _closed(name: str, reason: str, _operation: object) -> None:
    raise Conflict(f"extension {name} cannot be asked: {reason}; name it in modules.disabled to go on without it")
