"""The MCP endpoints of a node, towards clients of either era: one stable address in front of changing versions.

`Gateway` and `add_gateway` are what the composition root uses; `Sessions` is what it must provide. Inside, from the
edge inwards: `gateway` (HTTP), `inbound` (decoding, era, headers), `legacy` and `modern` (the two eras), `serving` and
`exchange` (responses and event streams), `scopes` and `naming` (one service or all of them), `streams` and `watches`
(changes), `calls`, `sticky` and `evidence` (routing, waiting, repeating, recording), `pins` and
`questions` (servers that ask for input). Towards servers, see `henslowe.transport.mcp`.
"""

from __future__ import annotations

from henslowe.transport.gateway.gateway import Gateway, add_gateway
from henslowe.transport.gateway.managed import ManagedSessions
from henslowe.transport.gateway.serving import PRINCIPAL
from henslowe.transport.gateway.sessions import MemorySessions, Session, Sessions

__all__ = ["PRINCIPAL", "Gateway", "ManagedSessions", "MemorySessions", "Session", "Sessions", "add_gateway"]
