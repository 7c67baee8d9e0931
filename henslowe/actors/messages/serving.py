"""What the gateway says to who keeps its tables: sessions, tasks, kept streams and kept results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# -- gateway -> session manager ----------------


@dataclass(slots=True, frozen=True)
class OpenSession:
    """Call to SESSION_MANAGER: a handshake-era client opened a session. Reply: the durable row."""

    session_id: str
    scope: str
    """"" for the aggregate endpoint, else the service's name."""
    protocol_version: str
    client_info: dict[str, Any]
    capabilities: dict[str, Any]
    principal: str = ""
    """Whose it is; nobody else can use it."""


@dataclass(slots=True, frozen=True)
class UpdateSession:
    """Call to SESSION_MANAGER: subscriptions or log level changed. Reply: the durable row."""

    session_id: str
    log_level: str | None = None
    subscribe: str | None = None
    unsubscribe: str | None = None


@dataclass(slots=True, frozen=True)
class CloseSession:
    """Call to SESSION_MANAGER: the client ended its session, or it expired. Reply: bool, whether it existed."""

    session_id: str
    reason: str = "deleted"


@dataclass(slots=True, frozen=True)
class SessionsSeen:
    """Cast to SESSION_MANAGER, at most once a second: sessions that were used since, for expiry."""

    last_seen_s: dict[str, float]


# -- gateway -> task keeper ----------------


@dataclass(slots=True, frozen=True)
class KeepTask:
    """Call to TASKS: a server made a task for a client. Reply: None, once it is durable."""

    row: dict[str, Any]
    """The fields of a `henslowe.actors.tasks.TaskRow`."""


@dataclass(slots=True, frozen=True)
class TaskSeen:
    """Cast to TASKS, or call (reply: None, once it is written): what a server said of a task."""

    id: str
    status: str
    expires_s: float
    final: dict[str, Any] | None = None
    """All that was said, once it is final."""


# -- gateway -> replay keeper ----------------


@dataclass(slots=True, frozen=True)
class ReplayChanged:
    """Cast to REPLAY: events to keep, and streams to forget."""

    added: tuple[dict[str, Any], ...]
    """The fields of `henslowe.actors.replay.ReplayRow`s."""
    dropped: tuple[tuple[str, str], ...]
    """Session and stream."""


# -- gateway -> result keeper ----------------


@dataclass(slots=True, frozen=True)
class ResultsChanged:
    """Cast to RESULTS: answers to keep, and keys of those to forget."""

    added: tuple[dict[str, Any], ...]
    """The fields of `henslowe.actors.results.ResultRow`s."""
    dropped: tuple[str, ...]
