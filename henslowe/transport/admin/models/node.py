"""The node as the admin API tells it: its health, its actors, its settings, its end."""

from __future__ import annotations

from typing import Any, Literal

from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.services import HaltReply, ServiceReply


class HealthCheckReply(Reply):
    """One thing that must be well."""

    name: str
    ok: bool
    detail: str = ""
    """What is wrong, or with which restriction it works."""
    degrades: bool = False
    """Whether the node works on without it, within limits."""


class HealthReply(Reply):
    """Whether all is well. `/readyz` is 200 where `ok`, `/livez` unless `state` is failed; else they are 503."""

    ok: bool
    state: Literal["ok", "degraded", "failed"] = "ok"
    """`degraded`: calls are answered, but what must be stored is refused."""
    checks: tuple[HealthCheckReply, ...] = ()


class NodeReply(Reply):
    """The node and everything it serves."""

    name: str
    version: str
    pid: int
    url: str
    """Where clients connect: `http://HOST:PORT`."""
    workspace: str
    data: str
    """The data directory."""
    uptime_s: float
    health: HealthReply
    stopped: HaltReply | None = None
    """The line stands still: no service gets anything new."""
    freeze: HaltReply | None = None
    """All services are frozen."""
    services: tuple[ServiceReply, ...] = ()
    sessions: int = 0
    """Open sessions of handshake-era clients."""
    actors: int = 0
    last_seq: int = 0
    """Sequence number of the newest event."""
    captures: int = 0
    """Recorded exchanges."""


class ActorReply(Reply):
    """One actor and, for a supervisor, its children in start order."""

    id: str
    name: str = ""
    kind: str
    """supervisor, dynamic, loop, thread or process."""
    state: str
    actor_class: str = ""
    pid: int | None = None
    """Number of the actor in the node."""
    os_pid: int | None = None
    """The operating system's process, for actors that own one."""
    restarts: int = 0
    mailbox_depth: int = 0
    """Messages that wait."""
    strategy: str = ""
    """Of a supervisor: one_for_one, one_for_all or rest_for_one."""
    children: tuple[ActorReply, ...] = ()


class SettingReply(Reply):
    """One setting; values that may be secrets are shown as `***`."""

    key: str
    """Dotted: `delivery.drain_s`."""
    value: Any
    source: str
    """default, file, environment or flag."""
    where: str = ""
    """`henslowe.toml:12`, the variable, or the flag."""


class ConfigReply(Reply):
    """What the node was told, and by whom."""

    file: str = ""
    """The `henslowe.toml` that was read, "" for none."""
    settings: tuple[SettingReply, ...]


class StopReply(Reply):
    """The node will stop: it drains first."""

    stopping: bool = True
