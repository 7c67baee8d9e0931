"""The extension points of a node: what a package can add, and what it is given. Public and versioned.

A package says what it brings by an entry point, whose group is the kind and whose name is the extension's:

    [project.entry-points."henslowe.persistence"]
    audit-file = "audit_file:AuditFile"

The entry point is a class, or a function, that is called without arguments and gives an object of its kind:

| group | kind | what it does | where it runs |
|---|---|---|---|
| `henslowe.tools` | `Tool` | offers tools as the service `/mcp/NAME` | a process of its own |
| `henslowe.transports` | `Transport` | reaches servers over another wire: `mcp+SCHEME://...` | the node's loop |
| `henslowe.state_managers` | `StateManager` | an actor that owns tables of the node's store | the node's loop |
| `henslowe.protocol_handlers` | `ProtocolHandler` | answers MCP methods that no specification has | the node's loop |
| `henslowe.persistence` | `Persistence` | gets every event, at least once and in order | the node's loop |
| `henslowe.interceptors` | `Intercepting` | may refuse deployments, updates and restores | the node's loop |

**Contained.** What is on the loop has to be asynchronous, as all code there; a plain method runs in a thread. Calls
have deadlines. An extension that raises is restarted, later each time, in a subtree of its own under the plane
`modules`; the node goes on without it meanwhile. It is trusted with everything that the node may do.

**Versioned.** `api_version` is that of this module that the extension was written for. A node refuses another one than
its own; changes that do not break extensions leave it as it is.

Not here: finding and checking (`henslowe.extensions.finding`), running (`henslowe.actors.modules`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel

from henslowe.actors.endpoints import ByteReader, ByteWriter
from henslowe.actors.interceptors import Interceptor, Operation
from henslowe.actors.interceptors import Kind as OperationKind
from henslowe.actors.kernel import ChildSpec, LoopActor, Reply
from henslowe.storage import Event, Table, TableSpec

__all__ = [
    "API_VERSION",
    "ByteReader",
    "ByteWriter",
    "ChildSpec",
    "Context",
    "Event",
    "ExtensionError",
    "Intercepting",
    "Interceptor",
    "JsonObject",
    "LoopActor",
    "Module",
    "Operation",
    "OperationKind",
    "Persistence",
    "ProtocolHandler",
    "ProtocolRequest",
    "Reply",
    "StateManager",
    "Table",
    "TableSpec",
    "Tool",
    "Transport",
]

API_VERSION: Final = 1

JsonObject: TypeAlias = dict[str, Any]
R = TypeVar("R", bound=BaseModel)


class ExtensionError(Exception):
    """An answer that is an error, for who asked: a JSON-RPC code and a message."""

    def __init__(self, code: int, message: str, data: JsonObject | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(slots=True, frozen=True)
class Context:
    """What an extension is given when it starts."""

    name: str
    """As its entry point."""
    folder: Path
    """Its own, in the node's data directory; there, and kept."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """`[modules.options.NAME]` of `henslowe.toml`."""
    tables: Callable[[TableSpec[Any]], Table[Any]] | None = None

    def table(self, spec: TableSpec[R]) -> Table[R]:
        """One of the tables that a `StateManager` declared.

        Raises:
            LookupError: It declared no such table.
        """
        if self.tables is None:
            raise LookupError(f"cannot open table {spec.name!r}: only a state manager has tables")
        return self.tables(spec)


class Module(Protocol):
    """What all kinds have. Made anew at each start; `stop` is called when it ends, also after a failed `start`."""

    api_version: int
    """1: see the module."""

    async def start(self, context: Context) -> None:
        """Get ready, within 10 s. Raises what prevents it: it is tried again later."""

    async def stop(self) -> None:
        """Give back what `start` took, within 5 s."""


class Tool(Module, Protocol):
    """Tools of the node's own: the service `/mcp/NAME`, in a process of its own, delivered as any other service.

    A new version of the package is a new version of the service at the node's next start.
    """

    tools: Sequence[Callable[..., Any]]
    """Functions: name, parameters with their types, and docstring become those of the tools."""


class Transport(Module, Protocol):
    """Reaches MCP servers over another wire, for services whose `url` begins with `mcp+` and one of its schemes.

    What it opens carries newline-delimited JSON-RPC, as standard input and output do: handshake, limits, both eras and
    everything else are the node's.
    """

    schemes: Sequence[str]
    """Lower-case words: `unix` is for `mcp+unix://...`."""

    async def open(self, url: str, headers: Mapping[str, str]) -> tuple[ByteReader, ByteWriter]:
        """A new connection, as `asyncio.open_connection` gives one.

        Raises:
            OSError: Nobody is there yet; it is tried again until the service's `ready_timeout_s` is over.
        """
        ...


class StateManager(Module, Protocol):
    """An actor that owns tables. It is registered as `modules.NAME`; messages to it are the package's own business."""

    tables: Sequence[TableSpec[Any]]
    """Its tables, each named NAME or `NAME_...` (with `_` for `-`). They stay when the package is removed."""

    def child(self, context: Context) -> ChildSpec:
        """How to start the actor. Its `name` is replaced by `modules.NAME`."""
        ...


@dataclass(slots=True, frozen=True)
class ProtocolRequest:
    """A request of a client, for a method that MCP does not have."""

    method: str
    params: JsonObject
    service: str
    """Whose endpoint it came to; "" for that of all services."""
    principal: str
    """Who asks, as in events: `local:admin`, `token:ci`, `anonymous`."""


class ProtocolHandler(Module, Protocol):
    """Answers methods that no specification has, at every endpoint, for whoever may use the endpoint."""

    methods: Sequence[str]
    """Names with a slash, such as `acme/inventory`; those of MCP itself are refused."""

    async def handle(self, request: ProtocolRequest) -> JsonObject:
        """The result, within 30 s.

        Raises:
            ExtensionError: The answer is this error.
        """
        ...


class Persistence(Module, Protocol):
    """Gets the node's events: each one at least once, in order, from where it was when it was first installed."""

    streams: Sequence[str]
    """Of `lifecycle`, `activity`, `output`: at least one."""

    def write(self, events: Sequence[Event]) -> Awaitable[None] | None:
        """Keep these, durably, within 30 s. What raises is called again with the same events, later each time."""
        ...


class Intercepting(Module, Protocol):
    """May refuse what is about to happen: see `henslowe.actors.interceptors`."""

    interceptors: Sequence[Interceptor]
    """Registered before anything is deployed, and for a restore also without a node."""
