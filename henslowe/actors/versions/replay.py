"""The rows from the history: replaying the lifecycle events of the version machine gives exactly its tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.versions.rows import ServiceRow, VersionRow


class LoggedEvent(Protocol):
    """What is read of an event: `henslowe.storage.Event` and `EventDraft` both have it."""

    @property
    def service(self) -> str:
        """The service's name."""
        ...

    @property
    def version(self) -> int:
        """The version's number, or 0."""
        ...

    @property
    def data(self) -> object:
        """The event's fields."""
        ...


def replay(events: Iterable[LoggedEvent]) -> tuple[dict[ServiceName, ServiceRow], dict[VersionKey, VersionRow]]:
    """The service rows and the version rows after `events`, which are all lifecycle events in order."""
    services: dict[ServiceName, ServiceRow] = {}
    versions: dict[VersionKey, VersionRow] = {}
    for event in events:
        data = event.data
        if not isinstance(data, dict):
            continue
        if "row" in data:
            row = VersionRow.model_validate(data["row"])
            versions[row.key] = row
        if data.get("removed") is True:
            versions.pop(VersionKey(ServiceName(event.service), event.version), None)
        if "service_row" in data:
            service = ServiceRow.model_validate(data["service_row"])
            services[service.service] = service
    return services, versions
