"""The MCP endpoints of a node, towards clients of either era: one stable address in front of changing versions.

`Gateway` and `add_gateway` are what the composition root uses; `Sessions` is what it must provide. Inside, from the
edge inwards: `gateway` (HTTP), `inbound` (decoding, era, headers), `legacy` and `modern` (the two eras), `serving` and
`exchange` (responses and event streams), `scopes`, `aggregate` and `naming` (one service or all of them), `permitted`
(what of it a principal may use), `streams` and `watches` (changes), `tasks` (calls that are answered later), `calls`
with `selection`, `spreading`, `ranges`, `sticky`, `waiting`, `recording`, `evidence`, `tool_hints` and `call_figures`
(routing, waiting, repeating, recording), and `dialogue` with `questions`, `private`, `parked` and `pins` (servers that
ask their client something). `memory` and `managed` are what the gateway needs of the node's actors. Towards servers:
`henslowe.transport.mcp`.
"""

from __future__ import annotations

from henslowe.transport.gateway.gateway import Gateway, add_gateway
from henslowe.transport.gateway.managed import (
    ManagedConnections,
    ManagedHolds,
    ManagedReplay,
    ManagedResults,
    ManagedSessions,
    ManagedTasks,
)
from henslowe.transport.gateway.memory import Memory
from henslowe.transport.gateway.private import PrivateConnections
from henslowe.transport.gateway.sessions import MemorySessions, Session, Sessions

__all__ = [
    "Gateway",
    "ManagedConnections",
    "ManagedHolds",
    "ManagedReplay",
    "ManagedResults",
    "ManagedSessions",
    "ManagedTasks",
    "Memory",
    "MemorySessions",
    "PrivateConnections",
    "Session",
    "Sessions",
    "add_gateway",
]
