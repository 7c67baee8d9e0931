"""What the admin API needs of a node: three small Protocols that the composition root implements.

`EventSource` is the event store's own shape (`henslowe.storage`'s event log fits as it is); `NodeView` is the rest.
Everything here runs on the node's loop. Operating errors are raised as `henslowe.errors`; an actor that is just being
restarted may surface as pykka's `ActorDeadError` or `Timeout`, which the API answers with 503.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from henslowe.config.provenance import Loaded
from henslowe.storage import Event
from henslowe.storage.capture import Capture, CaptureInfo
from henslowe.transport.admin.models.base import ActionName, LineName
from henslowe.transport.admin.models.node import ActorReply, HealthReply, NodeReply
from henslowe.transport.admin.models.versions import VersionsReply


class EventSource(Protocol):
    """The event log: pages of the past and a call for each commit."""

    def last_seq(self) -> int:
        """Sequence number of the newest event, 0 for none."""
        ...

    def read(
        self,
        *,
        after_seq: int = ...,
        before_seq: int = ...,
        newest_first: bool = ...,
        streams: Iterable[str] = ...,
        types: str | Iterable[str] = ...,
        services: str | Iterable[str] = ...,
        limit: int = ...,
    ) -> Sequence[Event]:
        """At most `limit` events with `after_seq` < seq < `before_seq`; `types` are patterns as of fnmatch."""
        ...

    def on_committed(self, callback: Callable[[tuple[Event, ...]], None]) -> Callable[[], None]:
        """Call back on the loop with the new events after each commit; the reply ends that."""
        ...


class CaptureSource(Protocol):
    """Recorded traffic."""

    def read(self, **filters: Any) -> Sequence[Capture]:
        """A page of captures that are all of this."""
        ...

    def get(self, seq: int) -> Capture | None:
        """The capture with this number."""
        ...

    def info(self) -> CaptureInfo:
        """How recording goes."""
        ...


class NodeView(Protocol):
    """The node as its operators see it."""

    def status(self) -> NodeReply:
        """The node and all its services, from published snapshots."""
        ...

    async def tree(self) -> ActorReply:
        """The supervision tree from its root."""
        ...

    def versions(self, service: str) -> VersionsReply:
        """The versions of a service, newest first.

        Raises:
            NotFound: No such service.
        """
        ...

    def config(self) -> Loaded:
        """The settings the node was started with."""
        ...

    def health(self) -> HealthReply:
        """Whether the process is alive and its loop and storage answer."""
        ...

    def ready(self) -> HealthReply:
        """Whether traffic should be sent here: recovered, listening, not draining."""
        ...

    async def command(
        self,
        service: str,
        action: ActionName,
        *,
        by: str,
        reason: str = "",
        to_version: int | None = None,
        expected_epoch: int | None = None,
        until_s: float | None = None,
        override_freeze: str = "",
        skip_hooks: str = "",
    ) -> Mapping[str, Any]:
        """Perform a person's command; the reply has the keys of `CommandReply`.

        Raises:
            NotFound: No such service or version.
            Conflict: The transition table does not have it now, or it is to be removed and still has sources.
        """
        ...

    async def line(self, action: LineName, *, by: str, reason: str, until_s: float | None) -> Mapping[str, Any]:
        """Perform a person's command on all services at once; the reply has the keys of `AllServicesReply`.

        Raises:
            Conflict: The freeze would be over before it begins.
        """
        ...

    async def rebuild(self, service: str, *, by: str) -> int:
        """Run the pipeline again; the number of the version it makes.

        Raises:
            NotFound: No such service.
            Conflict: The service is declared, not developed.
        """
        ...

    def run(self, service: str, *, stage: str, cache: bool, by: str) -> AsyncGenerator[Mapping[str, Any], None]:
        """Run the stages of a service, or one with what it needs, without a version; what happens, as it happens.

        Closing it ends the stages.

        Raises:
            NotFound: No such service or stage.
            Conflict: The service is declared, not developed.
        """
        ...

    def stop(self, *, by: str) -> None:
        """Ask the node to drain and stop; returns at once."""
        ...
